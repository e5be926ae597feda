//! A service with `ci` tables of its own, which it goes on writing to with its own SQL: the store adopts them, and the cache follows.
//! `cargo run -p ci-runner --example own_tables`
//!
//! Adoption adds what is missing (columns, tables beside yours, indexes, triggers that record changes) and takes nothing away; a
//! database that cannot be used is refused with what is wrong, and left as it was. Try it on a copy first.

use std::time::Duration;

use ci_model::{Search, TenantId};
use ci_runner::{Runner, Source};
use sqlx::{Connection as _, SqliteConnection};

/// What the service had before: tables as a Python program made them, and rows in them.
const BEFORE: &str = "\
    CREATE TABLE ci (ci_id VARCHAR(36) PRIMARY KEY, tenant_id VARCHAR(64), ci_type VARCHAR(32), ci_subtype VARCHAR(32), \
        ci_code VARCHAR(255), ci_name VARCHAR(500), ci_category VARCHAR(64), status VARCHAR(32), criticality INTEGER, \
        location VARCHAR(200), owner VARCHAR(200), created_at TIMESTAMP, updated_at TIMESTAMP, deleted_at TIMESTAMP); \
    INSERT INTO ci (ci_id, tenant_id, ci_type, ci_code, ci_name, status) VALUES \
        ('0189d7a4-1111-4222-8333-444455556666', 'acme', 'SW', 'db-erp-01', 'ERP orders', 'active'), \
        ('0189d7a4-1111-4222-8333-444455557777', 'acme', 'SW', 'db-crm-01', 'CRM', 'active');";

/// What it goes on doing.
const UPDATE: &str = "UPDATE ci SET status = 'retired' WHERE ci_code = 'db-erp-01'";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let address = format!("sqlite:{}", folder.path().join("cmdb.db").display());
    let mut own = SqliteConnection::connect(&format!("{address}?mode=rwc")).await?;
    sqlx::raw_sql(BEFORE).execute(&mut own).await?;

    // Opening adopts the tables.
    let store = ci_store::open(&address, &ci_store::StoreOptions::default()).await?;
    let runner = Runner::builder(store).build()?;
    let acme = runner.tenant(TenantId::new("acme")?);
    let question = Search::builder().keyword("erp").build()?;
    let found = acme.search(&question).await?.value.items;
    assert_eq!(found[0].status.as_deref(), Some("active"));

    // A write that the runner knows nothing of, by SQL of the service's own.
    sqlx::raw_sql(UPDATE).execute(&mut own).await?;
    own.close().await?;
    // Answers are at most a second old by default, and mostly a few milliseconds. Who cannot wait asks for more: `catch_up` here, or
    // `tenant.strong()` for one question.
    assert!(runner.catch_up(Duration::from_secs(10)).await);
    let found = acme.search(&question).await?;
    assert_eq!(found.value.items[0].status.as_deref(), Some("retired"));
    assert_eq!(found.source, Source::Miss, "the old answer was dropped");
    assert_eq!(runner.drops().len(), 1);

    runner.close().await;
    Ok(())
}

#[test]
fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
