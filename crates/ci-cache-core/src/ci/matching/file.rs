//! Where a dependency is filed: under the anchors that fewest changes have.

use ci_model::filter::{Condition, Operator, Value};
use ci_model::{CiRef, Column, Field, Filter, KeywordMode, Path, Question, RelationType, Selection};

use super::anchors::{Anchors, DocumentKind, Gram, grams};
use super::dependency::{Dependency, Footprint, Searched};
use crate::coherence::{Anchor, Rarity};

/// Most values of an `in` filter that are worth an anchor each.
const FEW: usize = 8;
/// What one observation weighs against the guesses below.
const OBSERVED: u64 = 16;
/// Guesses of how common an anchor is before changes were observed: a column that describes, a value of a document or
/// a name, some characters.
const COMMON: u64 = 64;
const TEXT: u64 = 12;
const RARE: u64 = 8;

/// See [`crate::coherence::Domain::file`].
pub(super) fn file(anchors: Anchors, dependency: &Dependency, rarity: &Rarity, out: &mut Vec<Anchor>) {
    match (&*dependency.question, &dependency.footprint) {
        (Question::Get(get), _) => out.push(reference(anchors, get.target())),
        (Question::Expand(expand), Footprint::Graph(Some(graph))) => {
            out.extend(
                graph
                    .inner
                    .iter()
                    .chain(graph.outer.iter())
                    .map(|id| anchors.id(id)),
            );
            out.push(anchors.unknown_neighbours());
            // One that is not there may come. One alone is there, or there is no graph.
            if let roots @ [_, _, ..] = expand.roots() {
                out.extend(roots.iter().map(|root| reference(anchors, root)));
            }
            // What comes to pass the filters by other columns than those that neighbours are told of.
            if !expand.admitted().filters().is_empty() {
                Choice::best(anchors, expand.admitted(), rarity, out);
            }
        }
        (Question::Expand(expand), _) => {
            out.extend(expand.roots().iter().map(|root| reference(anchors, root)));
        }
        (Question::Path(path), Footprint::Path(searched)) => {
            route(anchors, path, searched.as_ref(), out);
        }
        (question, _) => match question.selection() {
            Some(selection) => Choice::best(anchors, selection, rarity, out),
            None => out.push(anchors.any()),
        },
    }
}

/// See [`crate::coherence::Domain::also`]: values of columns that filters ask for, and pieces of every keyword. Nothing of
/// documents, which a change may leave unknown.
///
/// A change that touches a selection has an image that matches it, or may, and that one has all of these.
pub(super) fn also(anchors: Anchors, dependency: &Dependency, rarity: &Rarity, out: &mut Vec<Anchor>) {
    let Some(selection) = dependency.question.selection() else {
        return;
    };
    let start = out.len();
    let values = selection
        .filters()
        .iter()
        .filter_map(|filter| match filter.condition() {
            Condition::Compare(Operator::Eq, value) => column(anchors, filter.field(), value),
            _ => None,
        });
    out.extend(values);
    let keywords = match selection.mode() {
        KeywordMode::All => selection.keywords(),
        KeywordMode::Any => &[],
    };
    let mut pieces: Vec<(Anchor, &str)> = keywords
        .iter()
        .filter_map(|keyword| Some((rarest(anchors, keyword, rarity)?, keyword.as_str())))
        .collect();
    pieces.sort_by_key(|(anchor, _)| rarity.estimate(*anchor));
    out.extend(pieces.iter().skip(1).map(|(anchor, _)| *anchor));
    out[start..].sort_by_key(|anchor| rarity.estimate(*anchor));
    // Of the keyword that it is probably filed under, what lies apart: pieces beside each other mostly come together.
    if let Some((_, keyword)) = pieces.first() {
        apart(anchors, keyword, out);
    }
}

/// Lists the first, the last and the middle six characters of a keyword, or three of a shorter one.
fn apart(anchors: Anchors, keyword: &str, out: &mut Vec<Anchor>) {
    let (mut threes, mut sixes) = (Vec::new(), Vec::new());
    grams(keyword, |gram| match gram {
        Gram::Three(_) => threes.push(anchors.gram(gram)),
        Gram::Six(_) => sixes.push(anchors.gram(gram)),
    });
    let all = if sixes.is_empty() { threes } else { sixes };
    let ends = [all.first(), all.last(), all.get(all.len() / 2)];
    out.extend(ends.into_iter().flatten());
}

/// The anchor of a column that has a value.
fn column(anchors: Anchors, field: &Field, value: &Value) -> Option<Anchor> {
    match (field, value) {
        (Field::Column(column), Value::Text(text)) => Some(anchors.column(*column, text)),
        (Field::Column(Column::Criticality), Value::Criticality(value)) => {
            Some(anchors.criticality(value.get()))
        }
        _ => None,
    }
}

fn reference(anchors: Anchors, target: &CiRef) -> Anchor {
    match target {
        CiRef::Id(id) => anchors.id(*id),
        CiRef::Code(code) => anchors.code(code.as_str()),
    }
}

fn route(anchors: Anchors, path: &Path, searched: Option<&Searched>, out: &mut Vec<Anchor>) {
    out.extend([path.from(), path.to()].map(|end| reference(anchors, end)));
    match searched {
        None => {}
        Some(Searched::Itself(id)) => out.push(anchors.id(*id)),
        Some(Searched::Visited { visited, .. }) => {
            out.extend(visited.iter().map(|id| anchors.id(id)));
            out.push(anchors.unknown_neighbours());
        }
        Some(Searched::Everywhere { route, .. }) => {
            out.extend(route.iter().map(|id| anchors.id(id)));
            out.push(anchors.every_turn());
            if path.rel_types().is_empty() {
                out.push(anchors.everywhere());
            }
            let types = path.rel_types().iter().map(RelationType::as_str);
            out.extend(types.map(|name| anchors.everywhere_of_type(name)));
        }
    }
}

/// One way to find every row of a selection: each has one of these anchors.
struct Choice {
    anchors: Vec<Anchor>,
    cost: u64,
}

impl Choice {
    fn new(rarity: &Rarity, guess: u64, anchors: Vec<Anchor>) -> Self {
        let cost = anchors.iter().map(|anchor| cost(rarity, *anchor, guess)).sum();
        Self { anchors, cost }
    }

    /// Files a selection in the cheapest way; in the bucket that every change looks into when there is no other.
    fn best(anchors: Anchors, selection: &Selection, rarity: &Rarity, out: &mut Vec<Anchor>) {
        let filters = selection
            .filters()
            .iter()
            .filter_map(|filter| by_filter(anchors, filter, rarity));
        let best = filters
            .chain(by_keywords(anchors, selection, rarity))
            .min_by_key(|choice| choice.cost);
        match best {
            Some(best) => out.extend(best.anchors),
            None => out.push(anchors.any()),
        }
    }
}

fn cost(rarity: &Rarity, anchor: Anchor, guess: u64) -> u64 {
    u64::from(rarity.estimate(anchor)) * OBSERVED + guess
}

/// By the values that a filter asks for.
fn by_filter(anchors: Anchors, filter: &Filter, rarity: &Rarity) -> Option<Choice> {
    let values: Vec<&Value> = match filter.condition() {
        Condition::Compare(Operator::Eq, value) => vec![value],
        Condition::In(values) if values.len() <= FEW => values.iter().collect(),
        Condition::Contains(part) => return by_part(anchors, filter.field(), part, rarity),
        _ => return None,
    };
    let all = |anchor: &dyn Fn(&str) -> Anchor| {
        let texts = values.iter().map(|value| match value {
            Value::Text(text) => Some(anchor(text)),
            Value::Criticality(_) | Value::Moment(_) | Value::Number(_) => None,
        });
        texts.collect::<Option<Vec<Anchor>>>()
    };
    let document = |kind, path: &ci_model::DocumentPath| {
        let walk = path
            .segments()
            .iter()
            .fold(anchors.walk(kind), |walk, key| walk.step(key));
        let mut found = all(&|text| walk.value(text))?;
        found.push(anchors.unknown_documents());
        Some(Choice::new(rarity, RARE, found))
    };
    match filter.field() {
        Field::Column(Column::Criticality) => {
            let each = values.iter().map(|value| match value {
                Value::Criticality(value) => Some(anchors.criticality(value.get())),
                Value::Text(_) | Value::Moment(_) | Value::Number(_) => None,
            });
            each.collect::<Option<_>>()
                .map(|found| Choice::new(rarity, COMMON, found))
        }
        Field::Column(Column::CreatedAt | Column::UpdatedAt) => None,
        Field::Column(column) => {
            let guess = if matches!(column, Column::Owner | Column::Location) {
                RARE
            } else {
                COMMON
            };
            all(&|text| anchors.column(*column, text)).map(|found| Choice::new(rarity, guess, found))
        }
        Field::Tag(path) => document(DocumentKind::Tags, path),
        Field::Attribute(path) => document(DocumentKind::Attributes, path),
    }
}

/// Three columns are part of the search text, so what they contain is found there.
fn by_part(anchors: Anchors, field: &Field, part: &str, rarity: &Rarity) -> Option<Choice> {
    let Field::Column(Column::CiType | Column::CiSubtype | Column::CiCategory) = field else {
        return None;
    };
    rarest(anchors, part, rarity).map(|anchor| Choice::new(rarity, TEXT, vec![anchor]))
}

/// By the rarest piece: of any keyword where all must be found, of each where one is enough.
fn by_keywords(anchors: Anchors, selection: &Selection, rarity: &Rarity) -> Option<Choice> {
    let mut each = selection
        .keywords()
        .iter()
        .map(|keyword| rarest(anchors, keyword, rarity));
    let found = match selection.mode() {
        KeywordMode::All => vec![each.flatten().min_by_key(|anchor| rarity.estimate(*anchor))?],
        // One that is too short may be found anywhere.
        KeywordMode::Any if selection.keywords().is_empty() => return None,
        KeywordMode::Any => each.by_ref().collect::<Option<Vec<_>>>()?,
    };
    Some(Choice::new(rarity, TEXT, found))
}

/// The rarest six characters of a text, or three of a shorter one; the last of equally rare ones, because names differ at
/// their ends.
fn rarest(anchors: Anchors, text: &str, rarity: &Rarity) -> Option<Anchor> {
    let mut best: Option<(bool, u32, Anchor)> = None;
    grams(text, |gram| {
        let anchor = anchors.gram(gram);
        let (short, estimate) = (matches!(gram, Gram::Three(_)), rarity.estimate(anchor));
        if best.is_none_or(|(was_short, least, _)| (short, estimate) <= (was_short, least)) {
            best = Some((short, estimate, anchor));
        }
    });
    best.map(|(.., anchor)| anchor)
}
