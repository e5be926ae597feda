//! Questions from drawn parts, which are kept, so that the same can be asked in another way.

use ci_model::{
    Aggregate, AggregateBuilder, CiCode, CiId, CiRef, CiSummary, Direction, Expand, Filter, Get, List,
    ListOrder, Path, Question, Search, Sort, TenantId, View,
};

use crate::bytes::Bytes;

/// Fields to filter and group by, some of which there are not.
const FIELDS: [&str; 16] = [
    "ci_type",
    "ci_subtype",
    "status",
    "owner",
    "location",
    "criticality",
    "created_at",
    "updated_at",
    "ci_code",
    "ci_name",
    "tags.a",
    "tags.\"a.b\"",
    "attributes.a.b",
    "attributes.\"\"",
    "tags.",
    "colour",
];
/// Operators, some of which there are not.
const OPERATORS: [&str; 16] = [
    "=",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "~",
    "!~",
    " in ",
    " not in ",
    " exists",
    " exists false",
    " contains ",
    " not  contains ",
    " is ",
];
/// Values at which something ends or looks like something else.
const VALUES: [&str; 16] = [
    "",
    "a",
    "A",
    "1",
    "5",
    "6",
    "-1",
    "\"1\"",
    "9007199254740992",
    "2026-01-31T08:00:00Z",
    "1e9",
    "a,b,a",
    "[\"a\",\"b\"]",
    "[",
    "ß",
    "\"",
];
const SORTS: [&str; 8] = [
    "ci_code",
    "ci_name:desc",
    "ci_type",
    "ci_subtype:desc",
    "ci_category",
    "ci_code:desc",
    "owner",
    "ci_subtype",
];
const RELATION_TYPES: [&str; 5] = ["RUNS_ON", "USES", "DEPENDS_ON", "COMPOSED_OF", " "];

/// What a question is made of.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    kind: u8,
    words: Vec<String>,
    filters: Vec<String>,
    names: Vec<String>,
    targets: [CiRef; 2],
    more_targets: Vec<CiRef>,
    numbers: [u32; 3],
    flags: u8,
    choice: u8,
    view: u8,
}

impl Parts {
    pub(super) fn draw(bytes: &mut Bytes<'_>) -> Self {
        Self {
            kind: bytes.byte() % 7,
            words: list(bytes, word),
            filters: list(bytes, filter),
            names: list(bytes, |bytes| {
                let (field, kind) = (bytes.pick(FIELDS), bytes.pick(RELATION_TYPES));
                if bytes.byte().is_multiple_of(2) {
                    field
                } else {
                    kind
                }
                .to_owned()
            }),
            targets: [target(bytes), target(bytes)],
            more_targets: list(bytes, target),
            numbers: [number(bytes), number(bytes), number(bytes)],
            flags: bytes.byte(),
            choice: bytes.byte(),
            view: bytes.byte(),
        }
    }

    /// The same parts in another order, some of them twice, in other letters, and by another view where that stands for the same.
    pub(super) fn told_otherwise(&self) -> Self {
        let mut other = self.clone();
        // Where the first word ranks, their order says something.
        if !matches!(self.choice % 5, 1 | 3) {
            other.words.reverse();
        }
        other
            .words
            .iter_mut()
            .for_each(|word| word.make_ascii_uppercase());
        other.filters.reverse();
        // What there is the most of is not doubled: more than the limit is another question.
        other
            .filters
            .extend(self.filters.first().filter(|_| self.filters.len() < 3).cloned());
        other
    }

    /// The question, if the parts make one.
    pub(super) fn question(&self) -> Option<Question> {
        match self.kind {
            0 => Some(
                Get::new(self.targets[0].clone())
                    .include_deleted(self.flag(0))
                    .into(),
            ),
            1 => self.search(),
            2 => self.list(),
            3 => self.aggregate(None),
            4 => self.expand(),
            5 => self.path(),
            // The broad form of a search, or the groups of it.
            _ => match self.search()? {
                Question::Search(search) if self.flag(1) => Some(search.broadened()?.into()),
                Question::Search(search) => self.aggregate(Some(&search)),
                _ => None,
            },
        }
    }

    pub(super) fn search(&self) -> Option<Question> {
        let builder = Search::builder()
            .keywords(&self.words)
            .filters(self.filters()?)
            .include_deleted(self.flag(0));
        let builder = match self.choice % 5 {
            0 => builder,
            1 => builder.ranked(),
            2 => builder.exact_first(&self.words),
            3 => builder.rank_by(self.words.first().cloned().unwrap_or_default()),
            _ => builder.sort(sort(self.view)?),
        };
        let builder = if self.flag(2) {
            builder.limit(self.numbers[0])
        } else {
            builder
        };
        Some(builder.build().ok()?.into())
    }

    fn list(&self) -> Option<Question> {
        let order = if self.flag(1) {
            ListOrder::Updated
        } else {
            ListOrder::Created
        };
        let builder = List::builder()
            .filters(self.filters()?)
            .order(order)
            .total(self.flag(2));
        let builder = builder.include_deleted(self.flag(0)).offset(self.numbers[0]);
        let builder = if self.flag(3) {
            builder.limit(self.numbers[1])
        } else {
            builder
        };
        Some(builder.build().ok()?.into())
    }

    fn aggregate(&self, of: Option<&Search>) -> Option<Question> {
        let builder = Aggregate::builder()
            .keywords(&self.words)
            .filters(self.filters()?);
        let builder = builder.include_deleted(self.flag(0));
        let builder = match of {
            Some(search) => builder.selection(search.selection().clone()),
            None => builder,
        };
        let builder = self.names.iter().fold(builder, AggregateBuilder::group_by);
        let builder = match self.names.first() {
            Some(name) if self.flag(2) => builder.distinct(name),
            _ => builder,
        };
        let builder = if self.flag(3) {
            builder.limit(self.numbers[0])
        } else {
            builder
        };
        Some(builder.build().ok()?.into())
    }

    fn expand(&self) -> Option<Question> {
        const VIEWS: [View; 6] = [
            View::Summary,
            View::Composition,
            View::Dependency,
            View::Impact,
            View::Path,
            View::Neighbors,
        ];
        let view = VIEWS[usize::from(self.view) % VIEWS.len()];
        let builder = Expand::builder(self.targets[0].clone(), view)
            .roots(self.more_targets.iter().cloned())
            .filters(self.filters()?)
            .include_deleted(self.flag(0));
        let builder = if self.flag(1) {
            builder.depth(self.choice % 8)
        } else {
            builder
        };
        let builder = if self.flag(2) {
            builder.direction(self.direction())
        } else {
            builder
        };
        let builder = if self.flag(3) {
            builder.rel_types(&self.names)
        } else {
            builder
        };
        let builder = if self.flag(4) {
            builder.max_nodes(self.numbers[0])
        } else {
            builder
        };
        let builder = if self.flag(5) {
            builder.max_edges(self.numbers[1])
        } else {
            builder
        };
        Some(builder.build().ok()?.into())
    }

    fn path(&self) -> Option<Question> {
        let [from, to] = self.targets.clone();
        let builder = Path::builder(from, to)
            .direction(self.direction())
            .rel_types(&self.names);
        let builder = if self.flag(1) {
            builder.max_hops(self.choice % 8)
        } else {
            builder
        };
        let builder = if self.flag(2) {
            builder.most(self.view)
        } else {
            builder
        };
        Some(builder.build().ok()?.into())
    }

    fn direction(&self) -> Direction {
        [Direction::Out, Direction::In, Direction::Both][usize::from(self.choice) % 3]
    }

    fn filters(&self) -> Option<Vec<Filter>> {
        self.filters
            .iter()
            .map(|filter| Filter::parse(filter).ok())
            .collect()
    }

    fn flag(&self, bit: u8) -> bool {
        self.flags >> bit & 1 == 1
    }
}

fn list<T>(bytes: &mut Bytes<'_>, mut one: impl FnMut(&mut Bytes<'_>) -> T) -> Vec<T> {
    let count = match bytes.byte() {
        byte @ 0..=239 => byte % 4,
        byte => byte - 240 + 4,
    };
    (0..count).map(|_| one(bytes)).collect()
}

/// A keyword, a value or a code.
pub(super) fn word(bytes: &mut Bytes<'_>) -> String {
    match bytes.byte() % 3 {
        0 => bytes.text(),
        1 => bytes.pick(VALUES).to_owned(),
        _ => format!("{}-{}", bytes.pick(VALUES), bytes.pick(VALUES)),
    }
}

/// The text of a filter.
pub(super) fn filter(bytes: &mut Bytes<'_>) -> String {
    if bytes.byte().is_multiple_of(8) {
        return bytes.text();
    }
    let (field, operator) = (bytes.pick(FIELDS), bytes.pick(OPERATORS));
    format!("{field}{operator}{}", word(bytes))
}

/// A sort, if the byte names one.
fn sort(byte: u8) -> Option<Sort> {
    SORTS[usize::from(byte) % SORTS.len()].parse().ok()
}

fn number(bytes: &mut Bytes<'_>) -> u32 {
    u32::try_from(bytes.micros()).unwrap_or(u32::MAX)
}

fn id(bytes: &mut Bytes<'_>) -> CiId {
    let code = CiCode::new(format!("id-{}", bytes.byte() % 4)).expect("a code");
    CiId::derived(&tenant(0), &code)
}

fn target(bytes: &mut Bytes<'_>) -> CiRef {
    match bytes.byte() % 4 {
        0 => id(bytes).into(),
        1 => CiRef::parse(&bytes.text()).unwrap_or_else(|_| code().into()),
        _ => CiRef::parse(&word(bytes)).unwrap_or_else(|_| code().into()),
    }
}

fn code() -> CiCode {
    CiCode::new("db-1").expect("a code")
}

/// One of a few tenants, whose names begin with each other.
pub(super) fn tenant(number: u8) -> TenantId {
    TenantId::new(["a", "ab", "abc", "acme"][usize::from(number) % 4]).expect("a tenant")
}

/// A row that a store might have found.
pub(super) fn row(bytes: &mut Bytes<'_>) -> CiSummary {
    // No database has a NUL in a text.
    let text = |bytes: &mut Bytes<'_>| bytes.text().replace('\0', "");
    let perhaps = |bytes: &mut Bytes<'_>| (bytes.byte() % 2 == 1).then(|| text(bytes));
    CiSummary {
        ci_id: id(bytes),
        ci_code: CiCode::new(text(bytes)).unwrap_or_else(|_| code()),
        ci_name: text(bytes),
        ci_type: text(bytes),
        ci_subtype: perhaps(bytes),
        ci_category: perhaps(bytes),
        status: perhaps(bytes),
        location: None,
        owner: None,
    }
}
