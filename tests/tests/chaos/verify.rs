//! What is checked when a round is over: each answer against the history of the database that it is of.

use std::collections::BTreeMap;
use std::time::Duration;

use ci_model::Token;
use ci_runner::Level;
use ci_tests::history::{Place, Raw};

use super::campaign::Campaign;
use super::check::{Round, Wrong};
use super::client::Reads;
use super::record::{Ledger, Read, Write};
use super::stage::Era;

impl Campaign<'_> {
    /// Checks all that was read, in each era and at each node.
    pub(super) async fn verify(&mut self, reads: Reads) -> Result<(), Wrong> {
        let writes = std::mem::take(&mut *self.stage.writes.lock().unwrap());
        self.report.writes += writes.len() as u64;
        self.report
            .count(&self.stage.web.pool, reads.iter().map(|(_, read)| read));
        let mut eras = std::mem::take(&mut *self.stage.eras.lock().unwrap());
        if let Some(era) = eras.last_mut() {
            complete(era).await;
        }
        let checked = self.check(&eras, reads, &writes);
        let mut last = eras.pop();
        let mut gone = self.stage.gone.lock().unwrap();
        gone.extend(eras.iter().flat_map(|era| era.epochs.iter().copied()));
        drop(gone);
        if let Some(era) = &mut last {
            let rows = era.line.rows().len();
            era.line.forget(era.kept);
            era.kept = rows - era.kept.min(rows);
            let keep = era.floors.len().saturating_sub(1);
            era.floors.drain(..keep);
        }
        self.stage.eras.lock().unwrap().extend(last);
        checked
    }

    fn check(&mut self, eras: &[Era], reads: Reads, writes: &[(usize, Write)]) -> Result<(), Wrong> {
        let mut parts: BTreeMap<(usize, usize), Vec<Read>> = BTreeMap::new();
        for (node, mut read) in reads {
            let Some(at) = self.era_of(eras, read.as_of.as_ref())? else {
                self.report.unplaced += 1;
                continue;
            };
            if let Some(next) = eras.get(at + 1) {
                outlived(&read, next)?;
            }
            if let Level::AtLeast(token) = &read.level {
                read.level = match self.era_of(eras, Some(token)) {
                    Ok(Some(of)) if of == at => read.level,
                    // Of another history: strong. Or of one that nobody noticed: then it proves nothing.
                    Ok(None) => Level::Cached {
                        max_lag: Duration::from_secs(3_600),
                    },
                    _ => Level::Strong,
                };
            }
            parts.entry((at, node)).or_default().push(read);
        }
        for ((at, node), reads) in parts {
            let era = &eras[at];
            let own = writes.iter().filter(|(of, write)| {
                *of == node && matches!(self.era_of(eras, write.token.as_ref()), Ok(Some(of)) if of == at)
            });
            let ledger = Ledger {
                floors: era.floors.clone(),
                writes: own.map(|(_, write)| write.clone()).collect(),
                ..Ledger::default()
            };
            let round = Round {
                pool: &self.stage.web.pool,
                line: &era.line,
                ledger: &ledger,
                reads: &reads,
                has_standby: self.stage.nodes[node].loads_from_a_standby(),
                shows_standby: true,
            };
            let worked_out = round
                .check()
                .map_err(|wrong| Wrong(format!("era {}, node {node}: {wrong}", era.number)))?;
            self.report.worked_out += worked_out;
            if eras.len() > 1 {
                self.report.across += reads.len() as u64;
            }
            self.report.checked += reads.len() as u64;
        }
        Ok(())
    }

    /// The era that a token is of, as a place in the list; none when nobody noticed its epoch while there were several.
    fn era_of(&self, eras: &[Era], token: Option<&Token>) -> Result<Option<usize>, Wrong> {
        let Some(token) = token else {
            return Err(Wrong("an answer does not say as of when it is true".into()));
        };
        let known = eras.iter().position(|era| era.epochs.contains(&token.epoch.0));
        if known.is_none() && self.stage.gone.lock().unwrap().contains(&token.epoch.0) {
            return Err(Wrong(format!(
                "an answer is of an era that is long over: {token}"
            )));
        }
        Ok(known.or_else(|| (eras.len() == 1).then_some(0)))
    }
}

/// An era that is over is no more what a reader may be told who asks for something newer.
fn outlived(read: &Read, next: &Era) -> Result<(), Wrong> {
    let allowed = match &read.level {
        Level::Cached { max_lag } => *max_lag,
        Level::AtLeast(_) => return Ok(()),
        _ => Duration::ZERO,
    };
    let said = read.lag.unwrap_or_default();
    let is_late = |lag: Duration| {
        read.began
            .checked_sub(lag)
            .is_some_and(|moment| moment > next.began)
    };
    if is_late(allowed) || is_late(said) {
        return Err(Wrong(format!(
            "an answer is of an era that was over, by its level or by what it says of its lag: {read:?}"
        )));
    }
    Ok(())
}

/// Reads the rest of an era's record. Nobody writes.
async fn complete(era: &mut Era) {
    let mut raw = Raw::connect(&era.address).await.unwrap();
    let mut rows = raw.audited(era.line.last()).await.unwrap();
    if era.line.is_empty()
        && let Some((_, Place::Version(first))) = era.floors.first()
    {
        // What was there before a node could ask it, every answer includes: it is played for good, a part at a time.
        let there = rows.iter().take_while(|row| first.covers(row.origin)).count();
        let rest = rows.split_off(there);
        for part in rows.chunks(1_000) {
            era.line.extend(part.to_vec());
            era.line.forget(part.len());
        }
        rows = rest;
    }
    era.line.extend(rows);
}
