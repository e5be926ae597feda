//! From settings to what they set: the store, the runner, the service; and whether they go together.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ci_runner::replica::ReplicaOptions;
use ci_runner::{Level, Runner, RunnerBuilder};
use ci_store::{Store, StoreOptions};

use super::settings::Settings;
use super::{Config, ConfigError};
use crate::access::{JwtKeys, JwtOptions, check_provider};
use crate::fetch;
use crate::http::{ServerOptions, TenantLimits, Tls, TlsError, assistants_fault, set_assistants};
use crate::traces::TraceOptions;

/// Clocks further apart than this are to be set, not put up with.
const LONGEST_LEEWAY: Duration = Duration::from_secs(300);

/// Most audits in a minute.
const MOST_AUDITS: u32 = 6_000;
/// Longest time of a statement: PostgreSQL counts milliseconds in 32 bits.
const LONGEST_STATEMENT: Duration = Duration::from_secs(24 * 3_600);
/// How often keys may be fetched: not so often that the provider minds, and not so seldom that a key that it has given up counts for days.
const JWKS_REFRESH: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(86_400);

/// Settings that go together.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
}

impl Plan {
    /// Checks what no setting says alone, in a database that is made for it and goes away again.
    ///
    /// # Errors
    /// All faults together.
    pub(crate) async fn of(config: &Config) -> Result<Self, ConfigError> {
        let plan = Self {
            settings: config.settings.clone(),
        };
        let mut faults = plan.pairs();
        faults.extend(plan.bounds().await);
        if faults.is_empty() {
            Ok(plan)
        } else {
            Err(ConfigError(faults))
        }
    }

    /// Settings that exclude or need each other.
    fn pairs(&self) -> Vec<String> {
        let settings = &self.settings;
        let mut faults = Vec::new();
        if settings.tokens.is_some() && settings.without_authentication {
            faults.push("`tokens` and `without_authentication` exclude each other: give one of them".into());
        }
        let forms = ["sqlite:", "postgres://", "postgresql://"];
        if !forms.iter().any(|form| settings.database.starts_with(form)) {
            faults.push(
                "`database` is not an address: expected sqlite:PATH or postgres://USER@HOST:PORT/NAME".into(),
            );
        }
        faults.extend(self.jwt_faults());
        if settings.tls_cert.is_some() != settings.tls_key.is_some() {
            faults.push("`tls_cert` and `tls_key` need each other: give both or none".into());
        }
        if settings.tenant_burst > 0 && settings.tenant_rate == 0 {
            faults.push("`tenant_burst` needs a `tenant_rate`".into());
        }
        faults.extend(self.times());
        faults.extend(self.traces_fault());
        faults.extend(self.tier_faults());
        faults.extend(self.replica_faults());
        faults.extend(assistants_fault(
            &settings.mcp_hosts.0,
            settings.mcp_answer_bytes.0,
        ));
        if settings.audit_rate > MOST_AUDITS {
            faults.push(format!("`audit_rate` is more than {MOST_AUDITS}"));
        }
        if settings.connections == 0 {
            faults.push("`connections` is 0: at least one is needed".into());
        }
        faults
    }

    /// What of JWTs does not go together.
    fn jwt_faults(&self) -> Vec<String> {
        let settings = &self.settings;
        let mut faults = Vec::new();
        let has_keys = settings.jwt_keys.is_some() || settings.jwks_url.is_some();
        let jwt = [
            has_keys,
            settings.jwt_issuer.is_some(),
            settings.jwt_audience.is_some(),
        ];
        if jwt.contains(&true) && jwt.contains(&false) {
            faults.push(
                "`jwt_keys`, `jwt_issuer` and `jwt_audience` need each other: give all or none (`jwks_url` may be in place of `jwt_keys`)"
                    .into(),
            );
        }
        for (key, is_given) in [
            ("jwt_keys", settings.jwt_keys.is_some()),
            ("jwks_url", settings.jwks_url.is_some()),
        ] {
            if is_given && settings.without_authentication {
                faults.push(format!(
                    "`{key}` and `without_authentication` exclude each other: give one of them"
                ));
            }
        }
        if settings.jwt_keys.is_some() && settings.jwks_url.is_some() {
            faults.push("`jwt_keys` and `jwks_url` exclude each other: give one of them".into());
        }
        if let Some(Err(reason)) = settings.jwks_url.as_ref().map(|url| check_provider(url)) {
            faults.push(format!("`jwks_url` is no address to fetch keys from: {reason}"));
        }
        if !JWKS_REFRESH.contains(&settings.jwks_refresh) {
            faults.push("`jwks_refresh` is not from 10 s to 24 h".into());
        }
        if settings.jwt_leeway > LONGEST_LEEWAY {
            faults.push("`jwt_leeway` is more than 5 min".into());
        }
        faults
    }

    /// What is wrong with where traces go.
    fn traces_fault(&self) -> Option<String> {
        let endpoint = self.settings.otel_endpoint.as_ref()?;
        if !cfg!(feature = "otel") {
            return Some("`otel_endpoint` needs a program that was built with `--features otel`".into());
        }
        let reason = fetch::check(endpoint).err()?;
        Some(format!("`otel_endpoint` is no address of a collector: {reason}"))
    }

    /// What is wrong with the replica. Its address is read when the service starts.
    fn replica_faults(&self) -> Vec<String> {
        let settings = &self.settings;
        let Some(address) = &settings.replica_url else {
            return Vec::new();
        };
        let mut faults = Vec::new();
        let is_postgres = |address: &str| {
            ["postgres://", "postgresql://"]
                .iter()
                .any(|form| address.starts_with(form))
        };
        if !is_postgres(address) {
            faults.push("`replica_url` is not an address: expected postgres://USER@HOST:PORT/NAME".into());
        }
        if !is_postgres(&settings.database) {
            faults.push("`replica_url` needs a PostgreSQL `database`: a SQLite file has no standby".into());
        }
        if *address == settings.database {
            faults.push("`replica_url` is the address of `database`: give that of a standby".into());
        }
        if let Err(ci_runner::Error::Config { field, reason }) = self.replica_options().check() {
            faults.push(format!("`{field}`: {reason}"));
        }
        faults
    }

    /// How the replica is used.
    fn replica_options(&self) -> ReplicaOptions {
        let settings = &self.settings;
        ReplicaOptions::new()
            .wait(settings.replica_wait)
            .timeout(settings.replica_timeout)
    }

    /// Times that nothing can be done in, or that a database refuses.
    fn times(&self) -> Vec<String> {
        let settings = &self.settings;
        let times = [
            ("acquire_timeout", settings.acquire_timeout),
            ("statement_timeout", settings.statement_timeout),
            ("request_timeout", settings.request_timeout),
            ("import_timeout", settings.import_timeout),
            ("head_timeout", settings.head_timeout),
            ("body_timeout", settings.body_timeout),
            ("ready_timeout", settings.ready_timeout),
        ];
        let none = times.into_iter().filter(|(_, time)| time.is_zero());
        let none = none.map(|(key, _)| format!("`{key}` is 0: nothing can be done in no time"));
        let is_long = settings.statement_timeout > LONGEST_STATEMENT;
        let long = is_long.then(|| "`statement_timeout` is more than 24 h".to_owned());
        none.chain(long).collect()
    }

    /// What the runner refuses. It knows its bounds; they are not written down a second time here.
    async fn bounds(&self) -> Option<String> {
        // Without a temporary folder nothing is said about the settings; the service itself checks them again.
        let store = ci_store::open("sqlite::memory:", &StoreOptions::default())
            .await
            .ok()?;
        match self.builder(store).build() {
            Ok(runner) => {
                runner.close().await;
                None
            }
            Err(ci_runner::Error::Config { field, reason }) => Some(format!("`{field}`: {reason}")),
            Err(error) => Some(error.to_string()),
        }
    }

    /// How the database is used.
    pub(crate) fn store_options(&self) -> StoreOptions {
        let settings = &self.settings;
        let mut options = StoreOptions::default()
            .connections(settings.connections)
            .acquire_timeout(settings.acquire_timeout)
            .statement_timeout(settings.statement_timeout)
            .busy_timeout(settings.busy_timeout)
            .doorbell(settings.doorbell);
        options.cache_bytes = settings.sqlite_cache.0;
        options.mmap_bytes = settings.sqlite_mmap.0;
        options
    }

    /// How the cache works. The warm file is left out: only the service has it.
    fn builder(&self, store: Arc<dyn Store>) -> RunnerBuilder {
        let settings = &self.settings;
        let mut builder = Runner::builder(store)
            .max_entries(settings.max_entries.get())
            .level(Level::Cached {
                max_lag: settings.max_lag,
            })
            .keyword_ttl(settings.keyword_ttl)
            .filter_ttl(settings.filter_ttl)
            .get_ttl(settings.get_ttl)
            .default_ttl(settings.default_ttl)
            .cost_aware(settings.cost_aware)
            .recent_changes(settings.recent_changes)
            .tenant_shares(settings.tenant_shares)
            .tenants_apart(settings.tenants_apart)
            .uncached(settings.uncached.iter().copied())
            .prime(settings.prime)
            .slow_load(settings.slow_load)
            .drops(settings.drops)
            .poll_every(settings.poll_every)
            .poll_idle(settings.poll_idle)
            .poll_timeout(settings.poll_timeout)
            .retention(settings.retention)
            .bulk(settings.bulk)
            .log_changes(settings.log_changes.get())
            .warm_every(settings.warm_every)
            .warm_reloads(settings.warm_reloads);
        if settings.cache_bytes.0 > 0 {
            builder = builder.max_bytes(settings.cache_bytes.0);
        }
        if settings.stale_while_revalidate > Duration::ZERO {
            builder = builder.stale_while_revalidate(settings.stale_while_revalidate);
        }
        if settings.stale_if_error > Duration::ZERO {
            builder = builder.stale_if_error(settings.stale_if_error);
        }
        builder
    }

    /// Builds the runner of the service.
    ///
    /// # Errors
    /// What the runner refuses.
    pub(crate) fn runner(&self, store: Arc<dyn Store>) -> ci_runner::Result<Runner> {
        let replica = match &self.settings.replica_url {
            Some(address) => Some(store.replica(address, &self.store_options())?),
            None => None,
        };
        let mut builder = self.builder(store);
        if let Some(replica) = replica {
            builder = builder.replica(replica, self.replica_options());
        }
        if let Some(path) = &self.settings.warm_file {
            builder = builder.warm_file(path);
        }
        if let Some(address) = &self.settings.tier_url {
            let tier = self.open_tier(address)?;
            builder = builder.tier(tier, self.tier_options());
        }
        builder.build()
    }

    /// What a tenant may ask.
    fn tenant_limits(&self) -> TenantLimits {
        let settings = &self.settings;
        let mut limits = TenantLimits::none();
        if let Some(rate) = NonZeroU32::new(settings.tenant_rate) {
            limits = limits.rate(rate, NonZeroU32::new(settings.tenant_burst).unwrap_or(rate));
        }
        if let Some(requests) = NonZeroU32::new(settings.tenant_concurrency) {
            limits = limits.concurrency(requests);
        }
        if let Some(clients) = NonZeroU32::new(settings.tenant_followers) {
            limits = limits.followers(clients);
        }
        if let Some(exports) = NonZeroU32::new(settings.tenant_exports) {
            limits = limits.exports(exports);
        }
        limits
    }

    /// Where administrators ask: on this machine unless a host is given.
    pub(crate) fn admin_listen(&self) -> Option<String> {
        let address = self.settings.admin_listen.as_ref()?;
        Some(if address.contains(':') {
            address.clone()
        } else {
            format!("127.0.0.1:{address}")
        })
    }

    /// What is asked of JWTs, if they count.
    pub(crate) fn jwt(&self) -> Option<JwtOptions> {
        let settings = &self.settings;
        let keys = match (&settings.jwt_keys, &settings.jwks_url) {
            (Some(path), _) => JwtKeys::File(path.clone()),
            (None, Some(url)) => JwtKeys::Url {
                url: url.clone(),
                refresh: settings.jwks_refresh,
            },
            (None, None) => return None,
        };
        let (issuer, audience) = (settings.jwt_issuer.as_ref()?, settings.jwt_audience.as_ref()?);
        let mut options = JwtOptions::by(keys, issuer, audience);
        options.algorithms.clone_from(&settings.jwt_algorithms.0);
        options.leeway = settings.jwt_leeway;
        options.name_claim.clone_from(&settings.jwt_name_claim);
        options.role_claim.clone_from(&settings.jwt_role_claim);
        options.role_prefix = settings.jwt_role_prefix.clone().unwrap_or_default();
        options.tenants_claim.clone_from(&settings.jwt_tenants_claim);
        Some(options)
    }

    /// The certificate, read.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, TlsError> {
        let pair = self
            .settings
            .tls_cert
            .as_ref()
            .zip(self.settings.tls_key.as_ref());
        pair.map(|(certificate, key)| Tls::by_files(certificate, key))
            .transpose()
    }

    /// Where traces go, if anywhere.
    pub(crate) fn traces(&self) -> Option<TraceOptions> {
        let settings = &self.settings;
        Some(TraceOptions {
            endpoint: settings.otel_endpoint.clone()?,
            sample: settings.otel_sample.0,
            service: settings.otel_service.clone(),
        })
    }

    /// The limits of the service.
    pub(crate) fn server_options(&self) -> ServerOptions {
        let settings = &self.settings;
        let mut options = ServerOptions::default();
        // Nobody but programs of this machine is to be let in without a token, and a page of another site is none of them.
        let is_guarded = settings.tokens.is_some() || self.jwt().is_some() || settings.without_authentication;
        if !is_guarded || !settings.hosts.0.is_empty() {
            options = options.hosts(settings.hosts.0.iter().chain(&settings.mcp_hosts.0));
        }
        set_assistants(options, &settings.mcp_hosts.0, settings.mcp_answer_bytes.0)
            .concurrency(settings.concurrency.get())
            .tenant_limits(self.tenant_limits())
            .request_timeout(settings.request_timeout)
            .import_timeout(settings.import_timeout)
            .body_bytes(usize::try_from(settings.body_bytes.0).unwrap_or(usize::MAX))
            .import_bytes(settings.import_bytes.0)
            .encoded_bytes(settings.encoded_bytes.0)
            .head_timeout(settings.head_timeout)
            .body_timeout(settings.body_timeout)
            .ready_timeout(settings.ready_timeout)
            .ready_lag(settings.ready_lag)
            .audit_rate(settings.audit_rate)
            .drain_delay(settings.drain_delay)
            .drain_timeout(settings.drain_timeout)
    }
}
