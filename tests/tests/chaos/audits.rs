//! What the nodes' own auditors found: as they tell while they live, and as their logs tell of those that were killed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::check::Wrong;
use super::http::{Client, Request};
use super::node::Node;

/// What a node logs of a violation.
const FOUND: &str = "an audit found a wrong answer in the cache";

/// What is known so far.
#[derive(Debug, Default)]
pub(crate) struct Audits {
    /// What each node said last of its audits.
    checked: BTreeMap<usize, u64>,
    /// How far each node's log was read.
    read: BTreeMap<usize, u64>,
}

impl Audits {
    /// Looks at every node and every log; says how many audits there were since the last time, as far as the nodes tell.
    ///
    /// # Errors
    /// A violation.
    pub(crate) async fn look(&mut self, nodes: &[Node]) -> Result<u64, Wrong> {
        let mut audited = 0;
        for (number, node) in nodes.iter().enumerate() {
            let from = self.read.entry(number).or_default();
            let found = search(&node.log(), from).unwrap();
            if let Some(line) = found.first() {
                return Err(Wrong(format!(
                    "the auditor of node {number} logged a violation: {line}"
                )));
            }
            let Some(told) = told(node).await else { continue };
            if told["violations"] != 0 {
                return Err(Wrong(format!(
                    "the auditor of node {number} found a violation: {told}"
                )));
            }
            let checked = told["checked"].as_u64().unwrap_or(0);
            let before = self.checked.insert(number, checked).unwrap_or(0);
            // Since it was started, which may have been since the last time.
            audited += checked.checked_sub(before).unwrap_or(checked);
        }
        Ok(audited)
    }
}

/// What a node tells of its audits, if it answers.
async fn told(node: &Node) -> Option<Value> {
    let address = node.address()?;
    let mut client = Client::default();
    let asked = client.ask(&address, Request::get("/v1/cache/audit"));
    let reply = tokio::time::timeout(Duration::from_secs(5), asked)
        .await
        .ok()?
        .ok()?;
    serde_json::from_str(&reply.body).ok()
}

/// Finds violations in a log from a place on, and moves that to the end of its last whole line.
fn search(log: &Path, from: &mut u64) -> std::io::Result<Vec<String>> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(*from))?;
    let mut lines = BufReader::new(file);
    let mut found = Vec::new();
    loop {
        let mut line = Vec::new();
        let length = lines.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok(found);
        }
        *from += length as u64;
        let line = String::from_utf8_lossy(&line);
        if line.contains(FOUND) {
            found.push(line.trim_end().to_owned());
        }
    }
}

#[test]
fn a_violation_in_the_log_of_a_node_that_was_killed_is_found_once() {
    let auditor = include_str!("../../../crates/ci-runner/src/audit.rs");
    assert!(auditor.contains(FOUND), "the auditor says it in other words now");
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("node.log");
    let mut from = 0;
    let lines = format!("WARN slow\nERROR ci_runner::audit: {FOUND} key=\"a\"\nWARN half");
    std::fs::write(&log, &lines).unwrap();
    let found = search(&log, &mut from).unwrap();
    assert_eq!(found, [format!("ERROR ci_runner::audit: {FOUND} key=\"a\"")]);
    assert_eq!(search(&log, &mut from).unwrap(), Vec::<String>::new());
    std::fs::write(&log, format!("{lines} a line\nERROR {FOUND}\n")).unwrap();
    assert_eq!(search(&log, &mut from).unwrap(), [format!("ERROR {FOUND}")]);
}
