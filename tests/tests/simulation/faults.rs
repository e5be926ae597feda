//! What goes wrong in a run, and how often: each seed draws which faults are on (a swarm: few together find more than all at once).

use rand_chacha::ChaCha8Rng;

use ci_tests::store_contract::world::below;

use super::laws::Law;

/// A fault that comes at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The database crashes and recovers.
    Crash,
    /// It crashes, and what was acknowledged last is lost; or a standby that was behind takes over.
    LoseCommits,
    /// It goes back to a copy.
    Restore,
    BackUp,
    /// The triggers are away for a while.
    Blind,
    /// Old changes are deleted.
    Forget,
    KillNode,
    PauseNode,
    /// An entry leaves a node's memory.
    Evict,
    /// Somebody has a node forget everything.
    ForgetByHand,
    FlushTier,
    SaveTier,
    RollBackTier,
    SplitTier,
    TierDown,
    DamageTier,
    /// An auditor finds an answer wrong.
    Withdraw,
    /// The standby crashes, and shows an older state when it is back.
    StandbyCrash,
    /// It replays nothing for a while.
    StandbyPaused,
    /// It follows another server, or is promoted.
    StandbyAway,
}

impl Fault {
    pub(crate) const ALL: [Self; 20] = [
        Self::Crash,
        Self::LoseCommits,
        Self::Restore,
        Self::BackUp,
        Self::Blind,
        Self::Forget,
        Self::KillNode,
        Self::PauseNode,
        Self::Evict,
        Self::ForgetByHand,
        Self::FlushTier,
        Self::SaveTier,
        Self::RollBackTier,
        Self::SplitTier,
        Self::TierDown,
        Self::DamageTier,
        Self::Withdraw,
        Self::StandbyCrash,
        Self::StandbyPaused,
        Self::StandbyAway,
    ];

    /// Under which name a run counts it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crash => "fault: database crashed",
            Self::LoseCommits => "fault: commits lost, numbers used again",
            Self::Restore => "fault: database restored",
            Self::BackUp => "fault: database copied",
            Self::Blind => "fault: triggers away",
            Self::Forget => "fault: old changes deleted",
            Self::KillNode => "fault: node killed",
            Self::PauseNode => "fault: node paused",
            Self::Evict => "fault: entry evicted",
            Self::ForgetByHand => "fault: forgotten by hand",
            Self::FlushTier => "fault: tier flushed",
            Self::SaveTier => "fault: tier copied",
            Self::RollBackTier => "fault: tier rolled back",
            Self::SplitTier => "fault: tier split",
            Self::TierDown => "fault: tier down",
            Self::DamageTier => "fault: tier value damaged",
            Self::Withdraw => "fault: answer found wrong",
            Self::StandbyCrash => "fault: standby crashed",
            Self::StandbyPaused => "fault: standby paused",
            Self::StandbyAway => "fault: standby of another server",
        }
    }
}

/// How often what happens, drawn for each run. Chances are per thousand.
#[derive(Debug, Clone)]
pub(crate) struct Rates {
    /// Mean time between two, by fault; none where it is off.
    pub(crate) faults: Vec<(Fault, u64)>,
    pub(crate) nodes: usize,
    pub(crate) has_tier: bool,
    pub(crate) slots: usize,
    pub(crate) log: usize,
    pub(crate) bulk: usize,
    pub(crate) lose_request: usize,
    pub(crate) lose_answer: usize,
    /// Of lost answers, such after which the feed has moved on.
    pub(crate) moved_on: usize,
    pub(crate) lose_put: usize,
    pub(crate) lose_delete: usize,
    pub(crate) slow_tier: usize,
    pub(crate) slow_database: usize,
    pub(crate) slow_commit: usize,
    pub(crate) long_transaction: usize,
    pub(crate) abort: usize,
    pub(crate) coarse: usize,
    /// Mean time between two times that a node confirms what it has of the tier; 0 for never.
    pub(crate) confirm: u64,
    /// Nodes leave bookmarks in the tier, and join by them.
    pub(crate) has_bookmarks: bool,
    /// Steps of a node between which much happens, such as polls.
    pub(crate) slow_steps: usize,
    /// Jobs that a node's queue has room for, and of how many a batch is.
    pub(crate) jobs: usize,
    pub(crate) batch: usize,
    /// Batches in which deletes come before values.
    pub(crate) reorder: usize,
    /// How long a node waits for the load of another; 0 for not at all.
    pub(crate) tier_wait: u64,
    pub(crate) has_standby: bool,
    /// Longest time between two records that the standby replays, while there are more.
    pub(crate) replay_pace: u64,
    /// How long a load waits for the standby, and for the primary to show what it shows.
    pub(crate) standby_wait: u64,
    pub(crate) lose_standby: usize,
    pub(crate) slow_standby: usize,
    pub(crate) offset: u64,
    /// Mean time between two writes, and between two questions.
    pub(crate) writes: u64,
    pub(crate) reads: u64,
}

impl Rates {
    pub(crate) fn draw(dice: &mut ChaCha8Rng, queries: usize, quiet: bool) -> Self {
        let mut faults = Vec::new();
        for fault in Fault::ALL {
            let every = 20_000 + below(dice, 200_000) as u64;
            if below(dice, 3) == 0 && !quiet {
                faults.push((fault, every));
            }
        }
        let mut chance = |of: usize, most: usize| {
            let on = below(dice, of) == 0 && !quiet;
            let drawn = 1 + below(dice, most);
            if on { drawn } else { 0 }
        };
        Self {
            lose_request: chance(3, 200),
            lose_answer: chance(3, 200),
            moved_on: chance(2, 1_000),
            lose_put: chance(3, 500),
            lose_delete: chance(2, 600),
            slow_tier: chance(2, 400),
            slow_database: chance(3, 200),
            slow_commit: chance(2, 600),
            long_transaction: chance(2, 300),
            abort: chance(2, 200),
            coarse: chance(3, 150),
            slow_steps: chance(2, 300),
            has_bookmarks: chance(2, 2) == 0,
            has_tier: chance(5, 2) == 0,
            reorder: chance(3, 700),
            lose_standby: chance(3, 100),
            slow_standby: chance(2, 300),
            jobs: [2, 6, 1_000, 1_000][below(dice, 4)],
            batch: [1, 4, 64][below(dice, 3)],
            tier_wait: [0, 10_000, 50_000][below(dice, 3)],
            has_standby: below(dice, 2) == 0,
            replay_pace: [1, 200, 2_000, 10_000][below(dice, 4)],
            standby_wait: [0, 3_000, 20_000, 20_000][below(dice, 4)],
            nodes: 1 + below(dice, 4),
            slots: [2, 5, queries, queries][below(dice, 4)],
            log: [3, 12, 60, 1_000][below(dice, 4)],
            bulk: if below(dice, 4) == 0 { 3 } else { 1_000 },
            confirm: [0, 4_000, 15_000][below(dice, 3)],
            offset: below(dice, 1_000_000) as u64,
            writes: 1_500 + below(dice, 12_000) as u64,
            reads: 500 + below(dice, 2_500) as u64,
            faults,
        }
    }

    /// Sees to it that what a broken rule needs to be noticed happens often enough.
    pub(crate) fn bring_out(&mut self, law: Law, queries: usize) {
        if law == Law::TierWithoutFloor {
            // So that no load of the node's own is older than its log: the tier alone is under test.
            self.log = 65_536;
        }
        if matches!(law, Law::StoresAlways | Law::LeasesInMemory) {
            // The tier asks the same rules; here those of a node's own loads are under test.
            self.has_tier = false;
        }
        if law == Law::ComparesLogPositions {
            // A standby has no such positions to tell.
            self.has_standby = false;
        }
        if law.is_of_standby() {
            self.has_standby = true;
        }
        if law == Law::GuessesMoments {
            (self.slow_steps, self.long_transaction) = (500, 300);
        }
        if law == Law::AsksTimelineFirst {
            (self.slow_steps, self.long_transaction) = (700, 500);
            (self.replay_pace, self.standby_wait) = (200, 40_000);
            (self.writes, self.reads, self.has_tier) = (3_000, 300, false);
            self.faults.push((Fault::StandbyAway, 10_000));
        }
        if law == Law::CopiesForgotten {
            self.faults.push((Fault::ForgetByHand, 10_000));
        }
        if law == Law::RemembersOtherRuns {
            // Several things have to meet; so that they often do.
            self.faults = vec![(Fault::StandbyCrash, 12_000)];
            (self.replay_pace, self.standby_wait) = (2_000, 20_000);
            (self.slow_steps, self.long_transaction) = (700, 400);
            (self.writes, self.reads, self.has_tier) = (2_000, 300, false);
            (self.lose_standby, self.slow_standby) = (0, 0);
        }
        if law == Law::MarksAfterCheck {
            (self.has_tier, self.slots, self.slow_steps) = (true, queries, 300);
        }
        if law == Law::DeletesOvertake {
            (self.has_tier, self.slots, self.batch) = (true, queries, 64);
            (self.jobs, self.slow_tier) = (1_000, 300);
            self.faults.push((Fault::Withdraw, 3_000));
        }
        if law == Law::ConfirmsAtLaterMark {
            (self.has_tier, self.slots, self.confirm) = (true, queries, 4_000);
            (self.lose_delete, self.slow_tier, self.tier_wait) = (900, 300, 0);
            (self.writes, self.reads, self.nodes) = (3_000, 2_000, 2);
            (self.log, self.bulk, self.coarse, self.has_standby) = (1_000, 1_000, 0, false);
            (self.slow_database, self.lose_request, self.lose_answer) = (0, 0, 0);
            self.faults = vec![(Fault::Evict, 2_000)];
        }
        if law == Law::ConfirmsWhatItHad {
            // The same.
            self.has_tier = true;
            self.confirm = 4_000;
            self.slots = queries;
            self.faults
                .extend([(Fault::ForgetByHand, 20_000), (Fault::Evict, 5_000)]);
        }
    }
}
