//! The tables of docs/scale.md.

use std::fmt::Write as _;

use super::figures::{Figures, Origin};
use super::model::{Cost, Fleet, Step};

const NODES: [f64; 7] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0];
/// How often as many changes come in the last table.
const BUSY: f64 = 100.0;
const CIS: [f64; 6] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8];

/// Every table, by the name of its marks in the page.
pub(crate) fn tables(figures: &Figures) -> Vec<(&'static str, String)> {
    vec![
        ("figures", origins(figures)),
        ("costs", costs(figures)),
        ("sizes", sizes(figures)),
        ("nodes", nodes(figures)),
        ("steps", steps(figures)),
        ("steps with many changes", steps(&figures.with_changes(BUSY))),
    ]
}

/// A number with three digits that count, and thousands apart.
fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if value.abs() < 1_000.0 {
        let digits = 2.0 - value.abs().log10().floor();
        let decimals = if digits > 0.0 { digits } else { 0.0 };
        let text = format!("{value:.*}", places(decimals));
        return if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        };
    }
    let scale = 10_f64.powf(value.abs().log10().floor() - 2.0);
    let digits = format!("{:.0}", (value / scale).round() * scale);
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Decimals as a format wants them, at most 9.
fn places(decimals: f64) -> usize {
    (0..9_u8).take_while(|place| f64::from(*place) < decimals).count()
}

fn bytes(value: f64) -> String {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let unit = units.into_iter().find(|(size, _)| value >= *size);
    let (size, name) = unit.unwrap_or((1.0, "B"));
    format!("{} {name}", number(value / size))
}

fn percent(part: f64) -> String {
    format!("{} %", number(part * 100.0))
}

fn origins(figures: &Figures) -> String {
    let mut table = "| figure | value | where from |\n|---|---|---|\n".to_owned();
    for figure in figures.all() {
        let origin = match &figure.origin {
            Origin::Page(page, _) => {
                let name = page.trim_start_matches("docs/");
                format!("measured: [{name}]({name})")
            }
            Origin::Code(place) => format!("by the code: {place}"),
            Origin::Run(_) => "measured: the run of [performance.md](performance.md)".to_owned(),
            Origin::Probe(how) => format!("measured for this page: {how}"),
            Origin::Assumed("") => "assumed".to_owned(),
            Origin::Assumed(why) => format!("assumed: {why}"),
        };
        let _ = writeln!(
            table,
            "| {} | {} {} | {origin} |",
            figure.name,
            number(figure.value),
            figure.unit
        );
    }
    table
}

fn costs(figures: &Figures) -> String {
    let value = |figure: &super::figures::Figure| figure.value;
    let idle = |pace: f64| value(&figures.empty_poll) / pace;
    let (memory, stored) = (value(&figures.entry), value(&figures.tier_stored));
    let rows = [
        (
            "node",
            format!(
                "{} of a core of the database for polls as installed; {} with longer polls; {} with a doorbell while nothing changes",
                percent(idle(value(&figures.pace))),
                percent(idle(value(&figures.long_pace))),
                percent(idle(value(&figures.doorbell_pace)))
            ),
        ),
        (
            "entry",
            format!(
                "{} of a node's memory; {} of the tier's",
                bytes(memory),
                bytes(stored)
            ),
        ),
        (
            "change",
            format!(
                "{} us of the database for the write, {} for retention's time; on each node that hears it {} us to match against 10,000 entries and {} us against 100,000, and {} us of the database more for a poll that brings it alone",
                number(value(&figures.write)),
                bytes(value(&figures.change_row)),
                number(value(&figures.match_10k)),
                number(value(&figures.match_100k)),
                number(value(&figures.poll_with_one) - value(&figures.empty_poll)),
            ),
        ),
        (
            "read",
            format!(
                "a hit {} us of a node; a miss {} us of the database (and of whoever waits); a miss that the tier answers one get of some {}, a load with a tier {} operations of it",
                number(value(&figures.hit)),
                number(value(&figures.load)),
                bytes(value(&figures.tier_value)),
                number(value(&figures.tier_load))
            ),
        ),
    ];
    let mut table = "| each | costs |\n|---|---|\n".to_owned();
    for (each, costs) in rows {
        let _ = writeln!(table, "| {each} | {costs} |");
    }
    table
}

fn at(figures: &Figures, nodes: f64, cis: f64, step: Step) -> Cost {
    Fleet { nodes, cis, step }.cost(figures)
}

fn sizes(figures: &Figures) -> String {
    let mut table = "| CIs | changes a second | change table | entries of a node | hits | loads a second, without and with the tier | matching, of a core | the tier holds |\n|---|---|---|---|---|---|---|---|\n".to_owned();
    for cis in CIS {
        let [alone, shared] = [Step::Doorbell, Step::Tier].map(|step| at(figures, 10.0, cis, step));
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} | {} | {}, {} | {} | {} |",
            number(cis),
            number(alone.changes),
            bytes(alone.change_table),
            number(alone.entries),
            percent(alone.hits),
            number(alone.loads),
            number(shared.loads),
            percent(alone.matching),
            bytes(shared.tier_memory)
        );
    }
    table
}

fn nodes(figures: &Figures) -> String {
    let mut table = "| nodes | polls: A | B | C | loads: A to C | with the tier | writes | the tier: operations a second, traffic |\n|---|---|---|---|---|---|---|---|\n".to_owned();
    for nodes in NODES {
        let [installed, long, doorbell, tier] =
            [Step::Installed, Step::LongPolls, Step::Doorbell, Step::Tier]
                .map(|step| at(figures, nodes, 1e6, step));
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} | {} | {}, {}/s |",
            number(nodes),
            number(installed.polls),
            number(long.polls),
            number(doorbell.polls),
            number(installed.loading),
            number(tier.loading),
            number(installed.writing),
            number(tier.tier_operations),
            bytes(tier.tier_traffic)
        );
    }
    table
}

fn steps(figures: &Figures) -> String {
    let mut table = "| CIs |".to_owned();
    for nodes in NODES {
        let plural = if nodes > 1.0 { "nodes" } else { "node" };
        let _ = write!(table, " {} {plural} |", number(nodes));
    }
    let _ = writeln!(table, "\n|---|{}", "---|".repeat(NODES.len()));
    for cis in CIS {
        let _ = write!(table, "| {} |", number(cis));
        for nodes in NODES {
            let (name, cost) = Fleet::enough(nodes, cis, figures).map_or_else(
                || ("none".to_owned(), at(figures, nodes, cis, Step::Replicas)),
                |(step, cost)| (step.letter().to_string(), cost),
            );
            let (what, part) = cost.first();
            let cell = format!("{name}: {what}, {}", percent(part));
            let _ = write!(table, " {cell} |");
        }
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.012_345, "0.0123"),
            (1.0, "1"),
            (32.149, "32.1"),
            (999.4, "999"),
            (62_247.0, "62,200"),
            (1e8, "100,000,000"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(bytes(4_623.0), "4.62 kB");
        assert_eq!(bytes(12.0), "12 B");
    }
}
