//! What operations are about: CIs of the database, drawn by a seed, and the words by which people would look for them.

use anyhow::{Context as _, ensure};
use ci_benches::{Plain, tenant};
use ci_measure::random::Random;
use ci_model::{CiCode, Get};
use ci_store::Store;
use sqlx::{AssertSqlSafe, Row as _};

/// A CI has so many relations at least, and at most, to be the root of a traversal; any number where none has.
const DEGREES: [i64; 2] = [8, 14];

/// Codes of CIs, in an order that only the seed decides.
#[derive(Debug, Clone)]
pub struct Subjects {
    /// Any CIs.
    pub codes: Vec<CiCode>,
    /// CIs with as many relations as the predecessor's traversals had.
    pub roots: Vec<CiCode>,
}

impl Subjects {
    /// Draws up to so many of each.
    ///
    /// # Errors
    /// When the database fails or has no CIs.
    pub async fn draw(
        plain: &Plain,
        store: &dyn Store,
        seed: u64,
        codes: usize,
        wanted_roots: usize,
    ) -> anyhow::Result<Self> {
        let mut random = Random::new(seed);
        let all = texts(
            plain,
            "SELECT ci_code FROM ci WHERE tenant_id = $1 AND deleted_at IS NULL ORDER BY ci_code",
        )
        .await?;
        let ids = with_relations(plain, DEGREES).await?;
        let ids = if ids.len() < wanted_roots.min(3) {
            with_relations(plain, [1, i64::MAX]).await?
        } else {
            ids
        };
        let codes = chosen(all, codes, &mut random)?;
        let roots = codes_of(store, ids, wanted_roots, &mut random).await?;
        ensure!(
            !codes.is_empty() && (wanted_roots == 0 || !roots.is_empty()),
            "the database has no CIs to ask about"
        );
        Ok(Self { codes, roots })
    }
}

/// The first keyword has so many characters at least: shorter ones are in too many codes for anybody to type them.
const LEAST_WORD: usize = 5;

/// Two keywords that a CI's code has: the two halves of its parts. One where the first would be short.
pub fn keywords(code: &CiCode) -> Vec<String> {
    let text = code.as_str();
    let parts: Vec<(usize, char)> = text
        .char_indices()
        .filter(|(_, c)| matches!(c, '-' | ':'))
        .collect();
    match parts.get(parts.len().saturating_sub(1) / 2) {
        Some((at, c)) if *at >= LEAST_WORD && at + c.len_utf8() + 1 < text.len() => {
            vec![text[..*at].to_owned(), text[at + c.len_utf8()..].to_owned()]
        }
        _ => vec![text.to_owned()],
    }
}

fn chosen(mut all: Vec<String>, most: usize, random: &mut Random) -> anyhow::Result<Vec<CiCode>> {
    random.shuffle(&mut all);
    all.truncate(most);
    all.into_iter()
        .map(|code| CiCode::new(code).context("a code of the database"))
        .collect()
}

async fn codes_of(
    store: &dyn Store,
    mut ids: Vec<String>,
    most: usize,
    random: &mut Random,
) -> anyhow::Result<Vec<CiCode>> {
    random.shuffle(&mut ids);
    ids.truncate(most);
    let gets = ids
        .iter()
        .map(|id| Ok(Get::new(id.parse::<ci_model::CiId>()?)))
        .collect::<Result<Vec<Get>, ci_model::Error>>()?;
    let found = store.snapshot().await?.get_many(&tenant(), &gets).await?;
    Ok(found.into_iter().flatten().map(|ci| ci.summary.ci_code).collect())
}

async fn with_relations(plain: &Plain, [least, most]: [i64; 2]) -> anyhow::Result<Vec<String>> {
    let sql = format!(
        "SELECT CAST(from_id AS TEXT) FROM ci_relation WHERE tenant_id = $1 GROUP BY from_id \
         HAVING count(*) BETWEEN {least} AND {most} ORDER BY from_id LIMIT 2000"
    );
    texts(plain, &sql).await
}

async fn texts(plain: &Plain, sql: &str) -> anyhow::Result<Vec<String>> {
    let tenant = tenant();
    let sql = AssertSqlSafe(sql.to_owned());
    Ok(match plain {
        Plain::Sqlite(pool) => {
            let rows = sqlx::query(sql).bind(tenant.as_str()).fetch_all(pool).await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
        }
        Plain::Postgres(pool) => {
            let rows = sqlx::query(sql).bind(tenant.as_str()).fetch_all(pool).await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_the_halves_of_a_code() {
        let of = |code: &str| keywords(&CiCode::new(code).expect("a code"));
        assert_eq!(of("app-iam-login-01-1"), ["app-iam", "login-01-1"]);
        assert_eq!(of("deb:0ad"), ["deb:0ad"]);
        assert_eq!(of("alone"), ["alone"]);
    }
}
