//! A runner that starts with the file of the last one answers from memory as that did, and never wrongly.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::path::Path as FilePath;
use std::time::Duration;

use ci_model::{
    Aggregate, CiCode, CiDraft, CiRef, Direction, Expand, Filter, Get, List, Path, Question, RelationDraft,
    Search, TenantId, View,
};
use ci_runner::{Answer, Level, Reply, Runner, Tenant};
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::observed::Observed;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const CIS: usize = 120;
/// Questions of one measurement: the minute before, and the one after.
const STREAM: usize = 1_000;
const LONG: Duration = Duration::from_secs(60);

fn code(number: usize) -> String {
    format!("srv-{number:03}")
}

fn reference(number: usize) -> CiRef {
    CiCode::new(code(number)).unwrap().into()
}

fn tenants() -> [TenantId; 2] {
    ["acme", "other"].map(|name| TenantId::new(name).unwrap())
}

/// Every question that is ever asked.
fn questions() -> Vec<Question> {
    let filter = |text: &str| Filter::parse(text).unwrap();
    let mut all: Vec<Question> = Vec::new();
    for number in 0..CIS {
        all.push(Get::new(reference(number)).into());
        let search = Search::builder()
            .keyword(format!("rack {}", number % 40))
            .limit(20);
        all.push(search.build().unwrap().into());
        if number % 5 == 0 {
            all.push(
                Expand::builder(reference(number), View::Impact)
                    .build()
                    .unwrap()
                    .into(),
            );
            let path =
                Path::builder(reference(number), reference((number + 4) % CIS)).direction(Direction::Out);
            all.push(path.build().unwrap().into());
        }
    }
    for owner in 0..10 {
        let owned = || [filter(&format!("owner=team-{owner}"))];
        all.push(List::builder().filters(owned()).limit(20).build().unwrap().into());
        let ranked = Search::builder().filters(owned()).rank_by("srv-0").limit(7);
        all.push(ranked.clone().build().unwrap().into());
        all.push(
            ranked
                .filter(filter("status not in (gone, lost)"))
                .build()
                .unwrap()
                .into(),
        );
        let graph = Expand::builder(reference(owner), View::Impact).roots([reference(owner + 50)]);
        all.push(graph.clone().build().unwrap().into());
        all.push(graph.filters(owned()).build().unwrap().into());
        let counts = Aggregate::builder()
            .filters(owned())
            .group_by("status")
            .distinct("location");
        all.push(counts.build().unwrap().into());
    }
    all.push(Get::new(CiRef::from(CiCode::new("not-there").unwrap())).into());
    all
}

/// Asks in the way in which services do.
async fn ask(tenant: &Tenant, question: &Question) -> (Reply, bool) {
    fn told<T>(answer: Answer<T>, reply: impl FnOnce(T) -> Reply) -> (Reply, bool) {
        let hit = answer.source.is_hit();
        (reply(answer.value), hit)
    }
    match question {
        Question::Get(get) => told(tenant.get(get).await.unwrap(), Reply::Ci),
        Question::Search(search) => told(tenant.search_strict(search).await.unwrap(), |found| {
            Reply::Rows(found.items)
        }),
        Question::List(list) => told(tenant.list(list).await.unwrap(), Reply::List),
        Question::Aggregate(counts) => told(tenant.aggregate(counts).await.unwrap(), Reply::Groups),
        Question::Expand(expand) => told(tenant.expand(expand).await.unwrap(), Reply::Graph),
        Question::Path(path) => told(tenant.path(path).await.unwrap(), Reply::Path),
    }
}

/// Asks a stream of questions that a seed determines, some far more often than others; gives the hits.
async fn stream(runner: &Runner, seed: u64) -> usize {
    let (questions, mut random) = (questions(), ChaCha8Rng::seed_from_u64(seed));
    let tenants = tenants().map(|tenant| runner.tenant(tenant));
    let mut hits = 0;
    for _ in 0..STREAM {
        // The lower of two: the first questions are asked far more often than the last.
        let mut draw = || random.random_range(0..questions.len());
        let question = &questions[draw().min(draw())];
        let tenant = &tenants[usize::from(random.random_bool(0.3))];
        hits += usize::from(ask(tenant, question).await.1);
    }
    hits
}

/// Compares every answer with the database's.
async fn check(runner: &Runner) {
    assert!(runner.catch_up(LONG).await);
    for tenant in tenants() {
        let tenant = runner.tenant(tenant);
        for question in questions() {
            let (cached, _) = ask(&tenant, &question).await;
            let (asked, _) = ask(&tenant.at(Level::Bypass), &question).await;
            assert_eq!(cached, asked, "{question:?}");
        }
    }
}

async fn start(fixture: &Fixture, file: &FilePath) -> Runner {
    let runner = Runner::builder(fixture.open().await)
        .warm_file(file)
        .warm_reloads(1_000)
        .build()
        .unwrap();
    assert!(runner.catch_up(LONG).await);
    runner
}

/// Waits until all is asked again.
async fn reloaded(runner: &Runner) {
    while runner.warm().reloading > 0 {
        tokio::task::yield_now().await;
    }
}

/// The checksum at the end of a file, over all before it.
fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        sum ^= sum >> 32;
    }
    sum
}

/// Fills the database, asks until everything is cached, and closes; gives the hits of a stream before that.
async fn first_life(fixture: &Fixture, file: &FilePath) -> usize {
    let runner = start(fixture, file).await;
    for tenant in tenants() {
        let tenant = runner.tenant(tenant);
        let draft = |number: usize| CiDraft {
            owner: Some(format!("team-{}", number % 10)),
            status: Some(["active", "spare"][number % 2].into()),
            location: (!number.is_multiple_of(3)).then(|| format!("hall-{}", number % 7)),
            ..CiDraft::new(
                code(number),
                format!("Rack {} of {}", number % 40, tenant.id()),
                "HW",
            )
        };
        tenant.upsert_cis((0..CIS).map(draft).collect()).await.unwrap();
        let relation = |number: usize| RelationDraft::new(code(number), "RUNS_ON", code((number + 1) % CIS));
        tenant
            .upsert_relations((0..CIS).map(relation).collect())
            .await
            .unwrap();
    }
    check(&runner).await;
    let hits = stream(&runner, 1).await;
    runner.close().await;
    let status = runner.warm();
    assert!(status.written.is_some_and(|count| count > 250), "{status:?}");
    hits
}

/// What other programs write while nobody looks.
async fn meddle(fixture: &Fixture) {
    fixture
        .execute(
            "UPDATE ci SET ci_name = 'Renamed', owner = 'team-3' WHERE tenant_id = 'acme' AND ci_code = 'srv-017'; \
             UPDATE ci SET status = 'retired' WHERE tenant_id = 'other' AND ci_code = 'srv-020'; \
             DELETE FROM ci_relation WHERE tenant_id = 'acme' AND from_id = \
                (SELECT ci_id FROM ci WHERE tenant_id = 'acme' AND ci_code = 'srv-101'); \
             UPDATE ci SET ci_code = 'not-there' WHERE tenant_id = 'other' AND ci_code = 'srv-110'",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_start_hits_as_before_and_knows_what_changed_while_it_was_down() {
    on_both(async |fixture| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("warm");
        let before = first_life(fixture, &file).await;
        meddle(fixture).await;

        let runner = start(fixture, &file).await;
        let status = runner.warm();
        assert!(status.restored > 250 && status.refused.is_none(), "{status:?}");
        let after = stream(&runner, 2).await;
        assert!(
            before > STREAM * 9 / 10 && after + STREAM / 20 >= before,
            "{before} hits before, {after} after"
        );
        check(&runner).await;
        runner.validate().unwrap();
        runner.close().await;

        let cold = Runner::builder(fixture.open().await).build().unwrap();
        let without = stream(&cold, 2).await;
        println!("hits of {STREAM}: {before} before, {after} after a warm start, {without} after a cold one");
        assert!(without < after, "the file is what it is for");
        cold.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_proven_is_not_used() {
    on_both(async |fixture| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("warm");
        first_life(fixture, &file).await;
        let whole = std::fs::read(&file).unwrap();

        // More was forgotten than since the position.
        meddle(fixture).await;
        let store = fixture.open().await;
        fixture
            .execute("UPDATE ci SET location = 'nowhere' WHERE ci_code = 'srv-001'")
            .await;
        fixture.forget(&*store).await;
        store.close().await;
        let runner = start(fixture, &file).await;
        let status = runner.warm();
        assert_eq!(
            (status.restored, status.refused.as_deref()),
            (0, Some("new epoch: gap"))
        );
        // But what was asked is asked again.
        let status = runner.warm();
        let all = status.reloading + status.reloaded;
        assert!(all > 250, "{:?}", runner.warm());
        reloaded(&runner).await;
        assert_eq!((runner.warm().reloaded, runner.warm().restored), (all, 0));
        assert!(runner.entries(usize::MAX).len() >= all, "and kept");
        check(&runner).await;
        runner.close().await;

        // Another version of the program wrote it: a mistake of that one may be in it.
        let mut other = std::fs::read(&file).unwrap();
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        let mut places = other.windows(version.len());
        let at = places.position(|bytes| bytes == version).unwrap();
        other[at] ^= 1;
        let body = other.len() - 8;
        let sum = checksum(&other[..body]);
        other[body..].copy_from_slice(&sum.to_le_bytes());
        std::fs::write(&file, other).unwrap();
        let runner = start(fixture, &file).await;
        let status = runner.warm();
        assert!(status.restored == 0 && status.refused.unwrap().contains("version"));
        reloaded(&runner).await;
        assert!(runner.warm().reloaded > 250, "{:?}", runner.warm());
        check(&runner).await;
        runner.close().await;

        // Damaged, cut off, of nobody, not there.
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x10;
        for bytes in [flipped, whole[..middle].to_vec(), b"CIWARM".to_vec(), Vec::new()] {
            std::fs::write(&file, bytes).unwrap();
            let runner = start(fixture, &file).await;
            let status = runner.warm();
            assert!(status.restored == 0 && status.refused.is_some(), "{status:?}");
            assert!(runner.entries(1).is_empty());
        }
        std::fs::remove_file(&file).unwrap();
        let runner = start(fixture, &file).await;
        assert_eq!(runner.warm().restored, 0);
        runner.close().await;
        assert!(file.exists());
    })
    .await;
}

/// The triggers were gone for a while: what was written then was not recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_history_is_not_gone_on_with() {
    on_both(async |fixture| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("warm");
        first_life(fixture, &file).await;
        if fixture.is_sqlite() {
            let trigger =
                "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'ci' ORDER BY name";
            for name in fixture.texts(trigger).await {
                fixture.execute(&format!("DROP TRIGGER \"{name}\"")).await;
            }
        } else {
            fixture.execute("ALTER TABLE ci DISABLE TRIGGER USER").await;
        }
        fixture
            .execute("UPDATE ci SET ci_name = 'Unseen' WHERE ci_code = 'srv-017'")
            .await;
        // Opening the store makes the triggers again.
        let runner = start(fixture, &file).await;
        let status = runner.warm();
        assert_eq!(
            (status.restored, status.refused.as_deref()),
            (0, Some("new epoch: schema"))
        );
        check(&runner).await;
        runner.close().await;
    })
    .await;
}

/// Plants the defect that this is all about: a feed that goes on from now and says that nothing happened. The check has to see it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_notices_a_feed_that_skips_what_happened_meanwhile() {
    on_both(async |fixture| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("warm");
        first_life(fixture, &file).await;
        meddle(fixture).await;
        let (store, control) = Observed::around(fixture.open().await);
        control.skip_downtime();
        let runner = Runner::builder(store).warm_file(&file).build().unwrap();
        assert!(runner.catch_up(LONG).await);
        assert!(runner.warm().restored > 250);
        let asked = runner.clone();
        let checked = tokio::spawn(async move { check(&asked).await }).await;
        assert!(checked.is_err_and(|error| error.is_panic()), "nobody noticed it");
        runner.close().await;
    })
    .await;
}

/// ```text
/// first life                                   the database file
///                                              is copied at state P
/// polls P, and none that goes well after it
///                                              goes on to S: "lost"
/// loads "lost" at S, writes the warm file with the bookmark of P
///                                              is replaced by the copy, which has P; may come to S again in another way
/// second life: P is still part of history, but "lost" never was
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_beyond_the_last_poll_is_not_proven_by_an_older_copy() {
    for written_again in [false, true] {
        let fixture = Fixture::sqlite();
        let folder = tempfile::tempdir().unwrap();
        let (file, copy) = (folder.path().join("warm"), folder.path().join("copy.db"));
        let database = fixture.address().strip_prefix("sqlite:").unwrap().to_owned();
        let get = Get::new(CiRef::from(CiCode::new("x").unwrap()));
        let level = Level::Cached {
            max_lag: Duration::from_secs(3_600),
        };
        let (store, control) = Observed::around(fixture.open().await);
        let runner = Runner::builder(store)
            .warm_file(&file)
            .level(level)
            .build()
            .unwrap();
        let tenant = runner.tenant(TenantId::new("acme").unwrap());
        let drafts = ["x", "y"].map(|code| CiDraft::new(code, "one", "HW"));
        tenant.upsert_cis(drafts.to_vec()).await.unwrap();
        assert!(runner.catch_up(LONG).await);
        let kept = Get::new(CiRef::from(CiCode::new("y").unwrap()));
        tenant.get(&kept).await.unwrap();
        assert!(runner.catch_up(LONG).await);
        (0..100_000).for_each(|_| control.fail_poll());
        while runner.feed().failures == 0 {
            tokio::task::yield_now().await;
        }
        fixture.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
        std::fs::copy(&database, &copy).unwrap();
        fixture
            .execute("UPDATE ci SET ci_name = 'lost' WHERE ci_code = 'x'")
            .await;
        let lost = tenant.get(&get).await.unwrap().value.unwrap();
        assert_eq!(lost.summary.ci_name, "lost");
        runner.close().await;
        drop((tenant, runner));

        for end in ["", "-wal", "-shm"] {
            drop(std::fs::remove_file(format!("{database}{end}")));
        }
        std::fs::copy(&copy, &database).unwrap();
        if written_again {
            fixture
                .execute("UPDATE ci SET ci_name = 'other' WHERE ci_code = 'x'")
                .await;
        }
        let runner = start(&fixture, &file).await;
        assert_eq!(runner.warm().restored, 1, "{:?}", runner.warm());
        let tenant = runner.tenant(TenantId::new("acme").unwrap());
        for get in [&get, &kept] {
            let cached = tenant.strong().get(get).await.unwrap();
            let asked = tenant.at(Level::Bypass).get(get).await.unwrap();
            assert_eq!(cached.value, asked.value);
        }
        runner.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_poll_that_is_refused_refuses_the_file() {
    on_both(async |fixture| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("warm");
        first_life(fixture, &file).await;
        let (store, control) = Observed::around(fixture.open().await);
        control.refuse_poll();
        let runner = Runner::builder(store).warm_file(&file).build().unwrap();
        assert!(runner.catch_up(LONG).await);
        let status = runner.warm();
        assert!(
            status.restored == 0 && status.refused.is_some_and(|why| why.contains("refused")),
            "{:?}",
            runner.warm()
        );
        check(&runner).await;
        runner.close().await;
    })
    .await;
}
