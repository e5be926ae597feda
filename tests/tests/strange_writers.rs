//! Programs that write in ways nobody would advise, one after the other: after each of them the cache answers as the database does.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use ci_cache_core::ci::matching::Rule;
use ci_model::{
    Aggregate, CiCode, CiId, Direction, Expand, Filter, Get, List, Path, Question, Search, TenantId, View,
};
use ci_runner::{Answer, Level, Tenant};
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::store_contract::world::{below, one_of, seeded};
use rand_chacha::ChaCha8Rng;

const SLOTS: usize = 6;
const TENANTS: [&str; 2] = ["acme", "other"];
const CODES: [&str; 6] = ["a-1", "A-1", "b-2", "b_2", "ß", "ẞ"];
const NAMES: [&str; 14] = [
    "erp one",
    "ERP one",
    "İstanbul",
    "istanbul",
    "ſtraße",
    "STRASSE",
    "Kelvin",
    "kelvin",
    "50%",
    "a_b",
    "a\\b",
    "db 😀 é",
    "db e\u{301}",
    "one\u{1f}two",
];
const OWNERS: [&str; 4] = ["NULL", "'ops'", "'OPS'", "''"];
/// Documents; some are ones that a database reads in its own way.
const DOCUMENTS: [&str; 11] = [
    "{}",
    "null",
    r#"{"env": "prod", "n": 1}"#,
    r#"{"env": "PROD", "n": 1.0}"#,
    r#"{"env": null, "n": 1e0}"#,
    r#"{"env": "dev", "env": "prod"}"#,
    r#"{"\u0065nv": "prod"}"#,
    r#"{"env": {"env": "prod"}, "n": 0.99999999999999999999}"#,
    r#"{"env": ["prod"], "n": -0.0}"#,
    r#"{"n": 18446744073709551616, "env": true}"#,
    r#"{"n": {"n": 9007199254740993.0}}"#,
];
const KINDS: [&str; 2] = ["RUNS_ON", "USES"];

fn id(slot: usize) -> CiId {
    format!("00000000-0000-4000-8000-{slot:012x}").parse().unwrap()
}

fn code(text: &str) -> CiCode {
    CiCode::new(text).unwrap()
}

/// Questions of every kind, small enough to be full and cut.
fn questions() -> Vec<Question> {
    let mut all = Vec::new();
    for slot in 0..SLOTS {
        for yes in [false, true] {
            all.push(Question::Get(Get::new(id(slot)).include_deleted(yes)));
        }
        let graph = Expand::builder(id(slot), View::Neighbors);
        all.push(Question::Expand(graph.depth(2).max_nodes(3).build().unwrap()));
        let path = Path::builder(id(slot), id((slot + 1) % SLOTS)).direction(Direction::Both);
        all.push(Question::Path(path.build().unwrap()));
    }
    for text in CODES {
        all.push(Question::Get(Get::new(code(text))));
        all.push(Question::Expand(
            Expand::builder(code(text), View::Impact).build().unwrap(),
        ));
    }
    let sorts = [
        "ci_code",
        "ci_name:desc",
        "ci_type",
        "ci_subtype:desc",
        "ci_category",
    ];
    let words = [
        "", "erp", "ERP ONE", "i", "İ", "ß", "ss", "kelvin", "%", "_", "\\", "😀", "é", "one", "two",
    ];
    for (at, word) in words.into_iter().enumerate() {
        for limit in [1, 2, 100] {
            let search = Search::builder().keywords((!word.is_empty()).then_some(word));
            let search = search.sort(sorts[at % sorts.len()].parse().unwrap()).limit(limit);
            let search = search.exact_first((at % 3 == 0).then_some("A-1"));
            all.push(Question::Search(
                search.include_deleted(at % 2 == 0).build().unwrap(),
            ));
        }
    }
    for text in [
        "owner=ops",
        "owner!=ops",
        "owner exists",
        "owner exists false",
        "owner contains P",
        "owner in ops,OPS",
        "tags.env=prod",
        "tags.env!=prod",
        "tags.env exists false",
        "tags.env contains ro",
        "tags.env.env=prod",
        "tags.n=1",
        "tags.n in 0,1,18446744073709551616",
        "tags.n=0.99999999999999999999",
        "attributes.n.n=9007199254740993",
        "criticality=3",
        "criticality>=3",
        "created_at>2026-01-02T00:00:00Z",
        "status=up",
    ] {
        let filter = || [Filter::parse(text).unwrap()];
        let search = Search::builder().filters(filter());
        all.push(Question::Search(search.clone().limit(2).build().unwrap()));
        all.push(Question::Search(search.keyword("one").build().unwrap()));
        all.push(Question::List(
            List::builder()
                .filters(filter())
                .limit(2)
                .offset(1)
                .build()
                .unwrap(),
        ));
        let groups = Aggregate::builder()
            .filters(filter())
            .group_by("tags.n")
            .distinct("owner");
        all.push(Question::Aggregate(groups.limit(2).build().unwrap()));
    }
    all
}

/// An answer in words, without what depends on the moment.
async fn ask(tenant: &Tenant, question: &Question) -> String {
    fn words<T: std::fmt::Debug>(answer: ci_runner::Result<Answer<T>>) -> String {
        match answer {
            Ok(answer) => format!("{:?}", answer.value),
            Err(error) => format!("{error:?}"),
        }
    }
    match question {
        Question::Get(get) => words(tenant.get(get).await),
        Question::Search(search) => words(tenant.search_strict(search).await),
        Question::List(list) => words(tenant.list(list).await),
        Question::Aggregate(aggregate) => words(tenant.aggregate(aggregate).await),
        Question::Expand(expand) => words(tenant.expand(expand).await),
        Question::Path(path) => words(tenant.path(path).await),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// One or some statements.
fn statement(random: &mut ChaCha8Rng, sqlite: bool) -> String {
    let (this, that) = (id(below(random, SLOTS)), id(below(random, SLOTS)));
    let (tenant, kind) = (one_of(random, &TENANTS), one_of(random, &KINDS));
    let (named, name) = (quoted(one_of(random, &CODES)), quoted(one_of(random, &NAMES)));
    let (owner, tags, attributes) = (
        one_of(random, &OWNERS),
        quoted(one_of(random, &DOCUMENTS)),
        quoted(one_of(random, &DOCUMENTS)),
    );
    let day = 1 + below(random, 3);
    let values = format!(
        "('{this}', '{tenant}', {named}, {name}, 'SW', {}, {owner}, {}, '2026-01-0{day} 00:00:00')",
        one_of(random, &["NULL", "'x'"]),
        1 + below(random, 5),
    );
    let insert = |how: &str, more: &str| {
        format!(
            "{how} INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type, ci_subtype, owner, criticality, created_at) \
             VALUES {values} {more};"
        )
    };
    let upsert = "ON CONFLICT (ci_id) DO UPDATE SET ci_name = excluded.ci_name, tenant_id = excluded.tenant_id, \
                  ci_code = excluded.ci_code, owner = excluded.owner, deleted_at = NULL";
    let documents = format!("('{this}', {tags}, {attributes})");
    let relation = format!(
        "INSERT INTO ci_relation (tenant_id, from_id, rel_type, to_id) SELECT a.tenant_id, a.ci_id, '{kind}', b.ci_id \
         FROM ci AS a JOIN ci AS b ON b.tenant_id = a.tenant_id WHERE a.ci_id = '{this}' AND b.ci_id = '{that}' \
         AND a.ci_id <> b.ci_id ON CONFLICT DO NOTHING;"
    );
    match below(random, 20) {
        0..3 => insert("INSERT", upsert),
        3 => insert("INSERT", "ON CONFLICT DO NOTHING"),
        4 | 5 if sqlite => insert("INSERT OR REPLACE", ""),
        6 if sqlite => format!(
            "UPDATE OR REPLACE ci SET ci_code = {named}, tenant_id = '{tenant}' WHERE ci_id = '{this}';"
        ),
        7 if sqlite => format!("UPDATE OR REPLACE ci SET ci_id = '{that}' WHERE ci_id = '{this}';"),
        8 if sqlite => insert("REPLACE", "")
            .replace("INTO ci (ci_id", "INTO ci (rowid, ci_id")
            .replace("VALUES (", &format!("VALUES ({}, ", 1 + below(random, SLOTS))),
        9 if sqlite => format!("REPLACE INTO ci_ext (ci_id, tags, attributes) VALUES {documents};"),
        4 | 5 => format!(
            "MERGE INTO ci USING (VALUES ('{this}'::uuid)) AS n (id) ON ci.ci_id = n.id WHEN MATCHED AND owner IS NULL \
             THEN DELETE WHEN MATCHED THEN UPDATE SET ci_name = {name}, tenant_id = '{tenant}';"
        ),
        6 => format!(
            "SET session_replication_role = replica; UPDATE ci SET owner = {owner}, ci_code = {named} WHERE ci_id = '{this}'; \
             RESET session_replication_role;"
        ),
        7 => format!(
            "WITH e AS (UPDATE ci_ext SET tags = {tags} WHERE ci_id = '{this}' RETURNING ci_id) \
             UPDATE ci SET status = 'up', ci_name = {name} FROM e WHERE ci.ci_id = e.ci_id;"
        ),
        8 => "TRUNCATE ci_ext;".to_owned(),
        9 => format!(
            "BEGIN; DELETE FROM ci WHERE ci_id = '{this}'; {} COMMIT;",
            insert("INSERT", "ON CONFLICT DO NOTHING")
        ),
        10..12 => format!(
            "INSERT INTO ci_ext (ci_id, tags, attributes) SELECT ci_id, {tags}, {attributes} FROM ci WHERE ci_id = '{this}' \
             ON CONFLICT (ci_id) DO UPDATE SET tags = excluded.tags, attributes = excluded.attributes;"
        ),
        12 => format!("UPDATE ci_ext SET ci_id = '{that}' WHERE ci_id = '{this}';"),
        13 => format!("UPDATE ci SET deleted_at = '2026-01-05 00:00:00' WHERE ci_id = '{this}';"),
        14 => format!(
            "UPDATE ci SET deleted_at = NULL, ci_category = owner, ci_name = {name} WHERE ci_id = '{this}';"
        ),
        15 | 16 => relation,
        17 => format!(
            "UPDATE ci_relation SET rel_type = '{kind}' WHERE from_id = '{this}' OR to_id = '{that}';"
        ),
        18 => format!("DELETE FROM ci WHERE ci_id = '{this}';"),
        _ => format!(
            "BEGIN; {} {relation} ROLLBACK;",
            insert("INSERT", "ON CONFLICT DO NOTHING")
        ),
    }
}

/// Settings of one connection that change what its statements do.
fn settings(random: &mut ChaCha8Rng, sqlite: bool) -> String {
    if !sqlite {
        return String::new();
    }
    let mut on = |name: &str| format!("PRAGMA {name} = {};", one_of(random, &["on", "off"]));
    on("foreign_keys") + &on("recursive_triggers")
}

async fn round(fixture: &Fixture, seed: u64, steps: usize) {
    let store = fixture.open().await;
    let runner = ci_tests::fixture::patient(store).compare(true).build().unwrap();
    let (mut random, questions, sqlite) = (seeded(seed), questions(), fixture.is_sqlite());
    let (mut hits, mut refused, mut done) = (0, 0, Vec::new());
    for _ in 0..steps {
        let sql = settings(&mut random, sqlite) + &statement(&mut random, sqlite);
        let went = fixture.try_execute(&sql).await;
        refused += usize::from(went.is_err());
        done.push(format!(
            "{sql} -- {:?}",
            went.err().map(|error| error.to_string())
        ));
        for _ in 0..40 {
            let question = &questions[below(&mut random, questions.len())];
            let tenant = runner.tenant(TenantId::new(one_of(&mut random, &TENANTS)).unwrap());
            let before = runner.stats().cache.hits;
            let cached = ask(&tenant.at(Level::Strong), question).await;
            hits += runner.stats().cache.hits - before;
            let truth = ask(&tenant.at(Level::Bypass), question).await;
            let last = &done[done.len().saturating_sub(12)..];
            assert_eq!(
                cached,
                truth,
                "seed {seed}, {question:?}, after\n{}",
                last.join("\n")
            );
        }
    }
    assert!(hits > steps as u64, "{hits} hits in {steps} steps");
    assert!(refused * 3 < steps, "{refused} of {steps} were refused");
    assert_eq!(runner.stats().coherence.missed, 0);
    runner.close().await;
}

#[tokio::test]
async fn answers_are_those_of_the_database_after_any_statement() {
    let (rounds, steps) = if std::env::var_os("CI_CACHE_TEST_LONG").is_some() {
        (40, 400)
    } else {
        (2, 24)
    };
    for seed in 0..rounds {
        on_both(async |fixture| round(fixture, seed, steps).await).await;
    }
}

#[test]
#[should_panic(expected = "after\n")]
fn a_broken_rule_of_matching_is_noticed() {
    // Rules are broken for one thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    Rule::ColumnsMatter.broken(|| runtime.block_on(round(&Fixture::sqlite(), 1, 400)));
}
