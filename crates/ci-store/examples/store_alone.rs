//! The store without a cache: a CMDB in a database, its questions, and what changes in it. `cargo run -p ci-store --example store_alone`

use std::collections::BTreeSet;

use ci_model::{CiCode, CiDraft, Event, Expand, Filter, RelationDraft, Search, TenantId, View};
use ci_store::{Polled, StoreOptions, WriteOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = ci_store::open("sqlite::memory:", &StoreOptions::default().connections(2)).await?;
    let acme = TenantId::new("acme")?;
    let mut feed = store.feed().ok_or("SQLite has a feed")?;
    feed.start().await?;

    // Drafts are checked before any SQL: what is wrong is said of the first column that is.
    let records = [("app-1", "Shop"), ("db-1", "Orders"), ("srv-1", "Rack 7")]
        .map(|(code, name)| CiDraft::new(code, name, "SW").check(&acme))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    store.upsert_cis(records, WriteOptions::default()).await?;
    let relations = [("app-1", "DEPENDS_ON", "db-1"), ("db-1", "RUNS_ON", "srv-1")]
        .map(|(from, kind, to)| RelationDraft::new(from, kind, to).check(&acme))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    store.upsert_relations(relations, WriteOptions::default()).await?;

    // All answers of one snapshot are of one state. Hold it for as long as you need it, and no longer.
    let mut snapshot = store.snapshot().await?;
    let filter = Filter::parse("ci_type=SW")?;
    let question = Search::builder().keyword("ord").filter(filter).build()?;
    let found = snapshot.search(&acme, &question).await?;
    assert_eq!(found[0].ci_code.as_str(), "db-1");
    let impact = Expand::builder(CiCode::new("srv-1")?, View::Impact).build()?;
    let graph = snapshot.expand(&acme, &impact).await?.ok_or("srv-1 is there")?;
    let codes: Vec<&str> = graph.items.iter().map(|node| node.ci.ci_code.as_str()).collect();
    assert_eq!(
        codes,
        ["srv-1", "db-1", "app-1"],
        "who is affected when srv-1 fails"
    );
    drop(snapshot);

    // What was committed since the start, by whatever program. A CI's row and its documents are told apart.
    let Polled::Changes { changes, .. } = feed.poll().await? else {
        return Err("the history went on".into());
    };
    let (mut cis, mut relations) = (BTreeSet::new(), 0);
    for change in changes {
        match change.event {
            Event::Ci(change) => drop(cis.insert(change.id)),
            Event::Relation(_) => relations += 1,
            other => return Err(format!("few enough to be told one by one: {other:?}").into()),
        }
    }
    assert_eq!((cis.len(), relations), (3, 2));
    drop(feed);
    store.close().await;
    Ok(())
}

#[test]
fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
