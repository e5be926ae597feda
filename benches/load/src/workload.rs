//! Seeded sequences of operations: the three scenarios by themselves, and mixes whose popularity is zipf's.

use anyhow::{Context as _, ensure};
use ci_measure::random::{Random, Zipf};
use ci_model::{Aggregate, Get, List, ListOrder};

use crate::operation::{Operation, dashboard, related, search, traversal};
use crate::subjects::{Subjects, keywords};

/// How strongly popularity falls: the usual exponent of caching studies.
pub const EXPONENT: f64 = 0.99;
/// CIs beside the one that related look-ups are about.
const RELATED: usize = 4;

/// The predecessor's three scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// 15 statements in the predecessor's style.
    Dashboard,
    /// About 25.
    Traversal,
    /// 5.
    Related,
}

impl Scenario {
    /// All, in the order of the report.
    pub const ALL: [Self; 3] = [Self::Dashboard, Self::Traversal, Self::Related];

    /// Its name in a run file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dashboard => "dashboard",
            Self::Traversal => "traversal",
            Self::Related => "related",
        }
    }

    /// The operations of the scenario: one dashboard, or one operation for each subject.
    ///
    /// # Errors
    /// For subjects that cannot be asked about.
    pub fn operations(self, subjects: &Subjects) -> anyhow::Result<Vec<Operation>> {
        let operations = match self {
            Self::Dashboard => vec![dashboard()?],
            Self::Traversal => {
                let roots = subjects.roots.iter().map(traversal);
                roots.collect::<Result<_, _>>()?
            }
            Self::Related => {
                let groups = subjects.codes.chunks_exact(RELATED + 1);
                groups
                    .map(|codes| related(&codes[0], &codes[1..]))
                    .collect::<Result<_, _>>()?
            }
        };
        ensure!(
            !operations.is_empty(),
            "too few subjects for scenario {}",
            self.name()
        );
        Ok(operations)
    }
}

/// A desk's day: what users do, each as often as its weight says, and within a kind by zipf's popularity.
#[derive(Debug, Clone)]
pub struct Mix {
    /// Different operations.
    pub distinct: Vec<Operation>,
    /// Which is asked, in order; an index into `distinct`.
    pub sequence: Vec<u32>,
}

/// Out of a hundred operations of a desk so many are of each kind.
const SEARCHES: u32 = 70;
const GETS: u32 = 15;
const TRAVERSALS: u32 = 5;
const RELATEDS: u32 = 5;
const OVERVIEWS: u32 = 5;

impl Mix {
    /// Draws a desk's sequence of so many operations.
    ///
    /// # Errors
    /// For subjects that cannot be asked about.
    pub fn desk(subjects: &Subjects, seed: u64, length: usize) -> anyhow::Result<Self> {
        let mut random = Random::new(seed);
        let mut distinct = Vec::new();
        let kinds = [
            (SEARCHES, add(&mut distinct, searches(subjects)?)),
            (GETS, add(&mut distinct, gets(subjects))),
            (
                TRAVERSALS,
                add(&mut distinct, Scenario::Traversal.operations(subjects)?),
            ),
            (
                RELATEDS,
                add(&mut distinct, Scenario::Related.operations(subjects)?),
            ),
            (OVERVIEWS, add(&mut distinct, overviews()?)),
        ];
        let popular: Vec<Zipf> = kinds
            .iter()
            .map(|(_, [first, end])| Zipf::new(end - first, EXPONENT, &mut random))
            .collect();
        let total: u32 = kinds.iter().map(|(weight, _)| weight).sum();
        let mut sequence = Vec::with_capacity(length);
        for _ in 0..length {
            let mut drawn = random.below(total);
            for ((weight, [first, _]), zipf) in kinds.iter().zip(&popular) {
                if drawn < *weight {
                    sequence.push(first + zipf.draw(&mut random));
                    break;
                }
                drawn -= weight;
            }
        }
        Ok(Self { distinct, sequence })
    }

    /// Draws searches alone.
    ///
    /// # Errors
    /// For subjects that cannot be asked about.
    pub fn search(subjects: &Subjects, seed: u64, length: usize) -> anyhow::Result<Self> {
        let mut random = Random::new(seed);
        let distinct = searches(subjects)?;
        let count = u32::try_from(distinct.len()).context("too many searches")?;
        let zipf = Zipf::new(count, EXPONENT, &mut random);
        Ok(Self {
            distinct,
            sequence: zipf.sequence(length, &mut random),
        })
    }

    /// The operation at a place of the sequence, which begins anew when it is over.
    pub fn at(&self, place: usize) -> &Operation {
        &self.distinct[self.sequence[place % self.sequence.len()] as usize]
    }
}

/// Puts operations behind the others, and tells where they lie.
fn add(all: &mut Vec<Operation>, more: Vec<Operation>) -> [u32; 2] {
    let count = |operations: &Vec<Operation>| u32::try_from(operations.len()).unwrap_or(u32::MAX);
    let first = count(all);
    all.extend(more);
    [first, count(all)]
}

/// One search for each CI: by the halves of its code, by all of it, and (every third) among those in use.
fn searches(subjects: &Subjects) -> anyhow::Result<Vec<Operation>> {
    let one = |(place, code): (usize, &ci_model::CiCode)| {
        let question = match place % 3 {
            0 => search(&keywords(code), None),
            1 => search(&[code.as_str().to_owned()], None),
            _ => search(&keywords(code), Some("active")),
        };
        Ok(Operation::One(question?))
    };
    subjects.codes.iter().enumerate().map(one).collect()
}

/// One get for each CI.
pub fn gets(subjects: &Subjects) -> Vec<Operation> {
    let get = |code: &ci_model::CiCode| Operation::One(Get::new(code.clone()).into());
    subjects.codes.iter().map(get).collect()
}

/// What is asked about all CIs: the dashboard, counts, and what was changed last.
fn overviews() -> anyhow::Result<Vec<Operation>> {
    let latest = List::builder().order(ListOrder::Updated).limit(20);
    let counts = Aggregate::builder().group_by("status");
    Ok(vec![
        dashboard()?,
        Operation::One(counts.build()?.into()),
        Operation::One(latest.build()?.into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ci_model::CiCode;

    fn subjects() -> Subjects {
        let code = |number: u32| CiCode::new(format!("app-orders-{number:03}-main")).expect("a code");
        Subjects {
            codes: (0..60).map(code).collect(),
            roots: (60..70).map(code).collect(),
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_day() {
        let draw = |seed| Mix::desk(&subjects(), seed, 500).expect("a mix");
        let (one, again, other) = (draw(7), draw(7), draw(8));
        assert_eq!(one.sequence, again.sequence);
        assert_eq!(one.distinct, again.distinct);
        assert_ne!(one.sequence, other.sequence);
    }

    #[test]
    fn kinds_come_as_often_as_their_weights_say() {
        let mix = Mix::desk(&subjects(), 3, 20_000).expect("a mix");
        let mut searches = 0;
        let mut traversals = 0;
        for place in 0..20_000 {
            match mix.at(place) {
                Operation::One(ci_model::Question::Search(_)) => searches += 1,
                Operation::Traverse(_) => traversals += 1,
                _ => {}
            }
        }
        assert!((13_600..14_400).contains(&searches), "{searches}");
        assert!((800..1_200).contains(&traversals), "{traversals}");
    }

    #[test]
    fn scenarios_have_the_questions_they_are_known_for() {
        for scenario in Scenario::ALL {
            let operations = scenario.operations(&subjects()).expect("operations");
            let questions = operations[0].questions().len();
            let known = match scenario {
                Scenario::Dashboard => 9,
                Scenario::Traversal => 1,
                Scenario::Related => 5,
            };
            assert_eq!(questions, known, "{}", scenario.name());
        }
    }
}
