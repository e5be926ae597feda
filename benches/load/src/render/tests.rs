//! Rendering of a small run with known figures.

use super::*;
use crate::machine::Machine;
use crate::run_file::Figure;

fn figure([section, workload, database, arm, at, metric]: [&str; 6], unit: &str, value: f64) -> Figure {
    Figure {
        section: section.to_owned(),
        workload: workload.to_owned(),
        database: database.to_owned(),
        arm: arm.to_owned(),
        at: at.to_owned(),
        metric: metric.to_owned(),
        unit: unit.to_owned(),
        value,
        rounds: Vec::new(),
    }
}

fn run() -> RunFile {
    let machine = Machine {
        cores: 2,
        cpu: "a processor".to_owned(),
        os: "an os".to_owned(),
    };
    let mut run = RunFile::new(
        "2026-11-28T13:00:00Z".to_owned(),
        "0123abc".to_owned(),
        false,
        7,
        "other work ran beside it".to_owned(),
        machine,
    );
    let dashboard = |arm, at, metric| ["scenarios", "dashboard", "sqlite", arm, at, metric];
    for (arm, cold, warm, statements) in [
        (names::PREDECESSOR, 46_000.0, 45_000.0, [15.0, 15.0]),
        (names::RUNNER, 20_000.0, 10.0, [1.0, 0.0]),
    ] {
        for (at, p50, statements) in [("cold", cold, statements[0]), ("warm", warm, statements[1])] {
            run.figures.push(figure(dashboard(arm, at, "p50"), "us", p50));
            run.figures
                .push(figure(dashboard(arm, at, "p99"), "us", p50 * 2.0));
            run.figures.push(figure(
                dashboard(arm, at, "statements"),
                "an operation",
                statements,
            ));
        }
    }
    for (arm, statements, stale) in [
        (names::PREDECESSOR, 2.0, 0.0),
        (names::TTL, 0.2, 12.0),
        (names::RUNNER, 0.08, 0.0),
    ] {
        for (metric, unit, value) in [
            ("statements", "an operation", statements),
            ("stale answers", "in all rounds", stale),
            ("answers", "in all rounds", 3_000.0),
            ("p50", "us", 60.0),
        ] {
            run.figures.push(figure(
                ["mixes", "desk", "sqlite", arm, "10 writes/s", metric],
                unit,
                value,
            ));
        }
    }
    for (step, nanos) in [
        ("a search through the runner", 420.0),
        ("a get through the runner", 610.0),
    ] {
        run.figures
            .push(figure(["steps", "hit", "", step, "", "time"], "ns", nanos));
    }
    run
}

#[test]
fn what_a_runner_takes_by_itself_is_no_entrys() {
    let mut run = run();
    let memory = |at, metric| ["memory", "searches of ten rows", "", names::RUNNER, at, metric];
    // 100,000 bytes of its own, and 1,000 over its rows for each entry.
    for (at, entries) in [("500 entries", 500.0), ("2000 entries", 2_000.0)] {
        let over = 100_000.0 / entries + 1_000.0;
        run.figures
            .push(figure(memory(at, "over its rows"), "bytes", over));
    }
    let goals = Page(&run).goals();
    assert!(
        goals.contains("| 1,200 bytes, the runner") && goals.contains("| 1,000 bytes | reached |"),
        "{goals}"
    );
}

#[test]
fn a_report_says_what_its_run_says() {
    let text = report(&run(), "2026.json");
    for expected in [
        "from runs/2026.json",
        "commit `0123abc`, seed 7; 2 cores of a processor",
        "Note: other work ran beside it.",
        "| runner | 1, 0 | 20.0 ms (40.0 ms) | 10.0 µs (20.0 µs) | - (-) | - (-) |",
        "| dashboard, SQLite | 2.30x | 4,600x | - | - | 93.3 %, 100.0 % |",
        "| 10 writes/s | runner | 0.08 | - | - | - | 0 of 3,000 | 60.0 µs |",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
    assert!(!text.contains("## Memory"), "what was not measured is left out");
}

#[test]
fn goals_are_judged_both_ways() {
    let goals = Page(&run()).goals();
    let verdict = |wanted: &str| {
        let line = goals.lines().find(|line| line.contains(wanted)).expect(wanted);
        line.rsplit('|').nth(1).expect("a cell").trim().to_owned()
    };
    assert_eq!(verdict("dashboard, SQLite: warm at least 10x"), "reached");
    assert_eq!(verdict("10 writes/s, sqlite"), "reached");
    assert_eq!(verdict("10 writes/s, postgres"), "not measured in this run");
    assert_eq!(verdict("no stale answer"), "reached");
    assert_eq!(verdict("a search through the runner"), "reached");
    assert_eq!(verdict("a get through the runner"), "**not reached**");
    assert_eq!(verdict("500 entries within 1 MB"), "not measured in this run");
}

#[test]
fn a_tier_is_compared_with_none() {
    let mut run = run();
    for (at, hits, misses) in [
        ("no tier", 5.6, 1_000.0),
        ("well", 13.1, 1_400.0),
        ("down", 6.6, 1_150.0),
        ("slow", 13.0, 30_000.0),
    ] {
        let name = |metric| {
            [
                "fleet",
                "the tier in trouble",
                "postgres",
                names::RUNNER,
                at,
                metric,
            ]
        };
        for (metric, value) in [
            ("p50, hits", 3.0),
            ("p99, hits", hits),
            ("p50, misses", misses / 2.0),
            ("p99, misses", misses),
        ] {
            run.figures.push(figure(name(metric), "us", value));
        }
    }
    let goals = Page(&run).goals();
    for (wanted, verdict) in [
        ("well: the p50 of hits", "reached"),
        ("well: the p99 of hits", "**not reached**"),
        ("well: a miss", "reached"),
        ("down: the p99 of hits", "reached"),
        ("down: the p99 of misses", "reached"),
        // As slow as one that is well, which is no measure.
        ("slow: the p99 of hits", "**not reached**"),
        ("slow: the p99 of misses", "**not reached**"),
    ] {
        let line = goals.lines().find(|line| line.contains(wanted)).expect(wanted);
        assert!(line.ends_with(&format!("| {verdict} |")), "{line}");
        assert!(line.contains("without a tier"), "{line}");
    }
}

#[test]
fn the_readme_keeps_what_is_around_its_table() {
    let readme = format!("before\n{BEGIN}old\n{END}after\n");
    let text = with_table(&readme, &run()).expect("marks");
    assert!(text.starts_with(&format!("before\n{BEGIN}")) && text.ends_with(&format!("{END}after\n")));
    assert!(
        !text.contains("old") && text.contains("46.0 ms | 20.0 ms | 10.0 µs"),
        "{text}"
    );
    assert!(with_table("no marks", &run()).is_err());
}

#[test]
fn rendering_replaces_the_run_before() {
    let root = tempfile::tempdir().expect("a folder");
    fs::write(root.path().join("README.md"), format!("{BEGIN}{END}")).expect("a file");
    let mut run = run();
    let refused = into(&run, root.path()).expect_err("it lacks parts");
    assert!(refused.to_string().contains("whole runs only"), "{refused}");
    assert!(kept(root.path()).expect("no folder").is_empty());
    for part in crate::measure::SECTIONS {
        run.figures
            .push(figure([part, "a part", "", "runner", "", "p50"], "us", 1.0));
    }
    into(&run, root.path()).expect("rendered");
    run.date = "2026-11-29T13:00:00Z".to_owned();
    into(&run, root.path()).expect("rendered again");
    let kept = kept(root.path()).expect("a folder");
    assert_eq!(kept.len(), 1);
    assert_eq!(RunFile::read(&kept[0]).expect("a run"), run);
    let charts = fs::read_dir(root.path().join(CHARTS)).expect("charts").count();
    assert_eq!(charts, 7);
    let name = kept[0]
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    for (file, text) in files(&run, &name).expect("files") {
        assert_eq!(
            fs::read_to_string(root.path().join(&file)).expect(&file),
            text,
            "the same each time"
        );
    }
}
