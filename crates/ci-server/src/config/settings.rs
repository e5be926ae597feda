//! The settings of the service: the one table that flags, environment, file, documentation and the typed settings are made from.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ci_model::QuestionKind;
use ci_runner::TenantShares;

use super::value::{Bytes, Hosts, JwtAlgorithms, LogFilter, LogFormat, Share, Value};

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Setting {
    /// What the file calls it; flag and variable are made from it.
    pub(crate) key: &'static str,
    /// What it belongs to.
    pub(crate) group: &'static str,
    /// What its values are called.
    pub(crate) form: &'static str,
    /// What a value has to be.
    pub(crate) expected: &'static str,
    /// The value when nothing is said; empty for none.
    pub(crate) default: &'static str,
    /// What it does, in one sentence or two.
    pub(crate) help: &'static str,
}

impl Setting {
    /// The flag, with its dashes.
    pub(crate) fn flag(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }

    /// The variable of the environment.
    pub(crate) fn variable(&self) -> String {
        format!("CI_CACHE_{}", self.key.to_uppercase())
    }

    /// Whether values are yes or no, so that the flag alone says yes.
    pub(crate) fn is_switch(&self) -> bool {
        self.form == bool::FORM
    }
}

/// Makes the table, the typed settings, and the way from texts to them.
macro_rules! settings {
    ($($group:literal { $($key:ident: $type:ty = $default:literal, $help:literal;)+ })+) => {
        /// Every setting, in the order of the documentation.
        pub(crate) static SETTINGS: &[Setting] = &[$($(Setting {
            key: stringify!($key),
            group: $group,
            form: <$type>::FORM,
            expected: <$type>::EXPECTED,
            default: $default,
            help: $help,
        },)+)+];

        /// The settings, each of which is of its form.
        #[derive(Debug, Clone)]
        pub(crate) struct Settings {
            $($(pub(crate) $key: $type,)+)+
        }

        impl Settings {
            /// Reads every setting's text; the keys of those that are not of their form otherwise.
            pub(crate) fn parse<'a>(text: impl Fn(&str) -> &'a str) -> Result<Self, Vec<&'static str>> {
                let mut faulty = Vec::new();
                $($(
                    let $key = <$type>::parse(text(stringify!($key)));
                    if $key.is_none() {
                        faulty.push(stringify!($key));
                    }
                )+)+
                let ($($(Some($key),)+)+) = ($($($key,)+)+) else { return Err(faulty) };
                Ok(Self { $($($key,)+)+ })
            }
        }
    };
}

settings! {
    "Database" {
        database: String = "", "The database: sqlite:PATH or postgres://USER@HOST:PORT/NAME. A password is better kept in a file: PGPASSFILE of PostgreSQL, or the configuration file with mode 0600.";
        connections: u32 = "8", "Most connections for reading at the same time; PostgreSQL writes with these, too. The change feed has one more.";
        acquire_timeout: Duration = "5s", "Longest wait for a free connection, or for a new one.";
        statement_timeout: Duration = "30s", "Longest time of one reading statement.";
        busy_timeout: Duration = "5s", "SQLite: longest wait for another process that writes to the file.";
        sqlite_cache: Bytes = "16MiB", "SQLite: page cache of each connection.";
        sqlite_mmap: Bytes = "1GiB", "SQLite: how much of the file is read through a memory map.";
        doorbell: bool = "false", "PostgreSQL: writers ring and feeds listen, for feeds that are polled seldom; one more connection.";
    }
    "Service" {
        listen: String = "127.0.0.1:8642", "Where to listen, HOST:PORT; port 0 is any free one.";
        admin_listen: Option<String> = "", "Where administrators ask, PORT (on 127.0.0.1) or HOST:PORT: `/v1/cache/...`, `/metrics` and the dashboard are answered there, beside everything else, and unknown at the other address.";
        tls_cert: Option<PathBuf> = "", "Encrypt with this certificate (PEM, with those that lead to its authority); read again when it changes.";
        tls_key: Option<PathBuf> = "", "The private key of the certificate (PEM).";
        tokens: Option<PathBuf> = "", "Let in who has a token of this file, and nobody else; `ci-cache token` makes them.";
        jwt_keys: Option<PathBuf> = "", "Let in who has a JWT signed by a key of this file, a JWK set of the identity provider; read again when it changes.";
        jwks_url: Option<String> = "", "Or by a key of the JWK set at this address, `jwks_uri` of the identity provider, in place of `jwt_keys`; `https://`, but of this machine.";
        jwks_refresh: Duration = "10m", "Time between two fetches of `jwks_url`, 10 s to 24 h; a token whose key is not known has it fetched sooner, once in a minute at most.";
        jwt_issuer: Option<String> = "", "Who has to have made a JWT (`iss`).";
        jwt_audience: Option<String> = "", "For whom a JWT has to be made (`aud`).";
        jwt_algorithms: JwtAlgorithms = "RS256,ES256", "What a JWT may be signed with.";
        jwt_leeway: Duration = "30s", "How far the clocks of provider and service may be apart, up to 5 min.";
        jwt_name_claim: String = "sub", "The claim that names the bearer in the audit log.";
        jwt_role_claim: String = "role", "The claim with the role, a text or texts; a dot leads into an object.";
        jwt_role_prefix: Option<String> = "", "What stands before read, write or admin there.";
        jwt_tenants_claim: String = "tenants", "The claim with the tenants, a text or texts, `*` for all.";
        without_authentication: bool = "false", "Let everybody in who reaches the address, also one that other machines reach.";
        hosts: Hosts = "", "The names, HOST or HOST:PORT, by which the service may be asked, beside `localhost` and addresses. Without: those alone where everybody of this machine is let in, so that no page of another site is taken for one of its own (DNS rebinding), and any otherwise.";
        concurrency: NonZeroUsize = "512", "Most requests that are answered at the same time; further ones get 503 at once.";
        tenant_rate: u32 = "0", "Most requests of a tenant in a second, on the whole; further ones get 429. 0: no limit.";
        tenant_burst: u32 = "0", "How many requests of a tenant may come at once after a pause; 0: as many as in a second.";
        tenant_concurrency: u32 = "0", "Most requests of a tenant that are answered at the same time; further ones get 429. 0: no limit.";
        tenant_followers: u32 = "64", "Most clients of a tenant that wait for changes or are sent them at the same time, of 256 in all; further ones get 429. 0: no limit of its own.";
        tenant_exports: u32 = "1", "Most exports of a tenant at the same time, of 2 in all; further ones get 429. 0: no limit of its own.";
        request_timeout: Duration = "60s", "Longest time for an answer, other than to an import.";
        import_timeout: Duration = "1h", "Longest time for an import.";
        body_bytes: Bytes = "1MiB", "Largest body of a request other than an import.";
        import_bytes: Bytes = "1GiB", "Largest body of an import.";
        encoded_bytes: Bytes = "64MiB", "Room for the bodies of answers as they were sent, so that a hit is not encoded again; 0 for none.";
        head_timeout: Duration = "30s", "Longest silence of a connection between two requests, and longest time for the head of one.";
        body_timeout: Duration = "30s", "Longest time for a body to arrive, or for a pause of an import's.";
        ready_timeout: Duration = "2s", "Longest wait of `/readyz` for the database.";
        ready_lag: Duration = "5s", "How far the change feed may be behind for `/readyz` to say ready.";
        drain_delay: Duration = "0s", "How long the service, told to stop, still answers while `/readyz` says that it stops: as long as a load balancer takes to notice.";
        drain_timeout: Duration = "10s", "Longest wait for the requests at work when the service stops.";
    }
    "AI assistants" {
        mcp_hosts: Hosts = "", "The names, HOST or HOST:PORT, by which AI assistants may ask (`/v1/{tenant}/mcp`). Without: any where callers need a token, and `localhost`, `127.0.0.1` and `::1` where everybody is let in. Needs a program with the feature `mcp`.";
        mcp_answer_bytes: Bytes = "16KiB", "Largest answer to an AI assistant, 8KiB to 1MiB.";
    }
    "Log" {
        log: LogFilter = "info", "What is logged to stderr: a level, or levels by target; `ci_cache::audit=info` is the audit log alone.";
        log_format: LogFormat = "text", "How its lines look.";
    }
    "Traces" {
        otel_endpoint: Option<String> = "", "Send traces of requests to this OpenTelemetry collector, by OTLP over HTTP: `http://127.0.0.1:4318`, to which `/v1/traces` is added. Needs a program with the feature `otel`.";
        otel_sample: Share = "1", "The share of the requests that are traced, 0 to 1. Where a request comes with a `traceparent`, its sender has decided.";
        otel_service: String = "ci-cache", "What the service is called in traces (`service.name`).";
    }
    "Cache" {
        max_entries: NonZeroUsize = "100000", "Most answers in the cache.";
        cache_bytes: Bytes = "512MiB", "Most memory of the answers in the cache together, by about what they take; 0 for no bound but `max_entries`.";
        max_lag: Duration = "1s", "How far behind an answer may be for questions that do not say.";
        keyword_ttl: Duration = "10m", "How long answers to questions with keywords and no filters are kept.";
        filter_ttl: Duration = "5m", "How long answers to questions with filters are kept.";
        get_ttl: Duration = "5m", "How long single CIs are kept.";
        default_ttl: Duration = "5m", "How long everything else is kept.";
        stale_while_revalidate: Duration = "0s", "Serve an answer for so long after its time to live while it is loaded again in the background. What a change dropped is never served.";
        stale_if_error: Duration = "0s", "Serve an answer for so long after its time to live if loading it again fails.";
        recent_changes: usize = "8192", "How many changes are remembered for those who follow them and come back; 0 for none.";
        cost_aware: bool = "true", "Let the time that loading took count when the cache is full.";
        tenant_shares: TenantShares = "fair", "Whether the room is divided between tenants, so that none empties another's share.";
        tenants_apart: usize = "100", "How many tenants have counters and metric labels of their own.";
        uncached: Vec<QuestionKind> = "", "Kinds of questions that always ask the database.";
        prime: bool = "false", "Let an expansion keep its CIs as answers to gets, too; it reads more.";
        slow_load: Duration = "1s", "From when on a load is logged as slow.";
        drops: usize = "256", "How many drops are remembered with their reason.";
        audit_rate: u32 = "0", "How many cached answers are loaded again and compared in a minute, up to 6000; 0 for none. A difference that no recorded change explains is a defect, which the log, the metrics and `ci-cache audit` tell.";
    }
    "Change feed" {
        poll_every: Duration = "3ms", "Time between two polls of the change feed while somebody asks, 1 ms to 1 min.";
        poll_idle: Duration = "250ms", "Time between two polls while nobody asks, 1 ms to 1 min.";
        poll_timeout: Duration = "1s", "How long a poll may take, and how long a reader waits for one, 1 ms to 1 min.";
        retention: Duration = "10m", "How long the database keeps recorded changes, from 1 s. A node that was away for longer begins with an empty cache.";
        bulk: usize = "1000", "How many changes of a tenant in one poll count as a change of everything.";
        log_changes: NonZeroUsize = "65536", "How many changes are remembered for loads under way.";
    }
    "Warm restart" {
        warm_file: Option<PathBuf> = "", "Start warm from this file, and keep it. It holds answers in the clear; no two services share one.";
        warm_every: Duration = "60s", "Time between two writings of the warm file, from 1 s.";
        warm_reloads: u32 = "50", "How many questions of the warm file are asked again in a second when its answers cannot be used, 0 to 1000.";
    }
    "Replica" {
        replica_url: Option<String> = "", "Let this hot standby of the PostgreSQL `database` answer loads wherever its answer keeps what was promised: `postgres://USER@HOST:PORT/NAME`, with a user who may read `pg_stat_wal_receiver` (`GRANT pg_read_all_stats`). It has as many connections as `database`.";
        replica_wait: Duration = "20ms", "How long a load waits at most for the replica to come as far as it has to be, and as long again for the primary to show what the replica shows, up to 1 min; then the primary is asked. 0 for not at all.";
        replica_timeout: Duration = "2s", "How long the replica may take for a load, waits included, 1 ms to 10 min; one that is slow or down is left alone for a while.";
    }
    "Shared tier" {
        tier_url: Option<String> = "", "Share answers with the other services of the fleet over this Redis or Valkey: `redis://USER:PASSWORD@HOST:PORT/DB` or `redis+unix:///PATH`; over the one that takes writes, as sentinels say: `redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DB`, with `?sentinel_user=&sentinel_password=` where they want an account; over a cluster, by some of its nodes: `redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT`. `rediss` in place of `redis` for TLS. A password is better kept in the configuration file with mode 0600. Only with PostgreSQL. Needs a program with the feature `redis`.";
        tier_prefix: String = "ci-cache", "What every name in the server begins with: another one for each fleet that shares it.";
        tier_ca: Option<PathBuf> = "", "The authorities (PEM) by whom the servers of the tier, and sentinels, have to be certified, in place of those that this system trusts; read when the service starts.";
        tier_cert: Option<PathBuf> = "", "The certificate (PEM, with those that lead to its authority) that the servers of the tier, and sentinels, are shown; read when the service starts.";
        tier_key: Option<PathBuf> = "", "The private key of that certificate (PEM).";
        tier_timeout: Duration = "25ms", "How long a question that is not in memory waits for the tier at most, 1 ms to 10 s; a tier that is slow or down is left alone for a while.";
        tier_wait: Duration = "50ms", "How long a miss waits at most for another service that loads the same answer now, up to 10 s, and `tier_timeout` more for its last look; 0 for not at all.";
        tier_ttl: Duration = "1h", "How long an answer stays in the tier after it was loaded, 1 s to 30 days.";
        tier_replay: Duration = "5m", "How far back a service that starts reads the changes, so that it can use what the tier has; 0 for not at all. Not more than `retention`, and no further than to a minute before its end.";
        tier_doorbell: bool = "false", "Wake the other services after a write and be woken by theirs, over the tier's publish and subscribe, so that `poll_every` and `poll_idle` may be longer; one more connection. A wake-up only: writes of other programs are seen by the polls.";
        tier_refresh_every: Duration = "60s", "Time between two rounds in which a service says anew that the answers it uses most are true, 1 s to 30 days.";
        tier_refresh: usize = "1000", "How many answers such a round confirms at most; 0 for none.";
        tier_tenant_bytes: Bytes = "256MiB", "How much of one tenant's answers this service has in the tier at most; what would be more is not shared.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_of_its_form_and_every_key_is_one_word() {
        let default = |key: &str| {
            let setting = SETTINGS.iter().find(|setting| setting.key == key);
            setting.map_or("", |setting| setting.default)
        };
        // There is no database by default: it is the only thing that has to be said.
        assert_eq!(Settings::parse(default).unwrap_err(), ["database"]);
        let all = Settings::parse(|key| {
            if key == "database" {
                "sqlite:a.db"
            } else {
                default(key)
            }
        });
        assert_eq!(all.unwrap().max_entries.get(), 100_000);
        for (at, setting) in SETTINGS.iter().enumerate() {
            assert!(
                setting.key.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                "{}",
                setting.key
            );
            assert!(setting.help.ends_with('.'), "{}", setting.key);
            assert!(
                SETTINGS[..at].iter().all(|other| other.key != setting.key),
                "{}",
                setting.key
            );
        }
    }
}
