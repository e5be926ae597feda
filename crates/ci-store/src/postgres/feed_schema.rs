//! What records changes: tables, functions and triggers.

use sqlx::{AssertSqlSafe, PgConnection};

use super::migrate::refused;
use crate::Result;

/// Every trigger of ours, by table and name. `A` in `tgenabled` is "always".
pub(super) const EXPECTED: i64 = 6;

/// Whether every trigger is there and fires for everyone; and whether numbers outlive a fail-over, as far as this user could mend it. False also
/// where a table is not there.
const WHOLE: &str = "\
    SELECT count(*), NOT EXISTS (SELECT FROM pg_depend AS d JOIN pg_class AS s ON s.oid = d.objid \
        WHERE d.classid = 'pg_class'::regclass AND d.refobjid = to_regclass('ci_change') AND s.relkind = 'S' \
        AND s.relpersistence = 'u' AND pg_has_role(s.relowner, 'USAGE')) \
    FROM pg_trigger AS t WHERE t.tgrelid = ANY (ARRAY[to_regclass('ci'), to_regclass('ci_ext'), \
        to_regclass('ci_relation')]) AND t.tgname IN ('CI_change_rows', 'CI_change_truncate') \
        AND t.tgenabled = 'A'";

/// Columns of `ci` that an image has, and those by which a row is found.
const COLUMNS: [&str; 14] = [
    "ci_id",
    "tenant_id",
    "ci_code",
    "ci_name",
    "ci_type",
    "ci_subtype",
    "ci_category",
    "status",
    "location",
    "owner",
    "criticality",
    "created_at",
    "updated_at",
    "deleted_at",
];
/// Texts longer than this together, as stored, make a row that is not told.
const TEXT_BYTES: u32 = 16_384;
/// Documents larger than this together, as stored, are not told.
const DOCUMENT_BYTES: u32 = 8_192;

/// Makes everything, or makes it again. The schema in which `ci` is must be the first of the search path.
pub(super) async fn apply(connection: &mut PgConnection) -> Result<()> {
    let schema: String = sqlx::query_scalar("SELECT quote_ident(current_schema())")
        .fetch_one(&mut *connection)
        .await?;
    sqlx::raw_sql(AssertSqlSafe(script(&schema)))
        .execute(connection)
        .await
        .map_err(refused)?;
    Ok(())
}

/// Tells whether changes are recorded.
pub(super) async fn is_whole(connection: &mut PgConnection) -> Result<bool> {
    let (found, is_logged): (i64, bool) = sqlx::query_as(WHOLE).fetch_one(connection).await?;
    Ok(found == EXPECTED && is_logged)
}

fn script(schema: &str) -> String {
    let columns = |row: &str| format!("ROW({row}.{})::record", COLUMNS.join(&format!(", {row}.")));
    include_str!("../../schema/postgres_feed.sql")
        .replace("@IMAGE_OLD@", &image("OLD", "documents"))
        .replace("@IMAGE_NEW@", &image("NEW", "documents"))
        .replace("@IMAGE_CHANGED@", &image("c", "changed"))
        .replace("@IMAGE_NONE@", &image("c", "'[{}, {}]'::jsonb"))
        .replace("@IMAGE_C@", &image("c", "documents"))
        .replace("@DOCUMENTS_OLD@", &documents_of("OLD"))
        .replace("@DOCUMENTS_NEW@", &documents_of("NEW"))
        .replace("@EXT_OLD@", &documents("OLD"))
        .replace("@EXT_NEW@", &documents("NEW"))
        .replace("@CI_OLD@", &columns("OLD"))
        .replace("@CI_NEW@", &columns("NEW"))
        .replace("@SCHEMA@", schema)
}

/// The image of a row of `ci`, in the layout of `crate::image`.
pub(super) fn image(row: &str, documents: &str) -> String {
    let [_, _, texts @ .., _, _, _, _] = COLUMNS;
    let texts: [&str; 8] = texts;
    let size = texts
        .map(|column| format!("coalesce(pg_column_size({row}.{column}), 0)"))
        .join(" + ");
    let values = texts.map(|column| format!("{row}.{column}")).join(", ");
    format!(
        "CASE WHEN {size} > {TEXT_BYTES} THEN 'null'::jsonb ELSE jsonb_build_array(1, {values}, {row}.criticality, \
         {created}, {updated}, {row}.deleted_at IS NOT NULL, {documents}) END",
        created = moment(&format!("{row}.created_at")),
        updated = moment(&format!("{row}.updated_at")),
    )
}

/// Microseconds since 1970; NULL for what cannot be told, as infinity.
fn moment(value: &str) -> String {
    format!(
        "CASE WHEN {value} BETWEEN '0001-01-01 00:00:00+00'::timestamptz AND '9999-12-30 00:00:00+00'::timestamptz \
         THEN (extract(epoch FROM {value}) * 1000000)::bigint END"
    )
}

/// Tags and attributes of a row of `ci_ext`; JSON null when they are too large.
pub(super) fn documents(row: &str) -> String {
    format!(
        "CASE WHEN coalesce(pg_column_size({row}.tags), 0) + coalesce(pg_column_size({row}.attributes), 0) \
         > {DOCUMENT_BYTES} THEN 'null'::jsonb ELSE jsonb_build_array({row}.tags, {row}.attributes) END"
    )
}

/// The documents of a row of `ci`.
fn documents_of(row: &str) -> String {
    format!(
        "coalesce((SELECT {} FROM @SCHEMA@.ci_ext AS e WHERE e.ci_id = {row}.ci_id), '[{{}}, {{}}]'::jsonb)",
        documents("e")
    )
}
