//! The configuration of the service: one table of settings, from flags, environment and one file.

mod build;
mod page;
mod secret;
mod settings;
mod source;
mod tier;
mod value;

pub(crate) use build::Plan;
pub(crate) use page::{example, table};
pub(crate) use secret::redacted;
pub(crate) use settings::Settings;
pub(crate) use source::{Given, Origin, Resolved, Same, strange_variables};
pub(crate) use tier::{TierCertificates, TierFault};
pub(crate) use value::LogFormat;

/// All that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("use the configuration:\n  {}", .0.join("\n  "))]
pub(crate) struct ConfigError(pub(crate) Vec<String>);

/// A configuration whose settings are each of their form.
#[derive(Debug)]
pub(crate) struct Config {
    /// The settings.
    pub(crate) settings: Settings,
    /// Their texts and origins.
    pub(crate) resolved: Vec<Resolved>,
}

impl Config {
    /// Reads the file and everything else.
    ///
    /// # Errors
    /// All faults together, without values.
    pub(crate) fn load(given: &Given) -> Result<Self, ConfigError> {
        let resolved = given.resolve().map_err(ConfigError)?;
        let find = |key: &str| resolved.iter().find(|one| one.setting.key == key);
        let settings = Settings::parse(|key| find(key).map_or("", |one| one.text.as_str()));
        let settings = settings.map_err(|keys| {
            let faulty = keys.into_iter().filter_map(find);
            ConfigError(faulty.map(fault).collect())
        })?;
        Ok(Self { settings, resolved })
    }

    /// Where a setting comes from.
    pub(crate) fn origin(&self, key: &str) -> Option<Origin> {
        let one = self.resolved.iter().find(|one| one.setting.key == key);
        one.map(|one| one.origin)
    }

    /// What is set and does nothing, in words: there is no such thing as it is about. Not a fault, lest a service whose tier or standby is
    /// taken away in an emergency does not start.
    pub(crate) fn unused(&self) -> Vec<String> {
        let settings = &self.settings;
        let parts = [
            ("tier_", "tier_url", settings.tier_url.is_some()),
            ("replica_", "replica_url", settings.replica_url.is_some()),
        ];
        let missing = parts.into_iter().filter(|(.., is_there)| !is_there);
        let said = missing.filter_map(|(prefix, needed, _)| {
            let set = self.resolved.iter().filter(|one| {
                let key = one.setting.key;
                key.starts_with(prefix) && key != needed && one.origin != Origin::Default
            });
            let named: Vec<String> = set.map(|one| format!("`{}`", one.setting.key)).collect();
            (!named.is_empty()).then(|| format!("without `{needed}` nothing comes of {}", named.join(", ")))
        });
        said.collect()
    }
}

/// What is said of a setting that is not of its form.
fn fault(one: &Resolved) -> String {
    let setting = one.setting;
    if setting.key == "database" {
        return "`database` is missing: give --database sqlite:PATH or postgres://USER@HOST:PORT/NAME, or set CI_CACHE_DATABASE"
            .into();
    }
    let place = match one.origin {
        Origin::Flag => setting.flag(),
        Origin::Environment => setting.variable(),
        Origin::File | Origin::Default => "the file".into(),
    };
    format!("`{}` (from {place}) is not {}", setting.key, setting.expected)
}
