//! Every section runs at a tiny scale: on SQLite, and on PostgreSQL where `CI_CACHE_TEST_POSTGRES` names one.

use std::path::PathBuf;

use ci_load_bench::arms::names;
use ci_load_bench::machine::Machine;
use ci_load_bench::measure::{Bench, SECTIONS, Scale};
use ci_load_bench::place::Servers;
use ci_load_bench::render;
use ci_load_bench::run_file::RunFile;

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_measured_written_and_rendered() {
    let bench = Bench {
        scale: Scale::Tiny,
        seed: 7,
        servers: Servers::from_environment(),
        memory_program: Some(PathBuf::from(env!("CARGO_BIN_EXE_load-memory"))),
    };
    let mut run = RunFile::new(
        "2026-11-28T13:00:00Z".to_owned(),
        String::new(),
        true,
        7,
        String::new(),
        Machine::here(),
    );
    for name in SECTIONS {
        let figures = bench
            .section(name)
            .await
            .unwrap_or_else(|error| panic!("section {name}: {error:#}"));
        assert!(!figures.is_empty(), "section {name} found nothing");
        run.figures.extend(figures);
    }
    assert_eq!(
        RunFile::parse(&run.text().expect("text")).expect("a run file"),
        run
    );

    let value = |name| {
        run.find(name)
            .unwrap_or_else(|| panic!("no figure {name:?}"))
            .value
    };
    for database in ["sqlite", "postgres"] {
        if database == "postgres" && bench.servers.postgres.is_none() {
            continue;
        }
        let statements = |workload, arm, at| value(["scenarios", workload, database, arm, at, "statements"]);
        let is = |value: f64, wanted: f64| (value - wanted).abs() < 1e-9;
        assert!(is(statements("dashboard", names::PREDECESSOR, "cold"), 15.0));
        assert!(is(statements("related", names::PREDECESSOR, "cold"), 5.0));
        for workload in ["dashboard", "traversal", "related"] {
            assert!(is(statements(workload, names::RUNNER, "warm"), 0.0), "{workload}");
            assert!(is(statements(workload, names::TTL, "warm"), 0.0), "{workload}");
            let cold = statements(workload, names::RUNNER, "cold");
            assert!((1.0..=2.0).contains(&cold), "{workload}: {cold}");
        }
        let mix = |metric| value(["mixes", "desk", database, names::RUNNER, "50 writes/s", metric]);
        assert!(mix("answers") > 20.0 && mix("writes") > 3.0);
        assert!(is(mix("stale answers"), 0.0));
        let stampede = |metric| {
            value([
                "situations",
                "stampede for a dashboard",
                database,
                names::RUNNER,
                "20 callers",
                metric,
            ])
        };
        assert!(is(stampede("failed"), 0.0));
    }
    let files = render::files(&run, "run.json").expect("rendered");
    let report = &files[0].1;
    for title in [
        "The three scenarios",
        "A desk's day",
        "a quiet tenant",
        "Memory",
        "Cost against data size",
    ] {
        assert!(report.contains(title), "{title}");
    }
}
