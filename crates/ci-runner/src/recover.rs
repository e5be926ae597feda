//! Identifier recovery: finding the CI that a sentence is about.
//!
//! People and assistants paste whole questions: `what depends on app-erp-order-01-1?`, `deb:libc6는 어디에 쓰이나`. A word is
//! taken for an identifier when it is shaped like one: a run of letters and digits with `-`, `_`, `:`, `.`, `/` or `+` inside, of
//! which at least one is `-`, `_` or `:`, with a letter in it; and with a digit, where a letter is not ASCII, because `mise-à-jour`
//! is no identifier.
//!
//! What languages put around it is taken off:
//!
//! - scripts that are written without spaces end it, and so does a letter of another script right beside a Latin one
//!   (`srv-01의`, `查app-01的`);
//! - other than Latin letters behind its last digit are a particle, with or without a hyphen (`서버-01의`, `srv-01-го`), and ones before
//!   a hyphen and a Latin letter an article or preposition (`ב-srv-01`);
//! - Latin letters behind its last digit are a particle where Turkish, Hungarian, Finnish, Swedish or English has that one
//!   (`srv-01nin`, `srv-01-ben`, `srv-01:ssä`, `srv-01s`).
//!
//! A keyword is found anywhere in a text, so to cut too much only finds more; the whole word still comes first ([`exact`]).
//! Forms that input methods and word processors make of plain characters are read as those: full-width ones, hyphens that do not
//! break, invisible characters.

use ci_model::{fold::fold, limits};

/// Shortest word that is taken for an identifier, in characters.
const SHORTEST: usize = 3;

/// Right behind a digit: Turkish cases, and the plural or genitive of English, German and others.
const AFTER_DIGIT: &[&str] = &[
    "s", "in", "ın", "un", "ün", "nin", "nın", "nun", "nün", "de", "da", "te", "ta", "den", "dan", "ten",
    "tan", "deki", "daki", "teki", "taki", "ye", "ya", "yi", "yı", "yu", "yü", "le", "la", "yle", "yla",
];
/// Behind a hyphen: Hungarian cases.
const AFTER_HYPHEN: &[&str] = &[
    "t", "et", "ot", "öt", "at", "n", "en", "on", "ön", "ban", "ben", "ba", "be", "ból", "ből", "ra", "re",
    "ról", "ről", "nak", "nek", "val", "vel", "tól", "től", "hoz", "hez", "höz", "nál", "nél", "ig", "ért",
    "es", "as", "os",
];
/// Behind a colon: Finnish cases, and the Swedish genitive and definite forms.
const AFTER_COLON: &[&str] = &[
    "n", "t", "s", "a", "ä", "ta", "tä", "ssa", "ssä", "sta", "stä", "lla", "llä", "lta", "ltä", "lle",
    "ksi", "na", "nä", "een", "iin", "ään", "hen", "hin", "hon", "hun", "en", "et", "ns",
];

/// Returns the identifiers of a text without particles, in their order, each once, at most 16.
pub(crate) fn identifiers(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for word in shaped(text) {
        add(&mut found, &without_particles(&word));
    }
    found
}

/// Returns the identifiers of a text, each without its particles and as it is written: at most 16.
pub(crate) fn exact(text: &str) -> Vec<String> {
    let mut found = identifiers(text);
    for word in shaped(text) {
        add(&mut found, &word);
    }
    found
}

fn add(found: &mut Vec<String>, word: &str) {
    if found.len() < limits::KEYWORDS && !found.iter().any(|known| known == word) {
        found.push(word.to_owned());
    }
}

/// Returns the words of a text without surrounding punctuation, at most 16: the keywords of a sentence.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_whitespace()
        .map(|word| word.trim_matches(|c: char| c.is_ascii_punctuation() || is_wide_punctuation(c)))
        .filter(|word| !word.is_empty())
        .take(limits::KEYWORDS)
        .map(str::to_owned)
        .collect()
}

/// Punctuation of East Asian and Arabic texts, and quotes.
fn is_wide_punctuation(c: char) -> bool {
    matches!(
        c,
        '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff20}'
            | '\u{2018}'..='\u{201f}' | '«' | '»' | '¿' | '¡' | '…' | '،' | '؛' | '؟' | '।'
    )
}

/// What a character is in an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Digit,
    /// `-`, `_`, `:`, `.`, `/` or `+`
    Joint,
    Latin,
    /// A letter of another script whose words are separated by spaces.
    Other,
    /// It ends whatever stands before it.
    Break,
}

impl Kind {
    fn of(c: char) -> Self {
        match c {
            '0'..='9' => Self::Digit,
            '-' | '_' | ':' | '.' | '/' | '+' => Self::Joint,
            'a'..='z'
            | 'A'..='Z'
            | '\u{c0}'..='\u{24f}'
            | '\u{300}'..='\u{36f}'
            | '\u{1e00}'..='\u{1eff}'
                if c.is_alphabetic() || !c.is_ascii() && !matches!(c, '×' | '÷') =>
            {
                Self::Latin
            }
            // Thai, Lao, Myanmar, Khmer; Kana and Han.
            '\u{e00}'..='\u{eff}'
            | '\u{1000}'..='\u{109f}'
            | '\u{1780}'..='\u{17ff}'
            | '\u{2e80}'..='\u{312f}'
            | '\u{31a0}'..='\u{a4cf}'
            | '\u{f900}'..='\u{faff}'
            | '\u{ff61}'..='\u{ff9f}'
            | '\u{1b000}'..='\u{1b2ff}'
            | '\u{20000}'..='\u{3ffff}' => Self::Break,
            _ if c.is_alphabetic() => Self::Other,
            _ => Self::Break,
        }
    }
}

/// The plain form of a character; none for an invisible one.
fn plain(c: char) -> Option<char> {
    match c {
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => None,
        '\u{2010}' | '\u{2011}' | '\u{2212}' => Some('-'),
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0),
        _ => Some(c),
    }
}

/// The words of a text that are shaped like an identifier.
fn shaped(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut last = Kind::Break;
    for c in text.chars().filter_map(plain) {
        let kind = Kind::of(c);
        let is_other_script = matches!(
            (last, kind),
            (Kind::Latin, Kind::Other) | (Kind::Other, Kind::Latin)
        );
        if kind == Kind::Break || is_other_script {
            words.push(String::new());
        }
        if kind != Kind::Break
            && let Some(word) = words.last_mut()
        {
            word.push(c);
        }
        last = kind;
    }
    let trimmed = words.iter().map(|word| trim(word));
    trimmed
        .filter(|word| is_identifier(word))
        .map(str::to_owned)
        .collect()
}

fn trim(word: &str) -> &str {
    word.trim_matches(|c: char| Kind::of(c) == Kind::Joint)
}

fn is_identifier(word: &str) -> bool {
    (SHORTEST..=limits::KEYWORD_CHARS).contains(&word.chars().count())
        && word.contains(['-', '_', ':'])
        && word.contains(char::is_alphabetic)
        && (word.is_ascii() || word.contains(|c: char| c.is_ascii_digit()))
}

/// The longest part of an identifier that is one without what a language put around it; itself if there is nothing.
fn without_particles(word: &str) -> String {
    let short = without_article(without_particle(word));
    if is_identifier(short) { short } else { word }.to_owned()
}

/// Takes off what stands behind the last digit, where it is a particle.
fn without_particle(word: &str) -> &str {
    let Some(end) = word.rfind(|c: char| c.is_ascii_digit()).map(|at| at + 1) else {
        return word;
    };
    let (stem, tail) = word.split_at(end);
    let letters = tail.strip_prefix(['-', ':']).unwrap_or(tail);
    let is_known = |particles: &[&str]| particles.contains(&&*fold(letters));
    let is_particle = match tail.chars().next() {
        _ if letters.is_empty()
            || letters.contains(|c| !matches!(Kind::of(c), Kind::Latin | Kind::Other)) =>
        {
            false
        }
        _ if letters.chars().all(|c| Kind::of(c) == Kind::Other) => true,
        Some('-') => is_known(AFTER_HYPHEN),
        Some(':') => is_known(AFTER_COLON),
        _ => is_known(AFTER_DIGIT),
    };
    if is_particle { stem } else { word }
}

/// Takes off letters of another script before a hyphen and a Latin letter.
fn without_article(word: &str) -> &str {
    match word.split_once('-') {
        Some((article, rest))
            if article.chars().all(|c| Kind::of(c) == Kind::Other)
                && rest.starts_with(|c| Kind::of(c) == Kind::Latin) =>
        {
            rest
        }
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_found_in_sentences_of_any_language() {
        for (text, expected) in [
            ("what depends on app-erp-order-01-1?", &["app-erp-order-01-1"][..]),
            (
                "Is srv-db-01's disk full? And the srv-web-02s?",
                &["srv-db-01", "srv-web-02"],
            ),
            (
                "compare (deb:libc6) with deb:libstdc++6.",
                &["deb:libc6", "deb:libstdc++6"],
            ),
            ("app-1 app-1", &["app-1"]),
            ("on 2026-01-31 at 10:30", &[]),
            ("what is the order system", &[]),
            ("", &[]),
            // Korean, with particles behind ASCII and behind a digit of a Korean name.
            ("app-erp-order-01-1의 영향은?", &["app-erp-order-01-1"]),
            ("deb:libc6는 어디에 쓰이나", &["deb:libc6"]),
            ("서버-01에서 장애가", &["서버-01"]),
            ("서버app-01으로 확인", &["app-01"]),
            // Chinese and Japanese, without spaces.
            ("请问app-erp-01的依赖是什么？", &["app-erp-01"]),
            ("srv-db-01はどこで使われていますか", &["srv-db-01"]),
            ("サーバーsrv_db_02が落ちた。", &["srv_db_02"]),
            ("ｓｒｖ－ｄｂ－０３を確認", &["srv-db-03"]),
            // German, with an identifier that is not ASCII.
            (
                "Ist srv_db_01 — oder SRV_DB_02 — kaputt",
                &["srv_db_01", "SRV_DB_02"],
            ),
            ("Wovon hängt app-größe-01 ab?", &["app-größe-01"]),
            // French: words with hyphens are none.
            ("une mise-à-jour de l'app-web-01 ?", &["app-web-01"]),
            // Turkish, with and without an apostrophe.
            ("srv-db-01'in durumu ne?", &["srv-db-01"]),
            ("srv-db-01’deki diskler", &["srv-db-01"]),
            ("srv-db-01nin durumu, SRV-DB-02DEKİ", &["srv-db-01", "SRV-DB-02"]),
            // Hungarian, Finnish, Swedish.
            (
                "Mi fut a srv-db-01-ben és a srv-db-02-ből?",
                &["srv-db-01", "srv-db-02"],
            ),
            (
                "Mitä srv-db-01:ssä on, ja srv-db-02:n?",
                &["srv-db-01", "srv-db-02"],
            ),
            ("srv-db-01:s beroenden", &["srv-db-01"]),
            // Russian, Greek, Hebrew, Arabic, Hindi.
            ("что с srv-db-01-м и сервер-02-го?", &["srv-db-01", "сервер-02"]),
            ("τι εξαρτάται από το srv-db-01;", &["srv-db-01"]),
            ("מה תלוי ב-srv-db-01?", &["srv-db-01"]),
            ("ما الذي يعتمد على srv-db-01؟", &["srv-db-01"]),
            ("srv-db-01का क्या असर है", &["srv-db-01"]),
            // Thai, and what word processors make of hyphens.
            ("ใครใช้srv-db-01บ้าง", &["srv-db-01"]),
            ("see srv\u{2011}db\u{2011}\u{200b}01", &["srv-db-01"]),
            // No particles: variants, further parts.
            (
                "web-01a, app-01-frontend, x-1:8080",
                &["web-01a", "app-01-frontend", "x-1:8080"],
            ),
        ] {
            assert_eq!(identifiers(text), expected, "{text}");
        }
        let many: Vec<String> = (0..40).map(|n| format!("id-x{n}")).collect();
        assert_eq!(identifiers(&many.join(" ")).len(), limits::KEYWORDS);
        assert_eq!(exact(&many.join(" ")).len(), limits::KEYWORDS);
    }

    #[test]
    fn the_whole_word_may_be_the_identifier() {
        assert_eq!(exact("db-01-en, db-02"), ["db-01", "db-02", "db-01-en"]);
        // What is left would be none.
        assert_eq!(identifiers("x2-en"), ["x2-en"]);
    }

    #[test]
    fn words_lose_their_punctuation() {
        assert_eq!(
            words("Where is  \"order\" (erp)?"),
            ["Where", "is", "order", "erp"]
        );
        assert_eq!(
            words("「受注」 システム。 «заказ» ¿pedido?"),
            ["受注", "システム", "заказ", "pedido"]
        );
        assert!(words(" ?! ").is_empty());
    }
}
