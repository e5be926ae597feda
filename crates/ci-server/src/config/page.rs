//! The settings as a commented file and as a page of the documentation.

use std::fmt::Write as _;

use super::settings::{SETTINGS, Setting};

/// Columns that comments are wrapped at.
const WIDTH: usize = 100;

/// A file that says what every setting is; taken as it is, it sets nothing.
pub(crate) fn example() -> String {
    let mut text = String::from(
        "# The configuration of `ci-cache serve`. What is commented out shows the default. Flags win over the\n\
         # environment, which wins over this file. `ci-cache config check --config FILE` says what holds.\n",
    );
    let mut group = "";
    for setting in SETTINGS {
        if setting.group != group {
            group = setting.group;
            let _ = write!(text, "\n## {group}\n");
        }
        text.push('\n');
        wrap(&mut text, setting.help);
        let _ = writeln!(text, "# {} = {}", setting.key, literal(setting));
    }
    text
}

/// A line of TOML's right side.
fn literal(setting: &Setting) -> String {
    let is_bare = setting.default.parse::<u64>().is_ok() || setting.default.parse::<bool>().is_ok();
    if is_bare {
        setting.default.to_owned()
    } else {
        format!("\"{}\"", setting.default)
    }
}

fn wrap(text: &mut String, help: &str) {
    let mut line = String::from("#");
    for word in help.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(text, "{line}");
}

/// The settings as tables in Markdown.
pub(crate) fn table() -> String {
    let mut text = String::new();
    let mut group = "";
    for setting in SETTINGS {
        if setting.group != group {
            group = setting.group;
            let _ = write!(
                text,
                "\n### {group}\n\n| setting | variable | default | meaning |\n|---|---|---|---|\n"
            );
        }
        let default = match setting.default {
            "" => "none".to_owned(),
            default => format!("`{default}`"),
        };
        let _ = writeln!(
            text,
            "| `{}` {} | `{}` | {default} | {} |",
            setting.key,
            setting.form.replace('|', "\\|"),
            setting.variable(),
            setting.help
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_toml_and_its_lines_are_the_defaults() {
        let empty: toml::Table = example().parse().unwrap();
        assert!(empty.is_empty());
        let is_setting = |line: &&str| {
            SETTINGS
                .iter()
                .any(|setting| line.starts_with(&format!("# {} = ", setting.key)))
        };
        let lines: Vec<&str> = example().leak().lines().filter(is_setting).collect();
        let set: toml::Table = lines.join("\n").replace("# ", "").parse().unwrap();
        assert_eq!(set.len(), SETTINGS.len());
        assert!(example().lines().all(|line| line.chars().count() <= WIDTH));
    }
}
