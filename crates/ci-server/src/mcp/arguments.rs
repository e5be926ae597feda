//! What the tools take. The comments are what a model reads about them.

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Longest part of an error about arguments, in characters: it may repeat what was given.
const SHOWN: usize = 300;

/// Arguments of `search`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Search {
    /// Words, all of which must be found in the code, name, type, subtype or category, in any case. A text in double quotes is one word.
    /// May be left out when filters are given.
    pub(super) keywords: Option<String>,
    /// Conditions, all of which must hold, such as `ci_type=SW`, `owner contains ops`, `criticality>=4`, `tags.env in prod,stage`,
    /// `attributes.net.ip exists`, `updated_at>=2026-01-31T00:00:00Z`.
    pub(super) filters: Vec<String>,
    /// `ci_code`, `ci_name`, `ci_type`, `ci_subtype` or `ci_category`; `:desc` for descending. Without it the best matches come first.
    pub(super) sort: Option<String>,
    /// Most CIs to show, 1 to 500; 10 when left out.
    pub(super) limit: Option<u32>,
    /// `next` of an answer to the same search, to go on after it.
    pub(super) cursor: Option<String>,
    /// Also tell how many there are in all.
    pub(super) total: bool,
    /// Show these fields instead of the short form, such as `ci_code`, `criticality`, `updated_at`, `tags.env`, `attributes`.
    pub(super) fields: Vec<String>,
    /// Find every keyword or nothing. Otherwise, when nothing is found, any of the keywords will do; `mode` says which.
    pub(super) strict: bool,
    /// Also find soft-deleted CIs.
    pub(super) include_deleted: bool,
}

/// Arguments of `get`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Get {
    /// The CI's code, exactly as in other answers, or its id (a UUID).
    pub(super) ci: String,
    /// Show these fields alone, such as `attributes.net` of a CI that is too large to be shown whole.
    #[serde(default)]
    pub(super) fields: Vec<String>,
    /// Also when it is soft-deleted.
    #[serde(default)]
    pub(super) include_deleted: bool,
}

/// Arguments of `impact`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Impact {
    /// Code or id of the CI that fails or is changed.
    pub(super) ci: String,
    /// How many steps to follow, 1 to 3; 2 when left out.
    pub(super) depth: Option<u8>,
    /// Follow only these relation types instead of those of the view IMPACT.
    #[serde(default)]
    pub(super) types: Vec<String>,
    /// Reach only CIs for which these hold, as in `search`.
    #[serde(default)]
    pub(super) filters: Vec<String>,
    /// Most CIs to look at, 1 to 2000, the first included; 200 when left out.
    pub(super) limit: Option<u32>,
}

/// Arguments of `related`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Related {
    /// Code or id of the CI to start at.
    pub(super) ci: String,
    /// `SUMMARY` (all direct neighbours; when left out), `NEIGHBORS` (up to 2 steps), `COMPOSITION` (what it consists of), `DEPENDENCY` (what
    /// it stands on and what stands on it) or `IMPACT`.
    pub(super) view: Option<String>,
    /// `out` (what this CI needs, or consists of), `in` (what needs this CI) or `both`, instead of what the view says.
    pub(super) direction: Option<String>,
    /// How many steps to follow; at most 1 for SUMMARY, 2 for NEIGHBORS, 3 for the others.
    pub(super) depth: Option<u8>,
    /// Follow only these relation types instead of those of the view.
    #[serde(default)]
    pub(super) types: Vec<String>,
    /// Reach only CIs for which these hold, as in `search`.
    #[serde(default)]
    pub(super) filters: Vec<String>,
    /// Most CIs to look at, 1 to 2000, the first included; 200 when left out.
    pub(super) limit: Option<u32>,
}

impl From<Impact> for Related {
    fn from(impact: Impact) -> Self {
        let Impact {
            ci,
            depth,
            types,
            filters,
            limit,
        } = impact;
        Self {
            ci,
            view: Some(ci_model::View::Impact.as_str().to_owned()),
            direction: None,
            depth,
            types,
            filters,
            limit,
        }
    }
}

/// Arguments of `path`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Path {
    /// Code or id of the CI to start at.
    pub(super) from: String,
    /// Code or id of the CI to end at.
    pub(super) to: String,
    /// Most steps, 1 to 6; 6 when left out.
    pub(super) max_hops: Option<u8>,
    /// `out`, `in` or `both` (when left out): which way relations are followed.
    pub(super) direction: Option<String>,
    /// Follow only these relation types.
    #[serde(default)]
    pub(super) types: Vec<String>,
    /// Most paths, 1 to 25; 1 when left out. All have as many steps as the shortest.
    pub(super) most: Option<u8>,
}

/// Arguments of `what_changed`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WhatChanged {
    /// A token of an earlier answer (`next`, or `token` of `freshness`): tell the changes since then. Without it, the CIs that were changed
    /// last are told.
    pub(super) since: Option<String>,
    /// Most to show, 1 to 500; 20 when left out.
    pub(super) limit: Option<u32>,
}

/// Arguments of `count`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Count {
    /// Up to four fields, such as `ci_type`, `status`, `location`, `tags.env`; one count of all without.
    pub(super) group_by: Vec<String>,
    /// Also count the distinct values of this field.
    pub(super) distinct: Option<String>,
    /// Count only CIs in which all of these words are found, as in `search`.
    pub(super) keywords: Option<String>,
    /// Count only CIs for which these hold, as in `search`.
    pub(super) filters: Vec<String>,
    /// Most groups, 1 to 200; 50 when left out.
    pub(super) limit: Option<u32>,
    /// Also count soft-deleted CIs.
    pub(super) include_deleted: bool,
}

/// Reads arguments; the error says what is wrong and what is allowed.
pub(super) fn read<A: DeserializeOwned>(arguments: Map<String, Value>) -> Result<A, String> {
    serde_json::from_value(Value::Object(arguments)).map_err(|error| {
        let text = error.to_string();
        let mut shown: String = text.chars().take(SHOWN).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        format!("failed to read the arguments: {shown}")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused<A: DeserializeOwned + std::fmt::Debug>(arguments: &Value) -> String {
        read::<A>(arguments.as_object().unwrap().clone()).unwrap_err()
    }

    #[test]
    fn errors_say_what_is_allowed_and_stay_short() {
        let unknown = refused::<Search>(&json!({"tenant": "other"}));
        assert!(
            unknown.contains("unknown field `tenant`") && unknown.contains("`keywords`"),
            "{unknown}"
        );
        let missing = refused::<Get>(&json!({}));
        assert!(missing.contains("missing field `ci`"), "{missing}");
        let kind = refused::<Path>(&json!({"from": "a", "to": "b", "most": "x".repeat(100_000)}));
        assert!(kind.chars().count() < SHOWN + 60, "{kind}");
    }
}
