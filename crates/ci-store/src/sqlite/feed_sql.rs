//! The statements of the feed. Each is one statement, because one statement sees one state of the file.

use std::sync::OnceLock;

use super::feed_schema::{documents_of, found, image};
use crate::changes::NEIGHBOURS;
use crate::schema::{FLOOR_KEY, HISTORY_KEY, SCHEMA_KEY, UUID_KEY};

/// Position of the state's columns in a row of a poll.
pub(super) const STATE: usize = 9;
/// Changes when another connection has committed.
pub(super) const DATA_VERSION: &str = "PRAGMA data_version";
/// Let the connection write, and only read again.
pub(super) const WRITE: &str = "PRAGMA query_only = off";
pub(super) const READ: &str = "PRAGMA query_only = on";
/// Whether the tables are there.
pub(super) const TABLES: &str = "\
    SELECT count(*) = 5 FROM sqlite_schema WHERE type = 'table' AND \
    name IN ('ci', 'ci_ext', 'ci_relation', 'ci_change', 'ci_meta')";

/// Begins another history, unless somebody has already.
pub(super) fn renew() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        format!(
            "INSERT INTO ci_meta (key, value) VALUES ('{HISTORY_KEY}', lower(hex(randomblob(16)))) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE ci_meta.value = ?1"
        )
    })
}

/// Where the database is: newest change and its mark; the mark of the change `last`; floor; what the epoch is made of; and
/// the triggers, if the schema is another than that of version `cookie`. Both are names of bound numbers.
///
/// SQLite counts in the file's header how often its schema was changed. So triggers that were dropped and made again,
/// even in one transaction, are seen to have been by the poll that sees what was written meanwhile.
fn state_columns(last: &str, cookie: &str) -> String {
    let meta = |key: &str| format!("(SELECT value FROM ci_meta WHERE key = '{key}')");
    format!(
        "(SELECT seq FROM ci_change ORDER BY seq DESC LIMIT 1), (SELECT mark FROM ci_change ORDER BY seq DESC LIMIT 1), \
         (SELECT mark FROM ci_change WHERE seq = {last}), {floor}, {uuid}, {history}, {schema}, v.schema_version, \
         CASE WHEN v.schema_version IS NOT {cookie} THEN ({found}) END",
        found = found(),
        floor = meta(FLOOR_KEY),
        uuid = meta(UUID_KEY),
        history = meta(HISTORY_KEY),
        schema = meta(SCHEMA_KEY),
    )
}

/// The state alone.
pub(super) fn state() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| format!("SELECT {} FROM {STATE_FROM}", state_columns("?1", "?2")))
}

/// Where the state is read from.
pub(super) const STATE_FROM: &str = "pragma_schema_version AS v";

/// The columns of the state as part of a question's statement, with the name of the bound schema version whose triggers are known.
pub(super) fn state_of_question(cookie: &str) -> String {
    state_columns("NULL", cookie)
}

/// Changes after `?1`, at most `?3` (a sum, so that it is not planned anew each time: see `Binder::rows`), each with the CI as it is now and its neighbours; and one row with the state, whose
/// first column is NULL.
pub(super) fn poll() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        format!(
            "WITH r AS MATERIALIZED (SELECT w.*, CASE WHEN c.ci_id IS NOT NULL THEN {image} END AS image \
                FROM (SELECT * FROM ci_change WHERE seq > ?1 ORDER BY seq LIMIT ?3 + 0) AS w \
                LEFT JOIN ci AS c ON c.ci_id = w.id AND c.tenant_id = w.tenant_id) \
             SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, {state} FROM pragma_schema_version AS v \
             UNION ALL \
             SELECT r.seq, r.entity, r.tenant_id, r.id, r.old, r.new, r.image IS r.new, \
                CASE WHEN r.image IS NOT r.new THEN r.image END, \
                CASE WHEN r.moved THEN (SELECT json_group_array(CAST(n.id AS TEXT)) FROM (\
                    SELECT f.to_id AS id FROM ci_relation AS f WHERE f.tenant_id = r.tenant_id AND f.from_id = r.id \
                    UNION ALL SELECT t.from_id FROM ci_relation AS t WHERE t.tenant_id = r.tenant_id AND t.to_id = r.id \
                    LIMIT {most}) AS n) END, \
                NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM r",
            state = state_columns("?1", "?2"),
            most = NEIGHBOURS + 1,
            image = image("c", &documents_of("c")),
        )
    })
}

/// The tenants of changes that are too many, each with its last one; and one row with the state.
pub(super) fn tenants() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        format!(
            "SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, {state} FROM pragma_schema_version AS v \
             UNION ALL \
             SELECT r.seq, 'c', r.tenant_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
                NULL, NULL, NULL \
             FROM (SELECT max(seq) AS seq, tenant_id FROM ci_change WHERE seq > ?1 AND entity <> 's' \
                GROUP BY tenant_id LIMIT ?3 + 0) AS r",
            state = state_columns("?1", "?2"),
        )
    })
}
