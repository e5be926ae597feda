//! The checks: each answer against the truth at its version, and each version against what was promised.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use ci_model::{Origin, TenantId, Token, Version};
use ci_runner::{Level, Source};
use ci_tests::history::timeline::{Player, Span};
use ci_tests::history::{Deed, Place, Timeline};
use ci_tests::store_contract::World;

use super::pool::{Expected, Pool};
use super::record::{Ledger, Read};

/// Clocks are read in microseconds, at several places.
const SLACK: Duration = Duration::from_micros(10);
/// Writes through the runner that each answer has to include, of those that had returned: the latest ones.
const LATEST: usize = 8;
/// Rows of the record that a report shows.
const SHOWN: usize = 8;

/// A promise that was not kept.
#[derive(Debug)]
pub(crate) struct Wrong(pub(crate) String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was known before a moment, as places on the line.
#[derive(Debug)]
struct Known(Vec<(Instant, usize)>);

impl Known {
    fn new(mut known: Vec<(Instant, usize)>) -> Self {
        known.sort_by_key(|(at, _)| *at);
        let mut most = 0;
        for (_, place) in &mut known {
            most = most.max(*place);
            *place = most;
        }
        Self(known)
    }

    fn before(&self, moment: Option<Instant>) -> usize {
        let Some(moment) = moment else { return 0 };
        let count = self.0.partition_point(|(at, _)| *at <= moment);
        count.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

/// One round, to be checked.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) line: &'a Timeline,
    pub(crate) ledger: &'a Ledger,
    pub(crate) reads: &'a [Read],
    /// Whether loads may come from a standby.
    pub(crate) has_standby: bool,
    /// Whether answers may be of a standby's states, loaded from there or had from the tier: of two of them neither need include the other.
    pub(crate) shows_standby: bool,
}

/// The expected answers and worlds where the line is now, as far as they were needed.
struct Truths<'a> {
    pool: &'a Pool,
    worlds: HashMap<TenantId, ((u64, u64), World)>,
    answers: HashMap<usize, ((u64, u64), Expected)>,
    /// Answers that had to be worked out.
    worked_out: u64,
}

impl Truths<'_> {
    fn expected(&mut self, asked: usize, player: &Player<'_>) -> &Expected {
        let question = &self.pool.all[asked];
        let age = question.age(player.state());
        let is_known = self.answers.get(&asked).is_some_and(|(known, _)| *known == age);
        if !is_known {
            let rows = player.state().age(&question.tenant);
            let rows = (rows.cis, rows.links);
            let worlds = &mut self.worlds;
            if worlds
                .get(&question.tenant)
                .is_none_or(|(known, _)| *known != rows)
            {
                let world = player.state().world(&question.tenant);
                worlds.insert(question.tenant.clone(), (rows, world));
            }
            let expected = question.expected(&worlds[&question.tenant].1);
            self.worked_out += 1;
            self.answers.insert(asked, (age, expected));
        }
        &self.answers[&asked].1
    }
}

impl Round<'_> {
    /// Checks everything.
    ///
    /// # Errors
    /// The first promise that was not kept.
    pub(crate) fn check(&self) -> Result<u64, Wrong> {
        let mut places = Places {
            line: self.line,
            known: HashMap::new(),
        };
        let floors = self.ledger.floors.iter();
        let floors = Known::new(
            floors
                .map(|(at, place)| (*at, self.line.span(place).from))
                .collect(),
        );
        let own = self.check_writes(&mut places, &floors)?;
        let mut order = Vec::with_capacity(self.reads.len());
        for (index, read) in self.reads.iter().enumerate() {
            let Some(token) = &read.as_of else {
                order.push(self.unversioned(read, index, &floors, &mut places)?);
                continue;
            };
            let span = places.of(token);
            let returned = own.partition_point(|(ended, _)| *ended + SLACK <= read.began);
            let latest = &own[returned.saturating_sub(LATEST)..returned];
            if !latest.iter().all(|(_, origin)| token.version.covers(*origin)) {
                let why = "it does not include a write through the same runner that had returned";
                return Err(self.wrong(read, why, Some(span)));
            }
            let needed = needed(read, Some(token), &floors, &mut places, self.is_now(read, true));
            if let Some((why, _)) = needed.iter().find(|(_, place)| *place > span.to) {
                return Err(self.wrong(read, why, Some(span)));
            }
            let least = needed.iter().map(|(_, place)| *place).max().unwrap_or(0);
            order.push((span, least.max(span.from), index));
        }
        self.check_values(order)
    }

    /// Where an answer without a version may be true: it was loaded while the feed's triggers were gone, at a state that includes
    /// all that it has to.
    fn unversioned(
        &self,
        read: &Read,
        index: usize,
        floors: &Known,
        places: &mut Places<'_>,
    ) -> Result<(Span, usize, usize), Wrong> {
        let needed = needed(read, None, floors, places, self.is_now(read, false));
        let least = needed.iter().map(|(_, place)| *place).max().unwrap_or(0);
        match self.line.blind_from(least) {
            Some(span) if read.source != Source::Hit => Ok((span, span.from, index)),
            _ => Err(self.wrong(read, "it does not say as of when it is true", None)),
        }
    }

    /// Each token of a write includes what was written, and all that could be seen before it. Returns the writes in the order in
    /// which they returned.
    fn check_writes(&self, places: &mut Places<'_>, floors: &Known) -> Result<Vec<(Instant, Origin)>, Wrong> {
        let tags = self
            .line
            .rows()
            .iter()
            .enumerate()
            .filter_map(|(at, row)| match &row.deed {
                Deed::Ci(_, Some(ci)) => ci.summary.location.as_deref().map(|tag| (tag, at)),
                _ => None,
            });
        let mut first: HashMap<&str, usize> = HashMap::new();
        for (tag, at) in tags {
            // Whoever changes such a row later leaves the tag in it.
            first.entry(tag).or_insert(at);
        }
        // What the record begins with was written before: by a round that is over, or before the copy was made that was restored. A row that has such
        // a tag was only changed.
        let known = self.line.base().cis();
        for tag in known.filter_map(|ci| ci.summary.location.as_deref()) {
            first.remove(tag);
        }
        let mut own = Vec::new();
        // The token may have more: where the mark is hidden, it is what the database told after the write.
        for write in &self.ledger.writes {
            let Some(token) = &write.token else { continue };
            let span = places.of(token);
            if floors.before(Some(write.began)) > span.to {
                return Err(Wrong(format!("the token of {write:?} is older than the write")));
            }
            let row = write.tag.as_deref().and_then(|tag| first.get(tag));
            let Some(row) = row.map(|at| &self.line.rows()[*at]) else {
                continue;
            };
            if !token.version.covers(row.origin) {
                return Err(Wrong(format!(
                    "the token of {write:?} does not include the write: {row:?}"
                )));
            }
            own.push((write.ended, row.origin));
        }
        own.sort_by_key(|(ended, _)| *ended);
        Ok(own)
    }

    /// Each answer is the truth at its version.
    fn check_values(&self, mut order: Vec<(Span, usize, usize)>) -> Result<u64, Wrong> {
        if self.shows_standby {
            let version = |index: &usize| self.reads[*index].as_of.as_ref().map(ToString::to_string);
            order.sort_by_cached_key(|(span, _, index)| (span.to, version(index), *index));
        } else {
            order.sort_by_key(|(span, _, index)| (span.to, *index));
        }
        // Those whose version may be several states, beginning with the earliest of these.
        let (mut vague, exact): (Vec<_>, Vec<_>) =
            order.into_iter().partition(|(span, ..)| span.from < span.to);
        vague.sort_by_key(|(_, least, _)| *least);
        let mut vague = vague.into_iter().peekable();
        let mut open: Vec<(Span, usize, usize)> = Vec::new();
        let mut player = self.line.player();
        let mut truths = Truths {
            pool: self.pool,
            worlds: HashMap::new(),
            answers: HashMap::new(),
            worked_out: 0,
        };
        let mut exact = exact.into_iter().peekable();
        loop {
            let next = [
                exact.peek().map(|(span, ..)| span.to),
                vague.peek().map(|(_, least, _)| *least),
                (!open.is_empty()).then_some(player.at() + 1),
            ];
            let Some(place) = next.into_iter().flatten().min() else {
                break;
            };
            let first = exact.peek().filter(|(span, ..)| span.to == place);
            let first = first.map(|(_, _, index)| &self.reads[*index]);
            match first {
                Some(read) if self.shows_standby => go_to_any(&mut player, &mut truths, place, read),
                Some(read) => go_to(&mut player, place, read)?,
                None => player.go_to(place),
            }
            // As many changes are no proof of the same ones. Those of another version come next, at the same place.
            let is_there =
                |read: &Read| !self.shows_standby || first.is_some_and(|first| first.as_of == read.as_of);
            while let Some((span, _, index)) =
                exact.next_if(|(span, _, index)| span.to == place && is_there(&self.reads[*index]))
            {
                let read = &self.reads[index];
                let expected = truths.expected(read.asked, &player);
                if !read.seen.is(expected) {
                    return Err(self.wrong_value(read, expected, span));
                }
            }
            while let Some(read) = vague.next_if(|(_, least, _)| *least == place) {
                open.push(read);
            }
            open.retain(|(_, _, index)| {
                let read = &self.reads[*index];
                !read.seen.is(truths.expected(read.asked, &player))
            });
            if let Some((span, _, index)) = open.iter().find(|(span, ..)| span.to <= place) {
                let read = &self.reads[*index];
                return Err(self.wrong_value(read, truths.expected(read.asked, &player), *span));
            }
        }
        Ok(truths.worked_out)
    }

    /// Whether an answer is of a load that is no older than the call. One of a standby need not be: of that more is not promised than of a hit.
    fn is_now(&self, read: &Read, has_token: bool) -> bool {
        match read.source {
            Source::Bypass => true,
            Source::Miss => !(self.has_standby && has_token),
            _ => false,
        }
    }

    fn wrong_value(&self, read: &Read, expected: &Expected, span: Span) -> Wrong {
        self.wrong(read, &format!("the truth is {expected:?}"), Some(span))
    }

    fn wrong(&self, read: &Read, why: &str, span: Option<Span>) -> Wrong {
        let asked = &self.pool.all[read.asked];
        let played = self.line.len() - self.line.rows().len();
        let about = span.map(|span| {
            let around = span.from.saturating_sub(SHOWN + played)..(span.to + SHOWN).saturating_sub(played);
            let rows = self.line.rows().iter().enumerate();
            let rows = rows.filter(|(at, _)| around.contains(at));
            let rows = rows.map(|(at, row)| format!("\n  {} {row:?}", at + played + 1));
            rows.collect::<Vec<_>>().concat()
        });
        Wrong(format!(
            "{why}\nasked: {asked:?}\nread: {read:?}\nplaces: {span:?}, the record around them:{}",
            about.unwrap_or_default()
        ))
    }
}

/// Goes to where an answer is true.
fn go_to(player: &mut Player<'_>, place: usize, read: &Read) -> Result<(), Wrong> {
    if let Some(version @ Version::Snapshot(_)) = read.as_of.as_ref().map(|token| &token.version) {
        return player.go_to_version(version).map_err(Wrong);
    }
    player.go_to(place);
    Ok(())
}

/// The same where states are of several servers. What was worked out counts as long as nothing is taken back.
fn go_to_any(player: &mut Player<'_>, truths: &mut Truths<'_>, place: usize, read: &Read) {
    match read.as_of.as_ref().map(|token| &token.version) {
        Some(version @ Version::Snapshot(_)) => {
            if player.go_to_any(version) {
                truths.worlds.clear();
                truths.answers.clear();
            }
        }
        _ => player.go_to(place),
    }
}

/// Tokens' places, each worked out once.
struct Places<'a> {
    line: &'a Timeline,
    known: HashMap<String, Span>,
}

impl Places<'_> {
    fn of(&mut self, token: &Token) -> Span {
        let version = token.version.to_string();
        let line = self.line;
        *self
            .known
            .entry(version)
            .or_insert_with(|| line.span(&Place::Version(token.version.clone())))
    }
}

/// What an answer has to include, and why.
fn needed(
    read: &Read,
    as_of: Option<&Token>,
    floors: &Known,
    places: &mut Places<'_>,
    is_now: bool,
) -> Vec<(&'static str, usize)> {
    let earlier = |lag: Duration| read.began.checked_sub(lag + SLACK);
    let before = floors.before(earlier(Duration::ZERO));
    let mut needed = Vec::new();
    match &read.level {
        Level::Cached { max_lag } => {
            needed.push((
                "it is older than its level allows",
                floors.before(earlier(*max_lag)),
            ));
        }
        Level::AtLeast(token) => {
            needed.push(("it does not include the token", places.of(token).from));
            if as_of.is_none_or(|as_of| as_of.epoch != token.epoch) {
                needed.push(("a token of another epoch is strong", before));
            }
        }
        _ => needed.push(("it does not include what was acknowledged", before)),
    }
    match read.lag {
        Some(lag) => needed.push(("it lags more than it says", floors.before(earlier(lag)))),
        None => needed.push(("it does not say how far it lags", usize::MAX)),
    }
    if is_now {
        needed.push((
            "it was loaded by this call and does not include what could be seen",
            before,
        ));
    }
    needed
}
