//! Bodies as they were sent: an answer of the same values is not encoded a second time.
//!
//! The runner's cache decides what is true; this one only remembers what its answers look like as JSON. A body is kept under the path and
//! query that were asked, with the values that it was made of, and is sent again only while the runner answers with those very values: the
//! same allocations, whose places are held here (not what is in them), so nothing else can have come to lie where they were. Therefore nothing here has ever to be
//! invalidated, and a body that is no longer true is one that nobody finds any more; it leaves when room is needed.

use std::any::Any;
use std::sync::{Arc, Weak};

use axum::http::HeaderValue;
use bytes::Bytes;
use ci_cache_core::{Cache, SystemClock};
use ci_model::{CiSummary, Fingerprint, Row};
use serde::Serialize;

/// What a body is made of, beside the path and query: the same parts make the same body.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// A value of the runner's cache: the same as long as it is the same allocation.
    Shared(Arc<dyn Any + Send + Sync>),
    /// Rows of a search, likewise.
    Rows(Arc<[CiSummary]>),
    /// A number that was taken out of such a value.
    Number(Option<u64>),
    /// Fields of rows that were read beside the answer, compared by what they say.
    Fields(Vec<Row>),
}

impl Part {
    /// A value of the runner's cache.
    pub(crate) fn of<T: Any + Send + Sync>(value: &Arc<T>) -> Self {
        Self::Shared(Arc::clone(value) as Arc<dyn Any + Send + Sync>)
    }
}

/// What is kept of a part: enough to know it again. A weak pointer keeps the place of a value that is gone, so that no other value has its
/// address, but not what the value held.
#[derive(Debug)]
enum Known {
    Shared(Weak<dyn Any + Send + Sync>),
    Rows(Weak<[CiSummary]>),
    Number(Option<u64>),
    Fields(Vec<Row>),
}

impl From<&Part> for Known {
    fn from(part: &Part) -> Self {
        match part {
            Part::Shared(value) => Self::Shared(Arc::downgrade(value)),
            Part::Rows(rows) => Self::Rows(Arc::downgrade(rows)),
            Part::Number(number) => Self::Number(*number),
            Part::Fields(rows) => Self::Fields(rows.clone()),
        }
    }
}

impl Known {
    fn is(&self, part: &Part) -> bool {
        match (self, part) {
            // The types of both are the same wherever the path is, so there is nothing but the address to compare.
            (Self::Shared(one), Part::Shared(two)) => std::ptr::addr_eq(one.as_ptr(), Arc::as_ptr(two)),
            (Self::Rows(one), Part::Rows(two)) => std::ptr::addr_eq(one.as_ptr(), Arc::as_ptr(two)),
            (Self::Number(one), Part::Number(two)) => one == two,
            (Self::Fields(one), Part::Fields(two)) => one == two,
            _ => false,
        }
    }
}

/// A body, and how it is told from others.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    /// A strong validator: bodies with the same one are the same, byte for byte.
    pub(crate) etag: HeaderValue,
}

impl Encoded {
    /// Encodes a body.
    ///
    /// # Errors
    /// What cannot be JSON, which no answer is.
    pub(crate) fn new(body: &impl Serialize) -> Result<Self, serde_json::Error> {
        let bytes = serde_json::to_vec(body)?;
        let etag = Fingerprint::of(&bytes);
        Ok(Self {
            bytes: bytes.into(),
            // Hexadecimal digits between quotes, which a header may always have.
            etag: HeaderValue::try_from(format!("\"{etag}\""))
                .unwrap_or_else(|_| HeaderValue::from_static("")),
        })
    }
}

/// The bodies that are kept. Cloning copies a pointer.
#[derive(Debug, Clone)]
pub(crate) struct Bodies(Option<Arc<Kept>>);

type Kept = Cache<Box<str>, Arc<(Vec<Known>, Encoded)>>;

impl Bodies {
    /// Room for so many bytes of bodies; none keeps nothing.
    pub(crate) fn new(bytes: u64) -> Self {
        if bytes == 0 {
            return Self(None);
        }
        let room = usize::try_from(bytes).unwrap_or(usize::MAX);
        let builder = Kept::builder(room, Arc::new(SystemClock::new()));
        let builder = builder.weigher(|path, body| weight(path, body));
        Self(builder.build().ok().map(Arc::new))
    }

    /// Gives the body of an answer of these parts, from memory if that is how it was sent before.
    ///
    /// # Errors
    /// Those of encoding it.
    pub(crate) fn get<B: Serialize>(
        &self,
        path: &str,
        parts: &[Part],
        body: impl FnOnce() -> B,
    ) -> Result<Encoded, serde_json::Error> {
        let Some(kept) = &self.0 else {
            return Encoded::new(&body());
        };
        let known = kept.get_with(path, |kept| {
            let (known, encoded) = &**kept;
            let is_same =
                known.len() == parts.len() && known.iter().zip(parts).all(|(known, part)| known.is(part));
            is_same.then(|| encoded.clone())
        });
        if let Some(Some(known)) = known {
            return Ok(known);
        }
        let encoded = Encoded::new(&body())?;
        let known = parts.iter().map(Known::from).collect();
        kept.insert(path.into(), Arc::new((known, encoded.clone())));
        Ok(encoded)
    }
}

/// What a body takes, in bytes, with its path and about what there is around it.
fn weight(path: &str, body: &Arc<(Vec<Known>, Encoded)>) -> u32 {
    const AROUND: usize = 128;
    let (parts, encoded) = &**body;
    let of = |known: &Known| match known {
        // The place of the value that it keeps from being used for another.
        Known::Shared(_) => 256,
        Known::Rows(rows) => rows.upgrade().map_or(0, |rows| size_of_val(&*rows)),
        Known::Number(_) => 0,
        // Values of JSON take about four times what their text does, which is a part of the body.
        Known::Fields(_) => encoded.bytes.len() * 4,
    };
    let parts: usize = parts.iter().map(|known| size_of::<Known>() + of(known)).sum();
    let all = path.len() + encoded.bytes.len() + parts + AROUND;
    u32::try_from(all).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(bodies: &Bodies, parts: &[Part], body: &str) -> String {
        let encoded = bodies.get("/a", parts, || body).unwrap();
        String::from_utf8(encoded.bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_body_is_sent_again_for_the_same_values_alone() {
        let bodies = Bodies::new(1 << 20);
        let (one, two) = (Arc::new(1), Arc::new(1));
        assert_eq!(get(&bodies, &[Part::of(&one)], "first"), "\"first\"");
        assert_eq!(get(&bodies, &[Part::of(&one)], "not encoded"), "\"first\"");
        // Equal, but another value: it may have been loaded since.
        assert_eq!(get(&bodies, &[Part::of(&two)], "second"), "\"second\"");
        assert_eq!(get(&bodies, &[Part::of(&one)], "third"), "\"third\"");
        let parts = [Part::of(&one), Part::Number(Some(1))];
        assert_eq!(get(&bodies, &parts, "fourth"), "\"fourth\"");
        assert_eq!(get(&bodies, &parts, "not encoded"), "\"fourth\"");
        let parts = [Part::of(&one), Part::Number(Some(2))];
        assert_eq!(get(&bodies, &parts, "fifth"), "\"fifth\"");
    }

    #[test]
    fn without_room_everything_is_encoded() {
        let (bodies, one) = (Bodies::new(0), Arc::new(1));
        assert_eq!(get(&bodies, &[Part::of(&one)], "first"), "\"first\"");
        assert_eq!(get(&bodies, &[Part::of(&one)], "second"), "\"second\"");
    }

    #[test]
    fn the_same_bytes_have_the_same_validator() {
        let etag = |body: &str| Encoded::new(&body).unwrap().etag;
        assert_eq!(etag("a"), etag("a"));
        assert_ne!(etag("a"), etag("b"));
        assert!(etag("a").to_str().unwrap().starts_with('"'));
    }
}
