//! Keeps answers within their room: what a model reads is paid for by the byte, and rows may hold anything.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// What stands for the rest of a text that was cut.
const ELLIPSIS: &str = "…";
/// With less room than this a member is left out rather than cut to nothing.
const LEAST: usize = 24;
/// Most places that are named in a note.
const NAMED: usize = 4;
/// Longest name of a place in a note, in characters.
const NAME_CHARS: usize = 40;

/// The compact JSON of a value, in which characters that a reader cannot see are written as escapes. It is the same JSON value; but what
/// turns the direction of a text around, or hides in it, cannot mislead whoever reads the text itself.
pub(super) fn encoded(value: &Value) -> String {
    let plain = value.to_string();
    if !plain.contains(is_unseen) {
        return plain;
    }
    let mut text = String::with_capacity(plain.len() + 16);
    for c in plain.chars() {
        if is_unseen(c) {
            // Outside texts JSON has no such characters, so this is always within one, where an escape stands for the character.
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// How long [`encoded`] makes a value, in bytes.
pub(super) fn len(value: &Value) -> usize {
    encoded(value).len()
}

/// Characters that have no shape of their own: controls, joiners, marks of direction, variation selectors, tags.
fn is_unseen(c: char) -> bool {
    matches!(u32::from(c),
        0x7f..=0x9f | 0xad | 0x34f | 0x61c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f | 0x2028..=0x202e
        | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a
        | 0xe0000..=0xe0fff)
}

/// Where something was cut.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    places: Vec<String>,
    /// Whether there are more places than are named.
    has_more: bool,
    count: usize,
}

impl Cuts {
    fn at(&mut self, path: &[&str]) {
        self.count += 1;
        let full = path.join(".");
        let mut name: String = full.chars().take(NAME_CHARS).collect();
        if name.len() < full.len() {
            name.push_str(ELLIPSIS);
        }
        self.name(name);
    }

    fn name(&mut self, name: String) {
        if self.places.contains(&name) {
            return;
        }
        if self.places.len() < NAMED {
            self.places.push(name);
        } else {
            self.has_more = true;
        }
    }

    /// Takes in those of another value.
    pub(super) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.has_more |= other.has_more;
        other.places.into_iter().for_each(|name| self.name(name));
    }

    /// What to say about it, with how to get the rest; nothing when nothing was cut.
    pub(super) fn note(&self, how: &str) -> Option<String> {
        if self.count == 0 {
            return None;
        }
        let more = if self.has_more { ", …" } else { "" };
        Some(format!(
            "{} values were shortened or left out ({how}), at {}{more}",
            self.count,
            self.places.join(", ")
        ))
    }
}

/// Brings a value to at most so many bytes of JSON, and writes down where it was cut. Of an object the small members stay whole before the
/// large ones are cut; of a list the first elements stay. None when not even a part has room.
pub(super) fn shrink(value: Value, room: usize, cuts: &mut Cuts) -> Option<Value> {
    shrink_at(value, room, cuts, &[])
}

fn shrink_at(value: Value, room: usize, cuts: &mut Cuts, path: &[&str]) -> Option<Value> {
    if len(&value) <= room {
        return Some(value);
    }
    match value {
        Value::String(text) => {
            cuts.at(path);
            shorten(&text, room).map(Value::String)
        }
        Value::Array(items) => {
            cuts.at(path);
            let mut left = room.checked_sub(2)?;
            let mut kept = Vec::new();
            for item in items {
                let Some(rest) = left.checked_sub(len(&item) + 1) else {
                    // One that alone is larger than the room shows its beginning.
                    let room = left.saturating_sub(1);
                    if kept.is_empty() && room >= LEAST {
                        kept.extend(shrink_at(item, room, cuts, path));
                    }
                    break;
                };
                left = rest;
                kept.push(item);
            }
            Some(Value::Array(kept))
        }
        Value::Object(members) => shrink_object(members, room, cuts, path).map(Value::Object),
        // A number that has no room, which no room of ours is too small for.
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            cuts.at(path);
            None
        }
    }
}

fn shrink_object(
    members: Map<String, Value>,
    room: usize,
    cuts: &mut Cuts,
    path: &[&str],
) -> Option<Map<String, Value>> {
    let mut left = room.checked_sub(2)?;
    let mut by_size: Vec<(usize, String, Value)> = members
        .into_iter()
        .map(|(name, value)| (len(&value), name, value))
        .collect();
    by_size.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    let mut kept = Map::new();
    let mut others = by_size.len();
    for (_, name, value) in by_size {
        // Each gets an equal part of what is left; what a small one does not need is left to those after it.
        let share = left / others;
        others -= 1;
        let around = len(&Value::from(name.as_str())) + 2;
        let inner = [path, &[&name]].concat();
        let part = match share.checked_sub(around) {
            Some(room) if room >= LEAST || len(&value) <= room => shrink_at(value, room, cuts, &inner),
            _ => {
                cuts.at(&inner);
                None
            }
        };
        if let Some(part) = part {
            left -= around + len(&part);
            kept.insert(name, part);
        }
    }
    Some(kept)
}

/// The beginning of a text that has room as JSON.
fn shorten(text: &str, room: usize) -> Option<String> {
    // The quotes and the sign that it was cut.
    let mut left = room.checked_sub(2 + ELLIPSIS.len())?;
    let mut kept = String::new();
    for c in text.chars() {
        let needed = len(&Value::from(c.to_string())) - 2;
        let Some(rest) = left.checked_sub(needed) else {
            break;
        };
        left = rest;
        kept.push(c);
    }
    kept.push_str(ELLIPSIS);
    Some(kept)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bounded(value: &Value, room: usize) -> (Option<Value>, Cuts) {
        let mut cuts = Cuts::default();
        let shrunk = shrink(value.clone(), room, &mut cuts);
        (shrunk, cuts)
    }

    #[test]
    fn what_has_room_stays_as_it_is() {
        let value = json!({"ci_code": "db-1", "tags": {"env": ["prod", 1, null]}});
        let (same, cuts) = bounded(&value, len(&value));
        assert_eq!((same, cuts.note("ask for fields")), (Some(value), None));
    }

    #[test]
    fn any_value_fits_any_room() {
        let values = [
            json!("x".repeat(3_000)),
            json!("\u{202e}\u{e0041}\"\\\n".repeat(300)),
            json!({"a": "y".repeat(900), "b": {"c": vec!["z"; 400], "d": 1}, "e": 12_345_678_901_u64}),
            json!(vec![json!({"long": "w".repeat(200)}); 50]),
            (0..500)
                .map(|n| (format!("key-{n}"), json!(n)))
                .collect::<Map<_, _>>()
                .into(),
        ];
        for value in &values {
            for room in [0, 1, 2, 5, 17, 64, 100, 1_000, 2_500] {
                let (shrunk, cuts) = bounded(value, room);
                if let Some(shrunk) = shrunk {
                    assert!(len(&shrunk) <= room, "{room}: {shrunk}");
                    let is_told = cuts.note("ask for fields").is_some();
                    assert_eq!(shrunk != *value, is_told, "{room}: {shrunk}");
                } else {
                    assert!(room < 5, "{room}: {value}");
                }
            }
        }
    }

    #[test]
    fn small_members_stay_whole_before_large_ones() {
        let value = json!({"attributes": {"dump": "x".repeat(10_000)}, "ci_code": "db-1", "owner": "ops"});
        let (shrunk, cuts) = bounded(&value, 300);
        let shrunk = shrunk.unwrap();
        assert_eq!(
            (&shrunk["ci_code"], &shrunk["owner"]),
            (&json!("db-1"), &json!("ops"))
        );
        assert!(shrunk["attributes"]["dump"].as_str().unwrap().ends_with('…'));
        assert!(len(&shrunk) > 250, "the room is used: {shrunk}");
        let note = cuts.note("ask for fields").unwrap();
        assert!(
            note.contains("1 values") && note.contains("attributes.dump"),
            "{note}"
        );
    }

    #[test]
    fn what_cannot_be_seen_is_written_as_an_escape_of_the_same_value() {
        let value = json!({"ci_name": "a\u{202e}b\u{200b}c\u{e0041}d é 😀"});
        let text = encoded(&value);
        assert!(text.contains(r"a\u202eb\u200bc\udb40\udc41d é 😀"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert_eq!(len(&value), text.len());
    }

    #[test]
    fn a_note_names_some_places_and_stays_short() {
        let many: Map<String, Value> = (0..100)
            .map(|n| (format!("{n}-{}", "k".repeat(100)), json!("v".repeat(100))))
            .collect();
        let (_, cuts) = bounded(&many.into(), 1_000);
        let note = cuts.note("ask for fields").unwrap();
        assert!(
            note.ends_with(", …") && note.len() < NAMED * (NAME_CHARS + 8) + 80,
            "{note}"
        );
    }
}
