//! Keywords in SQL: the trigram index narrows, an exact comparison of the folded search text decides.

use ci_model::{KeywordMode, Selection};

use super::{Argument, Binder, Dialect};

/// Characters of an indexed piece of text; shorter keywords cannot use the index.
const TRIGRAM: usize = 3;
/// Most trigrams of one keyword that are looked up: more narrow little, since the text itself decides, and each costs a
/// list to read. Tried with four pairs of keywords over 100,000 generated CIs (statement alone, SQLite 3.40): three were
/// faster than eight by 2 % to 58 %; one or two were faster still for some pairs and more than twice as slow for others.
const TRIGRAMS: usize = 3;

fn is_long(keyword: &str) -> bool {
    keyword.chars().nth(TRIGRAM - 1).is_some()
}

/// The condition that the keywords are found in a folded search text; nothing when there are none.
pub(crate) fn condition(selection: &Selection, text: &str, binder: &mut Binder) -> Option<String> {
    let each: Vec<String> = selection
        .keywords()
        .iter()
        .map(|keyword| found(keyword, text, binder))
        .collect();
    let joiner = match selection.mode() {
        KeywordMode::All => " AND ",
        KeywordMode::Any => " OR ",
    };
    (!each.is_empty()).then(|| format!("({})", each.join(joiner)))
}

/// One keyword. PostgreSQL's LIKE can use the index; for short keywords it could not, and `strpos` keeps the planner
/// from trying.
fn found(keyword: &str, text: &str, binder: &mut Binder) -> String {
    match binder.dialect {
        Dialect::Sqlite => {
            let keyword = binder.bind(Argument::Text(keyword.to_owned()));
            format!("instr({text}, {keyword}) > 0")
        }
        Dialect::Postgres if is_long(keyword) => {
            let pattern = binder.bind(Argument::Text(like_pattern(keyword)));
            format!("{text} LIKE {pattern}")
        }
        Dialect::Postgres => {
            let keyword = binder.bind(Argument::Text(keyword.to_owned()));
            format!("strpos({text}, {keyword}) > 0")
        }
    }
}

/// A pattern that finds a text anywhere, with the text's own wildcards taken literally.
fn like_pattern(keyword: &str) -> String {
    let mut pattern = String::with_capacity(keyword.len() + 2);
    pattern.push('%');
    for c in keyword.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// The FTS5 query that every hit of the keywords satisfies; nothing when the index cannot narrow them.
pub(crate) fn fts_query(selection: &Selection) -> Option<String> {
    let long: Vec<&String> = selection
        .keywords()
        .iter()
        .filter(|keyword| is_long(keyword))
        .collect();
    let joiner = match selection.mode() {
        KeywordMode::All => " AND ",
        // One keyword that the index does not know may be found anywhere.
        KeywordMode::Any if long.len() < selection.keywords().len() => return None,
        KeywordMode::Any => " OR ",
    };
    let each: Vec<String> = long
        .iter()
        .map(|keyword| format!("({})", trigrams(keyword).join(" AND ")))
        .collect();
    (!each.is_empty()).then(|| each.join(joiner))
}

/// Quoted trigrams of a keyword, evenly spread, the first and the last among them.
fn trigrams(keyword: &str) -> Vec<String> {
    let chars: Vec<char> = keyword.chars().collect();
    let last = chars.len().saturating_sub(TRIGRAM);
    let count = (last + 1).min(TRIGRAMS);
    let mut spread: Vec<String> = (0..count)
        .map(|n| if count > 1 { n * last / (count - 1) } else { 0 })
        .map(|at| {
            let piece: String = chars.iter().skip(at).take(TRIGRAM).collect();
            format!("\"{}\"", piece.replace('"', "\"\""))
        })
        .collect();
    spread.sort_unstable();
    spread.dedup();
    spread
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(keywords: &[&str]) -> Selection {
        Selection::new(keywords, vec![], false).unwrap()
    }

    #[test]
    fn the_index_query_holds_both_ends_and_escapes_quotes() {
        assert_eq!(
            fts_query(&selection(&["a\"bc"])).unwrap(),
            "(\"\"\"bc\" AND \"a\"\"b\")"
        );
        let long: Vec<String> = trigrams(&('a'..='z').collect::<String>());
        assert_eq!(long.len(), TRIGRAMS);
        assert_eq!((long[0].as_str(), long[2].as_str()), ("\"abc\"", "\"xyz\""));
        assert_eq!(trigrams("aaaaaa"), ["\"aaa\""]);
    }

    #[test]
    fn short_keywords_do_not_use_the_index() {
        assert_eq!(fts_query(&selection(&["ab"])), None);
        assert_eq!(fts_query(&selection(&["ab", "cde"])).unwrap(), "(\"cde\")");
        let broad = selection(&["ab-cde"]).broadened().unwrap();
        assert_eq!(fts_query(&broad), None);
    }

    #[test]
    fn wildcards_are_literal() {
        assert_eq!(like_pattern(r"a%b_c\d"), r"%a\%b\_c\\d%");
    }
}
