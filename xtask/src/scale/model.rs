//! What a fleet costs: of the database, of each node and of the tier, by number of nodes and of CIs.

use super::figures::Figures;
use super::hits::Demand;

/// What is switched on; each step has the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// As it is installed.
    Installed,
    /// Polls are longer apart.
    LongPolls,
    /// Polls wait for a doorbell.
    Doorbell,
    /// A shared tier.
    Tier,
    /// The tier is a cluster of several.
    Cluster,
    /// Nodes are divided by groups of tenants: each polls and caches one.
    Partitions,
    /// Loads go to standbys.
    Replicas,
}

impl Step {
    pub(crate) const ALL: [Self; 7] = [
        Self::Installed,
        Self::LongPolls,
        Self::Doorbell,
        Self::Tier,
        Self::Cluster,
        Self::Partitions,
        Self::Replicas,
    ];

    /// Its letter in tables.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Installed => 'A',
            Self::LongPolls => 'B',
            Self::Doorbell => 'C',
            Self::Tier => 'D',
            Self::Cluster => 'E',
            Self::Partitions => 'F',
            Self::Replicas => 'G',
        }
    }
}

/// A fleet to look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fleet {
    pub(crate) nodes: f64,
    pub(crate) cis: f64,
    pub(crate) step: Step,
}

/// What it costs, a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Changes of the whole database.
    pub(crate) changes: f64,
    /// Part of the questions that a node answers from its memory.
    pub(crate) hits: f64,
    /// Entries of a node.
    pub(crate) entries: f64,
    /// Loads of the fleet from the database.
    pub(crate) loads: f64,
    /// Cores of the database: polls, loads, writes.
    pub(crate) polls: f64,
    pub(crate) loading: f64,
    pub(crate) writing: f64,
    /// Part of a core that a node's matching takes.
    pub(crate) matching: f64,
    /// Gets, sets and deletes of the tier.
    pub(crate) tier_operations: f64,
    /// Bytes.
    pub(crate) tier_traffic: f64,
    /// Bytes the tier holds.
    pub(crate) tier_memory: f64,
    /// Bytes of the change table.
    pub(crate) change_table: f64,
    /// What is used to which part of what there is.
    pub(crate) uses: [(&'static str, f64); 5],
}

impl Cost {
    /// What comes to its end first, and how far it is.
    pub(crate) fn first(&self) -> (&'static str, f64) {
        let most = self.uses.iter().max_by(|one, other| one.1.total_cmp(&other.1));
        most.copied().unwrap_or(("nothing", 0.0))
    }
}

impl Fleet {
    /// Works out what it costs.
    pub(crate) fn cost(&self, figures: &Figures) -> Cost {
        let value = |figure: &super::figures::Figure| figure.value;
        let parts = if self.step >= Step::Partitions {
            value(&figures.partitions).min(self.nodes)
        } else {
            1.0
        };
        let changes = self.cis * value(&figures.changes_per_ci);
        let heard = changes / parts;
        let demand = Demand {
            questions: (self.cis * value(&figures.questions_per_ci) / parts).max(1.0),
            exponent: value(&figures.exponent),
            rate: value(&figures.reads),
            touched: value(&figures.changes_per_ci) * value(&figures.touched),
            ttl: value(&figures.ttl),
            capacity: value(&figures.capacity),
        };
        let own = demand.supply();
        let misses = self.nodes * demand.rate * (1.0 - own.hits);
        let has_tier = self.step >= Step::Tier;
        let (processes, machines) = if self.step >= Step::Cluster {
            (value(&figures.tier_processes), value(&figures.tier_machines))
        } else {
            (1.0, 1.0)
        };
        let shared = Demand {
            rate: demand.rate * self.nodes / parts,
            capacity: machines * value(&figures.tier_memory) / value(&figures.tier_stored) / parts,
            // Of what nobody confirms a reader needs every change since.
            ttl: value(&figures.tier_ttl).min(value(&figures.log) / heard.max(1e-9)),
            ..demand
        };
        let of_all = shared.supply();
        let loads = if has_tier {
            misses.min(self.nodes * demand.rate * (1.0 - of_all.hits))
        } else {
            misses
        };
        let dropped = self.nodes * own.entries * demand.touched;
        let (tier_operations, tier_traffic) = if has_tier {
            // Every miss is a get; a load is three operations more.
            let confirmed = value(&figures.tier_confirmed).min(of_all.entries * parts);
            let operations = misses + loads * (value(&figures.tier_load) - 1.0) + dropped + confirmed;
            // Values go to whoever finds them, and come from whoever loads or confirms them.
            let values = (misses - loads) + loads + confirmed;
            let bytes = values * value(&figures.tier_value) + operations * value(&figures.tier_beside);
            (operations, bytes)
        } else {
            (0.0, 0.0)
        };
        let tier_memory = if has_tier {
            of_all.entries * parts * value(&figures.tier_stored)
        } else {
            0.0
        };
        let polls = self.polls(figures, heard) / 1e6;
        let loading = loads * value(&figures.load) / 1e6;
        let writing = changes * value(&figures.write) / 1e6;
        let matching = heard * match_time(figures, own.entries) / 1e6;
        let cores = value(&figures.database_cores);
        let (primary, standby) = if self.step == Step::Replicas {
            (polls + writing, loading / value(&figures.replicas))
        } else {
            (polls + loading + writing, 0.0)
        };
        Cost {
            changes,
            hits: own.hits,
            entries: own.entries,
            loads,
            polls,
            loading,
            writing,
            matching,
            tier_operations,
            tier_traffic,
            tier_memory,
            change_table: changes * value(&figures.retention) * value(&figures.change_row),
            uses: [
                (
                    database_part(polls, if standby > 0.0 { 0.0 } else { loading }, writing),
                    primary / cores,
                ),
                ("loads on the standbys", standby / cores),
                ("matching on a node", matching),
                (
                    "the tier's operations",
                    tier_operations / processes / value(&figures.tier_gets),
                ),
                (
                    "the tier's network",
                    tier_traffic / machines / value(&figures.tier_network),
                ),
            ],
        }
    }

    /// Microseconds of the database for the polls of all nodes, when a node hears so many changes.
    fn polls(&self, figures: &Figures, heard: f64) -> f64 {
        let busy = 1e6 / figures.pace.value;
        let polls = match self.step {
            Step::Installed => busy,
            Step::LongPolls => 1e6 / figures.long_pace.value,
            // Whatever changes rings; rings that come while a poll is under way are one.
            _ => busy.min(1e6 / figures.doorbell_pace.value + heard),
        };
        let bringing = polls * -(-heard / polls).exp_m1();
        let one = figures.poll_with_one.value - figures.empty_poll.value;
        let further = (heard - bringing).max(0.0) * figures.polled_change.value;
        self.nodes * (polls * figures.empty_poll.value + bringing * one + further)
    }

    /// The first step with which nothing is used to more than half; none if no step helps.
    pub(crate) fn enough(nodes: f64, cis: f64, figures: &Figures) -> Option<(Step, Cost)> {
        let costs = Step::ALL.into_iter().map(|step| {
            let fleet = Self { nodes, cis, step };
            (step, fleet.cost(figures))
        });
        let mut costs = costs;
        costs.find(|(_, cost)| cost.first().1 <= 0.5)
    }
}

/// Names what the database does most.
fn database_part(polls: f64, loading: f64, writing: f64) -> &'static str {
    if polls >= loading && polls >= writing {
        "polls of the database"
    } else if loading >= writing {
        "loads from the database"
    } else {
        "writes to the database"
    }
}

/// Microseconds of matching one change: between and beyond the two that were measured, a power of the entries.
fn match_time(figures: &Figures, entries: f64) -> f64 {
    let (few, many) = (figures.match_10k.value, figures.match_100k.value);
    few * (entries.max(100.0) / 1e4).powf((many / few).log10())
}
