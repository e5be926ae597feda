//! One cell: a business system with all it stands on, and, for the first system of a site, the site's own CIs.
//!
//! A cell is a pure function of seed and number. It refers to other cells only backwards and only to CIs that every
//! cell has, by computing their codes; so a stream of cells needs no memory of those before.

use std::collections::HashSet;

use ci_model::{CiDraft, Document, RelationDraft, Timestamp};
use serde_json::{Value, json};

use crate::draw::Draw;
use crate::words::{
    APPLICATION_SERVERS, DATABASES, DOMAINS, ENVIRONMENTS, FUNCTIONS, LANGUAGES, Product, SERVER_MODELS,
    SITES, STATUSES, SYSTEMS, TEAMS, WEB_SERVERS,
};

/// Systems at one site.
const SYSTEMS_PER_SITE: u64 = 12;
/// Switches and firewalls of a site, so that there is a second way.
const SITE_PAIR: u64 = 2;
/// 2021-01-01T00:00:00Z, when the estate's oldest CI was made, in seconds.
const EPOCH_SECONDS: u64 = 1_609_459_200;
/// Four years, over which the estate grew.
const GROWTH_SECONDS: u64 = 4 * 365 * 86_400;

/// The CIs and relations of one cell.
#[derive(Debug)]
pub(crate) struct Cell {
    /// What others stand on comes first, so that a prefix is sensible by itself.
    pub(crate) cis: Vec<CiDraft>,
    /// Both ends are in this cell or an earlier one.
    pub(crate) relations: Vec<RelationDraft>,
}

impl Cell {
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mut draw = Draw::new(seed, number);
        let system = System::new(number, &mut draw);
        let mut builder = Builder {
            draw,
            system,
            cis: Vec::with_capacity(24),
            relations: Vec::with_capacity(48),
            seen: HashSet::new(),
        };
        if number.is_multiple_of(SYSTEMS_PER_SITE) {
            builder.site();
        }
        builder.system();
        Self {
            cis: builder.cis,
            relations: builder.relations,
        }
    }

    /// Keeps the first `most` CIs, and the relations whose ends are left.
    pub(crate) fn cut(&mut self, most: usize) {
        if self.cis.len() <= most {
            return;
        }
        let gone: HashSet<String> = self.cis.drain(most..).map(|ci| ci.ci_code).collect();
        self.relations
            .retain(|relation| !gone.contains(&relation.from) && !gone.contains(&relation.to));
    }
}

/// What all CIs of a business system share.
struct System {
    number: u64,
    /// `erp-order-01`
    base: String,
    /// `ERP Order 01`
    title: String,
    team: (&'static str, &'static str),
    environment: &'static str,
    tier: &'static str,
    criticality: i64,
}

/// `erp-order-01` and `ERP Order 01` for the system of a cell: different for every number.
fn base(number: u64) -> (String, String) {
    let (domains, functions) = (DOMAINS.len() as u64, FUNCTIONS.len() as u64);
    let domain = DOMAINS[index(number % domains)];
    let function = FUNCTIONS[index((number / domains + number) % functions)];
    let round = number / (domains * functions) + 1;
    (
        format!("{}-{}-{round:02}", domain.0, function.0),
        format!("{} {} {round:02}", domain.1, function.1),
    )
}

/// `seoul-01` and the location, for the site of a cell.
fn site(number: u64) -> (String, &'static str) {
    let site = number / SYSTEMS_PER_SITE;
    let (slug, location) = SITES[index(site % SITES.len() as u64)];
    (format!("{slug}-{:02}", site / SITES.len() as u64 + 1), location)
}

fn index(small: u64) -> usize {
    usize::try_from(small).unwrap_or(0)
}

impl System {
    fn new(number: u64, draw: &mut Draw) -> Self {
        let (base, title) = base(number);
        let environment = if number == 0 {
            "prod"
        } else {
            draw.one(&ENVIRONMENTS)
        };
        // The login of everybody is as critical as it gets; nothing outside production is.
        let criticality = match (number, environment) {
            (0, _) => 5,
            (_, "prod") => draw.between(2, 5),
            _ => draw.between(1, 2),
        };
        Self {
            number,
            base,
            title,
            team: *draw.one(&TEAMS),
            environment,
            tier: ["bronze", "bronze", "silver", "silver", "gold", "platinum"][index(criticality)],
            criticality: criticality.cast_signed(),
        }
    }
}

struct Builder {
    draw: Draw,
    system: System,
    cis: Vec<CiDraft>,
    relations: Vec<RelationDraft>,
    seen: HashSet<(String, &'static str, String)>,
}

impl Builder {
    /// Adds a CI with what the system gives it.
    fn ci(&mut self, kind: [&str; 3], code: &str, name: String, owner: &str, attributes: Value) {
        let (_, location) = site(self.system.number);
        let created = EPOCH_SECONDS + self.draw.below(GROWTH_SECONDS);
        let updated = created + self.draw.below(GROWTH_SECONDS / 4);
        let tags = json!({
            "env": self.system.environment,
            "team": self.system.team.0,
            "tier": self.system.tier,
        });
        let [ci_type, subtype, category] = kind;
        self.cis.push(CiDraft {
            ci_subtype: Some(subtype.into()),
            ci_category: Some(category.into()),
            status: Some((*self.draw.one(&STATUSES)).into()),
            criticality: Some(self.system.criticality),
            location: Some(location.into()),
            // As in every real CMDB, some owners are not known.
            owner: (!self.draw.chance(4)).then(|| owner.into()),
            created_at: moment(created),
            updated_at: moment(updated),
            tags: Some(document(tags)),
            attributes: Some(document(attributes)),
            ..CiDraft::new(code, name, ci_type)
        });
    }

    /// Adds a relation, unless it is there already.
    fn relate(&mut self, from: &str, rel_type: &'static str, to: &str) {
        if self.seen.insert((from.into(), rel_type, to.into())) {
            self.relations.push(RelationDraft::new(from, rel_type, to));
        }
    }

    /// The network, storage, firewalls, monitoring and control of a site, before its first system.
    fn site(&mut self) {
        let (slug, location) = site(self.system.number);
        for n in 1..=SITE_PAIR {
            let ports = json!({"ports": 48, "uplink": {"gbps": 100}, "vlan": [10, 20, 30 + n]});
            let name = format!("Core switch {n} {location}");
            self.ci(
                ["HW", "network", "switch"],
                &format!("sw-{slug}-{n}"),
                name,
                "Netzbetrieb",
                ports,
            );
            let rules = json!({"rules": 200 + self.draw.below(900), "ha": true});
            let (code, name) = (format!("fw-{slug}-{n}"), format!("Firewall {n} {location}"));
            self.ci(
                ["HW", "security", "firewall"],
                &code,
                name,
                "Security 보안팀",
                rules,
            );
            self.relate(&code, "CONNECTED_TO", &format!("sw-{slug}-{n}"));
        }
        let capacity = json!({"capacity_tb": 10 * self.draw.between(5, 80), "raid": "6"});
        let (storage, name) = (format!("sto-{slug}-1"), format!("Storage array 1 {location}"));
        self.ci(
            ["HW", "storage", "array"],
            &storage,
            name,
            "Storage Team",
            capacity,
        );
        self.relate(&storage, "CONNECTED_TO", &format!("sw-{slug}-1"));
        let probes = json!({"interval_s": 30, "retention_days": 400});
        let (monitor, name) = (format!("mon-{slug}"), format!("Monitoring {location}"));
        self.ci(
            ["SYSTEM", "monitoring_system", "operations"],
            &monitor,
            name,
            "NOC",
            probes,
        );
        let loops = json!({"loops": self.draw.between(20, 400), "protocol": "opc-ua"});
        let (control, name) = (format!("ctl-{slug}"), format!("Building control {location}"));
        self.ci(
            ["SYSTEM", "control_system", "facility"],
            &control,
            name,
            "Facility",
            loops,
        );
        self.relate(&control, "CONNECTED_TO", &format!("sw-{slug}-2"));
        self.relate(&monitor, "MONITORS", &control);
    }

    /// The business system, from its servers up.
    fn system(&mut self) {
        let servers = self.draw.between(2, 4);
        self.servers(servers);
        let base = self.system.base.clone();
        let databases = self.draw.between(1, 2);
        self.software("db", "database", "DB", &DATABASES, databases, servers);
        let application_servers = self.draw.between(1, 2);
        self.software(
            "was",
            "middleware",
            "WAS",
            &APPLICATION_SERVERS,
            application_servers,
            servers,
        );
        self.software("web", "middleware", "Web", &WEB_SERVERS, 1, servers);
        for n in 1..=application_servers {
            self.relate(
                &format!("web-{base}-1"),
                "CONNECTED_TO",
                &format!("was-{base}-{n}"),
            );
        }
        let apps = self.draw.between(2, 5);
        for n in 1..=apps {
            self.app(n, databases, application_servers);
        }
        self.business_system(apps);
    }

    fn servers(&mut self, count: u64) {
        let (slug, _) = site(self.system.number);
        let (base, title) = (self.system.base.clone(), self.system.title.clone());
        let number = self.system.number;
        for n in 1..=count {
            let (server, os) = (format!("srv-{base}-{n}"), format!("os-{base}-{n}"));
            let (model, cores, memory) = *self.draw.one(&SERVER_MODELS);
            let ip = format!("10.{}.{}.{}", (number >> 8) & 0xff, number & 0xff, 10 + n);
            let hardware = json!({
                "cores": cores,
                "memory_gb": memory,
                "model": model,
                "net": {"ip": ip, "dns": format!("{server}.example.internal")},
            });
            let category = if model.ends_with("guest") {
                "virtual"
            } else {
                "physical"
            };
            self.ci(
                ["HW", "server", category],
                &server,
                format!("{title} server {n}"),
                "Server Team",
                hardware,
            );
            let (product, version, _) = *self.draw.one(&SYSTEMS);
            let system = json!({"name": product, "version": version, "patched": self.draw.chance(80)});
            self.ci(
                ["SW", "os", "infrastructure"],
                &os,
                format!("{product} on {server}"),
                "Server Team",
                system,
            );
            self.relate(&os, "RUNS_ON", &server);
            self.relate(
                &server,
                "CONNECTED_TO",
                &format!("sw-{slug}-{}", n % SITE_PAIR + 1),
            );
            self.relate(
                &server,
                "PROTECTED_BY",
                &format!("fw-{slug}-{}", n % SITE_PAIR + 1),
            );
            if self.draw.chance(60) {
                self.relate(&server, "CONNECTED_TO", &format!("sto-{slug}-1"));
            }
            self.relate(&format!("mon-{slug}"), "MONITORS", &server);
        }
    }

    /// Databases and servers-software, spread over the operating systems.
    fn software(
        &mut self,
        kind: &str,
        category: &str,
        word: &str,
        products: &[Product],
        count: u64,
        hosts: u64,
    ) {
        let (base, title) = (self.system.base.clone(), self.system.title.clone());
        for n in 1..=count {
            let code = format!("{kind}-{base}-{n}");
            let (product, version, port) = *self.draw.one(products);
            let attributes = json!({"engine": product, "version": version, "net": {"port": port}});
            let owner = if kind == "db" {
                "Database Team"
            } else {
                "Middleware 운영팀"
            };
            self.ci(
                ["SW", kind, category],
                &code,
                format!("{title} {word} {n} ({product})"),
                owner,
                attributes,
            );
            let host = self.draw.between(1, hosts);
            self.relate(&code, "RUNS_ON", &format!("os-{base}-{host}"));
        }
    }

    fn app(&mut self, n: u64, databases: u64, application_servers: u64) {
        let (base, title) = (self.system.base.clone(), self.system.title.clone());
        let code = format!("app-{base}-{n}");
        let version = format!(
            "{}.{}.{}",
            self.draw.between(1, 9),
            self.draw.below(20),
            self.draw.below(10)
        );
        let attributes = json!({
            "version": version,
            "language": self.draw.one(&LANGUAGES),
            "repository": format!("git/{base}"),
            "instances": {"min": 1, "max": self.draw.between(2, 8)},
        });
        let owner = self.system.team.1;
        self.ci(
            ["SW", "app", "application"],
            &code,
            format!("{title} app {n}"),
            owner,
            attributes,
        );
        let host = self.draw.between(1, application_servers);
        self.relate(&code, "DEPLOYED_ON", &format!("was-{base}-{host}"));
        if n == 1 {
            self.relate(&code, "DEPLOYED_ON", &format!("web-{base}-1"));
        }
        let kind = if self.draw.chance(70) {
            "USES"
        } else {
            "DEPENDS_ON"
        };
        let database = self.draw.between(1, databases);
        self.relate(&code, kind, &format!("db-{base}-{database}"));
        if n > 1 && self.draw.chance(50) {
            self.relate(&code, "DEPENDS_ON", &format!("app-{base}-1"));
        }
        self.other_systems(&code, n);
    }

    /// Every system's first app needs the login; some need another system's first app, most often a near one.
    fn other_systems(&mut self, code: &str, n: u64) {
        let number = self.system.number;
        if number == 0 {
            return;
        }
        if n == 1 {
            self.relate(code, "USES", &format!("app-{}-1", base(0).0));
        }
        if self.draw.chance(35) {
            let reach = if self.draw.chance(80) {
                number.min(16)
            } else {
                number
            };
            let other = number - self.draw.between(1, reach);
            self.relate(code, "DEPENDS_ON", &format!("app-{}-1", base(other).0));
        }
    }

    fn business_system(&mut self, apps: u64) {
        let (base, title) = (self.system.base.clone(), self.system.title.clone());
        let code = format!("sys-{base}");
        let attributes = json!({
            "sla": {"hours": if self.system.criticality > 3 { "24x7" } else { "8x5" }},
            "users": 10 * self.draw.between(1, 900),
        });
        let owner = self.system.team.1;
        self.ci(
            ["SYSTEM", "business_system", "business"],
            &code,
            title,
            owner,
            attributes,
        );
        for n in 1..=apps {
            self.relate(&code, "COMPOSED_OF", &format!("app-{base}-{n}"));
        }
        let (slug, _) = site(self.system.number);
        if self.system.criticality >= 4 {
            self.relate(&format!("mon-{slug}"), "MONITORS", &code);
        }
    }
}

fn moment(seconds: u64) -> Option<Timestamp> {
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    Timestamp::from_micros(micros).ok()
}

/// The object that a `json!` of this file is.
fn document(value: Value) -> Document {
    match value {
        Value::Object(object) => object,
        _ => Document::new(),
    }
}
