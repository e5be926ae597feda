//! Every limit on input, in one place. Lengths are in characters unless the name says bytes.

/// Longest tenant name.
pub const TENANT_CHARS: usize = 128;
/// Longest CI code. Codes are indexed, and an index row has room for about 2,700 bytes.
pub const CODE_CHARS: usize = 255;
/// Longest CI name.
pub const NAME_CHARS: usize = 500;
/// Longest value of the other text columns (type, subtype, category, status, location, owner).
pub const TEXT_CHARS: usize = 200;
/// Longest relation type.
pub const RELATION_TYPE_CHARS: usize = 64;
/// Largest tags or attributes document, as compact JSON, in bytes.
pub const JSON_BYTES: usize = 262_144;
/// Deepest nesting of a tags or attributes document.
pub const JSON_DEPTH: usize = 32;

/// Longest keyword.
pub const KEYWORD_CHARS: usize = 200;
/// Most keywords in a question.
pub const KEYWORDS: usize = 16;
/// Most parts of keywords in a broad search.
pub const BROAD_PARTS: usize = 64;
/// Most filters in a question.
pub const FILTERS: usize = 32;
/// Longest value in a filter.
pub const FILTER_VALUE_CHARS: usize = 1_000;
/// Most values of one `in` filter.
pub const IN_VALUES: usize = 100;
/// Most segments of a `tags.` or `attributes.` path.
pub const PATH_SEGMENTS: usize = 8;
/// Longest segment of a path.
pub const PATH_SEGMENT_CHARS: usize = 128;

/// Most results of a search, and of a page of a list.
pub const SEARCH_RESULTS: u32 = 500;
/// Results of a search when nothing is said.
pub const SEARCH_DEFAULT: u32 = 10;
/// Results of a page of a list when nothing is said.
pub const LIST_DEFAULT: u32 = 50;
/// Largest offset of a list.
pub const LIST_OFFSET: u32 = 10_000_000;
/// Most groups of an aggregate.
pub const GROUPS: u32 = 200;
/// Groups of an aggregate when nothing is said.
pub const GROUPS_DEFAULT: u32 = 50;
/// Most fields to group by.
pub const GROUP_FIELDS: usize = 4;
/// Most facets of a search.
pub const FACETS: usize = 16;
/// Most fields that a projection shows.
pub const SHOWN_FIELDS: usize = 64;
/// Most CIs of one batch get.
pub const BATCH_GET: usize = 1_000;
/// Most roots of an expansion.
pub const ROOTS: usize = 16;
/// Nodes of an expansion when nothing is said.
pub const NODES_DEFAULT: u32 = 200;
/// Most nodes of an expansion.
pub const NODES: u32 = 2_000;
/// Relations of an expansion when nothing is said.
pub const EDGES_DEFAULT: u32 = 400;
/// Most relations of an expansion.
pub const EDGES: u32 = 4_000;
/// Most relation types that a question may name.
pub const RELATION_TYPES: usize = 32;
/// Longest shortest path, in hops.
pub const HOPS: u8 = 6;
/// Most paths of one answer.
pub const PATHS: u8 = 25;
