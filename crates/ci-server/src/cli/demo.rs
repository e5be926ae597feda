//! `ci-cache demo`: the whole product on a generated estate.

use std::path::Path;

use ci_bench::Estate;
use ci_model::TenantId;
use ci_runner::Runner;
use ci_store::{Store, StoreOptions, WriteOptions};

use super::args;
use super::failure::Failure;
use super::output::Output;
use super::serve::{announce, exporter, listen, stop_signal};
use super::shell::quoted;
use crate::access::Access;
use crate::http::{self, AppState, ServerOptions};

const TENANT: &str = "demo";
/// Rows of one transaction.
const BATCH: usize = 2_000;

pub(crate) async fn demo(arguments: args::Demo, output: &mut Output) -> Result<(), Failure> {
    let estate = Estate::new(arguments.seed, arguments.size);
    let database = match &arguments.database {
        Some(address) => address.clone(),
        None => temporary_database(estate)?,
    };
    let listener = listen(&arguments.listen().to_string()).await?;
    let store = ci_store::open(&database, &StoreOptions::default()).await?;
    let (cis, relations) = fill(&*store, estate).await?;
    output.line(format_args!(
        "{cis} CIs and {relations} relations of tenant {TENANT}, generated from seed {}",
        arguments.seed
    ))?;
    let options = ServerOptions::default().metrics(exporter());
    let state = AppState::guarded(Runner::builder(store).build()?, options, Access::open());
    let address = announce(&listener, "http", output)?;
    output.line("try, in another terminal:")?;
    for command in commands(estate, &address, &database) {
        output.line(format_args!("  {command}"))?;
    }
    Ok(http::serve(listener, state, stop_signal()?).await?)
}

/// A SQLite file in the temporary folder, a different one per estate, so that running the demo again finds its own.
fn temporary_database(estate: Estate) -> Result<String, Failure> {
    let folder = std::env::temp_dir().join("ci-cache-demo");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(format!("estate-{}-{}.db", estate.seed(), estate.size()));
    Ok(format!("sqlite:{}", file.display()))
}

/// Writes the estate; rows that are there are left alone, so it can be run again and again.
async fn fill(store: &dyn Store, estate: Estate) -> Result<(usize, usize), Failure> {
    let tenant = TenantId::new(TENANT)?;
    let (mut cis, mut relations) = (0, 0);
    let mut drafts = estate.cis().peekable();
    while drafts.peek().is_some() {
        let batch = drafts
            .by_ref()
            .take(BATCH)
            .map(|draft| draft.check(&tenant))
            .collect::<Result<Vec<_>, _>>()?;
        cis += batch.len();
        store.upsert_cis(batch, WriteOptions::default()).await?;
    }
    let mut drafts = estate.relations().peekable();
    while drafts.peek().is_some() {
        let batch = drafts
            .by_ref()
            .take(BATCH)
            .map(|draft| draft.check(&tenant))
            .collect::<Result<Vec<_>, _>>()?;
        relations += batch.len();
        store.upsert_relations(batch, WriteOptions::default()).await?;
    }
    Ok((cis, relations))
}

/// Three commands on codes that this estate has.
fn commands(estate: Estate, address: &str, database: &str) -> [String; 3] {
    let of_subtype = |subtype: &'static str| {
        let cis = estate
            .cis()
            .filter(move |ci| ci.ci_subtype.as_deref() == Some(subtype));
        cis.map(|ci| ci.ci_code)
    };
    let database_ci = of_subtype("db").next().unwrap_or_default();
    // The second system, so that the path leads through the login that all systems use; a tiny estate has only one.
    let system = of_subtype("business_system").take(2).last().unwrap_or_default();
    let server = of_subtype("server").next().unwrap_or_default();
    let words = system.trim_start_matches("sys-").replace('-', "+");
    let program = std::env::args().next().unwrap_or_else(|| "ci-cache".into());
    [
        format!("curl -i '{address}/v1/{TENANT}/cis?q={words}&filter=ci_type=SW&limit=5'"),
        format!("curl '{address}/v1/{TENANT}/cis/{database_ci}/graph?view=IMPACT'"),
        format!(
            "{} path --database {} --tenant {TENANT} {system} {server}",
            quoted(&shortened(&program)),
            quoted(database)
        ),
    ]
}

/// The program's path, relative to the current folder where it is below it.
fn shortened(program: &str) -> String {
    let below = std::env::current_dir().ok();
    let below = below.and_then(|folder| Path::new(program).strip_prefix(folder).ok().map(Path::to_owned));
    below.map_or_else(|| program.to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_name_cis_of_the_smallest_estate() {
        let estate = Estate::new(5, 50);
        let commands = commands(estate, "http://127.0.0.1:1", "sqlite:x.db");
        let codes: Vec<String> = estate.cis().map(|ci| ci.ci_code).collect();
        let last: Vec<&str> = commands[2].split(' ').rev().take(2).collect();
        for code in last {
            assert!(codes.iter().any(|known| known == code), "{code}");
        }
        assert!(commands[1].contains("/cis/db-iam-login-01-1/graph"));
    }
}
