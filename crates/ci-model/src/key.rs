//! The canonical key of a question: tenant first, then everything that decides the answer, and nothing else.
//!
//! A key is the whole question in bytes, not a hash of it: two questions share a key exactly when they have the same
//! answer by construction, and no collision can ever mix two tenants or two questions. Every part is length-prefixed,
//! so no choice of texts can imitate another key.
//!
//! ```text
//! format | tenant | kind | parts of the kind
//! ```

use std::fmt;
use std::sync::Arc;

use crate::filter::{Condition, Filter, Value};
use crate::{
    Aggregate, CiRef, Direction, Expand, Field, Get, List, ListOrder, Path, Question, RelationType, Search,
};
use crate::{KeywordMode, Order, Ranking, Selection, TenantId, sealed};

/// Version of the byte format; a change makes every older key another key.
const FORMAT: u8 = 1;
/// Where the tenant's length stands, after the format.
const TENANT_AT: usize = 1;
/// What a list's last byte says: that it is in the order of changes,
pub(crate) const UPDATED: u8 = 1;
/// and that its total is not wanted.
pub(crate) const NO_TOTAL: u8 = 2;
const LENGTH_BYTES: usize = 4;

/// The canonical key of one tenant's question. Cloning copies a pointer; comparing compares all bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// Makes the key of a tenant's question.
    ///
    /// Cost: one pass over the question, two allocations.
    pub fn new(tenant: &TenantId, question: &Question) -> Self {
        let mut writer = Writer(Vec::with_capacity(96));
        writer.byte(FORMAT);
        writer.text(tenant.as_str());
        writer.byte(question.kind() as u8);
        match question {
            Question::Get(get) => writer.get(get),
            Question::Search(search) => writer.search(search),
            Question::List(list) => writer.list(list),
            Question::Aggregate(aggregate) => writer.aggregate(aggregate),
            Question::Expand(expand) => writer.expand(expand),
            Question::Path(path) => writer.path(path),
        }
        Self(writer.0.into())
    }

    /// The whole key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The tenant's name, as it stands in the key.
    pub fn tenant(&self) -> &str {
        let start = TENANT_AT + LENGTH_BYTES;
        let length = self
            .0
            .get(TENANT_AT..start)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_le_bytes);
        length
            .and_then(|length| self.0.get(start..start + length as usize))
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }

    /// Eight hexadecimal digits for people to tell entries apart: the same in every process, not unique.
    pub fn short(&self) -> String {
        // 64 bits, folded to 32; for display only.
        let hash = sealed::checksum(&self.0);
        format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
    }
}

impl fmt::Debug for Key {
    /// Shows the short form: a key holds keywords and filter values, which do not belong into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.short())
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A number that tells what a search finds and in which order, its limit and start apart: the same in every process and for every
/// tenant.
pub(crate) fn fingerprint(search: &Search) -> u64 {
    let mut writer = Writer(Vec::with_capacity(96));
    writer.byte(FORMAT);
    writer.found(search);
    writer.ranking(search.ranking());
    sealed::checksum(&writer.0)
}

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn number(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn length(&mut self, length: usize) {
        // Every text and list is bounded far below this by its construction.
        self.number(u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn texts(&mut self, texts: &[String]) {
        self.length(texts.len());
        texts.iter().for_each(|text| self.text(text));
    }

    fn reference(&mut self, target: &CiRef) {
        match target {
            CiRef::Id(id) => {
                self.byte(0);
                self.0.extend_from_slice(id.0.as_bytes());
            }
            CiRef::Code(code) => {
                self.byte(1);
                self.text(code.as_str());
            }
        }
    }

    fn field(&mut self, field: &Field) {
        match field {
            Field::Column(column) => {
                self.byte(0);
                self.byte(*column as u8);
            }
            Field::Tag(path) => {
                self.byte(1);
                self.texts(path.segments());
            }
            Field::Attribute(path) => {
                self.byte(2);
                self.texts(path.segments());
            }
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Text(text) => {
                self.byte(0);
                self.text(text);
            }
            Value::Criticality(criticality) => {
                self.byte(1);
                self.byte(criticality.get());
            }
            Value::Moment(moment) => {
                self.byte(2);
                self.0.extend_from_slice(&moment.as_micros().to_le_bytes());
            }
            Value::Number(number) => {
                self.byte(3);
                self.0.extend_from_slice(&number.to_le_bytes());
            }
        }
    }

    fn filter(&mut self, filter: &Filter) {
        self.field(filter.field());
        match filter.condition() {
            Condition::Compare(operator, value) => {
                self.byte(0);
                self.byte(*operator as u8);
                self.value(value);
            }
            Condition::Contains(text) => {
                self.byte(1);
                self.text(text);
            }
            Condition::In(values) => {
                self.byte(2);
                self.length(values.len());
                values.iter().for_each(|value| self.value(value));
            }
            Condition::Exists(yes) => {
                self.byte(3);
                self.byte(u8::from(*yes));
            }
            Condition::NotContains(text) => {
                self.byte(4);
                self.text(text);
            }
            Condition::NotIn(values) => {
                self.byte(5);
                self.length(values.len());
                values.iter().for_each(|value| self.value(value));
            }
        }
    }

    fn selection(&mut self, selection: &Selection) {
        self.byte(u8::from(selection.include_deleted()));
        self.byte(u8::from(selection.mode() == KeywordMode::Any));
        self.texts(selection.keywords());
        self.length(selection.filters().len());
        selection.filters().iter().for_each(|filter| self.filter(filter));
    }

    fn rel_types(&mut self, types: &[RelationType]) {
        self.length(types.len());
        types.iter().for_each(|kind| self.text(kind.as_str()));
    }

    fn direction(&mut self, direction: Direction) {
        self.byte(direction as u8);
    }

    fn get(&mut self, get: &Get) {
        self.byte(u8::from(get.includes_deleted()));
        self.reference(get.target());
    }

    fn found(&mut self, search: &Search) {
        self.selection(search.selection());
        self.byte(search.sort().column as u8);
        self.byte(u8::from(search.sort().order == Order::Descending));
    }

    fn ranking(&mut self, ranking: &Ranking) {
        match ranking {
            Ranking::Plain => self.length(0),
            Ranking::ExactFirst(first) => self.texts(first),
            // After no identifiers, so that the keys of other searches stayed as they were before there was this.
            Ranking::ByMatch(text) => {
                self.length(0);
                self.byte(1);
                self.text(text);
            }
        }
    }

    fn search(&mut self, search: &Search) {
        self.found(search);
        self.number(search.limit());
        self.ranking(search.ranking());
        if let Some(start) = search.start() {
            self.byte(2);
            self.byte(start.rank());
            self.byte(u8::from(start.value().is_some()));
            self.text(start.value().unwrap_or_default());
            self.0.extend_from_slice(start.id().0.as_bytes());
        }
    }

    fn list(&mut self, list: &List) {
        self.selection(list.selection());
        self.number(list.limit());
        self.number(list.offset());
        // At the end, so that the keys of usual lists stayed as they were before there were others.
        let order = match list.order() {
            ListOrder::Created => 0,
            ListOrder::Updated => UPDATED,
        };
        let flags = order | if list.has_total() { 0 } else { NO_TOTAL };
        if flags != 0 {
            self.byte(flags);
        }
    }

    fn aggregate(&mut self, aggregate: &Aggregate) {
        self.selection(aggregate.selection());
        self.length(aggregate.group_by().len());
        aggregate.group_by().iter().for_each(|field| self.field(field));
        match aggregate.distinct() {
            Some(distinct) => {
                self.byte(1);
                self.field(distinct.field());
            }
            None => self.byte(0),
        }
        self.number(aggregate.limit());
    }

    fn expand(&mut self, expand: &Expand) {
        let [first, others @ ..] = expand.roots() else {
            // Nobody can ask for that.
            return;
        };
        self.reference(first);
        // The view itself is left out: the answer depends only on what the view stands for.
        self.byte(expand.depth());
        self.direction(expand.direction());
        self.rel_types(expand.rel_types());
        self.number(expand.max_nodes());
        self.number(expand.max_edges());
        self.byte(u8::from(expand.includes_deleted()));
        // At the end and only where they are, so that the keys of one root without filters stayed as they were.
        let filters = expand.admitted().filters();
        if !others.is_empty() || !filters.is_empty() {
            self.length(others.len());
            others.iter().for_each(|root| self.reference(root));
            filters.iter().for_each(|filter| self.filter(filter));
        }
    }

    fn path(&mut self, path: &Path) {
        self.reference(path.from());
        self.reference(path.to());
        self.byte(path.max_hops());
        self.direction(path.direction());
        self.rel_types(path.rel_types());
        // At the end, so that the keys of one path stayed as they were.
        if path.most() > 1 {
            self.byte(path.most());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CiCode, View};

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn search(keywords: &[&str], filters: &[&str]) -> Question {
        let filters = filters.iter().map(|f| Filter::parse(f).unwrap());
        Search::builder()
            .keywords(keywords.iter().copied())
            .filters(filters)
            .build()
            .unwrap()
            .into()
    }

    /// What comes after a row.
    fn after(search: crate::SearchBuilder, code: &str, subtype: Option<&str>) -> Question {
        let row = crate::CiSummary {
            ci_id: crate::CiId::derived(&tenant("t"), &CiCode::new(code).unwrap()),
            ci_code: CiCode::new(code).unwrap(),
            ci_name: "n".into(),
            ci_type: "SW".into(),
            ci_subtype: subtype.map(Into::into),
            ci_category: None,
            status: None,
            location: None,
            owner: None,
        };
        let search = search.build().unwrap();
        search.after(&search.cursor_at(&row)).unwrap().into()
    }

    #[test]
    fn the_same_question_has_one_key() {
        let a = Key::new(&tenant("t"), &search(&["ERP", "db "], &["owner=x", "status=y"]));
        let b = Key::new(
            &tenant("t"),
            &search(&["db", "erp", "Erp"], &["status=y", "owner=x"]),
        );
        assert_eq!(a, b);
        assert_eq!(a.short(), b.short());
        assert_eq!(a.short().len(), 8);
        assert_eq!(a.tenant(), "t");
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of questions")]
    fn everything_that_decides_the_answer_is_in_the_key() {
        let code = |code: &str| CiRef::from(CiCode::new(code).unwrap());
        let builder = || Search::builder().keyword("a");
        let expand = |view| Expand::builder(code("a"), view);
        let questions: Vec<Question> = vec![
            search(&["a"], &[]),
            search(&["a", "b"], &[]),
            search(&["ab"], &[]),
            search(&[], &["owner=a"]),
            search(&[], &["owner!=a"]),
            search(&[], &["owner contains a"]),
            search(&[], &["owner in a"]),
            search(&[], &["owner not contains a"]),
            search(&[], &["owner not in a"]),
            search(&[], &["tags.owner>1"]),
            search(&[], &["tags.owner>=1"]),
            search(&[], &["tags.owner>\"1\""]),
            search(&[], &["status=a"]),
            search(&[], &["tags.owner=a"]),
            search(&[], &["attributes.owner=a"]),
            search(&[], &["owner exists"]),
            search(&[], &["owner exists false"]),
            builder().limit(11).build().unwrap().into(),
            builder().sort("ci_name".parse().unwrap()).build().unwrap().into(),
            builder()
                .sort("ci_code:desc".parse().unwrap())
                .build()
                .unwrap()
                .into(),
            builder().exact_first(["a"]).build().unwrap().into(),
            builder().ranked().build().unwrap().into(),
            builder().rank_by("b").build().unwrap().into(),
            builder().exact_first(["a", "b"]).build().unwrap().into(),
            after(builder(), "x", None),
            after(builder(), "y", None),
            after(builder().ranked(), "x", None),
            after(builder().exact_first(["a"]), "x", None),
            after(builder().sort("ci_subtype".parse().unwrap()), "x", None),
            after(builder().sort("ci_subtype".parse().unwrap()), "x", Some("")),
            after(builder().sort("ci_subtype".parse().unwrap()), "x", Some("s")),
            builder().include_deleted(true).build().unwrap().into(),
            Search::builder()
                .keyword("aa-bb")
                .build()
                .unwrap()
                .broadened()
                .unwrap()
                .into(),
            search(&["aa", "aa-bb", "bb"], &[]),
            List::builder().build().unwrap().into(),
            List::builder().offset(10).build().unwrap().into(),
            List::builder().order(ListOrder::Updated).build().unwrap().into(),
            List::builder().total(false).build().unwrap().into(),
            List::builder().limit(10).build().unwrap().into(),
            Aggregate::builder().group_by("owner").build().unwrap().into(),
            Aggregate::builder()
                .group_by("owner")
                .distinct("status")
                .build()
                .unwrap()
                .into(),
            Aggregate::builder()
                .group_by("owner")
                .group_by("status")
                .build()
                .unwrap()
                .into(),
            Get::new(code("a")).into(),
            Get::new(code("a")).include_deleted(true).into(),
            Get::new(code("b")).into(),
            expand(View::Impact).build().unwrap().into(),
            expand(View::Impact).depth(1).build().unwrap().into(),
            expand(View::Impact)
                .direction(Direction::Out)
                .build()
                .unwrap()
                .into(),
            expand(View::Impact).max_nodes(10).build().unwrap().into(),
            expand(View::Impact).max_edges(10).build().unwrap().into(),
            expand(View::Dependency).build().unwrap().into(),
            expand(View::Impact).roots([code("b")]).build().unwrap().into(),
            expand(View::Impact)
                .roots([code("b"), code("c")])
                .build()
                .unwrap()
                .into(),
            expand(View::Impact)
                .filter(Filter::parse("owner=a").unwrap())
                .build()
                .unwrap()
                .into(),
            expand(View::Impact)
                .roots([code("b")])
                .filter(Filter::parse("owner=a").unwrap())
                .build()
                .unwrap()
                .into(),
            Path::builder(code("a"), code("b")).build().unwrap().into(),
            Path::builder(code("b"), code("a")).build().unwrap().into(),
            Path::builder(code("a"), code("b"))
                .max_hops(2)
                .build()
                .unwrap()
                .into(),
            Path::builder(code("a"), code("b"))
                .most(2)
                .build()
                .unwrap()
                .into(),
        ];
        let keys: std::collections::BTreeSet<Key> = ["t", "u"]
            .iter()
            .flat_map(|name| questions.iter().map(|question| Key::new(&tenant(name), question)))
            .collect();
        assert_eq!(keys.len(), 2 * questions.len());
    }

    #[test]
    fn no_choice_of_texts_imitates_another_tenant() {
        let keys: Vec<Key> = [("a", "bc"), ("ab", "c"), ("abc", "x")]
            .into_iter()
            .map(|(name, word)| Key::new(&tenant(name), &search(&[word], &[])))
            .collect();
        for (at, key) in keys.iter().enumerate() {
            assert!(keys[at + 1..].iter().all(|other| other != key));
        }
    }

    #[test]
    fn a_key_in_a_log_shows_no_keyword() {
        let key = Key::new(&tenant("t"), &search(&["secret"], &[]));
        assert!(!format!("{key:?}").contains("secret"));
    }
}
