//! Folding in SQL: the same as [`ci_model::fold::fold`], also for rows that other programs write.

/// An expression of the folded form of `value`, an SQLite expression (evaluated several times).
///
/// Text of printable ASCII and U+001F (which joins the columns of a search text) takes the built-in `lower`; any other
/// is folded character by character through the table `ci_fold`. The array of as many zeros as the text has characters
/// counts its positions: SQLite has no portable series of numbers. The order is given in a subquery, which SQLite keeps for `group_concat`; the aggregate's own
/// ORDER BY needs version 3.44, and a trigger that an older shell cannot parse would lock it out of the database.
pub(crate) fn sqlite_fold(value: &str) -> String {
    let positions = format!("'[' || rtrim(replace(hex(zeroblob(length({value}))), '00', '0,'), ',') || ']'");
    let character = format!("substr({value}, n.key + 1, 1)");
    format!(
        "CASE WHEN {value} GLOB '*[^' || char(31) || '-~]*' THEN (SELECT group_concat(o.folded, '') FROM \
         (SELECT coalesce(f.lower, {character}) AS folded FROM json_each({positions}) AS n \
         LEFT JOIN ci_fold AS f ON f.upper = {character} ORDER BY n.key) AS o) ELSE lower({value}) END"
    )
}
