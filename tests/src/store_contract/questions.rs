//! Random questions about a world, most of which find something.

use std::fmt::Write as _;

use ci_model::{
    Aggregate, CiCode, CiDetail, CiRef, Direction, Expand, Field, Filter, List, ListOrder, Path, Search,
    Sort, View, limits,
};
use rand_chacha::ChaCha8Rng;

use super::World;
use super::world::{below, key, moment, one_of, text};

const COLUMNS: &[&str] = &[
    "ci_type",
    "ci_subtype",
    "ci_category",
    "status",
    "location",
    "owner",
];
const SORTS: &[&str] = &["ci_code", "ci_name", "ci_type", "ci_subtype", "ci_category"];

/// A search with up to three keywords, up to two filters, any order, half with the largest limit, some after a cursor.
///
/// # Panics
/// Never: what it asks is allowed.
pub fn search(random: &mut ChaCha8Rng, world: &World) -> Search {
    let order = one_of(random, &["asc", "desc"]);
    let sort: Sort = format!("{}:{order}", one_of(random, SORTS))
        .parse()
        .expect("a sort");
    // Few filters where ranks decide, so that they have something to decide about.
    let ranked = below(random, 2) == 0;
    let most = if ranked { 2 } else { 4 };
    let mut search = Search::builder()
        .keywords(
            (0..below(random, most))
                .map(|_| keyword(random, world))
                .collect::<Vec<_>>(),
        )
        .filters(
            (0..below(random, most.min(3)))
                .map(|_| filter(random, world))
                .collect::<Vec<_>>(),
        )
        .include_deleted(below(random, 4) == 0)
        .sort(sort)
        .limit(if below(random, 2) == 0 {
            u32::try_from(1 + below(random, 8)).unwrap_or(1)
        } else {
            limits::SEARCH_RESULTS
        });
    if !ranked && below(random, 2) == 0 {
        let ci = any(random, world);
        let name = if below(random, 2) == 0 {
            ci.summary.ci_code.as_str()
        } else {
            &ci.summary.ci_name
        };
        search = search.exact_first([name.to_uppercase(), text(random, 1)]);
    }
    search = match below(random, 5) {
        _ if !ranked => search,
        0 => search.ranked(),
        // Often the same as a code or a name, or the beginning of one.
        _ => {
            let ci = any(random, world);
            let name = if below(random, 2) == 0 {
                ci.summary.ci_code.as_str()
            } else {
                &ci.summary.ci_name
            };
            let most = [1, 1, 2, 200][below(random, 4)];
            search.rank_by(name.chars().take(most).collect::<String>().to_uppercase())
        }
    };
    let search = search.build().expect("a search");
    let search = match search.broadened() {
        Some(broad) if below(random, 3) == 0 => broad,
        _ => search,
    };
    if below(random, 3) > 0 {
        return search;
    }
    let row = &any(random, world).summary;
    search.after(&search.cursor_at(row)).expect("its own cursor")
}

fn any<'a>(random: &mut ChaCha8Rng, world: &'a World) -> &'a CiDetail {
    &world.cis[below(random, world.cis.len())]
}

/// A piece of one to six characters of some CI's text, in any case, or something else.
fn keyword(random: &mut ChaCha8Rng, world: &World) -> String {
    if below(random, 6) == 0 {
        return text(random, 2);
    }
    let ci = any(random, world);
    let column = match below(random, 3) {
        0 => ci.summary.ci_code.as_str(),
        1 => &ci.summary.ci_name,
        _ => ci.summary.ci_subtype.as_deref().unwrap_or("none"),
    };
    let chars: Vec<char> = column.chars().collect();
    let start = below(random, chars.len());
    let piece: String = chars[start..].iter().take(1 + below(random, 6)).collect();
    if below(random, 2) == 0 {
        piece.to_uppercase()
    } else {
        piece
    }
}

/// A filter on any field with any operator that fits, its value mostly one that occurs.
///
/// # Panics
/// Never: what it asks is allowed.
pub fn filter(random: &mut ChaCha8Rng, world: &World) -> Filter {
    match below(random, 8) {
        0 => {
            let operator = one_of(random, &["=", "!=", "<", "<=", ">", ">="]);
            let value = (1 + below(random, 5)).to_string();
            Filter::new("criticality", operator, &[value]).expect("a filter")
        }
        1 => {
            let operator = one_of(random, &["in", "not in"]);
            Filter::new("criticality", operator, &["1", "3"]).expect("a filter")
        }
        2 => {
            let operator = one_of(random, &["=", "!=", "<", "<=", ">", ">=", "in", "not in"]);
            let field = one_of(random, &["created_at", "updated_at"]);
            Filter::new(field, operator, &[moment(random).to_string()]).expect("a filter")
        }
        3 => {
            let field = one_of(random, &["criticality", "created_at", "owner", "ci_type"]);
            Filter::new(field, "exists", &[one_of(random, &["true", "false"])]).expect("a filter")
        }
        _ => text_filter(random, world),
    }
}

fn text_filter(random: &mut ChaCha8Rng, world: &World) -> Filter {
    let field = if below(random, 2) == 0 {
        one_of(random, COLUMNS).to_owned()
    } else {
        path(random)
    };
    let value = value(random, world, &field);
    match below(random, 8) {
        5 => Filter::new(&field, "not in", &[value, text(random, 1)]),
        6 => {
            // A number for numbers, anything else for texts.
            let operator = one_of(random, &["<", "<=", ">", ">="]);
            let number = ["-2", "-1", "0", "1", "2", "3", "9007199254740991"][below(random, 7)];
            let value = match value.parse::<f64>() {
                _ if below(random, 3) == 0 => number.to_owned(),
                Ok(_) => format!("\"{value}\""),
                Err(_) => value,
            };
            Filter::new(&field, operator, &[value])
        }
        0 => Filter::new(&field, "=", &[value]),
        1 => Filter::new(&field, "!=", &[value]),
        2 => Filter::new(&field, "in", &[value, text(random, 1), "server".into()]),
        3 => Filter::new(&field, "exists", &[one_of(random, &["true", "false"])]),
        operator => {
            let operator = if operator == 7 { "not contains" } else { "contains" };
            let part: String = value.chars().take(1 + below(random, 3)).collect();
            Filter::new(
                &field,
                operator,
                &[if part.is_empty() {
                    "a".into()
                } else {
                    part.to_uppercase()
                }],
            )
        }
    }
    .expect("a filter")
}

fn path(random: &mut ChaCha8Rng) -> String {
    let mut path = one_of(random, &["tags", "attributes"]).to_owned();
    for _ in 0..=below(random, 2) {
        let key = key(random).replace('\\', "\\\\").replace('"', "\\\"");
        let _ = write!(path, ".\"{key}\"");
    }
    path
}

/// A value that a CI has in the field, or some text.
fn value(random: &mut ChaCha8Rng, world: &World, field: &str) -> String {
    let field: Field = field.parse().expect("a field");
    let start = below(random, world.cis.len());
    let mut values = (0..world.cis.len()).map(|at| &world.cis[(start + at) % world.cis.len()]);
    let found = values.find_map(|ci| super::reference::text_of(ci, &field));
    found
        .filter(|_| below(random, 5) > 0)
        .unwrap_or_else(|| text(random, 2))
}

/// A page of a list, some beyond the end.
///
/// # Panics
/// Never: what it asks is allowed.
pub fn list(random: &mut ChaCha8Rng, world: &World) -> List {
    let offset = u32::try_from(below(random, 4) * below(random, 30)).unwrap_or(0);
    // Mostly from the first row on: of an empty page behind an offset nobody knows how many rows are before it, so that anything that
    // comes counts as a change of it.
    let total = below(random, 3) > 0 || offset > 0 && below(random, 8) > 0;
    List::builder()
        .filters(
            (0..below(random, 3))
                .map(|_| filter(random, world))
                .collect::<Vec<_>>(),
        )
        .include_deleted(below(random, 3) == 0)
        .limit(u32::try_from(1 + below(random, 20)).unwrap_or(1))
        .offset(offset)
        .order([ListOrder::Created, ListOrder::Updated][below(random, 2)])
        .total(total)
        .build()
        .expect("a list")
}

/// An aggregate by up to three fields.
///
/// # Panics
/// Never: what it asks is allowed.
pub fn aggregate(random: &mut ChaCha8Rng, world: &World) -> Aggregate {
    let fields = [
        "ci_type",
        "criticality",
        "owner",
        "tags.role",
        "attributes.deep.role",
        "tags.\"a.b\"",
    ];
    let mut aggregate = Aggregate::builder()
        .filters(
            (0..below(random, 2))
                .map(|_| filter(random, world))
                .collect::<Vec<_>>(),
        )
        .keywords(
            (0..below(random, 2))
                .map(|_| keyword(random, world))
                .collect::<Vec<_>>(),
        )
        .include_deleted(below(random, 3) == 0)
        .limit(if below(random, 2) == 0 { 3 } else { 200 });
    let start = below(random, fields.len());
    for at in 0..below(random, 4) {
        aggregate = aggregate.group_by(fields[(start + at) % fields.len()]);
    }
    if below(random, 2) == 0 {
        aggregate = aggregate.distinct(one_of(random, &["status", "criticality", "tags.role"]));
    }
    aggregate.build().expect("an aggregate")
}

/// An expansion by any view, often with limits that cut.
///
/// # Panics
/// Never: what it asks is allowed.
pub fn expand(random: &mut ChaCha8Rng, world: &World) -> Expand {
    let view = [
        View::Summary,
        View::Composition,
        View::Dependency,
        View::Impact,
        View::Neighbors,
    ][below(random, 5)];
    let root = any(random, world).summary.clone();
    let mut expand = if below(random, 2) == 0 {
        Expand::builder(root.ci_code, view)
    } else {
        Expand::builder(root.ci_id, view)
    }
    .depth(u8::try_from(1 + below(random, usize::from(view.policy().max_depth))).unwrap_or(1))
    .include_deleted(below(random, 3) == 0);
    if below(random, 2) == 0 {
        expand = expand
            .max_nodes(u32::try_from(1 + below(random, 12)).unwrap_or(1))
            .max_edges(u32::try_from(below(random, 12)).unwrap_or(0));
    }
    if below(random, 2) == 0 {
        expand = expand.direction([Direction::In, Direction::Out, Direction::Both][below(random, 3)]);
    }
    if below(random, 3) == 0 {
        expand = expand.rel_types(["ünlike", "USES", "DEPENDS_ON"]);
    }
    if below(random, 4) == 0 {
        // One that most CIs pass, or any.
        let wide = [
            ("criticality", "<=", "4"),
            ("status", "!=", "retired"),
            ("ci_type", "!=", "SW"),
            ("tags.role", "exists", "false"),
        ][below(random, 4)];
        let wide = Filter::new(wide.0, wide.1, &[wide.2]).expect("a filter");
        expand = match below(random, 4) {
            0 => expand.filter(filter(random, world)),
            1 => expand.filter(filter(random, world)).filter(wide),
            _ => expand.filter(wide),
        };
    }
    if below(random, 4) == 0 {
        let more = 1 + below(random, 5);
        expand = expand
            .roots((0..more).map(|_| another(random, world)).collect::<Vec<_>>())
            .max_nodes(u32::try_from(1 + more + below(random, 20)).unwrap_or(1));
    }
    expand.build().expect("an expansion")
}

/// Some CI by id or by code, now and then one that is not there.
fn another(random: &mut ChaCha8Rng, world: &World) -> CiRef {
    let ci = any(random, world).summary.clone();
    match below(random, 8) {
        0 => CiCode::new("absent").expect("a code").into(),
        1..4 => ci.ci_id.into(),
        _ => ci.ci_code.into(),
    }
}

/// A path between any two CIs, or several.
///
/// # Panics
/// Never: what it asks is allowed.
pub fn path_between(random: &mut ChaCha8Rng, world: &World) -> Path {
    let (from, to) = (
        any(random, world).summary.clone(),
        any(random, world).summary.clone(),
    );
    let most = [1, 1, 2, 2, 2, 3, 25][below(random, 7)];
    let mut path = Path::builder(from.ci_code, to.ci_id)
        .most(most)
        .max_hops(u8::try_from(1 + below(random, 6)).unwrap_or(1))
        .direction([Direction::In, Direction::Out, Direction::Both, Direction::Both][below(random, 4)]);
    if below(random, 3) == 0 {
        path = path.rel_types(["ünlike", "USES", "DEPENDS_ON"]);
    }
    path.build().expect("a path")
}
