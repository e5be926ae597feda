//! Rules about what a room must not contain: SQL outside the store, HTTP outside the server, clocks in the domain.

use super::source::has_word;
use super::{Report, Tree};

/// What the product code of a crate must not name, and why.
const ABSENT: &[(&str, &[&str], &str)] = &[
    (
        "ci-model",
        &[
            "std::fs",
            "std::net",
            "std::process",
            "SystemTime",
            "Instant::now",
            "Timestamp::now",
            "Zoned::now",
        ],
        "ci-model does no I/O and reads no clock: let the caller pass the value in",
    ),
    (
        "ci-model",
        &["Mutex", "RwLock", "async"],
        "ci-model is plain data: lock and await on a higher floor",
    ),
    (
        "ci-cache-core",
        &[
            "std::fs",
            "std::net",
            "std::process",
            "SystemTime",
            "tokio",
            "sqlx",
            "println",
        ],
        "ci-cache-core does no I/O and has no runtime: take a trait, a waker or a value from the caller",
    ),
    (
        "ci-store",
        &["ci_cache_core", "ci_runner"],
        "ci-store knows no cache: report what changed, let others drop it",
    ),
];

/// Statements by their keywords. All parts must follow each other in one literal; upper case, as SQL is written here.
const STATEMENTS: &[&[&str]] = &[
    &["SELECT ", " FROM "],
    &["INSERT INTO "],
    &["DELETE FROM "],
    &["UPDATE ", " SET "],
    &["CREATE ", "TABLE "],
    &["CREATE ", "INDEX "],
    &["CREATE ", "TRIGGER "],
    &["ALTER TABLE "],
    &["DROP TABLE "],
    &["DROP INDEX "],
    &["WITH RECURSIVE "],
    &["PRAGMA "],
    &["COPY ", " FROM STDIN"],
];

/// The same in lower case, where prose is likelier: only at the very start of a literal.
const LOWER_STARTS: &[&[&str]] = &[
    &["select ", " from "],
    &["insert into "],
    &["update ", " set ", "="],
    &["delete from ", " where "],
    &["create table "],
    &["create index "],
];

/// Each crate's invariants about absence.
pub(crate) fn absences(tree: &Tree, report: &mut Report) {
    for (file, source) in tree.sources() {
        let rules = ABSENT
            .iter()
            .filter(|(name, ..)| file.crate_source() == Some(*name));
        for (name, words, cure) in rules {
            for (line, code) in source.numbered().filter(|(line, _)| !file.is_test_line(*line)) {
                for word in words.iter().filter(|word| has_word(code, word)) {
                    report.add(
                        &file.path,
                        line,
                        format!("`{word}` has no place in {name}"),
                        *cure,
                    );
                }
            }
        }
    }
}

/// SQL is written in the store alone.
pub(crate) fn sql(tree: &Tree, report: &mut Report) {
    for (file, source) in tree.sources() {
        if file.crate_source().is_none_or(|name| name == "ci-store") {
            continue;
        }
        for literal in source
            .literals
            .iter()
            .filter(|literal| !file.is_test_line(literal.line))
        {
            if is_sql(&literal.text) {
                let cure = "ask the store for it; a new question is a new method of its trait";
                report.add(&file.path, literal.line, "SQL outside ci-store", cure);
            }
        }
    }
}

fn is_sql(literal: &str) -> bool {
    // A statement may be broken over lines; a final space lets a keyword at the very end count.
    let text = literal.replace("\\n", " ").replace('\\', " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ") + " ";
    let starts = |parts: &[&str]| text.starts_with(parts[0]) && in_order(&text, parts);
    STATEMENTS.iter().any(|parts| in_order(&text, parts)) || LOWER_STARTS.iter().any(|parts| starts(parts))
}

fn in_order(text: &str, parts: &[&str]) -> bool {
    let mut rest = text;
    parts.iter().all(|part| match rest.find(part) {
        // The space that ends one keyword may begin the next.
        Some(at) => {
            rest = &rest[at + part.trim_end().len()..];
            true
        }
        None => false,
    })
}

/// Status codes are the server's words; below it an error says what happened, not how to answer.
pub(crate) fn status_codes(tree: &Tree, report: &mut Report) {
    for (file, source) in tree.sources() {
        if file.crate_source().is_none_or(|name| name == "ci-server") {
            continue;
        }
        for (line, code) in source.numbered().filter(|(line, _)| !file.is_test_line(*line)) {
            if has_word(code, "StatusCode") {
                let cure = "return the crate's error; ci-server turns it into an answer";
                report.add(&file.path, line, "an HTTP status code outside ci-server", cure);
            }
        }
    }
}

/// The backends have the same rooms, so that a diff of the folders is the list of their differences.
pub(crate) fn mirrored_backends(tree: &Tree, report: &mut Report) {
    const BACKENDS: [&str; 2] = ["crates/ci-store/src/postgres", "crates/ci-store/src/sqlite"];
    for (here, there) in [(BACKENDS[0], BACKENDS[1]), (BACKENDS[1], BACKENDS[0])] {
        for name in tree.names() {
            let Some(file) = name.strip_prefix(here).filter(|rest| rest.starts_with('/')) else {
                continue;
            };
            let twin = format!("{there}{file}");
            if !tree.has(&twin) {
                let cure = format!("add {twin}, or move what is shared out of the backend");
                report.add(name, 1, "this file has no twin in the other backend", cure);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::places;
    use super::*;

    #[test]
    fn finds_sql_outside_the_store() {
        let text = "let a = \"SELECT ci_id\n  FROM ci\";\nlet b = \"select one from the list\";\n// SELECT a FROM b\n\
            #[cfg(test)]\nmod tests {\n const C: &str = \"DROP TABLE ci\";\n}\n";
        let found = places(sql, &[("crates/ci-runner/src/a.rs", text)]);
        assert_eq!(
            found,
            ["crates/ci-runner/src/a.rs:1", "crates/ci-runner/src/a.rs:3"]
        );
        assert!(
            places(
                sql,
                &[("crates/ci-store/src/a.rs", text), ("tests/tests/a.rs", text)]
            )
            .is_empty()
        );
    }

    #[test]
    fn knows_sql_from_prose() {
        for statement in [
            "SELECT * FROM ci",
            "INSERT INTO ci (ci_id) VALUES (?)",
            "WITH a AS (SELECT 1) DELETE FROM ci",
            "UPDATE ci SET status = ?",
            "CREATE UNIQUE INDEX i ON ci (ci_code)",
            "CREATE TABLE IF NOT EXISTS ci",
            "PRAGMA journal_mode = WAL",
            "COPY ci (a) FROM STDIN",
            "select \\n  a from ci",
            "update ci set status = 'x'",
        ] {
            assert!(is_sql(statement), "{statement}");
        }
        for prose in [
            "select a CI from the list"
                .to_uppercase()
                .to_lowercase()
                .replace("select", "Select")
                .as_str(),
            "cannot update the CI",
            "insert the relation into the graph",
            "update available: set it in the file",
            "from",
            "CREATE",
            "SELECTED FROM",
        ] {
            assert!(!is_sql(prose), "{prose}");
        }
    }

    #[test]
    fn finds_status_codes_outside_the_server() {
        let text = "use axum::http::StatusCode;\n";
        let files = [
            ("crates/ci-runner/src/a.rs", text),
            ("crates/ci-server/src/a.rs", text),
            ("crates/ci-store/tests/a.rs", text),
            ("tests/tests/a.rs", text),
        ];
        assert_eq!(places(status_codes, &files), ["crates/ci-runner/src/a.rs:1"]);
    }

    #[test]
    fn finds_what_must_be_absent() {
        let text = "//! Instant::now in prose is fine.\nlet t = Instant::now();\nasync fn f() {}\nlet m = MutexGuard;\n";
        let found = places(absences, &[("crates/ci-model/src/a.rs", text)]);
        assert_eq!(
            found,
            ["crates/ci-model/src/a.rs:2", "crates/ci-model/src/a.rs:3"]
        );
        assert!(places(absences, &[("crates/ci-runner/src/a.rs", text)]).is_empty());
        let core = "#[cfg(test)]\nmod tests {\n use tokio::x;\n}\nuse std::fs;\n";
        assert_eq!(
            places(absences, &[("crates/ci-cache-core/src/a.rs", core)]),
            ["crates/ci-cache-core/src/a.rs:5"]
        );
    }

    #[test]
    fn finds_backends_that_drift_apart() {
        let files = [
            ("crates/ci-store/src/postgres/mod.rs", ""),
            ("crates/ci-store/src/postgres/read.rs", ""),
            ("crates/ci-store/src/sqlite/mod.rs", ""),
            ("crates/ci-store/src/sqlite/write.rs", ""),
            ("crates/ci-store/src/sqlite_extra.rs", ""),
        ];
        let found = places(mirrored_backends, &files);
        assert_eq!(
            found,
            [
                "crates/ci-store/src/postgres/read.rs:1",
                "crates/ci-store/src/sqlite/write.rs:1"
            ]
        );
    }
}
