//! Reads a key back: the tenant and the question that it is of.
//!
//! Everything goes through the builders, so nothing comes out that could not have been asked; and the key of what comes out is
//! compared with the one that was read, so it is that very question.

use crate::filter::{Filter, Operator};
use crate::key::{NO_TOTAL, UPDATED};
use crate::{
    Aggregate, CiCode, CiId, CiRef, Column, Criticality, Direction, DocumentPath, Expand, Field, Get, Key,
    List, ListOrder, Order, Path, Question, RelationType, Search, Sort, SortColumn, TenantId, Timestamp,
    View,
};

/// The format that is read; see [`Key`].
const FORMAT: u8 = 1;

impl Key {
    /// Reads the bytes of a key ([`as_bytes`](Self::as_bytes)) back into the tenant and the question that have this key.
    ///
    /// Nothing for anything else, and for the broad form of a search, which only a strict one has. An expansion comes back with
    /// some view of the same answer. Cost: a few allocations a part. No length that is read is trusted.
    pub fn read(bytes: &[u8]) -> Option<(TenantId, Question)> {
        let mut reader = Reader(bytes);
        if reader.byte()? != FORMAT {
            return None;
        }
        let tenant = TenantId::new(reader.text()?).ok()?;
        let question = match reader.byte()? {
            0 => Question::Get(reader.get()?),
            1 => Question::Search(reader.search()?),
            2 => Question::List(reader.list()?),
            3 => Question::Aggregate(reader.aggregate()?),
            4 => Question::Expand(reader.expand()?),
            5 => Question::Path(reader.path()?),
            _ => return None,
        };
        (Self::new(&tenant, &question).as_bytes() == bytes).then_some((tenant, question))
    }
}

/// What is left of a key.
struct Reader<'a>(&'a [u8]);

/// Keywords, filters, and whether deleted CIs count.
type Selected = (Vec<String>, Vec<Filter>, bool);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(str::to_owned)
    }

    /// A list; each item takes a byte at least, so a wrong length ends with the key.
    fn list_of<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        for _ in 0..self.number()? {
            items.push(item(self)?);
        }
        Some(items)
    }

    fn texts(&mut self) -> Option<Vec<String>> {
        self.list_of(Self::text)
    }

    fn reference(&mut self) -> Option<CiRef> {
        match self.byte()? {
            0 => Some(CiId(uuid::Uuid::from_bytes(self.array()?)).into()),
            1 => CiCode::new(self.text()?).ok().map(CiRef::from),
            _ => None,
        }
    }

    fn field(&mut self) -> Option<Field> {
        Some(match self.byte()? {
            0 => Field::Column(*Column::ALL.get(usize::from(self.byte()?))?),
            1 => Field::Tag(DocumentPath::new(self.texts()?).ok()?),
            2 => Field::Attribute(DocumentPath::new(self.texts()?).ok()?),
            _ => return None,
        })
    }

    /// A value as text, from which filters are made.
    fn value(&mut self) -> Option<String> {
        match self.byte()? {
            0 => self.text(),
            1 => Criticality::new(self.byte()?.into())
                .ok()
                .map(|value| value.get().to_string()),
            2 => {
                let moment = Timestamp::from_micros(i64::from_le_bytes(self.array()?)).ok()?;
                Some(moment.to_string())
            }
            3 => Some(i64::from_le_bytes(self.array()?).to_string()),
            _ => None,
        }
    }

    fn filter(&mut self) -> Option<Filter> {
        let field = self.field()?;
        let (operator, values) = match self.byte()? {
            0 => {
                let operator = *Operator::ALL.get(usize::from(self.byte()?))?;
                let is_text = self.0.first() == Some(&0);
                let value = self.value()?;
                // In a document a number compares with numbers, so a text that looks like one is told in quotes.
                let quoted = is_text && operator.is_ordered() && !matches!(field, Field::Column(_));
                (
                    operator,
                    vec![if quoted { format!("\"{value}\"") } else { value }],
                )
            }
            1 => (Operator::Contains, vec![self.text()?]),
            2 => (Operator::In, self.list_of(Self::value)?),
            3 => (Operator::Exists, vec![self.flag()?.to_string()]),
            4 => (Operator::NotContains, vec![self.text()?]),
            5 => (Operator::NotIn, self.list_of(Self::value)?),
            _ => return None,
        };
        Filter::new(&field.to_string(), operator.as_str(), &values).ok()
    }

    fn selection(&mut self) -> Option<Selected> {
        let include_deleted = self.flag()?;
        // Any of several keywords: only `broadened` makes that.
        if self.flag()? {
            return None;
        }
        Some((self.texts()?, self.list_of(Self::filter)?, include_deleted))
    }

    fn rel_types(&mut self) -> Option<Vec<String>> {
        self.texts()
    }

    fn direction(&mut self) -> Option<Direction> {
        [Direction::Out, Direction::In, Direction::Both]
            .get(usize::from(self.byte()?))
            .copied()
    }

    fn get(&mut self) -> Option<Get> {
        let include_deleted = self.flag()?;
        Some(Get::new(self.reference()?).include_deleted(include_deleted))
    }

    fn search(&mut self) -> Option<Search> {
        let (keywords, filters, include_deleted) = self.selection()?;
        let column = *SortColumn::ALL.get(usize::from(self.byte()?))?;
        let order = if self.flag()? {
            Order::Descending
        } else {
            Order::Ascending
        };
        let mut search = Search::builder()
            .keywords(keywords)
            .filters(filters)
            .include_deleted(include_deleted)
            .sort(Sort { column, order })
            .limit(self.number()?)
            .exact_first(self.texts()?);
        let mut more = self.more();
        if more == 1 {
            search = search.rank_by(self.text()?);
            more = self.more();
        }
        let search = search.build().ok()?;
        match more {
            0 => Some(search),
            2 => {
                let (rank, has_value, value) = (self.byte()?, self.flag()?, self.text()?);
                let id = CiId(uuid::Uuid::from_bytes(self.array()?));
                search.after_place(rank, has_value.then_some(value), id)
            }
            _ => None,
        }
    }

    /// The byte that says what comes next; 0, which no key has there, at the end.
    fn more(&mut self) -> u8 {
        self.byte().unwrap_or(0)
    }

    fn list(&mut self) -> Option<List> {
        let (_, filters, include_deleted) = self.selection()?;
        let list = List::builder().filters(filters).include_deleted(include_deleted);
        let list = list.limit(self.number()?).offset(self.number()?);
        if self.0.is_empty() {
            return list.build().ok();
        }
        let flags = self.byte()?;
        if flags == 0 || flags & !(UPDATED | NO_TOTAL) != 0 {
            return None;
        }
        let order = if flags & UPDATED == 0 {
            ListOrder::Created
        } else {
            ListOrder::Updated
        };
        list.order(order).total(flags & NO_TOTAL == 0).build().ok()
    }

    fn aggregate(&mut self) -> Option<Aggregate> {
        let (keywords, filters, include_deleted) = self.selection()?;
        let fields = self.list_of(Self::field)?;
        let builder = Aggregate::builder()
            .keywords(keywords)
            .filters(filters)
            .include_deleted(include_deleted);
        let builder = fields
            .iter()
            .fold(builder, |builder, field| builder.group_by(field.to_string()));
        let builder = if self.flag()? {
            builder.distinct(self.field()?.to_string())
        } else {
            builder
        };
        builder.limit(self.number()?).build().ok()
    }

    fn expand(&mut self) -> Option<Expand> {
        let root = self.reference()?;
        let depth = self.byte()?;
        let direction = self.direction()?;
        let rel_types = self.rel_types()?;
        let (nodes, edges, include_deleted) = (self.number()?, self.number()?, self.flag()?);
        let (mut others, mut filters) = (Vec::new(), Vec::new());
        if !self.0.is_empty() {
            others = self.list_of(Self::reference)?;
            while !self.0.is_empty() {
                filters.push(self.filter()?);
            }
        }
        // No types are all types, which only some views have; the others go deeper.
        let views = [View::Neighbors, View::Impact];
        views.into_iter().find_map(|view| {
            let expand = Expand::builder(root.clone(), view)
                .roots(others.iter().cloned())
                .filters(filters.iter().cloned())
                .depth(depth)
                .direction(direction)
                .rel_types(rel_types.iter().map(String::as_str))
                .max_nodes(nodes)
                .max_edges(edges)
                .include_deleted(include_deleted);
            let same = |expand: &Expand| {
                let types = expand.rel_types().iter().map(RelationType::as_str);
                types.eq(rel_types.iter().map(String::as_str))
            };
            expand.build().ok().filter(same)
        })
    }

    fn path(&mut self) -> Option<Path> {
        let path = Path::builder(self.reference()?, self.reference()?);
        let (hops, direction) = (self.byte()?, self.direction()?);
        let path = path.max_hops(hops).direction(direction);
        let path = path.rel_types(self.rel_types()?);
        let path = if self.0.is_empty() {
            path
        } else {
            path.most(self.byte()?)
        };
        path.build().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(code: &str) -> CiRef {
        CiCode::new(code).unwrap().into()
    }

    fn filters() -> Vec<Filter> {
        let expressions = [
            "owner=x",
            "status!=retired",
            "criticality>=3",
            "created_at<2026-01-31T08:00:00.123456Z",
            "location contains Ümlaut",
            "tags.\"app.kubernetes.io/name\" exists",
            "attributes.a.b=1",
        ];
        let mut filters: Vec<Filter> = expressions
            .iter()
            .map(|text| Filter::parse(text).unwrap())
            .collect();
        filters.push(Filter::new("ci_type", "in", &["HW", "a, b", "\"quoted\""]).unwrap());
        filters.push(Filter::new("criticality", "in", &["1", "5"]).unwrap());
        filters.push(Filter::new("owner", "exists", &["false"]).unwrap());
        filters
    }

    fn questions() -> Vec<Question> {
        let mut all: Vec<Question> = vec![
            Get::new(code("a")).into(),
            Get::new(CiId(uuid::Uuid::from_u128(7)))
                .include_deleted(true)
                .into(),
            Search::builder().build().unwrap().into(),
            Search::builder()
                .keywords(["ERP", "ß"])
                .filters(filters())
                .sort("ci_name:desc".parse().unwrap())
                .limit(77)
                .exact_first(["SRV-1"])
                .include_deleted(true)
                .build()
                .unwrap()
                .into(),
            List::builder()
                .filters(filters())
                .limit(5)
                .offset(9)
                .build()
                .unwrap()
                .into(),
            List::builder().build().unwrap().into(),
            Path::builder(code("a"), code("b")).build().unwrap().into(),
            List::builder().order(ListOrder::Updated).build().unwrap().into(),
            List::builder().total(false).build().unwrap().into(),
            List::builder()
                .order(ListOrder::Updated)
                .total(false)
                .build()
                .unwrap()
                .into(),
            Path::builder(code("a"), code("b"))
                .most(5)
                .build()
                .unwrap()
                .into(),
            Aggregate::builder().build().unwrap().into(),
            Aggregate::builder()
                .keywords(["x"])
                .group_by("ci_type")
                .group_by("tags.role")
                .distinct("owner")
                .limit(3)
                .build()
                .unwrap()
                .into(),
            Path::builder(code("a"), code("b"))
                .max_hops(3)
                .direction(Direction::Out)
                .rel_types(["USES"])
                .build()
                .unwrap()
                .into(),
        ];
        for view in [
            View::Summary,
            View::Composition,
            View::Dependency,
            View::Impact,
            View::Neighbors,
        ] {
            all.push(Expand::builder(code("r"), view).build().unwrap().into());
            let most = view.policy().max_depth;
            let deep = Expand::builder(code("r"), view)
                .depth(most)
                .max_nodes(9)
                .max_edges(0);
            all.push(deep.include_deleted(true).build().unwrap().into());
        }
        all
    }

    /// Those with parts of any number at the end: a part of their key may be a key, too.
    fn questions_with_more() -> Vec<Question> {
        let filter = |text: &str| Filter::parse(text).unwrap();
        let search = || Search::builder().sort("ci_subtype:desc".parse().unwrap());
        let searches = [
            search().keyword("erp").ranked(),
            search().rank_by("Überall"),
            search()
                .filter(Filter::new("owner", "not in", &["a", "b"]).unwrap())
                .filter(filter("location!~rack"))
                .filter(filter("attributes.size>=10"))
                .filter(filter("attributes.name<b")),
        ];
        let searches = searches.map(|search| search.build().unwrap());
        let mut all: Vec<Question> = Vec::new();
        for search in &searches {
            for subtype in [None, Some("db")] {
                let row = crate::CiSummary {
                    ci_id: CiId(uuid::Uuid::from_u128(9)),
                    ci_code: CiCode::new("erp").unwrap(),
                    ci_name: "n".into(),
                    ci_type: "SW".into(),
                    ci_subtype: subtype.map(Into::into),
                    ci_category: None,
                    status: None,
                    location: None,
                    owner: None,
                };
                all.push(search.after(&search.cursor_at(&row)).unwrap().into());
            }
        }
        all.extend(searches.map(Question::from));
        let roots = || {
            Expand::builder(code("r"), View::Impact).roots([code("a"), CiId(uuid::Uuid::from_u128(1)).into()])
        };
        let active = || filter("status=active");
        all.extend([
            roots().build().unwrap().into(),
            roots().filter(active()).build().unwrap().into(),
            Expand::builder(code("r"), View::Neighbors)
                .filters([active(), filter("tags.a=1")])
                .build()
                .unwrap()
                .into(),
        ]);
        all
    }

    #[test]
    fn every_question_is_read_back_from_its_key() {
        let tenant = TenantId::new("acme ü").unwrap();
        for question in questions().into_iter().chain(questions_with_more()) {
            let key = Key::new(&tenant, &question);
            let (whose, read) = Key::read(key.as_bytes()).unwrap_or_else(|| panic!("{question:?}"));
            assert_eq!(whose, tenant);
            assert_eq!(Key::new(&whose, &read), key);
            if !matches!(question, Question::Expand(_)) {
                assert_eq!(read, question);
            }
        }
    }

    /// The fuzzer found that a text in quotes was taken for the number that it looks like, and its question was lost.
    #[test]
    fn an_ordered_text_that_looks_like_a_number_reads_back_as_a_text() {
        let tenant = TenantId::new("acme").unwrap();
        for expression in [
            r#"tags.a<"1""#,
            r#"attributes.a.b>=" 1.5 ""#,
            r#"tags.a>"""1""""#,
            r#"tags.a>"""#,
            "tags.a<1",
            "tags.a<2026-01",
            "owner>10",
        ] {
            let filter = Filter::parse(expression).unwrap();
            let question: Question = Search::builder().filter(filter).build().unwrap().into();
            let key = Key::new(&tenant, &question);
            assert_eq!(
                Key::read(key.as_bytes()),
                Some((tenant.clone(), question)),
                "{expression}"
            );
        }
    }

    #[test]
    fn nothing_else_is_read() {
        let tenant = TenantId::new("acme").unwrap();
        let keys: Vec<Key> = questions()
            .iter()
            .map(|question| Key::new(&tenant, question))
            .collect();
        for question in questions() {
            let bytes = Key::new(&tenant, &question).as_bytes().to_vec();
            for end in 0..bytes.len() {
                // What is optional is at the end: without it, it is the key of a question of its own.
                let other = keys.iter().any(|key| key.as_bytes() == &bytes[..end]);
                assert!(other || Key::read(&bytes[..end]).is_none());
            }
            for bit in 0..bytes.len() * 8 {
                let mut other = bytes.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                if let Some((tenant, question)) = Key::read(&other) {
                    assert_eq!(Key::new(&tenant, &question).as_bytes(), other);
                }
            }
        }
        for question in questions_with_more() {
            let bytes = Key::new(&tenant, &question).as_bytes().to_vec();
            let parts = (0..bytes.len()).map(|end| bytes[..end].to_vec());
            let flipped = (0..bytes.len() * 8).map(|bit| {
                let mut other = bytes.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                other
            });
            for other in parts.chain(flipped) {
                if let Some((tenant, question)) = Key::read(&other) {
                    assert_eq!(Key::new(&tenant, &question).as_bytes(), other);
                }
            }
        }
        let search = Search::builder().keyword("app-erp").build().unwrap();
        let broad: Question = search.broadened().unwrap().into();
        assert!(Key::read(Key::new(&tenant, &broad).as_bytes()).is_none());
    }
}
