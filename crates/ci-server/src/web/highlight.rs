//! Where a keyword is in a text, by the folding that found it there.

use ci_model::fold;
use maud::{Markup, html};

/// A text with the places of the keywords marked. Keywords are found in any case, as a search finds them, anywhere; places that touch or
/// overlap are one.
pub(crate) fn highlighted(text: &str, keywords: &[String]) -> Markup {
    let parts = parts(text, keywords);
    html! {
        bdi { @for (part, is_found) in parts { @if is_found { mark { (part) } } @else { (part) } } }
    }
}

/// Cuts a text where a place begins or ends; with every part, whether it is one.
fn parts<'a>(text: &'a str, keywords: &[String]) -> Vec<(&'a str, bool)> {
    // Folding keeps the number of characters, so a place is the same in the folded text.
    let folded: Vec<char> = text.chars().map(fold::fold_char).collect();
    let mut is_found = vec![false; folded.len()];
    for keyword in keywords {
        let keyword: Vec<char> = keyword.chars().map(fold::fold_char).collect();
        if keyword.is_empty() {
            continue;
        }
        for (at, window) in folded.windows(keyword.len()).enumerate() {
            if window == keyword {
                is_found[at..at + keyword.len()].fill(true);
            }
        }
    }
    let starts = text.char_indices().map(|(start, _)| start).zip(is_found);
    let mut parts: Vec<(&str, bool)> = Vec::new();
    let mut open: Option<(usize, bool)> = None;
    for (start, is_found) in starts {
        match open {
            Some((_, before)) if before == is_found => {}
            Some((from, before)) => {
                parts.push((&text[from..start], before));
                open = Some((start, is_found));
            }
            None => open = Some((start, is_found)),
        }
    }
    if let Some((from, is_found)) = open {
        parts.push((&text[from..], is_found));
    }
    parts
}

/// What is marked for a search that found nothing by all of its keywords: also their parts.
pub(crate) fn with_parts(keywords: &[String]) -> Vec<String> {
    let parts = keywords
        .iter()
        .flat_map(|keyword| keyword.split(|c: char| !c.is_alphanumeric()));
    let parts = parts.filter(|part| part.chars().count() > 1).map(str::to_owned);
    keywords.iter().cloned().chain(parts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &str, keywords: &[&str]) -> String {
        let keywords: Vec<String> = keywords.iter().map(|keyword| (*keyword).to_owned()).collect();
        let html = highlighted(text, &keywords).into_string();
        let inner = html
            .strip_prefix("<bdi>")
            .and_then(|html| html.strip_suffix("</bdi>"));
        inner.unwrap().replace("<mark>", "[").replace("</mark>", "]")
    }

    #[test]
    fn places_are_found_in_any_case_as_a_search_does() {
        assert_eq!(marked("ERP orders", &["erp"]), "[ERP] orders");
        // The Kelvin sign, and the two small sigmas.
        assert_eq!(
            marked("\u{212a}ilo ΣΑΣ σας", &["kilo", "σας"]),
            "[\u{212a}ilo] [ΣΑΣ] [σας]"
        );
        assert_eq!(marked("straße STRASSE", &["straße"]), "[straße] STRASSE");
        assert_eq!(marked("İx", &["x"]), "İ[x]");
    }

    #[test]
    fn places_that_overlap_or_touch_are_one() {
        assert_eq!(marked("aaa", &["aa"]), "[aaa]");
        assert_eq!(marked("abcd", &["ab", "cd"]), "[abcd]");
        assert_eq!(marked("abxcd", &["ab", "cd", ""]), "[ab]x[cd]");
        assert_eq!(marked("", &["a"]), "");
        assert_eq!(marked("a", &["longer than the text"]), "a");
    }

    #[test]
    fn markup_in_a_text_stays_text() {
        assert_eq!(
            marked("<script>alert(1)</script>", &["<SCRIPT>"]),
            "[&lt;script&gt;]alert(1)&lt;/script&gt;"
        );
        assert_eq!(marked("a&b\"c", &["&"]), "a[&amp;]b&quot;c");
    }

    #[test]
    fn a_broad_search_marks_parts() {
        let of = |text: &str| with_parts(&[text.to_owned()]);
        assert_eq!(of("db-erp-01"), ["db-erp-01", "db", "erp", "01"]);
        assert_eq!(of("x"), ["x"]);
    }
}
