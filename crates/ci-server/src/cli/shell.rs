//! Text that is to be pasted into a shell.

/// A word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Commands in one line.
pub(super) fn line(commands: &[Vec<String>]) -> String {
    let commands = commands.iter().map(|words| {
        words
            .iter()
            .map(|word| quoted(word))
            .collect::<Vec<_>>()
            .join(" ")
    });
    commands.collect::<Vec<_>>().join(" && ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("sqlite:/tmp/a.db"), "sqlite:/tmp/a.db");
        assert_eq!(quoted("a b'c"), r"'a b'\''c'");
    }
}
