//! Answers as they are told: compact, within their room, with what was left out and how fresh they are.

use ci_model::{CiRef, CiSummary, Relation};
use ci_runner::Runner;
use rmcp::model::{CallToolResult, ContentBlock};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::bound::{Cuts, encoded, len, shrink};
use crate::http::{Origin, Problem, Told};

/// Kept free for notes, freshness and the frame, in bytes.
const RESERVED: usize = 1_600;
/// Longest note, in bytes; there are at most [`NOTES`].
const NOTE_BYTES: usize = 400;
const NOTES: usize = 2;
/// Room is left for so many rows, however large they are.
const SEVERAL: usize = 4;

/// Why a tool did not answer: what a model can do about it.
#[derive(Debug)]
pub(super) struct Refusal(String);

impl Refusal {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// An absent CI: the same words whether it never existed, is deleted, or is another tenant's.
    pub(super) fn no_ci(which: &str) -> Self {
        let detail = Problem::no_ci(None).told().detail;
        Self(format!(
            "no such CI ({which}): {detail}; `search` finds codes, which are compared byte for byte"
        ))
    }

    pub(super) fn result(self) -> CallToolResult {
        CallToolResult::error(vec![ContentBlock::text(self.0)])
    }
}

impl From<ci_model::Error> for Refusal {
    fn from(error: ci_model::Error) -> Self {
        ci_runner::Error::from(error).into()
    }
}

impl From<ci_runner::Error> for Refusal {
    fn from(error: ci_runner::Error) -> Self {
        let is_transient = error.is_transient();
        let is_input = matches!(error, ci_runner::Error::Invalid(_));
        let Told { title, detail, .. } = Problem::from(error).told();
        if is_input {
            return Self(detail);
        }
        let again = if is_transient {
            "; ask again in a few seconds"
        } else {
            ""
        };
        Self(format!(
            "{title}: {detail}{again}. This is a failure, not an empty answer: nothing is known about what was asked"
        ))
    }
}

/// Where an answer comes from and how true it is.
#[derive(Debug, Default, Serialize)]
pub(super) struct Freshness {
    /// `hit` (from memory) or `miss` (from the database for this call).
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    /// How long ago it was loaded, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    age_s: Option<u64>,
    /// How far behind the database it may be, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_ms: Option<u64>,
    /// The state at which it is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl From<&Origin> for Freshness {
    fn from(origin: &Origin) -> Self {
        Self {
            cache: Some(if origin.source().is_hit() { "hit" } else { "miss" }),
            age_s: Some(origin.age().as_secs()),
            lag_ms: origin.lag().map(millis),
            token: origin.as_of().map(ToString::to_string),
        }
    }
}

impl Freshness {
    /// Of what the change feed tells.
    pub(super) fn of_feed(runner: &Runner, token: Option<String>) -> Self {
        Self {
            lag_ms: runner.feed().lag.map(millis),
            token,
            ..Self::default()
        }
    }
}

fn millis(lag: std::time::Duration) -> u64 {
    u64::try_from(lag.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// An answer that is being made, and the room that is left for it.
#[derive(Debug)]
pub(super) struct Answer {
    body: Map<String, Value>,
    notes: Vec<String>,
    cuts: Cuts,
    left: usize,
    /// Of that, what is kept for something that is told later.
    kept: usize,
}

impl Answer {
    /// An empty answer of at most so many bytes of JSON.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            body: Map::new(),
            notes: Vec::new(),
            cuts: Cuts::default(),
            left: bytes.saturating_sub(RESERVED),
            kept: 0,
        }
    }

    /// Tells one thing. It is as short as what it is made of; one that is large goes through [`whole`](Self::whole).
    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        self.left = self.left.saturating_sub(name.len() + 4 + len(&value));
        self.body.insert(name.to_owned(), value);
    }

    /// Tells whether one more thing has room.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.left
    }

    /// Keeps room for something that is told later.
    pub(super) fn keep(&mut self, bytes: usize) {
        self.kept = bytes.min(self.left);
        self.left -= self.kept;
    }

    /// Gives that room back.
    pub(super) fn release(&mut self) {
        self.left += std::mem::take(&mut self.kept);
    }

    /// Tells one thing that may be large, as much of it as has room.
    pub(super) fn whole(&mut self, name: &str, value: Value) {
        let room = self.left.saturating_sub(name.len() + 4);
        if let Some(value) = shrink(value, room, &mut self.cuts) {
            self.set(name, value);
        }
    }

    /// Tells rows, the first of them that have room within a part of what is left, given in percent; says how many those are. Large ones are
    /// shortened so that there is room for several.
    pub(super) fn rows(
        &mut self,
        name: &str,
        rows: impl ExactSizeIterator<Item = Value>,
        percent: usize,
    ) -> usize {
        let number = rows.len().clamp(1, SEVERAL);
        let room = (self.left * percent / 100).saturating_sub(name.len() + 6);
        let most = (room / number).saturating_sub(1);
        let (mut kept, mut left) = (Vec::new(), room);
        for row in rows {
            let mut cuts = Cuts::default();
            let Some(row) = shrink(row, most, &mut cuts) else {
                break;
            };
            let Some(rest) = left.checked_sub(len(&row) + 1) else {
                break;
            };
            left = rest;
            self.cuts.add(cuts);
            kept.push(row);
        }
        let shown = kept.len();
        self.set(name, kept);
        shown
    }

    /// Says what was left out and how to get it.
    pub(super) fn note(&mut self, text: String) {
        if self.notes.len() < NOTES {
            self.notes.push(text);
        }
    }

    /// The result. `how` says how to get what was cut out of rows and values.
    pub(super) fn finish(mut self, freshness: &Freshness, how: &str) -> CallToolResult {
        if let Some(cut) = self.cuts.note(how) {
            self.notes.push(cut);
        }
        let notes: Vec<Value> = self
            .notes
            .into_iter()
            .filter_map(|note| shrink(note.into(), NOTE_BYTES, &mut Cuts::default()))
            .collect();
        self.body.insert("left_out".into(), notes.into());
        self.body.insert("freshness".into(), json!(freshness));
        let body = Value::Object(self.body);
        let mut result = CallToolResult::success(vec![ContentBlock::text(encoded(&body))]);
        result.structured_content = Some(body);
        result
    }
}

/// A CI in a list: its short form without what it has not, and without its id, which nothing needs beside the code, unless that looks like
/// one and would be read as it.
pub(super) fn summary(ci: &CiSummary) -> Value {
    let mut row = Map::new();
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            row.insert(name.to_owned(), value.into());
        }
    };
    put("ci_code", Some(ci.ci_code.as_str()));
    if matches!(CiRef::parse(ci.ci_code.as_str()), Ok(CiRef::Id(_))) {
        put("ci_id", Some(&ci.ci_id.to_string()));
    }
    put("ci_name", Some(&ci.ci_name));
    put("ci_type", Some(&ci.ci_type));
    put("ci_subtype", ci.ci_subtype.as_deref());
    put("ci_category", ci.ci_category.as_deref());
    put("status", ci.status.as_deref());
    put("location", ci.location.as_deref());
    put("owner", ci.owner.as_deref());
    row.into()
}

/// A relation in a list, by the codes of its ends.
pub(super) fn relation(relation: &Relation) -> Value {
    json!({"from": relation.from.as_str(), "to": relation.to.as_str(), "rel_type": relation.rel_type.as_str()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(result: &CallToolResult) -> String {
        result.content[0].as_text().unwrap().text.clone()
    }

    fn fresh() -> Freshness {
        Freshness {
            cache: Some("miss"),
            age_s: Some(u64::MAX),
            lag_ms: Some(u64::MAX),
            token: Some("f".repeat(200)),
        }
    }

    #[test]
    fn no_answer_is_larger_than_its_room_whatever_rows_hold() {
        let texts = [
            "x".to_owned(),
            "\u{202e}".repeat(500),
            "\"\\\n".repeat(400),
            "é😀".repeat(800),
        ];
        for bytes in [super::super::LEAST_BYTES, 8_192, 16_384, 100_000] {
            for text_of_row in &texts {
                for rows in [0, 1, 3, 60] {
                    let mut answer = Answer::new(bytes);
                    answer.set("mode", "strict");
                    let row =
                        json!({"ci_code": text_of_row, "attributes": {"a": text_of_row, text_of_row: 1}});
                    let shown = answer.rows("items", std::iter::repeat_n(row.clone(), rows), 60);
                    answer.rows("relations", std::iter::repeat_n(row.clone(), rows), 100);
                    answer.note(text_of_row.repeat(3));
                    answer.note("n".repeat(5_000));
                    answer.note("one too many".into());
                    let result = answer.finish(&fresh(), "ask for fields");
                    let told = text(&result);
                    assert!(told.len() <= bytes, "{} of {bytes}, {rows} rows", told.len());
                    assert_eq!(shown == 0, rows == 0, "something is always shown");
                    let same: Value = serde_json::from_str(&told).unwrap();
                    assert_eq!(result.structured_content, Some(same));
                    let mut answer = Answer::new(bytes);
                    answer.whole("ci", json!({"ci_code": "db-1", "attributes": vec![row; rows]}));
                    let result = answer.finish(&fresh(), "ask for fields");
                    assert!(text(&result).len() <= bytes);
                    assert_eq!(result.structured_content.unwrap()["ci"]["ci_code"], "db-1");
                }
            }
        }
    }

    #[test]
    fn what_was_cut_is_told() {
        let mut answer = Answer::new(8_192);
        answer.rows(
            "items",
            std::iter::once(json!({"ci_code": "a", "ci_name": "n".repeat(9_000)})),
            100,
        );
        let result = answer.finish(&Freshness::default(), "`get` shows a CI whole");
        let told = text(&result);
        assert!(
            told.contains("1 values were shortened or left out (`get` shows a CI whole), at ci_name"),
            "{told}"
        );
    }

    #[test]
    fn a_failure_is_told_as_one_and_without_secrets() {
        let secret = ci_store::Error::Unavailable("postgres://user:hunter2@db.internal".into());
        let result = Refusal::from(ci_runner::Error::Store(secret)).result();
        let told = text(&result);
        assert_eq!(result.is_error, Some(true));
        assert!(
            told.contains("ask again") && told.contains("not an empty answer"),
            "{told}"
        );
        assert!(!told.contains("hunter2"), "{told}");
        let input = Refusal::from(ci_model::Search::builder().limit(501).build().unwrap_err()).result();
        assert_eq!(text(&input), "failed to accept limit: 501 is outside 1 to 500");
    }
}
