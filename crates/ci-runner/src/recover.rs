//! Identifier recovery: finding the CI that a sentence is about.
//!
//! People and assistants paste whole questions: `what depends on app-erp-order-01-1?`, `deb:libc6는 어디에 쓰이나`. A word is
//! taken for an identifier when it is shaped like one: a run of ASCII letters and digits with `-`, `_`, `:`, `.`, `/` or
//! `+` inside, of which at least one is `-`, `_` or `:`, with a letter in it. Since the run is ASCII, particles that
//! agglutinating languages put after it fall off by themselves.

use ci_model::limits;

/// Shortest word that is taken for an identifier, in characters.
const SHORTEST: usize = 3;

/// Returns the identifiers of a text, in their order, each once, at most 16.
pub(crate) fn identifiers(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in text.split(|c: char| !is_inside(c)) {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if is_identifier(word) && found.len() < limits::KEYWORDS && !found.iter().any(|known| known == word) {
            found.push(word.to_owned());
        }
    }
    found
}

/// Returns the words of a text without surrounding punctuation, at most 16: the keywords of a sentence.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_whitespace()
        .map(|word| word.trim_matches(|c: char| c.is_ascii_punctuation()))
        .filter(|word| !word.is_empty())
        .take(limits::KEYWORDS)
        .map(str::to_owned)
        .collect()
}

fn is_inside(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.' | '/' | '+')
}

fn is_identifier(word: &str) -> bool {
    (SHORTEST..=limits::KEYWORD_CHARS).contains(&word.len())
        && word.contains(['-', '_', ':'])
        && word.contains(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_found_in_sentences_of_any_language() {
        for (text, expected) in [
            ("what depends on app-erp-order-01-1?", &["app-erp-order-01-1"][..]),
            ("app-erp-order-01-1의 영향은?", &["app-erp-order-01-1"]),
            (
                "compare (deb:libc6) with deb:libstdc++6.",
                &["deb:libc6", "deb:libstdc++6"],
            ),
            (
                "Ist srv_db_01 — oder SRV_DB_02 — kaputt",
                &["srv_db_01", "SRV_DB_02"],
            ),
            ("app-1 app-1", &["app-1"]),
            ("on 2026-01-31 at 10:30", &[]),
            ("what is the order system", &[]),
            ("", &[]),
        ] {
            assert_eq!(identifiers(text), expected, "{text}");
        }
        let many: Vec<String> = (0..40).map(|n| format!("id-x{n}")).collect();
        assert_eq!(identifiers(&many.join(" ")).len(), limits::KEYWORDS);
    }

    #[test]
    fn words_lose_their_punctuation() {
        assert_eq!(
            words("Where is  \"order\" (erp)?"),
            ["Where", "is", "order", "erp"]
        );
        assert!(words(" ?! ").is_empty());
    }
}
