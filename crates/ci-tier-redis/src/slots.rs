//! Which node of a cluster has what: the slot of a name, and the nodes' word on who has which slots.

use std::collections::BTreeSet;

use redis::{RedisError, Value};

use crate::address::Place;

/// How many slots there are.
const SLOTS: u16 = 16_384;

/// The slot of a name: the checksum CRC-16/XMODEM of it, or of what is between its first `{` and the next `}`, if that is anything.
/// (Redis Cluster specification, "Key distribution model" and "Hash tags".)
pub(crate) fn slot_of(name: &str) -> u16 {
    let tagged = name
        .split_once('{')
        .and_then(|(_, behind)| behind.split_once('}'));
    let counted = match tagged {
        Some((tag, _)) if !tag.is_empty() => tag,
        _ => name,
    };
    crc16(counted.as_bytes()) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    let mut sum = 0_u16;
    for byte in bytes {
        sum ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            let carry = sum & 0x8000 != 0;
            sum <<= 1;
            if carry {
                sum ^= 0x1021;
            }
        }
    }
    sum
}

/// Who has which slots.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots {
    /// First slot, last slot, who has them; by the first.
    ranges: Vec<(u16, u16, Place)>,
}

impl Slots {
    /// Reads what a node answers to `CLUSTER SLOTS`; none if it is not of that form, or tells of no slot.
    ///
    /// A node that does not know by which name others reach it leaves its name out: it is the one by which it was asked.
    pub(crate) fn read(answer: Value, asked: &Place) -> Option<Self> {
        let Value::Array(ranges) = answer else {
            return None;
        };
        let ranges: Option<Vec<_>> = ranges.into_iter().map(|range| read_range(range, asked)).collect();
        let mut ranges = ranges?;
        ranges.sort();
        (!ranges.is_empty()).then_some(Self { ranges })
    }

    /// Who has a slot.
    pub(crate) fn owner(&self, slot: u16) -> Option<&Place> {
        let behind = self.ranges.partition_point(|(first, _, _)| *first <= slot);
        let (_, last, place) = self.ranges.get(behind.checked_sub(1)?)?;
        (slot <= *last).then_some(place)
    }

    /// All who have slots.
    pub(crate) fn places(&self) -> BTreeSet<&Place> {
        self.ranges.iter().map(|(_, _, place)| place).collect()
    }
}

/// First slot, last slot, the node that takes writes, and its replicas, which are of no use here.
fn read_range(range: Value, asked: &Place) -> Option<(u16, u16, Place)> {
    let Value::Array(parts) = range else { return None };
    let mut parts = parts.into_iter();
    let (first, last) = (slot(&parts.next()?)?, slot(&parts.next()?)?);
    let Some(Value::Array(node)) = parts.next() else {
        return None;
    };
    let mut node = node.into_iter();
    let host = match node.next()? {
        Value::BulkString(host) => String::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        Value::Nil => String::new(),
        _ => return None,
    };
    let Value::Int(port) = node.next()? else {
        return None;
    };
    (first <= last).then_some((first, last, reached(host, u16::try_from(port).ok()?, asked)))
}

fn slot(value: &Value) -> Option<u16> {
    let Value::Int(slot) = value else { return None };
    u16::try_from(*slot).ok().filter(|slot| *slot < SLOTS)
}

/// A node by the name that it has for others; by the one of who told where it has none.
fn reached(host: String, port: u16, told: &Place) -> Place {
    let is_unknown = host.is_empty() || host == "?";
    Place {
        host: if is_unknown { told.host.clone() } else { host },
        port,
    }
}

/// Where a node sends who asked it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// The slot is there from now on.
    Moved(Place),
    /// The slot is on its way there, and this name has left already.
    Ask(Place),
}

impl Redirect {
    /// Reads it from an error.
    pub(crate) fn of(error: &RedisError, told: &Place) -> Option<Self> {
        let (place, _) = error.redirect_node()?;
        let (host, port) = place.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let place = reached(host.to_owned(), port.parse().ok()?, told);
        Some(if error.code() == Some("ASK") {
            Self::Ask(place)
        } else {
            Self::Moved(place)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str, port: u16) -> Place {
        Place {
            host: host.into(),
            port,
        }
    }

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let node = Value::Array(vec![host, Value::Int(port), text("id")]);
        let replica = Value::Array(vec![text("replica"), Value::Int(1), text("id")]);
        Value::Array(vec![Value::Int(first), Value::Int(last), node, replica])
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        // The check value of CRC-16/XMODEM.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of("foo"), 12_182);
        assert_eq!(slot_of("bar"), 5_061);
        assert_eq!(slot_of("a{foo}b{bar}"), slot_of("foo"));
        assert_eq!(slot_of("foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of("foo{{bar}}"), slot_of("{bar"));
        assert_eq!(slot_of("foo{bar"), crc16(b"foo{bar") % SLOTS);
        assert_eq!(slot_of(""), 0);
    }

    #[test]
    fn who_has_what_is_read_and_holes_are_nobodys() {
        let told = place("seed", 7000);
        let answer = Value::Array(vec![
            range(8_000, 16_383, Value::Nil, 7001),
            range(0, 99, text("a"), 7002),
            range(200, 200, text("a"), 7002),
            range(300, 300, text(""), 7003),
        ]);
        let slots = Slots::read(answer, &told).unwrap();
        for (slot, owner) in [
            (0, Some(place("a", 7002))),
            (99, Some(place("a", 7002))),
            (100, None),
            (200, Some(place("a", 7002))),
            (201, None),
            (300, Some(place("seed", 7003))),
            (7_999, None),
            (16_383, Some(place("seed", 7001))),
        ] {
            assert_eq!(slots.owner(slot), owner.as_ref(), "{slot}");
        }
        assert_eq!(slots.places().len(), 3);
    }

    #[test]
    fn what_is_not_of_the_form_is_not_read() {
        let told = place("seed", 7000);
        for answer in [
            Value::Nil,
            Value::Array(vec![]),
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![Value::Array(vec![Value::Int(0)])]),
            Value::Array(vec![range(5, 4, text("a"), 1)]),
            Value::Array(vec![range(0, 16_384, text("a"), 1)]),
            Value::Array(vec![range(-1, 1, text("a"), 1)]),
            Value::Array(vec![range(0, 1, text("a"), 65_536)]),
            Value::Array(vec![range(0, 1, Value::Int(1), 1)]),
        ] {
            assert_eq!(Slots::read(answer.clone(), &told), None, "{answer:?}");
        }
    }

    #[test]
    fn redirections_are_followed_to_where_they_point() {
        let told = place("told", 7000);
        for (line, redirect) in [
            (
                "MOVED 1 10.0.0.1:7001",
                Some(Redirect::Moved(place("10.0.0.1", 7001))),
            ),
            ("ASK 1 ::1:7001", Some(Redirect::Ask(place("::1", 7001)))),
            ("MOVED 1 :7001", Some(Redirect::Moved(place("told", 7001)))),
            ("MOVED 1 ?:7001", Some(Redirect::Moved(place("told", 7001)))),
            ("MOVED 1", None),
            ("MOVED 1 a:b", None),
            ("READONLY you cannot", None),
        ] {
            let answer = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
            let error = answer.extract_error().unwrap_err();
            assert_eq!(Redirect::of(&error, &told), redirect, "{line}");
        }
    }
}
