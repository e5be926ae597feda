//! The statements of the feed. Each is one statement, because one statement has one snapshot.

use std::sync::OnceLock;

use super::feed_schema::{documents, image};
use crate::changes::NEIGHBOURS;
use crate::schema::{FLOOR_KEY, SCHEMA_KEY, UUID_KEY};

/// What the server's administrator sees of a feed.
pub(super) const NAME: &str = "ci-cache feed";
/// Of the doorbell.
pub(super) const CHANNEL: &str = "ci_change";
/// Rings it. Alone, never inside a transaction that writes.
pub(super) const RING: &str = "SELECT pg_notify('ci_change', '')";
/// Position of the state's columns in a row of a poll.
pub(super) const STATE: usize = 11;

/// Plans are kept, because the statements are always the same. A poll nearly always finds a handful of rows, which no
/// statistics tell: without these settings it would read all CIs to join them with one change.
pub(super) const SETTINGS: &str = "\
    SELECT set_config('plan_cache_mode', 'force_generic_plan', false), set_config('enable_seqscan', 'off', false), \
        set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false), \
        set_config('jit', 'off', false), set_config('timezone', 'UTC', false), \
        set_config('default_transaction_isolation', 'read committed', false), \
        set_config('idle_session_timeout', '0', false)";
/// Makes the mark that a crash wipes out. Another feed may do so at the same time.
pub(super) const MARK: &str = "INSERT INTO ci_alive DEFAULT VALUES ON CONFLICT DO NOTHING";
/// Gives the mark another name.
pub(super) const REMARK: &str = "UPDATE ci_alive SET uuid = gen_random_uuid()";

/// Where the database is: snapshot, floor, crash mark; what the epoch is made of; how many triggers fire.
///
/// What the triggers are is read from the catalogue like any table, by the statement's own snapshot. So a writer that
/// switches them off, writes, and switches them on again in one transaction is seen to have done so by the very poll that
/// sees its rows: `xmin` of the catalogue's rows is then another.
///
/// A table that inherits from ours, or is a partition of it, counts like a trigger that is missing: its rows are read with ours, and
/// fire none of ours, or come and go as a whole. That one has done so stays in `pg_class` until the table is analysed next, so the first that came and went between
/// two polls is seen, too; of a second one before that there is no trace.
///
/// Not in it: the cluster's system identifier and timeline, which not every user may read. The moment of the server's
/// start, the crash mark and the database's random name change wherever those two do.
fn state_columns() -> String {
    format!(
        "pg_current_snapshot()::text, \
         (SELECT value FROM ci_meta WHERE key = '{FLOOR_KEY}'), \
         (SELECT a.uuid::text FROM ci_alive AS a), \
         concat_ws(' ', extract(epoch FROM pg_postmaster_start_time()), \
            (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()), \
            (SELECT value FROM ci_meta WHERE key = '{UUID_KEY}')), \
         concat_ws(' ', (SELECT value FROM ci_meta WHERE key = '{SCHEMA_KEY}'), \
            to_regclass('ci')::oid, to_regclass('ci_ext')::oid, to_regclass('ci_relation')::oid, \
            (SELECT concat_ws(',', c.oid, c.relfilenode) FROM pg_class AS c WHERE c.oid = to_regclass('ci_change')), \
            (SELECT string_agg(concat_ws(',', p.oid, p.xmin), ' ' ORDER BY p.oid) FROM pg_proc AS p \
                WHERE p.proname IN ('ci_change_ci', 'ci_change_ext', 'ci_change_relation', 'ci_change_all')), \
            (SELECT string_agg(a.xmin::text, ' ' ORDER BY a.attrelid, a.attnum) FROM pg_attribute AS a \
                WHERE a.attrelid = ANY (ARRAY[to_regclass('ci'), to_regclass('ci_ext'), to_regclass('ci_relation')]) \
                AND a.attnum > 0), \
            (SELECT string_agg(c.relhassubclass::int::text, '' ORDER BY c.oid) FROM pg_class AS c \
                WHERE c.oid = ANY (ARRAY[to_regclass('ci'), to_regclass('ci_ext'), to_regclass('ci_relation')]))), \
         (SELECT string_agg(concat_ws(',', t.oid, t.xmin, t.tgenabled), ' ' ORDER BY t.oid) {triggers}), \
         (SELECT count(*) {triggers} AND t.tgenabled = 'A') - (SELECT count(*) FROM pg_inherits AS i \
            WHERE i.inhparent = ANY (ARRAY[to_regclass('ci'), to_regclass('ci_ext'), to_regclass('ci_relation')]))",
        triggers = "FROM pg_trigger AS t WHERE t.tgrelid = ANY (ARRAY[to_regclass('ci'), to_regclass('ci_ext'), \
                    to_regclass('ci_relation')]) AND t.tgname IN ('CI_change_rows', 'CI_change_truncate')"
    )
}

/// The rows that a snapshot does not see. `$1` is its xmax, `$2` its transactions in progress, `$3` the most rows.
///
/// A row that is seen and whose transaction has not begun came with a restored dump: it would be told by every poll.
const RECENT: &str = "\
    SELECT u.* FROM (SELECT * FROM ci_change WHERE xid >= $1::text::xid8 \
            AND xid < pg_snapshot_xmax(pg_current_snapshot()) \
        UNION ALL SELECT * FROM ci_change WHERE xid = ANY ($2::text[]::xid8[])) AS u";

/// The state alone.
pub(super) fn state() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| format!("SELECT {}", state_columns()))
}

/// The columns of the state as part of a question's statement: its snapshot, and when the server started. What they are compared with is in
/// [`super::known`]. Functions alone, because every statement is planned for its values, tables with it.
pub(super) const STATE_OF_QUESTION: &str =
    "(SELECT pg_current_snapshot()::text), (SELECT extract(epoch FROM pg_postmaster_start_time())::text)";

/// The same alone.
pub(super) fn state_of_snapshot() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| format!("SELECT {STATE_OF_QUESTION}"))
}

/// Changes, each with the CI as it is now and its neighbours; and one row with the state, whose first column is NULL.
pub(super) fn poll() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let documents = format!("CASE WHEN e.ci_id IS NULL THEN '[{{}}, {{}}]'::jsonb ELSE {} END", documents("e"));
        format!(
            "SELECT NULL::text, NULL::bigint, NULL::text, NULL::text, NULL::uuid, NULL::text, NULL::text, \
                NULL::boolean, NULL::text, NULL::uuid[], NULL::text, {state} \
             UNION ALL \
             SELECT r.xid::text, r.seq, r.entity, coalesce(r.tenant_id, r.tenant_now), r.id, r.old::text, r.new::text, \
                r.image IS NOT DISTINCT FROM r.new, \
                CASE WHEN r.image IS DISTINCT FROM r.new THEN r.image::text END, \
                CASE WHEN r.moved THEN ARRAY(\
                    SELECT f.to_id FROM ci_relation AS f WHERE f.tenant_id = r.tenant_id COLLATE \"C\" \
                    AND f.from_id = r.id UNION ALL SELECT t.from_id FROM ci_relation AS t \
                    WHERE t.tenant_id = r.tenant_id COLLATE \"C\" AND t.to_id = r.id LIMIT {most}) END, \
                CASE WHEN r.entity = 'e' THEN r.tenant_now END, \
                NULL, NULL, NULL, NULL, NULL, NULL, NULL \
             FROM (SELECT w.*, c.tenant_id::text AS tenant_now, CASE WHEN w.tenant_id IS NULL AND c.ci_id IS NOT NULL \
                    OR w.tenant_id = c.tenant_id COLLATE \"C\" THEN {image} END AS image \
                FROM (({RECENT}) LIMIT $3) AS w \
                LEFT JOIN ci AS c ON c.ci_id = w.id \
                LEFT JOIN ci_ext AS e ON e.ci_id = c.ci_id OFFSET 0) AS r",
            state = state_columns(),
            most = NEIGHBOURS + 1,
            image = image("c", &documents),
        )
    })
}

/// The transactions and tenants of changes that are too many; and one row with the state. Documents belong to two tenants where
/// another transaction moved their CI meanwhile: the recorded one, and the present one.
pub(super) fn tenants() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let nothing = "NULL::bigint, NULL::text, NULL::text, NULL::uuid, NULL::text, NULL::text, NULL::boolean, \
                       NULL::text, NULL::uuid[], NULL::text";
        format!(
            "SELECT NULL::text, {nothing}, {state} \
             UNION ALL \
             SELECT r.xid::text, NULL, r.entity, r.tenant, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
                NULL, NULL, NULL, NULL, NULL, NULL, NULL \
             FROM (SELECT DISTINCT w.xid, CASE WHEN w.entity = 't' THEN 't' ELSE 'c' END AS entity, \
                    t.name COLLATE \"C\" AS tenant FROM ({RECENT}) AS w \
                LEFT JOIN ci AS c ON c.ci_id = w.id AND (w.entity = 'e' OR w.tenant_id IS NULL) \
                CROSS JOIN LATERAL (VALUES (w.tenant_id COLLATE \"C\"), (c.tenant_id::text COLLATE \"C\")) AS t(name) \
                WHERE t.name IS NOT NULL OR w.entity = 't' LIMIT $3) AS r",
            state = state_columns(),
        )
    })
}
