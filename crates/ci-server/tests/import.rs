//! `ci-cache import`: what it takes, what it rejects, and what it only tries.

#[allow(dead_code, reason = "the tests of the command line use the rest")]
mod program;

use std::io::Write as _;

use ci_bench::Estate;
use program::Place;
use serde_json::{Value, json};

const APP: &str = "app-iam-login-01-1";

#[test]
fn an_import_that_is_only_tried_says_what_it_would_do_and_writes_nothing() {
    let place = Place::new();
    let line = |code: &str, name: &str| {
        format!("{{\"ci_code\": \"{code}\", \"ci_name\": \"{name}\", \"ci_type\": \"HW\"}}\n")
    };
    let before = place.file("before.jsonl", &[line("a", "n"), line("b", "n")].concat());
    // It makes no database.
    let none = place.run(&["import", "FILE", "--dry-run"], &[&before]);
    assert_eq!(none.code, 3, "{}", none.err);
    assert!(!place.path("cmdb.db").exists());
    assert_eq!(place.run(&["import", "FILE"], &[&before]).code, 0);
    let listed = || place.run(&["list", "--json"], &[]).out;
    let was = listed();
    let cis = place.file(
        "cis.jsonl",
        &[line("a", "n"), line("b", "other"), line("c", "n")].concat(),
    );
    let relations = place.file(
        "relations.jsonl",
        "{\"from\": \"a\", \"to\": \"b\", \"rel_type\": \"USES\"}\n",
    );
    let arguments = ["import", "--json", "FILE", "--relations", "FILE", "--dry-run"];
    let tried = place.run(&arguments, &[&cis, &relations]);
    assert_eq!(tried.code, 0, "{}", tried.err);
    let report = tried.json();
    assert_eq!(report["dry_run"], true);
    for (field, number) in [("lines", 3), ("created", 1), ("updated", 1), ("unchanged", 1)] {
        assert_eq!(report["cis"][field], number, "{field}");
    }
    assert_eq!(report["relations"]["created"], 1);
    assert_eq!(listed(), was);
    let told = place.run(&["import", "FILE", "--dry-run"], &[&cis]);
    assert!(
        told.out
            .contains("nothing is written, but would be: 1 created, 1 updated"),
        "{}",
        told.out
    );
    // Lines that would be rejected are, with the same exit code.
    let bad = place.file("bad.jsonl", &[line("d", "n"), line("", "n")].concat());
    let refused = place.run(&["import", "FILE", "--dry-run"], &[&bad]);
    assert_eq!(refused.code, 5, "{}", refused.err);
    assert_eq!(listed(), was);
    // And the same files, in earnest, do what was said.
    let done = place.run(&arguments[..5], &[&cis, &relations]).json();
    assert_eq!(
        (&done["cis"], &done["relations"]),
        (&report["cis"], &report["relations"])
    );
    assert!(done.get("dry_run").is_none());
    assert_ne!(listed(), was);
}

#[test]
fn csv_and_stdin_are_imported() {
    let place = Place::new();
    let csv = place.file(
        "cis.csv",
        "ci_code,ci_name,ci_type,tags.env\nsrv-1,\"one, two\",HW,prod\n",
    );
    assert_eq!(place.run(&["import", "FILE"], &[&csv]).code, 0);
    let ci = place.run(&["get", "--json", "srv-1"], &[]).json();
    assert_eq!(
        (&ci["ci_name"], &ci["tags"]["env"]),
        (&json!("one, two"), &json!("prod"))
    );
    let twice = place.run_with_input(&["import", "-", "--relations", "-"], "");
    assert!(twice.code == 2 && twice.err.contains("stdin"), "{}", twice.err);
    let line = "{\"ci_code\":\"srv-2\",\"ci_name\":\"서버\",\"ci_type\":\"HW\"}\n";
    assert_eq!(place.run_with_input(&["import", "-"], line).code, 0);
    assert_eq!(
        place.run(&["get", "--json", "srv-2"], &[]).json()["ci_name"],
        "서버"
    );
    let unknown = place.file("cis.xlsx", "");
    let refused = place.run(&["import", "FILE"], &[&unknown]);
    assert!(
        refused.code == 2 && refused.err.contains("hint: name the file so"),
        "{}",
        refused.err
    );
    assert_eq!(
        place
            .run(&["import", "--format", "jsonl", "FILE"], &[&unknown])
            .code,
        0
    );
}

#[test]
fn rejected_lines_are_told_kept_and_end_in_5() {
    let place = Place::new();
    let mut lines = String::from("{\"ci_code\":\"a\",\"ci_name\":\"n\",\"ci_type\":\"t\"}\n");
    for _ in 0..12 {
        lines.push_str("{\"ci_code\":\"b\"}\n");
    }
    let file = place.file("cis.jsonl", &lines);
    let rejects = place.path("rejects.jsonl");
    let done = place.run(&["import", "FILE", "--rejects", "REJECTS"], &[&file, &rejects]);
    assert_eq!(done.code, 5, "{}", done.err);
    assert!(
        done.out.contains("1 created") && done.out.contains("12 rejected"),
        "{}",
        done.out
    );
    assert!(
        done.err.contains("cis.jsonl:2: ") && done.err.contains("2 more lines were rejected"),
        "{}",
        done.err
    );
    assert!(
        done.err
            .contains("error: failed to import 12 of 13 lines\nhint: "),
        "{}",
        done.err
    );
    let kept = std::fs::read_to_string(rejects).unwrap();
    let kept: Vec<Value> = kept
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(kept.len(), 12);
    assert_eq!((&kept[0]["file"], &kept[0]["line"]), (&json!("cis"), &json!(2)));
    assert!(kept[0]["reason"].as_str().unwrap().contains("ci_name"));
    assert_eq!(place.run(&["get", "a"], &[]).code, 0, "the good line is written");
}

#[test]
fn a_damaged_file_is_bad_input_and_what_came_before_stays() {
    let place = Place::new();
    let (cis, _) = place.estate(Estate::new(1, 300));
    let gz = place.compressed(&cis, "cis.jsonl.gz");
    let whole = std::fs::read(&gz).unwrap();
    let mut file = std::fs::File::create(&gz).unwrap();
    file.write_all(&whole[..whole.len() - 4]).unwrap();
    let done = place.run(&["import", "FILE"], &[&gz]);
    assert!(
        done.code == 2 && done.err.contains("read the file beyond"),
        "{} {}",
        done.code,
        done.err
    );
    assert_eq!(
        place.run(&["get", APP], &[]).code,
        0,
        "the lines before the damage are written"
    );
}
