//! Other programs: they write by SQL, in transactions with savepoints, and know nothing of the cache.

use std::sync::Arc;
use std::time::Duration;

use ci_tests::history::Raw;
use ci_tests::history::audit::RawError;
use ci_tests::store_contract::world::{below, seeded};
use rand_chacha::ChaCha8Rng;

use super::scene::Scene;
use super::sql::statement;

/// Writes until the round is over; connects again when the database was away.
pub(crate) async fn write(scene: Arc<Scene>, seed: u64) {
    let mut random = seeded(seed);
    let mut connection = None;
    while !scene.is_over() {
        scene.turn().await;
        let Some(mut raw) = connection.take() else {
            connection = scene.connect().await;
            continue;
        };
        let done = transaction(&scene, &mut raw, &mut random).await;
        if let Ok(committed) = done {
            let mut ledger = scene.ledger.lock().unwrap();
            ledger.commits += u64::from(committed);
            ledger.rollbacks += u64::from(!committed);
        } else {
            scene.ledger.lock().unwrap().refusals += 1;
            if raw.run("ROLLBACK").await.is_err() && raw.texts("SELECT 'x'").await.is_err() {
                continue;
            }
        }
        // What anybody can see now has everything that this program was told is committed.
        if let Ok(place) = raw.place().await {
            scene.note_floor(place);
            connection = Some(raw);
        }
    }
}

/// One transaction; says whether it was committed.
async fn transaction(scene: &Scene, raw: &mut Raw, random: &mut ChaCha8Rng) -> Result<bool, RawError> {
    let sqlite = raw.is_sqlite();
    if below(random, 4) == 0 {
        raw.run(&statement(random, sqlite)).await?;
        return Ok(true);
    }
    raw.begin().await?;
    for _ in 0..=below(random, 2) {
        raw.run(&statement(random, sqlite)).await?;
        if !sqlite && below(random, 6) == 0 {
            // Others begin and commit meanwhile.
            scene.pause(Duration::from_millis(8)).await;
        }
    }
    if below(random, 3) == 0 {
        raw.run("SAVEPOINT a").await?;
        // In PostgreSQL a statement that fails is taken back with its savepoint.
        let done = raw.run(&statement(random, sqlite)).await;
        if done.is_err() || below(random, 2) == 0 {
            raw.run("ROLLBACK TO SAVEPOINT a").await?;
        } else {
            raw.run("RELEASE SAVEPOINT a").await?;
        }
        raw.run(&statement(random, sqlite)).await?;
    }
    let commits = below(random, 5) > 0;
    raw.run(if commits { "COMMIT" } else { "ROLLBACK" }).await?;
    Ok(commits)
}
