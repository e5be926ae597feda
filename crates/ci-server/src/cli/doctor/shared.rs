//! Whether the shared tier does what a service asks of it.

use ci_store::{Finding, Remedy};

use crate::config::{Plan, Settings};
use crate::tier;
use crate::tier_looked::Looked;

const CHECK: &str = "shared tier";
/// What goes on whatever is found.
const WITHOUT: &str = "until then the service works without it";

/// Writes, reads and deletes one name under the prefix, and looks at what the server does when it is full.
pub(super) async fn tier(plan: &Plan) -> Option<Finding> {
    let settings = &plan.settings;
    let address = settings.tier_url.as_ref()?;
    let looked = match plan.tier_certificates() {
        Ok(certificates) => {
            tier::look(
                address,
                &settings.tier_prefix,
                certificates,
                settings.tier_doorbell,
            )
            .await
        }
        Err(fault) => Looked::Away(fault.to_string()),
    };
    let warning = |what: String, advice: String| Finding::warning(CHECK, what, Remedy::Advice(advice));
    Some(match looked {
        Looked::Away(why) => warning(
            why,
            format!(
                "start the server, let this machine reach it, and give `tier_url` an account that may ask it: {}; {WITHOUT}",
                rights(settings)
            ),
        ),
        Looked::Refuses(commands, why) => warning(
            format!("{} is refused: {why}", commands.join(", ")),
            format!(
                "where the account may not: {}; where the server is full or a read-only copy: give it room and an eviction policy, or name the one that takes \
                writes; {WITHOUT}",
                rights(settings)
            ),
        ),
        Looked::Mixes => warning(
            "it gives back something else than was written a moment ago".into(),
            format!("name one server, or what leads to the one that takes writes; {WITHOUT}"),
        ),
        Looked::Well(Some(full)) if full.most_bytes == 0 => warning(
            "it does everything that is asked of it, but has no memory limit".into(),
            "set `maxmemory`, and `maxmemory-policy allkeys-lfu` (or `volatile-ttl` beside values of others): answers live for `tier_ttl`, and until then it grows"
                .into(),
        ),
        Looked::Well(Some(full)) if full.policy == "noeviction" => warning(
            "it does everything that is asked of it, but refuses writes when its memory is full (`noeviction`)".into(),
            "set `maxmemory-policy allkeys-lfu`, or `volatile-ttl` beside values of others".into(),
        ),
        Looked::Well(Some(full)) => Finding::ok(
            CHECK,
            format!(
                "it does everything that is asked of it, holds {} MiB at most, and then lets go by `{}`",
                full.most_bytes >> 20,
                full.policy
            ),
        ),
        Looked::Well(None) => Finding::ok(CHECK, "it does everything that is asked of it"),
    })
}

/// The order that lets an account do what a service asks.
fn rights(settings: &Settings) -> String {
    let prefix = &settings.tier_prefix;
    let doorbell = if settings.tier_doorbell {
        format!(" &{prefix}:f:bell +publish +subscribe")
    } else {
        String::new()
    };
    format!(
        "`ACL SETUSER NAME on >PASSWORD ~{prefix}:* +ping +mget +set +del{doorbell}` (with sentinels `+role`, and their account `+sentinel|get-master-addr-by-name`; in a cluster `+cluster|slots +asking`); for TLS a certificate by `tier_ca`"
    )
}
