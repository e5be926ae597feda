//! What goes wrong, one after the other, and how it is mended.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use ci_tests::history::server::Ending;
use ci_tests::history::{Raw, Server};
use ci_tests::store_contract::world::{below, one_of};
use rand_chacha::ChaCha8Rng;

use super::client::note_epoch;
use super::pool::{BULK, OWNERS};
use super::proxy::Mode;
use super::stage::Stage;
use super::{pause, sql};

/// An old state of the database: a file in its server's folder, made anew before each round.
const DUMP: &str = "dump";

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The database crashes and comes back.
    DatabaseKilled,
    /// It is restarted.
    DatabaseRestarted,
    /// It crashes for good, and the standby takes its place; what it had not sent is lost.
    FailedOver,
    /// It is replaced by a restored dump of before.
    Restored,
    /// A node's connections are cut.
    ConnectionsCut,
    /// In the middle of answers.
    CutMidResult,
    /// What a node sends and gets takes longer.
    Delayed,
    /// A node's packets get nowhere for a while.
    BlackHoled,
    /// Nobody's do.
    AllBlackHoled,
    /// A node cannot connect.
    Refused,
    /// A node is killed and started again.
    NodeKilled,
    /// A node is stopped and started again.
    NodeRestarted,
    /// A node does not run for a while.
    NodePaused,
    /// The feed's triggers are disabled for some writes.
    TriggersDisabled,
    /// A thousand rows change at once.
    BulkWrite,
    /// A table is emptied and filled again.
    Truncated,
    /// Somebody leaves a transaction open.
    ForeignTransaction,
    /// The database forgets changes that a node has not heard of.
    ChangesForgotten,
    /// The shared tier is killed and started again, empty.
    RedisKilled,
    /// It is emptied.
    RedisFlushed,
    /// It has the values of before again: what was written and deleted since is lost.
    RedisRolledBack,
    /// It does not run for a while.
    RedisPaused,
    /// A node talks to another server for a while than the others do.
    RedisSplit,
    /// What nodes ask of it takes longer.
    RedisSlow,
}

/// What a fault happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// A node, or what it sends and gets.
    Node,
    /// The database.
    Database,
    /// The shared tier.
    Tier,
}

impl Fault {
    pub(crate) const ALL: [Self; 24] = [
        Self::DatabaseKilled,
        Self::DatabaseRestarted,
        Self::FailedOver,
        Self::Restored,
        Self::ConnectionsCut,
        Self::CutMidResult,
        Self::Delayed,
        Self::BlackHoled,
        Self::AllBlackHoled,
        Self::Refused,
        Self::NodeKilled,
        Self::NodeRestarted,
        Self::NodePaused,
        Self::TriggersDisabled,
        Self::BulkWrite,
        Self::Truncated,
        Self::ForeignTransaction,
        Self::ChangesForgotten,
        Self::RedisKilled,
        Self::RedisFlushed,
        Self::RedisRolledBack,
        Self::RedisPaused,
        Self::RedisSplit,
        Self::RedisSlow,
    ];

    /// What it happens to: those of different things may come together.
    pub(crate) fn of(self) -> Of {
        match self {
            Self::ConnectionsCut
            | Self::CutMidResult
            | Self::Delayed
            | Self::BlackHoled
            | Self::Refused
            | Self::NodeKilled
            | Self::NodeRestarted
            | Self::NodePaused => Of::Node,
            Self::RedisKilled
            | Self::RedisFlushed
            | Self::RedisRolledBack
            | Self::RedisPaused
            | Self::RedisSplit
            | Self::RedisSlow => Of::Tier,
            _ => Of::Database,
        }
    }
}

/// The servers.
#[derive(Debug)]
pub(crate) struct Cluster {
    primary: Server,
    standby: Option<Server>,
    /// Restored copies so far.
    restored: u32,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let primary = Server::start().await;
        let mut raw = Raw::connect(&primary.url("postgres")).await.unwrap();
        raw.run("CREATE DATABASE ci").await.unwrap();
        Self {
            primary,
            standby: None,
            restored: 0,
        }
    }

    /// The address of the database.
    pub(crate) fn address(&self) -> String {
        self.primary.url("ci")
    }

    /// Host and port of the server.
    pub(crate) fn upstream(&self) -> String {
        place(&self.address())
    }

    /// Gives it a standby if it has none, from which nodes load.
    pub(crate) async fn complete(&mut self, stage: &Stage) {
        if self.standby.is_some() {
            return;
        }
        let standby = self.primary.standby().await;
        for node in &stage.nodes {
            // Until now it led to the one before, which is a primary today.
            node.replica.redirect(place(&standby.url("ci")));
        }
        self.standby = Some(standby);
    }

    /// Keeps the present state of the database for [`Fault::Restored`].
    pub(crate) fn keep_dump(&self) {
        let address = self.address();
        self.primary
            .tool("pg_dump", &["--format=custom", "--file", DUMP, &address]);
    }
}

/// Host and port of an address.
fn place(address: &str) -> String {
    let (_, place) = address.split_once('@').unwrap();
    place.split('/').next().unwrap().to_owned()
}

/// Causes a fault at a node and mends it. What is done to its way to the database is, half of the time, done to its way to the standby as well.
pub(crate) async fn at_node(fault: Fault, stage: &Stage, at: usize, random: &mut ChaCha8Rng) {
    let node = &stage.nodes[at];
    let short = Duration::from_millis(200 + below(random, 800) as u64);
    let ways = if below(random, 2) == 0 {
        vec![&node.proxy]
    } else {
        vec![&node.proxy, &node.replica]
    };
    let all = |mode| ways.iter().for_each(|way| way.set(mode));
    match fault {
        Fault::ConnectionsCut => {
            for _ in 0..3 {
                ways.iter().for_each(|way| way.cut());
                pause(Duration::from_millis(60)).await;
            }
        }
        Fault::CutMidResult => {
            for _ in 0..4 {
                all(Mode::CutAfter(1 + below(random, 6_000)));
                pause(short / 4).await;
            }
        }
        Fault::Delayed => {
            let delay = Duration::from_millis(1 + below(random, 80) as u64);
            all(Mode::Delay(delay));
            pause(short).await;
        }
        Fault::BlackHoled => {
            all(Mode::Hole);
            pause(short * 3).await;
            if below(random, 2) == 0 {
                ways.iter().for_each(|way| way.cut());
            }
        }
        Fault::Refused => {
            all(Mode::Refuse);
            pause(short).await;
        }
        Fault::NodeKilled => {
            node.kill();
            pause(short / 2).await;
            node.start().await;
        }
        Fault::NodeRestarted => {
            node.stop().await;
            pause(short / 4).await;
            node.start().await;
        }
        Fault::NodePaused => {
            node.signal("-STOP");
            pause(short * 2).await;
            node.signal("-CONT");
        }
        _ => {}
    }
    all(Mode::Pass);
}

/// Causes a fault of the database and mends it.
pub(crate) async fn of_the_database(
    fault: Fault,
    stage: &Stage,
    cluster: &mut Cluster,
    random: &mut ChaCha8Rng,
) {
    match fault {
        Fault::DatabaseKilled => restart(stage, cluster, Ending::Crash).await,
        Fault::DatabaseRestarted => restart(stage, cluster, Ending::Fast).await,
        Fault::FailedOver => fail_over(stage, cluster).await,
        Fault::Restored => restore(stage, cluster).await,
        Fault::AllBlackHoled => {
            let all = |mode| stage.nodes.iter().for_each(|node| node.proxy.set(mode));
            all(Mode::Hole);
            pause(Duration::from_millis(1_500)).await;
            all(Mode::Pass);
        }
        Fault::TriggersDisabled => triggers(stage, random).await,
        Fault::BulkWrite => {
            let owner = one_of(random, &OWNERS);
            let sql = format!(
                "UPDATE ci SET owner = CASE owner WHEN '{owner}' THEN 'many' ELSE '{owner}' END \
                 WHERE tenant_id = '{BULK}' AND ci_code < 'bulk-01200'"
            );
            insist(stage, async |raw| raw.run(&sql).await).await;
        }
        Fault::Truncated => {
            let table = one_of(random, &["ci_relation", "ci_ext"]);
            insist(stage, async |raw| {
                raw.run(&format!("SET lock_timeout = '2s'; TRUNCATE {table}"))
                    .await
            })
            .await;
            pause(Duration::from_millis(100)).await;
            let again = sql::beginning(random, false);
            insist(stage, async |raw| raw.run(&again).await).await;
        }
        Fault::ForeignTransaction => foreign_transaction(stage, random).await,
        Fault::ChangesForgotten => forget(stage, random).await,
        _ => {}
    }
}

/// Runs something as another program, again if it is refused.
async fn insist(
    stage: &Stage,
    act: impl AsyncFn(&mut Raw) -> Result<(), ci_tests::history::audit::RawError>,
) {
    let mut last = None;
    for _ in 0..100 {
        if let Some((era, mut raw)) = stage.connect().await {
            match act(&mut raw).await {
                Ok(()) => {
                    if let Ok(place) = raw.place().await {
                        stage.note_floor(era, place);
                    }
                    return;
                }
                Err(error) => {
                    last = Some(error);
                    let _over = raw.run("ROLLBACK").await;
                }
            }
        }
        pause(Duration::from_millis(20)).await;
    }
    panic!("the database refused 100 times: {last:?}");
}

async fn restart(stage: &Stage, cluster: &Cluster, ending: Ending) {
    stage.is_there.store(false, SeqCst);
    cluster.primary.restart(ending).await;
    back(stage).await;
}

/// The database is there again: its epoch first, so that no answer comes before it is known.
async fn back(stage: &Stage) {
    while !note_epoch(stage).await {
        pause(Duration::from_millis(20)).await;
    }
    stage.is_there.store(true, SeqCst);
}

/// Begins an era, whose nodes come later, with what anybody could see before any of them: what its record begins with is played for good, so no answer may be of an
/// earlier state.
async fn begin_era(stage: &Stage, address: String) {
    stage.begin_era(address);
    note_place(stage).await;
}

/// Notes what anybody can see now, in the present era.
pub(crate) async fn note_place(stage: &Stage) {
    let (era, address) = stage.now();
    let mut raw = Raw::connect(&address).await.unwrap();
    stage.note_floor(era, raw.place().await.unwrap());
}

/// The rest of an era's record, when nothing is added to it any more.
async fn close_record(stage: &Stage, number: usize, address: &str) {
    let mut raw = Raw::connect(address).await.unwrap();
    let after = stage.with_era(number, |era| era.line.last()).unwrap_or(0);
    let rows = raw.audited(after).await.unwrap();
    stage.with_era(number, |era| era.line.extend(rows));
}

/// ```text
/// old primary: crashes ................................ runs alone for a moment, so that its record can be read
/// standby:               promoted, takes its place
/// ```
async fn fail_over(stage: &Stage, cluster: &mut Cluster) {
    cluster.complete(stage).await;
    let (old_era, _) = stage.now();
    stage.is_there.store(false, SeqCst);
    cluster.primary.stop(Ending::Crash).await;
    let standby = cluster.standby.take().unwrap();
    standby.promote().await;
    let old = std::mem::replace(&mut cluster.primary, standby);
    begin_era(stage, cluster.address()).await;
    for node in &stage.nodes {
        node.proxy.redirect(cluster.upstream());
    }
    back(stage).await;
    // Nobody else knows where it is.
    old.restart(Ending::Fast).await;
    close_record(stage, old_era, &old.url("ci")).await;
}

/// The copy is made beside, and takes the name when it is whole.
async fn restore(stage: &Stage, cluster: &mut Cluster) {
    cluster.restored += 1;
    let (new, old) = ("ci_new", format!("ci_old_{}", cluster.restored));
    let (old_era, _) = stage.now();
    let mut raw = Raw::connect(&cluster.primary.url("postgres")).await.unwrap();
    raw.run("CREATE DATABASE ci_new").await.unwrap();
    let target = cluster.primary.url(new);
    cluster.primary.tool("pg_restore", &["--dbname", &target, DUMP]);
    stage.is_there.store(false, SeqCst);
    raw.run("ALTER DATABASE ci CONNECTION LIMIT 0").await.unwrap();
    for node in &stage.nodes {
        node.proxy.set(Mode::Refuse);
    }
    let began = Instant::now();
    let ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('ci', 'ci_new')";
    while raw
        .run(&format!("{ends}; ALTER DATABASE ci RENAME TO {old}"))
        .await
        .is_err()
    {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "somebody holds the database"
        );
        pause(Duration::from_millis(20)).await;
    }
    raw.run("ALTER DATABASE ci_new RENAME TO ci").await.unwrap();
    begin_era(stage, cluster.address()).await;
    back(stage).await;
    for node in &stage.nodes {
        node.proxy.set(Mode::Pass);
    }
    close_record(stage, old_era, &cluster.primary.url(&old)).await;
    let _dropped = raw.run(&format!("DROP DATABASE {old}")).await;
}

async fn triggers(stage: &Stage, random: &mut ChaCha8Rng) {
    let unseen: Vec<String> = (0..3).map(|_| sql::statement(random, false)).collect();
    let switch = async |how: &str| {
        let sql = format!("SET lock_timeout = '2s'; BEGIN; {}COMMIT", sql::triggers(how));
        insist(stage, async |raw| raw.run(&sql).await).await;
    };
    // Once for some time, once so quickly that no poll may see them away.
    for time in [Duration::from_millis(300), Duration::ZERO] {
        switch("DISABLE").await;
        for statement in &unseen {
            if let Some((_, mut raw)) = stage.connect().await {
                let _done = raw.run(statement).await;
            }
        }
        pause(time).await;
        switch("ENABLE ALWAYS").await;
        note_epoch(stage).await;
    }
}

/// Somebody begins a transaction, writes, and goes to lunch.
async fn foreign_transaction(stage: &Stage, random: &mut ChaCha8Rng) {
    let Some((_, mut raw)) = stage.connect().await else {
        return;
    };
    let begun = raw
        .run("BEGIN; SELECT pg_current_xact_id(); UPDATE ci SET owner = 'lunch' WHERE ci_code = 'bulk-00042'")
        .await;
    if begun.is_ok() {
        pause(Duration::from_millis(1_500)).await;
        let end = one_of(random, &["COMMIT", "ROLLBACK"]);
        let _ended = raw.run(end).await;
    }
}

/// A node hears nothing, and what it would have heard is forgotten.
async fn forget(stage: &Stage, random: &mut ChaCha8Rng) {
    let node = &stage.nodes[below(random, stage.nodes.len())];
    node.proxy.set(Mode::Hole);
    for _ in 0..4 {
        let sql = sql::insert(random, 0, false);
        let sql = format!("DELETE FROM ci WHERE ci_id = '{}'; {sql}", super::pool::id(0));
        insist(stage, async |raw| raw.run(&sql).await).await;
        pause(Duration::from_millis(50)).await;
    }
    let (_, address) = stage.now();
    if let Ok(store) = ci_store::open(&address, &ci_store::StoreOptions::default()).await {
        while store.retain(Duration::ZERO).await.is_ok_and(|gone| gone > 0) {}
        store.close().await;
    }
    node.proxy.cut();
    node.proxy.set(Mode::Pass);
}
