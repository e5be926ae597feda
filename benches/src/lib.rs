//! What benchmarks share: a generated estate in both databases.
//!
//! SQLite lives in a temporary folder; PostgreSQL is the private server that `cargo xtask bench` starts and names in
//! `CI_CACHE_TEST_POSTGRES`. Each estate gets a database of its own there, dropped with the server.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ci_bench::Estate;
use ci_model::{CiRecord, RelationRecord, TenantId};
use ci_store::import::{ImportOptions, ImportSource, import_cis, import_relations};
use ci_store::{Store, StoreOptions, WriteOptions};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::SqlitePoolOptions;
use tempfile::TempDir;

/// Seed of every benchmark's estate.
const SEED: u64 = 7;
/// Rows per write.
const BATCH: usize = 5_000;
/// The variable that names the private PostgreSQL.
const POSTGRES: &str = "CI_CACHE_TEST_POSTGRES";

/// A database with an estate in it.
#[derive(Debug)]
pub struct Loaded {
    /// `sqlite` or `postgres`.
    pub name: &'static str,
    /// The store over it.
    pub store: Arc<dyn Store>,
    /// A plain pool to the same database, for what users would otherwise write.
    pub plain: Plain,
    /// Its address, for whoever connects anew.
    pub url: String,
    _folder: Option<TempDir>,
}

/// A pool without any of our code.
#[derive(Debug, Clone)]
pub enum Plain {
    /// To the SQLite file.
    Sqlite(sqlx::SqlitePool),
    /// To the PostgreSQL database.
    Postgres(sqlx::PgPool),
}

/// The tenant that owns the estate.
///
/// # Panics
/// Never: the name is a constant.
pub fn tenant() -> TenantId {
    TenantId::new("bench").unwrap_or_else(|error| unreachable!("{error}"))
}

/// Fills both databases with an estate of so many CIs.
///
/// # Errors
/// When the PostgreSQL of `cargo xtask bench` is not there, or a database fails.
pub async fn both(size: u64) -> Result<Vec<Loaded>, Box<dyn Error>> {
    let server = std::env::var(POSTGRES)
        .map_err(|_| format!("{POSTGRES} is not set: run the benchmarks by `cargo xtask bench`"))?;
    Ok(vec![
        sqlite(size).await?,
        postgres(&server, size, Content::All).await?,
    ])
}

/// Fills both databases with the real graph of `shared/data/debian-main`, or with a generated estate of 60,000 CIs where that does
/// not lie beside the repository.
///
/// # Errors
/// Those of [`both`], or a file that cannot be read.
pub async fn both_real() -> Result<Vec<Loaded>, Box<dyn Error>> {
    let Some(folder) = real_folder() else {
        return both(60_000).await;
    };
    let empty = both(0).await?;
    for loaded in &empty {
        import_real(loaded, &folder).await?;
    }
    Ok(empty)
}

/// Where the real graph lies, if it does.
pub fn real_folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/debian-main");
    folder.is_dir().then_some(folder)
}

/// Imports the real graph into an empty database.
///
/// # Errors
/// When a file cannot be read, or the database fails.
pub async fn import_real(loaded: &Loaded, folder: &Path) -> Result<(), Box<dyn Error>> {
    let (store, tenant) = (&*loaded.store, tenant());
    let cis = ImportSource::file(folder.join("cis.jsonl.gz"))?;
    import_cis(store, &tenant, cis, ImportOptions::default(), &mut ()).await?;
    let relations = ImportSource::file(folder.join("relations.jsonl.gz"))?;
    import_relations(store, &tenant, relations, ImportOptions::default(), &mut ()).await?;
    Ok(store.analyze().await?)
}

/// What of an estate is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// CIs and relations.
    All,
    /// CIs alone: a million of them come with two million relations, which searches do not look at.
    CisAlone,
}

/// Fills an embedded database with an estate of so many CIs.
///
/// # Errors
/// When the database fails.
pub async fn sqlite(size: u64) -> Result<Loaded, Box<dyn Error>> {
    sqlite_with(size, Content::All).await
}

/// Fills an embedded database with what is wanted of an estate of so many CIs.
///
/// # Errors
/// When the database fails.
pub async fn sqlite_with(size: u64, content: Content) -> Result<Loaded, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite:{}", folder.path().join("bench.db").display());
    let store = ci_store::open(&url, &StoreOptions::default()).await?;
    fill(&*store, size, content).await?;
    let plain = Plain::Sqlite(SqlitePoolOptions::new().connect(&url).await?);
    Ok(Loaded {
        name: "sqlite",
        store,
        plain,
        url,
        _folder: Some(folder),
    })
}

/// Fills a database of its own on a PostgreSQL server, named by the address of its maintenance database, with what is wanted of an estate of
/// so many CIs.
///
/// # Errors
/// When the server is not there, or the database fails.
pub async fn postgres(server: &str, size: u64, content: Content) -> Result<Loaded, Box<dyn Error>> {
    static DATABASES: AtomicU32 = AtomicU32::new(0);
    let number = DATABASES.fetch_add(1, Ordering::Relaxed);
    let name = format!("bench_{}_{number}", std::process::id());
    let admin = PgPoolOptions::new().max_connections(1).connect(server).await?;
    // The name is made of letters and digits here, so it needs no quoting.
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&admin)
        .await?;
    admin.close().await;
    let (base, _) = server
        .rsplit_once('/')
        .ok_or("the server's address names no database")?;
    let url = format!("{base}/{name}");
    let store = ci_store::open(&url, &StoreOptions::default()).await?;
    fill(&*store, size, content).await?;
    let plain = PgPoolOptions::new().connect(&url).await?;
    sqlx::query("VACUUM ANALYZE").execute(&plain).await?;
    Ok(Loaded {
        name: "postgres",
        store,
        plain: Plain::Postgres(plain),
        url,
        _folder: None,
    })
}

/// Writes what is wanted of the estate of so many CIs.
async fn fill(store: &dyn Store, size: u64, content: Content) -> Result<(), Box<dyn Error>> {
    let (tenant, estate) = (tenant(), Estate::new(SEED, size));
    let mut batch: Vec<CiRecord> = Vec::with_capacity(BATCH);
    for draft in estate.cis() {
        batch.push(draft.check(&tenant)?);
        if batch.len() == BATCH {
            store
                .upsert_cis(std::mem::take(&mut batch), WriteOptions::default())
                .await?;
        }
    }
    store.upsert_cis(batch, WriteOptions::default()).await?;
    if content == Content::CisAlone {
        return Ok(());
    }
    let mut batch: Vec<RelationRecord> = Vec::with_capacity(BATCH);
    for draft in estate.relations() {
        batch.push(draft.check(&tenant)?);
        if batch.len() == BATCH {
            store
                .upsert_relations(std::mem::take(&mut batch), WriteOptions::default())
                .await?;
        }
    }
    store.upsert_relations(batch, WriteOptions::default()).await?;
    Ok(())
}
