//! Folding in SQL: the same as [`ci_model::fold::fold`], also for rows that other programs write.

/// An expression of the folded form of `value`, an SQLite expression (evaluated several times).
///
/// Text of printable ASCII takes the built-in `lower`; any other is folded character by character through the table
/// `ci_fold`. The array of as many zeros as the text has characters counts its positions: SQLite has no portable
/// series of numbers.
#[cfg(feature = "sqlite")]
pub(crate) fn sqlite_fold(value: &str) -> String {
    format!(
        "CASE WHEN {value} GLOB '*[^ -~]*' THEN (SELECT group_concat(coalesce(f.lower, substr({value}, n.key + 1, 1)), \
         '' ORDER BY n.key) FROM json_each('[' || rtrim(replace(hex(zeroblob(length({value}))), '00', '0,'), ',') || \
         ']') AS n LEFT JOIN ci_fold AS f ON f.upper = substr({value}, n.key + 1, 1)) ELSE lower({value}) END"
    )
}
