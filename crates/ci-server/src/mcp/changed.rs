//! What changed since a token.

use std::time::Duration;

use ci_model::Token;
use ci_runner::News;
use rmcp::model::CallToolResult;
use serde_json::{Value, json};

use super::answer::{Freshness, Refusal};
use super::{Assistant, arguments};

/// Most changes when nothing is said.
const DEFAULT: u32 = 20;
/// Longest wait for the change feed to tell everything that happened before the question.
const WAIT: Duration = Duration::from_secs(5);

impl Assistant {
    pub(super) async fn what_changed(
        &self,
        asked: arguments::WhatChanged,
    ) -> Result<CallToolResult, Refusal> {
        let limit = asked.limit.unwrap_or(DEFAULT);
        if !(1..=ci_model::limits::SEARCH_RESULTS).contains(&limit) {
            return Err(ci_model::Error::OutOfRange {
                what: "limit",
                min: 1,
                max: ci_model::limits::SEARCH_RESULTS.into(),
                actual: limit.into(),
            }
            .into());
        }
        match asked.since {
            None => self.changed_last(limit).await,
            Some(since) => self.changed_since(since.parse()?, limit as usize).await,
        }
    }

    async fn changed_since(&self, since: Token, limit: usize) -> Result<CallToolResult, Refusal> {
        // While the feed cannot be read nothing is known: that must not look like nothing having changed.
        if !self.runner.catch_up(WAIT).await {
            return Err(Refusal::new(
                "The changes cannot be read from the database now; ask again in a few seconds. This is a failure, not an empty answer: \
                 nothing is known about what was asked",
            ));
        }
        let mut following = self.tenant.follow(Some(since));
        let (mut changes, mut next, mut lost, mut more) = (Vec::<Value>::new(), None, false, false);
        while let Some(news) = following.try_next() {
            match news {
                // They stay for the next question: a token is of a whole batch.
                News::Changes(told) if !changes.is_empty() && changes.len() + told.changes.len() > limit => {
                    more = true;
                    break;
                }
                News::Changes(told) => {
                    changes.extend(told.changes.iter().map(|change| json!(change)));
                    next = Some(told.token);
                }
                News::Lost(token) => {
                    (lost, next) = (true, Some(token));
                }
                _ => break,
            }
        }
        // Where nothing of this tenant changed, it goes on from a later state than the one that was given.
        let next = if more { next } else { following.token().or(next) };
        let next = next.map(|token| token.to_string());
        let mut answer = self.answer();
        answer.set("next", next.clone());
        answer.set("lost", lost);
        answer.set("more", more);
        let all = changes.len();
        let shown = answer.rows("items", changes.into_iter().take(limit), 100);
        if shown < all {
            answer.note(format!(
                "{} of {all} changes are not shown and do not come with `next`; `search` with a filter on updated_at finds the CIs",
                all - shown
            ));
        }
        if lost {
            answer.note(
                "changes may be missing: the token is older than what is remembered; ask again what you know"
                    .into(),
            );
        }
        Ok(answer.finish(&Freshness::of_feed(&self.runner, next), "`get` shows a CI whole"))
    }
}
