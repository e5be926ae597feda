//! `cargo xtask scale`: what a fleet costs from 1 to 1,000 nodes and from a thousand to a hundred million CIs, worked out from figures that
//! were measured or are assumed, and rendered into the tables of docs/scale.md.

mod figures;
mod hits;
mod model;
mod page;

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use figures::Figures;

/// The page whose tables are rendered.
const PAGE: &str = "docs/scale.md";

/// Renders the tables of the page, and prints them.
pub(crate) fn command(root: &Path) -> anyhow::Result<u8> {
    let tables = page::tables(&Figures::read(root)?);
    for (name, table) in &tables {
        println!("{name}\n\n{table}");
    }
    let path = root.join(PAGE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    fs::write(&path, with_tables(&text, &tables)?)?;
    println!("{PAGE} has them now");
    Ok(0)
}

/// Puts tables between their marks.
///
/// # Errors
/// When a mark is missing.
fn with_tables(text: &str, tables: &[(&str, String)]) -> anyhow::Result<String> {
    let mut text = text.to_owned();
    for (name, table) in tables {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
        let (before, rest) = text
            .split_once(&begin)
            .with_context(|| format!("{PAGE} has no mark {name:?}"))?;
        let (_, after) = rest
            .split_once(&end)
            .with_context(|| format!("{PAGE} does not end {name:?}"))?;
        text = format!("{before}{begin}\n{table}\n{end}{after}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::model::{Fleet, Step};
    use super::*;

    fn figures() -> Figures {
        Figures::read(&crate::process::workspace_root().expect("a workspace")).expect("figures")
    }

    #[test]
    fn the_page_has_the_tables_that_are_worked_out() {
        let root = crate::process::workspace_root().expect("a workspace");
        let text = fs::read_to_string(root.join(PAGE)).expect(PAGE);
        let rendered = with_tables(&text, &page::tables(&figures())).expect("marks");
        assert!(
            text == rendered,
            "{PAGE} is not what its figures give; run `cargo xtask scale`"
        );
    }

    #[test]
    fn a_page_without_marks_is_refused() {
        assert!(with_tables("# Scale\n", &[("costs", String::new())]).is_err());
        assert!(with_tables("<!-- costs -->\n", &[("costs", String::new())]).is_err());
    }

    #[test]
    fn each_step_helps_with_what_it_is_for() {
        let figures = figures();
        for nodes in [1.0, 30.0, 1_000.0] {
            for cis in [1e3, 1e6, 1e8] {
                let costs = Step::ALL.map(|step| Fleet { nodes, cis, step }.cost(&figures));
                let [installed, long, doorbell, tier, cluster, parts, standbys] = &costs;
                let at = format!("{nodes} nodes, {cis} CIs");
                assert!(long.polls <= installed.polls, "{at}: {long:?}");
                assert!(doorbell.polls <= installed.polls * 1.01, "{at}: {doorbell:?}");
                assert!(tier.loads <= doorbell.loads, "{at}: {tier:?}");
                assert!(cluster.uses[3].1 <= tier.uses[3].1, "{at}: {cluster:?}");
                assert!(
                    parts.polls <= cluster.polls && parts.hits >= cluster.hits,
                    "{at}: {parts:?}"
                );
                assert!(standbys.uses[0].1 <= parts.uses[0].1, "{at}: {standbys:?}");
            }
        }
    }
}
