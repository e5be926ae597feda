//! The rule about Markdown links: what a page points to inside the repository is there, headings included.

use super::{File, Report, Tree};

/// Relative links of Markdown pages lead to files, folders and headings that exist.
pub(crate) fn resolve(tree: &Tree, report: &mut Report) {
    for file in tree.files().filter(|file| is_page(&file.path)) {
        for (line, target) in links(&file.text) {
            if let Some(what) = problem(tree, file, &target) {
                report.add(
                    &file.path,
                    line,
                    format!("the link to `{target}` {what}"),
                    "correct or remove the link",
                );
            }
        }
    }
}

fn is_page(path: &str) -> bool {
    std::path::Path::new(path)
        .extension()
        .is_some_and(|extension| extension == "md")
}

/// What is wrong with a link, if anything; addresses of other sites are not looked at.
fn problem(tree: &Tree, from: &File, target: &str) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let Some(path) = (if path.is_empty() {
        Some(from.path.clone())
    } else {
        join(&from.path, path)
    }) else {
        return Some("leaves the repository");
    };
    if !path.is_empty() && !tree.has(&path) {
        return Some("leads nowhere");
    }
    let page = tree
        .files()
        .find(|file| file.path == path && is_page(&file.path))?;
    (!heading.is_empty() && !headings(&page.text).any(|known| known == heading)).then_some("names no heading")
}

/// `target` as seen from the folder of `from`, from the workspace's folder; `None` when it goes above it.
fn join(from: &str, target: &str) -> Option<String> {
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let start = if target.starts_with('/') { "" } else { folder };
    let mut parts: Vec<&str> = start.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}

/// The lines of a page outside code blocks, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| line.trim_start().starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (None, None) => return Some((index + 1, line)),
            (Some(open), Some(mark)) if open == mark => fence = None,
            _ => {}
        }
        None
    })
}

/// Targets of `[text](target)`, `![text](target)` and `[name]: target`.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code(line);
        if let Some((_, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
            found.push((number, clean(target)));
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let rest = &line[at + 2..];
            if let Some(end) = rest.find(')') {
                found.push((number, clean(&rest[..end])));
            }
        }
    }
    found.retain(|(_, target)| !target.is_empty());
    found
}

/// A link's target without its title and its angle brackets.
fn clean(target: &str) -> String {
    let target = target.trim();
    let target = target.split_once(" \"").map_or(target, |(target, _)| target);
    target
        .trim_start_matches('<')
        .trim_end_matches('>')
        .trim()
        .to_owned()
}

/// The line without its `code` spans, which only look like links.
fn without_code(line: &str) -> String {
    // An odd number of marks means that the last one opens nothing.
    let pieces: Vec<&str> = line.split('`').collect();
    let keep = |index: usize| index.is_multiple_of(2) || (index + 1 == pieces.len());
    pieces
        .iter()
        .enumerate()
        .filter(|(index, _)| keep(*index))
        .map(|(_, piece)| *piece)
        .collect()
}

/// The anchors of a page's headings, made as code hosts make them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let lines = prose(text)
        .map(|(_, line)| line)
        .filter(|line| line.starts_with('#'));
    lines.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::super::places;
    use super::*;

    #[test]
    fn finds_links_that_lead_nowhere() {
        let page = "# A page\n[ok](docs/b.md) [bad](docs/c.md)\n![bad](x.png \"title\")\n[out](../y.md)\n\
            [web](https://example.org/x) [folder](docs/) [self](#a-page)\n[ref]: docs/d.md\n";
        let files = [
            ("README.md", page),
            (
                "docs/b.md",
                "[up](../README.md) [root](/docs/b.md) [bad](README.md)",
            ),
        ];
        assert_eq!(
            places(resolve, &files),
            [
                "README.md:2",
                "README.md:3",
                "README.md:4",
                "README.md:6",
                "docs/b.md:1"
            ]
        );
    }

    #[test]
    fn finds_headings_that_do_not_exist() {
        let files = [
            (
                "a.md",
                "[ok](b.md#two-words-here) [bad](b.md#other)\n[bad](#nothing)\n",
            ),
            ("b.md", "## Two *words*, here\n```\n# other\n```\n"),
        ];
        assert_eq!(places(resolve, &files), ["a.md:1", "a.md:2"]);
    }

    #[test]
    fn code_is_no_link() {
        let page = "`[a](b)` and ``x``\n```text\n[a](b)\n```\n~~~\n```\n[a](b)\n~~~\n[a](missing)\n";
        assert_eq!(places(resolve, &[("a.md", page)]), ["a.md:9"]);
    }
}
