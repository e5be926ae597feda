//! The smallest embedding: an embedded database, a runner in front of it, a question. `cargo run -p ci-runner --example smallest`

use ci_model::{CiDraft, Search, TenantId};
use ci_runner::{Runner, Source};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `sqlite:FILE` and `postgres://USER@HOST/NAME` open the same way; a new database is given its tables.
    let store = ci_store::open("sqlite::memory:", &ci_store::StoreOptions::default()).await?;
    // One runner per database and process: what is cached is shared by its clones only.
    let runner = Runner::builder(store).build()?;
    let acme = runner.tenant(TenantId::new("acme")?);

    acme.upsert_cis(vec![CiDraft::new("db-erp-01", "ERP orders", "SW")])
        .await?;
    let question = Search::builder().keyword("erp").build()?;
    let first = acme.search(&question).await?;
    let again = acme.search(&question).await?;
    assert_eq!((first.source, again.source), (Source::Miss, Source::Hit));
    assert_eq!(again.value.items[0].ci_code.as_str(), "db-erp-01");

    // Stops following the database and closes its connections.
    runner.close().await;
    Ok(())
}

#[test]
fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
