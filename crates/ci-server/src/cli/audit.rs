//! `ci-cache audit`: whether cached answers are right, of a running service or of a cache of its own.

use std::time::{Duration, Instant};

use ci_model::{CiRef, Expand, Get, List, Question, TenantId, View, limits};
use ci_runner::Runner;
use ci_store::StoreOptions;
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use super::args;
use super::failure::Failure;
use super::output::Output;
use super::service::Service;
use crate::http::audit_body;

pub(crate) async fn audit(arguments: &args::Audit, output: &mut Output) -> Result<(), Failure> {
    let found = if let (Some(database), Some(tenant)) = (&arguments.database, &arguments.tenant) {
        own(arguments, database, tenant).await?
    } else {
        let service = Service::of(&arguments.service)?;
        let wanted = json!({ "reads": arguments.reads });
        service.post("/v1/cache/audit", &wanted).await?
    };
    if arguments.json {
        output.json(&found)?;
    } else {
        tell(&found, output)?;
    }
    match number(&found, "violations") {
        0 => Ok(()),
        violations => Err(Failure::Wrong(violations)),
    }
}

/// Fills a cache and audits it for a while.
async fn own(arguments: &args::Audit, database: &str, tenant: &str) -> Result<Value, Failure> {
    let tenant = TenantId::new(tenant)?;
    let options = StoreOptions::default().create_if_missing(false);
    let store = ci_store::open(database, &options).await?;
    let reads = usize::try_from(arguments.reads).unwrap_or(usize::MAX);
    let runner = Runner::builder(store).max_entries(reads.max(16)).build()?;
    let audited = audit_for(&runner, &tenant, reads, Duration::from_secs(arguments.seconds)).await;
    runner.close().await;
    audited?;
    Ok(audit_body(&runner.audits()))
}

async fn audit_for(runner: &Runner, tenant: &TenantId, reads: usize, time: Duration) -> Result<(), Failure> {
    let questions = questions(runner, tenant, reads).await?;
    let (view, mut auditor) = (runner.tenant(tenant.clone()), runner.auditor());
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(reads).unwrap_or(u32::MAX));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let began = Instant::now();
    // What changes have dropped is asked again, so that there is always something to audit.
    for question in questions.iter().cycle() {
        match question {
            Question::Get(get) => drop(view.get(get).await?),
            Question::Expand(expand) => drop(view.expand(expand).await?),
            _ => {}
        }
        auditor.audit().await?;
        if began.elapsed() >= time {
            break;
        }
        ticks.tick().await;
    }
    Ok(())
}

/// Gets and graphs of the tenant's newest CIs.
async fn questions(runner: &Runner, tenant: &TenantId, reads: usize) -> Result<Vec<Question>, Failure> {
    let limit = u32::try_from(reads.div_ceil(2)).unwrap_or(u32::MAX);
    let list = List::builder().limit(limit.min(limits::SEARCH_RESULTS)).build()?;
    let page = runner.tenant(tenant.clone()).list(&list).await?.value;
    let mut questions = Vec::with_capacity(reads);
    for ci in &page.items {
        questions.push(Question::Get(Get::new(CiRef::Id(ci.ci_id))));
        questions.push(Question::Expand(
            Expand::builder(CiRef::Id(ci.ci_id), View::Summary).build()?,
        ));
    }
    questions.truncate(reads);
    Ok(questions)
}

fn number(found: &Value, name: &str) -> u64 {
    found.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn tell(found: &Value, output: &mut Output) -> Result<(), Failure> {
    output.line(format_args!(
        "checked {}: {} the same, {} changed meanwhile, {} violations; {} proved nothing",
        number(found, "checked"),
        number(found, "same"),
        number(found, "changed"),
        number(found, "violations"),
        number(found, "unsettled"),
    ))?;
    output.line(format_args!(
        "dropped answers that were loaded again: {}, of which {} had changed",
        number(found, "drops"),
        number(found, "drops_changed"),
    ))?;
    let latest = found.get("latest").and_then(Value::as_array);
    for violation in latest.into_iter().flatten() {
        let text = |name: &str| violation.get(name).and_then(Value::as_str).unwrap_or("unknown");
        output.line(format_args!(
            "wrong: {} {} of tenant {}: {}; said to be true at {}, not so at {}",
            text("kind"),
            text("key"),
            text("tenant"),
            text("why"),
            text("as_of"),
            text("loaded"),
        ))?;
    }
    Ok(())
}
