//! Cursors: where a page of a search ended, so that the next one begins right after it.
//!
//! A page after a cursor is found by the order itself, not by counting: rows that come or go before it shift nothing, and the
//! thousandth page costs what the first does.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::search::{Order, Search, SortColumn};
use crate::fold::fold;
use crate::{CiId, CiSummary, Error, sealed};

/// Version of the text's form.
const FORMAT: u8 = 1;

/// A CI's place in the order of a search: by rank, then by value, absent ones last, then by id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    pub(super) rank: u8,
    pub(super) value: Option<String>,
    pub(super) id: CiId,
}

impl Place {
    /// The rank, by the search's [`Ranking`](crate::Ranking).
    pub fn rank(&self) -> u8 {
        self.rank
    }

    /// The value of the column that is sorted by; none where it is absent.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// The CI.
    pub fn id(&self) -> CiId {
        self.id
    }
}

/// Where a page of one search ended. Callers keep its text and give it back for the next page.
///
/// The text is opaque and has a version. It is refused when a single bit of it was changed, and by every other search than the one
/// it was made for; another limit is fine. It names no tenant and grants nothing: whoever makes one up chooses a place to begin, no
/// more. It holds the last row's sort value in a readable form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Of the search, without its limit and start.
    question: u64,
    place: Place,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&self.question.to_le_bytes());
        bytes.extend_from_slice(self.place.id.0.as_bytes());
        bytes.extend([self.place.rank, u8::from(self.place.value.is_some())]);
        bytes.extend_from_slice(self.place.value.as_deref().unwrap_or_default().as_bytes());
        sealed::write(f, &bytes)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    /// Cost: linear in the text.
    fn from_str(text: &str) -> Result<Self, Error> {
        // One text per cursor.
        decode(text)
            .filter(|cursor| cursor.to_string() == text)
            .ok_or_else(|| Error::value("cursor", "a cursor as it came with an answer"))
    }
}

fn decode(text: &str) -> Option<Cursor> {
    let bytes = sealed::read(text)?;
    let (format, rest) = bytes.split_first()?;
    let (question, rest) = rest.split_first_chunk::<8>()?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let ([rank, has_value], value) = rest.split_first_chunk::<2>()?;
    // No database has a NUL in a text that it sorts by.
    let value = std::str::from_utf8(value)
        .ok()
        .filter(|value| !value.contains('\0'))?;
    let value = match has_value {
        0 if value.is_empty() => None,
        1 => Some(value.to_owned()),
        _ => return None,
    };
    (*format == FORMAT).then(|| Cursor {
        question: u64::from_le_bytes(*question),
        place: Place {
            rank: *rank,
            value,
            id: CiId(Uuid::from_bytes(*id)),
        },
    })
}

impl Search {
    /// The same search, for what comes after a cursor: a question of its own.
    ///
    /// # Errors
    /// [`Error::ForeignCursor`] when the cursor was made for another search.
    pub fn after(&self, cursor: &Cursor) -> Result<Self, Error> {
        let fits = cursor.question == self.fingerprint()
            && cursor.place.rank <= self.ranking().last()
            && (cursor.place.value.is_some() || self.sort().column.may_be_absent());
        if !fits {
            return Err(Error::ForeignCursor);
        }
        let mut search = self.clone();
        search.start = Some(cursor.place.clone());
        Ok(search)
    }

    /// The same search for what comes after a place of its order; none if it has no such place.
    pub(crate) fn after_place(&self, rank: u8, value: Option<String>, id: CiId) -> Option<Self> {
        let place = Place { rank, value, id };
        let question = self.fingerprint();
        self.after(&Cursor { question, place }).ok()
    }

    /// The cursor after this answer's last row; none when there are no more rows than these. After a full page there may turn out to
    /// be none, either.
    pub fn next_cursor(&self, rows: &[CiSummary]) -> Option<Cursor> {
        let last = rows.last().filter(|_| rows.len() >= self.limit() as usize)?;
        Some(self.cursor_at(last))
    }

    /// The cursor after a row, whether the search finds it or not.
    pub fn cursor_at(&self, row: &CiSummary) -> Cursor {
        Cursor {
            question: self.fingerprint(),
            place: self.place_of(row),
        }
    }

    /// Where a row stands in the order.
    pub fn place_of(&self, row: &CiSummary) -> Place {
        let rank = if self.ranking().is_plain() {
            0
        } else {
            self.ranking()
                .rank(&fold(row.ci_code.as_str()), &fold(&row.ci_name))
        };
        let value = match self.sort().column {
            SortColumn::CiCode => Some(row.ci_code.as_str()),
            SortColumn::CiName => Some(row.ci_name.as_str()),
            SortColumn::CiType => Some(row.ci_type.as_str()),
            SortColumn::CiSubtype => row.ci_subtype.as_deref(),
            SortColumn::CiCategory => row.ci_category.as_deref(),
        };
        Place {
            rank,
            value: value.map(str::to_owned),
            id: row.ci_id,
        }
    }

    /// Tells which of two places comes first.
    pub fn compare(&self, one: &Place, other: &Place) -> Ordering {
        let by_value = match (&one.value, &other.value) {
            (Some(one), Some(other)) if self.sort().order == Order::Descending => other.cmp(one),
            (Some(one), Some(other)) => one.cmp(other),
            (one, other) => one.is_none().cmp(&other.is_none()),
        };
        let by_rank = one.rank.cmp(&other.rank);
        by_rank.then(by_value).then_with(|| one.id.cmp(&other.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CiCode;

    fn row(code: &str, subtype: Option<&str>) -> CiSummary {
        CiSummary {
            ci_id: "0189d7a4-1111-4222-8333-444455556666".parse().unwrap(),
            ci_code: CiCode::new(code).unwrap(),
            ci_name: "Größe".into(),
            ci_type: "SW".into(),
            ci_subtype: subtype.map(Into::into),
            ci_category: None,
            status: None,
            location: None,
            owner: None,
        }
    }

    fn search(sort: &str, keyword: &str) -> Search {
        let search = Search::builder()
            .keyword(keyword)
            .ranked()
            .sort(sort.parse().unwrap());
        search.limit(1).build().unwrap()
    }

    #[test]
    fn a_cursor_survives_its_text_and_begins_after_its_row() {
        for (sort, subtype, value) in [
            ("ci_code", None, Some("DB-1")),
            ("ci_name:desc", None, Some("Größe")),
            ("ci_subtype", None, None),
            ("ci_subtype", Some(""), Some("")),
        ] {
            let search = search(sort, "db");
            let cursor = search.next_cursor(&[row("DB-1", subtype)]).unwrap();
            let read: Cursor = cursor.to_string().parse().unwrap();
            assert_eq!(read, cursor);
            let next = search.after(&read).unwrap();
            let start = next.start().unwrap();
            assert_eq!((start.rank(), start.value()), (2, value));
            assert_eq!(start.id(), row("DB-1", None).ci_id);
            // From page to page the cursor is of one search, whatever the limit.
            assert_eq!(next.cursor_at(&row("DB-1", subtype)), cursor);
            assert_eq!(next.broadened(), None);
        }
        assert_eq!(search("ci_code", "db").next_cursor(&[]), None);
    }

    #[test]
    fn every_flipped_bit_and_every_other_search_is_refused() {
        let cursor = search("ci_code", "db").cursor_at(&row("db-1", None));
        let text = cursor.to_string();
        for at in 0..text.len() {
            for bit in 0..7 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                if let Ok(other) = String::from_utf8(bytes) {
                    assert!(other.parse::<Cursor>().is_err(), "{other}");
                }
            }
        }
        for wrong in [
            "",
            "00",
            "é",
            &text[2..],
            &text.to_uppercase(),
            &format!("{text}00"),
        ] {
            assert!(matches!(wrong.parse::<Cursor>(), Err(Error::InvalidValue { .. })));
        }
        for other in [
            search("ci_code:desc", "db"),
            search("ci_name", "db"),
            search("ci_code", "d"),
        ] {
            assert_eq!(other.after(&cursor), Err(Error::ForeignCursor));
        }
        let builder = || Search::builder().keyword("db");
        let plain = builder().build().unwrap();
        assert_eq!(plain.after(&cursor), Err(Error::ForeignCursor));
        let deleted = builder().ranked().include_deleted(true).build().unwrap();
        assert_eq!(deleted.after(&cursor), Err(Error::ForeignCursor));
        let more = builder().ranked().limit(50).build().unwrap();
        assert!(more.after(&cursor).is_ok());
        // Made up: a rank that there is not, a value that cannot be absent.
        let mut forged = cursor.clone();
        forged.place.rank = 5;
        assert_eq!(more.after(&forged), Err(Error::ForeignCursor));
        forged = cursor;
        forged.place.value = None;
        assert_eq!(more.after(&forged), Err(Error::ForeignCursor));
    }

    #[test]
    fn places_are_ordered_by_rank_value_and_id() {
        let search = search("ci_subtype:desc", "db");
        let place = |code, subtype| search.place_of(&row(code, subtype));
        let mut places = [
            place("x", None),
            place("x", Some("a")),
            place("x", Some("b")),
            place("DB", None),
        ];
        places.sort_by(|a, b| search.compare(a, b));
        let values: Vec<_> = places.iter().map(|place| (place.rank, place.value())).collect();
        assert_eq!(values, [(0, None), (4, Some("b")), (4, Some("a")), (4, None)]);
    }
}
