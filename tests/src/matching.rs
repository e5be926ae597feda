//! What the tests of matching share: questions with the dependencies of their answers, held against what changes do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ci_cache_core::ci::matching::{Answered, CiDomain, Dependency, Reason};
use ci_cache_core::coherence::{Anchor, Domain as _, Rarity};
use ci_model::{
    Change, CiCode, CiDetail, CiId, CiSummary, Event, Get, Graph, Groups, ListPage, Origin, PathAnswer,
    Question, QuestionKind,
};
use rand_chacha::ChaCha8Rng;

use crate::store_contract::world::{below, tenant};
use crate::store_contract::{World, questions, reference};

/// An answer of any kind, as a store gives it.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Of a get.
    Ci(Option<Box<CiDetail>>),
    /// Of a search.
    Rows(Vec<CiSummary>),
    /// Of a list.
    Page(ListPage),
    /// Of an aggregate.
    Groups(Groups),
    /// Of an expansion.
    Graph(Option<Graph>),
    /// Of a path question.
    Path(Option<PathAnswer>),
}

/// The answer as the reference has it.
pub fn answer(world: &World, question: &Question) -> Answer {
    match question {
        Question::Get(get) => Answer::Ci(reference::get(world, get).map(Box::new)),
        Question::Search(search) => Answer::Rows(reference::search(world, search)),
        Question::List(list) => Answer::Page(reference::list(world, list)),
        Question::Aggregate(aggregate) => Answer::Groups(reference::aggregate(world, aggregate)),
        Question::Expand(expand) => Answer::Graph(reference::expand(world, expand)),
        Question::Path(path) => Answer::Path(reference::path(world, path)),
    }
}

/// What an answer depends on; `visited` is told of a path question alone. Nothing when the answer is not of the question's kind.
pub fn dependency(question: &Arc<Question>, answer: &Answer, visited: Option<&[CiId]>) -> Option<Dependency> {
    let answered = match answer {
        Answer::Ci(ci) => Answered::Ci(ci.as_deref()),
        Answer::Rows(rows) => Answered::Rows(rows),
        Answer::Page(page) => Answered::Page(page),
        Answer::Groups(groups) => Answered::Groups(groups),
        Answer::Graph(graph) => Answered::Graph(graph.as_ref()),
        Answer::Path(path) => Answered::Path {
            answer: path.as_ref(),
            visited,
        },
    };
    Dependency::new(&tenant(), Arc::clone(question), answered)
}

/// A random question of a kind.
///
/// # Panics
/// Never: what it asks is allowed.
pub fn question(random: &mut ChaCha8Rng, world: &World, kind: QuestionKind) -> Question {
    match kind {
        QuestionKind::Get => {
            let ci = &world.cis[below(random, world.cis.len())].summary;
            let get = match below(random, 8) {
                0 => Get::new(CiCode::new("absent").expect("a code")),
                1..=3 => Get::new(ci.ci_id),
                _ => Get::new(ci.ci_code.clone()),
            };
            get.include_deleted(below(random, 3) == 0).into()
        }
        QuestionKind::Search => questions::search(random, world).into(),
        QuestionKind::List => questions::list(random, world).into(),
        QuestionKind::Aggregate => questions::aggregate(random, world).into(),
        QuestionKind::Expand => questions::expand(random, world).into(),
        QuestionKind::Path => questions::path_between(random, world).into(),
    }
}

/// An answer that is kept, as a cache would.
#[derive(Debug)]
pub struct Kept {
    /// The question.
    pub question: Arc<Question>,
    answer: Answer,
    dependency: Dependency,
    anchors: Vec<Anchor>,
    also: Vec<Anchor>,
}

/// How often which kind of question was judged how.
#[derive(Debug, Default, Clone, Copy)]
pub struct Count {
    /// Judgements in all.
    pub cases: u64,
    /// The answer changed.
    pub changed: u64,
    /// The judgement was that it might have.
    pub touched: u64,
}

impl Count {
    /// Which part of what was touched had changed.
    #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
    pub fn precision(&self) -> f64 {
        self.changed as f64 / (self.touched as f64).max(1.0)
    }

    /// What the precision would be if everything was touched.
    #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
    pub fn base_rate(&self) -> f64 {
        self.changed as f64 / (self.cases as f64).max(1.0)
    }
}

/// Judges changes and keeps the score.
#[derive(Debug, Default)]
pub struct Judge {
    domain: CiDomain,
    rarity: Rarity,
    /// By kind of question, in the order of [`QuestionKind::ALL`].
    pub counts: [Count; 6],
    /// How often which reason was given.
    pub reasons: BTreeMap<Reason, u64>,
    /// Tells changes of paths where nothing is known of what was visited.
    pub blind: bool,
}

impl Judge {
    /// Keeps an answer.
    ///
    /// # Panics
    /// When the answer is not of the question's kind.
    pub fn keep(&self, world: &World, question: Arc<Question>, answer: Answer) -> Kept {
        let visited: Vec<CiId> = match &*question {
            Question::Path(path) => reference::visited(world, path),
            _ => Vec::new(),
        };
        let known = (!self.blind).then_some(&*visited);
        let dependency = dependency(&question, &answer, known).expect("of one kind");
        let (mut anchors, mut also) = (Vec::new(), Vec::new());
        self.domain.file(&dependency, &self.rarity, &mut anchors);
        self.domain.also(&dependency, &self.rarity, &mut also);
        Kept {
            question,
            answer,
            dependency,
            anchors,
            also,
        }
    }

    /// The changes of a transaction, with the anchors that each is looked up by. They count for what is rare.
    pub fn changes(&mut self, events: &[Event]) -> Vec<(Change, Vec<Anchor>)> {
        let changes: Vec<_> = events
            .iter()
            .map(|event| {
                let change = Change {
                    origin: Origin::Sequence(1),
                    event: event.clone(),
                };
                let mut probed = Vec::new();
                self.domain.probe(&change, &mut probed);
                (change, probed)
            })
            .collect();
        for anchor in changes.iter().flat_map(|(_, probed)| probed) {
            self.rarity.observe(*anchor);
        }
        changes
    }

    /// Holds what is kept against what is true after some changes; afterwards it is true again.
    ///
    /// # Errors
    /// When the answer changed and nobody said so, or it was filed where no change that matters looks.
    pub fn judge(
        &mut self,
        kept: &mut Kept,
        changes: &[(Change, Vec<Anchor>)],
        now: Answer,
        world: &World,
    ) -> Result<(), Box<Missed>> {
        let mut reason = None;
        let missed = |what| {
            Box::new(Missed {
                what,
                question: Arc::clone(&kept.question),
                before: kept.answer.clone(),
                after: now.clone(),
                events: changes.iter().map(|(change, _)| change.event.clone()).collect(),
            })
        };
        for (change, probed) in changes {
            let why = self.domain.touches(change, &kept.dependency);
            let is_found = kept.anchors.iter().any(|anchor| probed.contains(anchor))
                && kept.also.iter().all(|anchor| probed.contains(anchor))
                && self
                    .domain
                    .may_touch(&self.domain.sight(change), self.domain.hint(&kept.dependency));
            if why.is_some() && !is_found {
                return Err(missed("it matters, and is filed where the change does not look"));
            }
            reason = reason.or(why);
        }
        let differs = now != kept.answer;
        if differs && reason.is_none() {
            return Err(missed("the answer changed, and no change matters"));
        }
        let count = &mut self.counts[kept.question.kind().index()];
        count.cases += 1;
        count.changed += u64::from(differs);
        count.touched += u64::from(reason.is_some());
        if let Some(reason) = reason {
            *self.reasons.entry(reason).or_default() += 1;
            *kept = self.keep(world, Arc::clone(&kept.question), now);
        }
        Ok(())
    }

    /// The score, a line for each kind of question.
    pub fn score(&self) -> String {
        let line = |kind: QuestionKind| {
            let count = self.counts[kind.index()];
            format!(
                "{:9} {:7} cases, {:6} changed, {:6} touched: precision {:5.1} %, {:5.1} % if all were touched\n",
                kind.as_str(),
                count.cases,
                count.changed,
                count.touched,
                count.precision() * 100.0,
                count.base_rate() * 100.0
            )
        };
        let lines: String = QuestionKind::ALL.into_iter().map(line).collect();
        format!("{lines}reasons: {:?}", self.reasons)
    }

    /// Cases of all kinds.
    pub fn cases(&self) -> u64 {
        self.counts.iter().map(|count| count.cases).sum()
    }
}

/// A change that mattered and was not seen.
#[derive(Debug)]
pub struct Missed {
    what: &'static str,
    question: Arc<Question>,
    before: Answer,
    after: Answer,
    events: Vec<Event>,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        writeln!(f, "question: {:?}", self.question)?;
        writeln!(f, "before: {:?}\nafter:  {:?}", self.before, self.after)?;
        self.events
            .iter()
            .try_for_each(|event| writeln!(f, "event: {event:?}"))
    }
}
