//! Those who write through the runner.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use ci_model::{CiDraft, CiRef, RelationDraft, Token};
use ci_runner::{Error, Tenant, Written};
use ci_tests::store_contract::world::{below, one_of, seeded};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::pool::{KINDS, OWNERS, SLOTS, TENANTS, WORDS, code, id, tenant};
use super::record::Write;
use super::scene::Scene;

/// Writes until the round is over.
pub(crate) async fn write(scene: Arc<Scene>, seed: u64) {
    let mut random = seeded(seed);
    while !scene.is_over() {
        scene.turn().await;
        let owner = scene.runner.tenant(tenant(one_of(&mut random, &TENANTS)));
        let began = Instant::now();
        match once(&scene, &owner, &mut random).await {
            Ok((token, tag)) => {
                let ended = Instant::now();
                if let Some(token) = &token {
                    scene.pass_on(token.clone());
                }
                scene.note_write(Write {
                    began,
                    ended,
                    token,
                    tag,
                });
            }
            Err(error) => {
                let refused = matches!(error, Error::Store(ci_store::Error::Rejected { .. }));
                let gone = matches!(&error, Error::Store(ci_store::Error::Database(_)));
                assert!(refused || gone || error.is_transient(), "{error}");
                if !refused {
                    scene.pause(Duration::from_millis(1)).await;
                }
            }
        }
    }
}

type Done = Result<(Option<Token>, Option<String>), Error>;

async fn once(scene: &Scene, owner: &Tenant, random: &mut ChaCha8Rng) -> Done {
    fn token<T>(written: Written<T>) -> (Option<Token>, Option<String>) {
        (written.token, None)
    }
    match below(random, 10) {
        0..6 => {
            let tag = format!("w{}", scene.written.fetch_add(1, SeqCst));
            let drafts = (0..=below(random, 2)).map(|_| CiDraft {
                location: Some(tag.clone()),
                ..draft(random)
            });
            let drafts = drafts.collect();
            let written = owner.upsert_cis(drafts).await?;
            Ok((written.token, Some(tag)))
        }
        6 | 7 => {
            let targets = (0..=below(random, 2)).map(|_| {
                let slot = below(random, SLOTS);
                if below(random, 2) == 0 {
                    CiRef::Id(id(slot))
                } else {
                    CiRef::Code(code(slot, false))
                }
            });
            let targets = targets.collect();
            owner.delete_cis(targets).await.map(token)
        }
        8 => owner.upsert_relations(vec![relation(random)]).await.map(token),
        _ => owner.delete_relations(vec![relation(random)]).await.map(token),
    }
}

fn relation(random: &mut ChaCha8Rng) -> RelationDraft {
    let (from, to) = (below(random, SLOTS), below(random, SLOTS));
    let to = if from == to { (to + 1) % SLOTS } else { to };
    RelationDraft {
        from_id: Some(id(from)),
        to_id: Some(id(to)),
        ..RelationDraft::new(
            code(from, false).to_string(),
            one_of(random, &KINDS),
            code(to, false).to_string(),
        )
    }
}

fn draft(random: &mut ChaCha8Rng) -> CiDraft {
    let slot = below(random, SLOTS);
    let pick = |random: &mut ChaCha8Rng, all: &[&str]| {
        let at = below(random, all.len() + 1);
        all.get(at).map(|text| (*text).to_owned())
    };
    let name = format!("{} {} {slot}", one_of(random, &WORDS), one_of(random, &WORDS));
    let document = |value: serde_json::Value| value.as_object().cloned();
    CiDraft {
        ci_id: Some(id(slot)),
        ci_subtype: pick(random, &["server", "db"]),
        ci_category: pick(random, &["x"]),
        status: pick(random, &["active", "retired"]),
        criticality: i64::try_from(1 + below(random, 5)).ok(),
        owner: pick(random, &OWNERS),
        tags: document(json!({"role": one_of(random, &["db", "web"])})),
        attributes: (below(random, 2) == 0)
            .then(|| document(json!({"size": below(random, 9)})))
            .flatten(),
        ..CiDraft::new(
            code(slot, below(random, 5) == 0).to_string(),
            name,
            one_of(random, &["SW", "HW"]),
        )
    }
}
