//! Where settings come from: flags over environment over file over defaults, each text with its origin.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::settings::{SETTINGS, Setting};
use super::value::{Share, Value as _};

/// The flag and variable of the file.
const CONFIG: &str = "config";
/// What the names of variables begin with.
const PREFIX: &str = "CI_CACHE_";
/// Variables that are no settings of the service.
const OTHERS: [&str; 3] = ["CI_CACHE_CONFIG", "CI_CACHE_TENANT", "CI_CACHE_TOKEN"];
/// Names further from each other than this are not meant by each other.
const NEAR: usize = 4;

/// Flags and variables, which live as long as the program does.
static NAMES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let names = SETTINGS.iter();
    names
        .map(|setting| (setting.key.replace('_', "-"), setting.variable()))
        .collect()
});

/// Where a text came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag,
    Environment,
    File,
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// A setting's text, and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) setting: &'static Setting,
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// What the command line and the environment say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    /// The configuration file.
    pub(crate) file: Option<PathBuf>,
    texts: Vec<(&'static str, String, Origin)>,
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .env("CI_CACHE_CONFIG")
            .hide_env_values(true)
            .value_parser(clap::value_parser!(PathBuf))
            .help("The configuration file, TOML; no other place is looked in. `ci-cache config example` prints one");
        let settings = SETTINGS.iter().zip(NAMES.iter());
        command
            .arg(config)
            .args(settings.map(|(setting, (flag, variable))| argument(setting, flag, variable)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(setting: &'static Setting, flag: &'static str, variable: &'static str) -> Arg {
    let argument = Arg::new(setting.key)
        .long(flag)
        .env(variable)
        .hide_env_values(true)
        .value_name(setting.form)
        .action(ArgAction::Set)
        .help_heading(setting.group)
        .help(setting.help.trim_end_matches('.'));
    // A default of clap's would hide the file's.
    let argument = match setting.default {
        "" => argument,
        default => argument.default_value(default),
    };
    if setting.is_switch() {
        argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
    } else {
        argument
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Self {
            file: matches
                .get_one::<PathBuf>(CONFIG)
                .filter(|path| !path.as_os_str().is_empty())
                .cloned(),
            texts: Vec::new(),
        };
        for setting in SETTINGS {
            let origin = match matches.value_source(setting.key) {
                Some(ValueSource::CommandLine) => Origin::Flag,
                Some(ValueSource::EnvVariable) => Origin::Environment,
                _ => continue,
            };
            let text = matches
                .get_one::<String>(setting.key)
                .cloned()
                .unwrap_or_default();
            // A variable that is set to nothing is how shells and unit files take one back.
            if origin == Origin::Flag || !text.is_empty() {
                given.texts.push((setting.key, text, origin));
            }
        }
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The same flags, which the help does not show: for commands that look at the service's settings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Same(pub(crate) Given);

impl Args for Same {
    fn augment_args(command: Command) -> Command {
        let others: Vec<_> = command
            .get_arguments()
            .map(|argument| argument.get_id().clone())
            .collect();
        let is_ours = |argument: &Arg| argument.get_id() != CONFIG && !others.contains(argument.get_id());
        Given::augment_args(command.clone()).mut_args(|argument| {
            let hide = is_ours(&argument);
            argument.hide(hide)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Same {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Given::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Given {
    /// Every setting's text, or all that is wrong with the file.
    pub(crate) fn resolve(&self) -> Result<Vec<Resolved>, Vec<String>> {
        let file = match &self.file {
            Some(path) => read(path)?,
            None => Vec::new(),
        };
        let said = |key: &str| {
            let flag = self.texts.iter().find(|(known, ..)| *known == key);
            flag.map(|(_, text, origin)| (text.clone(), *origin)).or_else(|| {
                let line = file.iter().find(|(known, _)| *known == key);
                line.map(|(_, text)| (text.clone(), Origin::File))
            })
        };
        let resolved = SETTINGS.iter().map(|setting| {
            let (text, origin) =
                said(setting.key).unwrap_or_else(|| (setting.default.into(), Origin::Default));
            Resolved {
                setting,
                text,
                origin,
            }
        });
        Ok(resolved.collect())
    }
}

/// Reads the file: every key that it sets. No fault repeats a value, nor a line: one may be a password.
fn read(path: &Path) -> Result<Vec<(&'static str, String)>, Vec<String>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| vec![format!("{shown}: {error}")])?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error
            .span()
            .map_or("", |span| text.get(..span.start).unwrap_or(&text));
        let line = before.matches('\n').count() + 1;
        vec![format!(
            "{shown}, line {line}: this is no TOML: {}",
            error.message().lines().next().unwrap_or_default()
        )]
    })?;
    let (mut texts, mut faults) = (Vec::new(), Vec::new());
    for (key, value) in &table {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            faults.push(format!("{shown}: `{key}` is no setting{}", did_you_mean(key)));
            continue;
        };
        match plain(setting, value) {
            Some(text) => texts.push((setting.key, text)),
            None => faults.push(format!("{shown}: `{key}` is not {}", setting.expected)),
        }
    }
    if faults.is_empty() { Ok(texts) } else { Err(faults) }
}

/// A value of the file as a text.
fn plain(setting: &Setting, value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::Float(number) if setting.form == Share::FORM => Some(number.to_string()),
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(yes) => Some(yes.to_string()),
        toml::Value::Array(words) => {
            let words: Option<Vec<&str>> = words.iter().map(toml::Value::as_str).collect();
            words.map(|words| words.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

/// Asks for the nearest setting, if one is near.
fn did_you_mean(key: &str) -> String {
    let key = key.replace('-', "_").to_lowercase();
    let near = SETTINGS
        .iter()
        .map(|setting| (strsim::damerau_levenshtein(&key, setting.key), setting.key))
        .min();
    match near {
        Some((distance, name)) if distance <= NEAR => format!("; did you mean `{name}`?"),
        _ => "; `ci-cache config example` prints all of them".into(),
    }
}

/// What is said about variables of the environment that look like settings and are none.
pub(crate) fn strange_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let is_strange = |name: &String| {
        let is_known = NAMES.iter().any(|(_, variable)| variable == name) || OTHERS.contains(&name.as_str());
        name.starts_with(PREFIX) && !name.starts_with("CI_CACHE_TEST_") && !is_known
    };
    let mut strange: Vec<String> = names
        .filter(is_strange)
        .map(|name| format!("{name} is no setting{}", did_you_mean(&name[PREFIX.len()..])))
        .collect();
    strange.sort_unstable();
    strange
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_is_told_with_the_nearest_one() {
        assert_eq!(did_you_mean("max_entires"), "; did you mean `max_entries`?");
        assert_eq!(
            did_you_mean("Request-Timeout"),
            "; did you mean `request_timeout`?"
        );
        assert!(did_you_mean("colour_of_the_sky").contains("config example"));
        let names = [
            "CI_CACHE_LISTN",
            "CI_CACHE_LISTEN",
            "CI_CACHE_TENANT",
            "HOME",
            "CI_CACHE_TEST_LONG",
        ];
        let strange = strange_variables(names.map(str::to_owned).into_iter());
        assert_eq!(strange, ["CI_CACHE_LISTN is no setting; did you mean `listen`?"]);
    }

    #[test]
    fn faults_of_a_file_repeat_no_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        for (text, fault) in [
            ("listen = \"a\"\ndatabase = \"hunter2", "line 2: this is no TOML"),
            ("database = 'a'\ndatabase = 'hunter2'", "line 2: this is no TOML"),
            ("[database]\nurl = 'hunter2'", "`database` is not a text"),
            ("databse = 'hunter2'", "did you mean `database`?"),
            ("connections = 1.5", "`connections` is not a whole number"),
        ] {
            std::fs::write(&path, text).unwrap();
            let faults = read(&path).unwrap_err().join("\n");
            assert!(faults.contains(fault), "{faults}");
            assert!(!faults.contains("hunter2"), "{faults}");
        }
        std::fs::write(&path, "uncached = ['get', 'path']\nprime = true\nconnections = 3").unwrap();
        let mut texts = read(&path).unwrap();
        texts.sort_unstable();
        let wanted = [("connections", "3"), ("prime", "true"), ("uncached", "get,path")];
        assert_eq!(texts, wanted.map(|(key, text)| (key, text.to_owned())));
        assert!(read(&folder.path().join("none")).is_err());
    }
}
