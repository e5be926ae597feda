//! Where a change looks: every anchor under which an answer that it may touch can be filed.

use ci_model::json::scalar_text;
use ci_model::{CiChange, Column, Document, Image, RelationChange};
use serde_json::Value;

use super::anchors::{Anchors, DocumentKind, Walk, grams};
use super::graphs::{neighbours, turns};
use super::rules::Rule;
use super::verdict::is_inexact;
use crate::coherence::Anchor;

/// Slots that remember what was listed; twice as many as most changes have anchors.
const SLOTS: usize = 512;
/// Anchors up to which the slots are used; above, they would fill up.
const REMEMBERED: usize = SLOTS * 3 / 4;
/// Most scalars of one document that are listed; a larger document counts as one that is not known.
const SCALARS: usize = 256;
/// Longest path that a filter can have.
const DEPTH: usize = ci_model::limits::PATH_SEGMENTS;

/// Lists anchors once each. On the stack: probing runs under a lock and allocates nothing but the list's growth.
struct Sink<'a> {
    out: &'a mut Vec<Anchor>,
    start: usize,
    slots: [u64; SLOTS],
}

impl<'a> Sink<'a> {
    fn new(out: &'a mut Vec<Anchor>) -> Self {
        Self {
            start: out.len(),
            out,
            slots: [0; SLOTS],
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the top nine bits")]
    fn add(&mut self, anchor: Anchor) {
        if self.out.len() - self.start < REMEMBERED {
            let mut at = (anchor.0 >> (u64::BITS - SLOTS.trailing_zeros())) as usize;
            while self.slots[at] != 0 {
                if self.slots[at] == anchor.0 {
                    return;
                }
                at = (at + 1) % SLOTS;
            }
            self.slots[at] = anchor.0;
        }
        self.out.push(anchor);
    }

    /// Ends the list: a long one is sorted to find what is in it twice.
    fn finish(self) {
        if self.out.len() - self.start >= REMEMBERED {
            let mut own = self.out.split_off(self.start);
            own.sort_unstable();
            own.dedup();
            self.out.append(&mut own);
        }
    }
}

/// See [`crate::coherence::Domain::probe`].
pub(super) fn ci(anchors: Anchors, change: &CiChange, out: &mut Vec<Anchor>) {
    let mut sink = Sink::new(out);
    sink.add(anchors.any());
    sink.add(anchors.id(change.id));
    if turns(change) {
        sink.add(anchors.every_turn());
        match neighbours(change) {
            Some(neighbours) => neighbours.iter().for_each(|id| sink.add(anchors.id(*id))),
            None => sink.add(anchors.unknown_neighbours()),
        }
    }
    let old = change.old.as_ref().filter(|_| !Rule::OldImageProbed.is_broken());
    let new = change.new.as_ref().filter(|_| !Rule::NewImageProbed.is_broken());
    match (old, new) {
        (Some(old), Some(new)) => {
            row(anchors, new, None, &mut sink);
            row(anchors, old, Some(new), &mut sink);
        }
        (Some(only), None) | (None, Some(only)) => row(anchors, only, None, &mut sink),
        (None, None) => {}
    }
    sink.finish();
}

/// See [`crate::coherence::Domain::probe`].
pub(super) fn relation(anchors: Anchors, change: &RelationChange, out: &mut Vec<Anchor>) {
    let mut sink = Sink::new(out);
    sink.add(anchors.everywhere());
    for relation in [&change.old, &change.new].into_iter().flatten() {
        sink.add(anchors.id(relation.from));
        sink.add(anchors.id(relation.to));
        sink.add(anchors.everywhere_of_type(relation.rel_type.as_str()));
    }
    sink.finish();
}

/// The anchors of a row; `but` is one that was listed already.
fn row(anchors: Anchors, row: &Image, but: Option<&Image>, sink: &mut Sink<'_>) {
    if but.is_none_or(|but| but.code != row.code) {
        sink.add(anchors.code(&row.code));
    }
    for (column, value) in columns(row) {
        if let Some(value) = value {
            sink.add(anchors.column(column, value));
        }
    }
    if let Some(value) = row.criticality {
        sink.add(anchors.criticality(value));
    }
    texts(anchors, row, but, sink);
    if but.is_none_or(|but| but.tags != row.tags) {
        document(anchors, DocumentKind::Tags, row.tags.as_ref(), sink);
    }
    if but.is_none_or(|but| but.attributes != row.attributes) {
        document(anchors, DocumentKind::Attributes, row.attributes.as_ref(), sink);
    }
}

fn columns(row: &Image) -> [(Column, Option<&str>); 6] {
    [
        (Column::CiType, Some(&row.ci_type)),
        (Column::CiSubtype, row.subtype.as_deref()),
        (Column::CiCategory, row.category.as_deref()),
        (Column::Status, row.status.as_deref()),
        (Column::Location, row.location.as_deref()),
        (Column::Owner, row.owner.as_deref()),
    ]
}

/// The pieces of the search text, of the columns that are not the same as the other row's.
fn texts(anchors: Anchors, row: &Image, but: Option<&Image>, sink: &mut Sink<'_>) {
    let mut each = |text: &str| grams(text, |gram| sink.add(anchors.gram(gram)));
    if Rule::TrigramsAreFolded.is_broken() {
        each(&row.code);
        each(&row.name);
        return;
    }
    match but {
        None => each(row.search_text()),
        Some(but) if but.search_text() == row.search_text() => {}
        // Column by column; where one of them has the separator in it, they are compared with another's, and differ.
        Some(but) => {
            let mut others = but.search_text().split('\u{1f}');
            for column in row.search_text().split('\u{1f}') {
                if others.next() != Some(column) {
                    each(column);
                }
            }
        }
    }
}

/// The scalars of a document, each with its path.
fn document(anchors: Anchors, kind: DocumentKind, document: Option<&Document>, sink: &mut Sink<'_>) {
    let mut left = SCALARS;
    let told =
        document.is_some_and(|document| scalars(document, &anchors.walk(kind), DEPTH, &mut left, sink));
    if !told && !Rule::UnknownIsProbed.is_broken() {
        sink.add(anchors.unknown_documents());
    }
}

/// Lists the scalars of a document as long as any are left; says whether all of it was told.
fn scalars(document: &Document, walk: &Walk, depth: usize, left: &mut usize, sink: &mut Sink<'_>) -> bool {
    let mut told = true;
    for (key, value) in document {
        if *left == 0 {
            return false;
        }
        let walk = walk.step(key);
        let anchor = match value {
            Value::Object(inner) => {
                told &= depth <= 1 || scalars(inner, &walk, depth - 1, left, sink);
                continue;
            }
            Value::String(text) => walk.value(text),
            value if is_inexact(value) => {
                told = false;
                continue;
            }
            value => match scalar_text(value) {
                Some(text) => walk.value(&text),
                None => continue,
            },
        };
        *left -= 1;
        sink.add(anchor);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ci::matching::anchors::Seeds;
    use ci_model::{CiId, TenantId};
    use serde_json::json;

    fn anchors() -> Anchors {
        Seeds::random().of(&TenantId::new("acme").unwrap())
    }

    fn change(old: Image, new: Image) -> CiChange {
        CiChange {
            tenant: TenantId::new("acme").unwrap(),
            id: CiId("0189d7a4-1111-4222-8333-444455556666".parse().unwrap()),
            old: Some(old),
            new: Some(new),
            neighbours: Some(Vec::new()),
        }
    }

    fn image(name: &str, tags: &Value) -> Image {
        let mut image = Image::new("app-erp-01".into(), name.into(), "SW".into());
        image.tags = tags.as_object().cloned();
        image.attributes = Some(Document::new());
        image
    }

    fn probed(anchors: Anchors, change: &CiChange) -> Vec<Anchor> {
        let mut out = vec![anchors.any()];
        ci(anchors, change, &mut out);
        assert_eq!(out.remove(0), anchors.any(), "what is in the list stays");
        out
    }

    #[test]
    fn both_images_are_listed_and_nothing_twice() {
        let anchors = anchors();
        let tags = json!({"role": "db", "deep": {"n": 8, "on": true, "list": ["x"], "none": null}});
        for (old, new) in [
            ("ERP app 01", "ERP app 02"),
            ("same", "same"),
            ("aaaaaaaa", "\u{1f}aaaa"),
            (&"0123456789abcdef".repeat(30), &"xyz-größe".repeat(50)),
        ] {
            let found = probed(anchors, &change(image(old, &tags), image(new, &json!({}))));
            let mut once = found.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), found.len(), "{old}");
            let walk = anchors.walk(DocumentKind::Tags);
            let deep = walk.step("deep");
            let mut expected = vec![
                walk.step("role").value("db"),
                deep.step("n").value("8"),
                deep.step("on").value("true"),
                anchors.code("app-erp-01"),
                anchors.column(Column::CiType, "SW"),
            ];
            for name in [old, new] {
                grams(&ci_model::fold::fold(name), |gram| {
                    expected.push(anchors.gram(gram));
                });
            }
            assert!(expected.iter().all(|anchor| found.contains(anchor)), "{old}");
            assert!(!found.contains(&anchors.unknown_documents()));
        }
    }

    #[test]
    fn a_document_that_cannot_be_told_is_one_that_is_not_known() {
        let anchors = anchors();
        let wide: Document = (0..=SCALARS).map(|n| (n.to_string(), json!(n))).collect();
        for (tags, known) in [
            (json!({"a": {"b": 0.5}}), false),
            (json!({"a": 1e40}), false),
            (Value::Object(wide), false),
            (Value::Null, false),
            (json!({"a": [0.5], "b": null}), true),
        ] {
            let found = probed(anchors, &change(image("n", &json!({})), image("n", &tags)));
            assert_eq!(!found.contains(&anchors.unknown_documents()), known, "{tags}");
            assert!(found.len() < SCALARS + 50);
        }
    }
}
