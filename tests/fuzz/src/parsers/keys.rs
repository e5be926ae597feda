//! Keys: two questions have one key exactly if they are the same question of the same tenant, and a key reads back as its question.

use ci_model::{Key, KeywordMode, Question, TenantId};

use super::Defect;
use super::questions::{Parts, tenant};
use crate::bytes::Bytes;

/// Compares keys of two questions, or reads a key that was changed, or bytes that are none.
pub(super) fn check(bytes: &mut Bytes<'_>, planted: Option<Defect>) {
    let choice = bytes.byte() % 8;
    if choice == 0 {
        reads_only_keys(bytes.rest());
        return;
    }
    let (one, theirs) = (tenant(bytes.byte()), tenant(bytes.byte()));
    let parts = Parts::draw(bytes);
    let Some(first) = parts.question() else { return };
    let key = made(&one, &first, planted);
    assert_eq!(key.tenant(), one.as_str());
    assert_eq!(key.short().len(), 8);
    reads_back(&one, &first, &key);
    match choice {
        1 => damaged(&key, bytes),
        2 => {
            let again = parts.told_otherwise().question();
            assert!(
                again.is_some_and(|again| is_same(&first, &again) && made(&one, &again, planted) == key),
                "{parts:?}"
            );
        }
        _ => {
            let Some(second) = Parts::draw(bytes).question() else {
                return;
            };
            let other = made(&theirs, &second, planted);
            let same = one == theirs && is_same(&first, &second);
            assert_eq!(
                key == other,
                same,
                "{first:?} of {one} and {second:?} of {theirs}"
            );
            assert_eq!(key.as_bytes() == other.as_bytes(), same);
        }
    }
}

fn made(of: &TenantId, question: &Question, planted: Option<Defect>) -> Key {
    match (planted, question) {
        (Some(Defect::KeysForgetDeleted), Question::Get(get)) => {
            Key::new(of, &get.clone().include_deleted(false).into())
        }
        (Some(Defect::KeysForgetTheTenant), _) => Key::new(&tenant(0), question),
        _ => Key::new(of, question),
    }
}

/// What is the same question by its parts. An expansion's view is a name for the parts beside it.
fn is_same(one: &Question, other: &Question) -> bool {
    match (one, other) {
        (Question::Expand(one), Question::Expand(other)) => {
            one.roots() == other.roots()
                && (one.depth(), one.direction(), one.rel_types())
                    == (other.depth(), other.direction(), other.rel_types())
                && (one.max_nodes(), one.max_edges()) == (other.max_nodes(), other.max_edges())
                && one.admitted() == other.admitted()
        }
        _ => one == other,
    }
}

/// Every question reads back but the broad form of a search, which nobody asks by itself.
fn reads_back(of: &TenantId, question: &Question, key: &Key) {
    let selection = match question {
        Question::Search(search) => Some(search.selection()),
        Question::Aggregate(aggregate) => Some(aggregate.selection()),
        _ => None,
    };
    let is_broad = selection.is_some_and(|selection| selection.mode() == KeywordMode::Any);
    match Key::read(key.as_bytes()) {
        Some((tenant, read)) => assert!(
            tenant == *of && is_same(&read, question),
            "{read:?} for {question:?}"
        ),
        None => assert!(is_broad, "{question:?} does not read back"),
    }
}

/// A key with a byte changed, or cut.
fn damaged(key: &Key, bytes: &mut Bytes<'_>) {
    let mut other = key.as_bytes().to_vec();
    let at = usize::from(bytes.byte()) % other.len();
    if bytes.byte().is_multiple_of(4) {
        other.truncate(at);
    } else {
        other[at] = bytes.byte();
    }
    other.extend_from_slice(bytes.take(8));
    reads_only_keys(&other);
}

/// What reads as a key is the key of what it reads as.
fn reads_only_keys(bytes: &[u8]) {
    if let Some((tenant, question)) = Key::read(bytes) {
        assert_eq!(Key::new(&tenant, &question).as_bytes(), bytes);
    }
}
