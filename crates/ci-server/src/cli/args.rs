//! The arguments and their help.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ci_model::{Cursor, Direction, Filter, ListOrder, Sort, Token, View};
use ci_runner::Level;
use ci_store::import::ImportFormat;
use clap::{Args, Parser, Subcommand};

use crate::access::Role;
use crate::config::{Given, Same};

/// How far behind a cached answer may be on the command line.
const MAX_LAG: Duration = Duration::from_secs(1);

const EXIT_CODES: &str = "\
Exit codes:
  0  done (a search that finds nothing is done, too)
  1  an unexpected failure
  2  the input does not fit: arguments, a file, an address
  3  the database failed
  4  the CI that get, expand or path names is not there
  5  the import is done, but lines were rejected
  6  the doctor found a failure
  7  an audit found a wrong answer in the cache";

/// Search and get configuration items through the cache.
#[derive(Debug, Parser)]
#[command(name = "ci-cache", version, max_term_width = 100, after_help = EXIT_CODES)]
#[command(propagate_version = false, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Log more to stderr; twice for everything. CI_CACHE_LOG takes a filter such as `ci_store=debug`
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write CIs and relations from files into the database
    ///
    /// Rows are upserted, so an import that ended early is finished by running it again. CIs are written before
    /// relations.
    Import(Import),
    /// Find CIs by keywords and filters
    ///
    /// Every keyword must be found in the code, name, type, subtype or category, in any case. When nothing is found,
    /// identifiers in the text are tried, then any of the keywords; the answer says which. CIs whose code or name equals
    /// a keyword come first, unless --sort or --strict is given: then the order is the sort alone.
    Search(Search),
    /// Show all columns of one CI
    Get(Get),
    /// List CIs page by page, newest first
    List(List),
    /// Count CIs by the values of fields
    Aggregate(Aggregate),
    /// Show the graph around a CI
    Expand(Expand),
    /// Find a shortest path between two CIs
    Path(Path),
    /// Show what the database holds for a tenant
    Stats(Stats),
    /// Answer an AI assistant over stdin and stdout, by the Model Context Protocol, until stdin ends
    ///
    /// For one tenant; it only asks. Assistants start this themselves: docs/mcp.md says how to tell them. The program has to be built with
    /// the feature `mcp`.
    Mcp(Mcp),
    /// Make, list and revoke the API tokens of the service
    #[command(subcommand)]
    Token(ApiToken),
    /// Serve the HTTP API until SIGTERM or SIGINT
    ///
    /// The first line on stdout is `listening on http://HOST:PORT`, with the real port when port 0 was asked for.
    /// On localhost it lets everybody in unless --tokens is given; on any other address it takes --tokens, or
    /// --without-authentication. Settings come from flags, the environment and one file, in this order: docs/configuration.md.
    Serve(Given),
    /// Check and explain the configuration of the service
    #[command(subcommand)]
    Config(Configuration),
    /// Look at everything that the service needs, and say what is wrong and what mends it
    ///
    /// Takes every option of `serve`, the same variables and the same file. Looks at the configuration, the tokens, the address, limits
    /// of the machine and the database: reachable, version, extension, tables, triggers, permissions, recorded changes, clock. It changes
    /// nothing. Warnings leave the exit code 0, a failure makes it 6.
    Doctor(Doctor),
    /// Make or update the database's tables and triggers, and end
    ///
    /// The service does so when it starts, too. Takes every option of `serve`.
    Migrate(Migrate),
    /// Show live statistics of a running service
    ///
    /// Asks the service for them, again and again, until Ctrl-C. A service that has tokens takes one of the role admin for all tenants: in
    /// the environment's CI_CACHE_TOKEN, or in a file.
    Top(Top),
    /// Load cached answers again, and tell whether the cache was right
    ///
    /// Of a running service (--address), which samples what it would serve now; it audits by itself, too, with `audit_rate`. Or, with --database
    /// and --tenant, of a cache of its own, which it fills with CIs and their graphs and audits for a while, as they change. A difference that no
    /// recorded change explains is a defect: exit code 7. Each audit is a load for the database.
    Audit(Audit),
    /// Print completions for a shell
    ///
    /// For bash: `ci-cache completions bash > /etc/bash_completion.d/ci-cache`
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or that of a command
    ///
    /// `ci-cache man | man -l -`, `ci-cache man serve > ci-cache-serve.1`
    Man {
        /// A command, such as `serve` or `token create`
        command: Vec<String>,
    },
    /// Fill an embedded database with a generated estate, serve it on localhost, and print three commands to try
    Demo(Demo),
}

/// The database.
#[derive(Debug, Args)]
pub(crate) struct Database {
    /// The database: sqlite:PATH or postgres://USER@HOST:PORT/NAME
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "CI_CACHE_DATABASE",
        hide_env_values = true
    )]
    pub(crate) database: String,
}

/// Whose CIs, in which database, and in which form.
#[derive(Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) database: Database,
    /// Whose CIs
    #[arg(long, env = "CI_CACHE_TENANT", hide_env_values = true)]
    pub(crate) tenant: String,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// How true an answer has to be. A command that asks once begins with an empty cache, so what it says is always loaded for it.
#[derive(Debug, Args)]
pub(crate) struct Truth {
    /// `bypass` (default): straight from the database; `cached` and `strong`: through the cache and its change feed
    #[arg(long, value_name = "LEVEL", value_parser = ["bypass", "cached", "strong"], default_value = "bypass")]
    pub(crate) level: String,
    /// Include this state of the database at least. Answers and writes give such tokens
    #[arg(long, value_name = "TOKEN", value_parser = parse_word::<Token>, conflicts_with = "level")]
    pub(crate) at_least: Option<Token>,
    /// Print the state at which the answer is true, as a token, to stderr
    #[arg(long)]
    pub(crate) as_of: bool,
}

impl Truth {
    /// The level to ask at.
    pub(crate) fn level(&self) -> Level {
        match (&self.at_least, self.level.as_str()) {
            (Some(token), _) => Level::AtLeast(token.clone()),
            (None, "strong") => Level::Strong,
            (None, "cached") => Level::Cached { max_lag: MAX_LAG },
            (None, _) => Level::Bypass,
        }
    }
}

/// Which CIs.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Only CIs for which this holds, such as `ci_type=SW`, `owner contains ops`, `criticality>=4`,
    /// `tags.env in prod,stage`, `attributes.net.ip exists`; repeatable
    #[arg(long = "filter", value_name = "FIELD=VALUE", value_parser = parse_filter)]
    pub(crate) filters: Vec<Filter>,
    /// Also soft-deleted CIs
    #[arg(long)]
    pub(crate) include_deleted: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) common: Common,
    /// CIs: .jsonl, .ndjson, .json or .csv, plain or with .gz or .zst; `-` for stdin
    #[arg(required_unless_present = "relations")]
    pub(crate) file: Option<PathBuf>,
    /// Relations, in the same formats
    #[arg(long, value_name = "FILE")]
    pub(crate) relations: Option<PathBuf>,
    /// The format of the files, whatever their names; stdin is jsonl when nothing is said
    #[arg(long, value_name = "jsonl|csv", value_parser = parse_format)]
    pub(crate) format: Option<ImportFormat>,
    /// Write every rejected line's number and reason to this file, as JSON Lines
    #[arg(long, value_name = "FILE")]
    pub(crate) rejects: Option<PathBuf>,
    /// Say what would be written, and write nothing. Each batch of 5,000 lines is tried by itself on the database as it is, so a relation
    /// of a CI that is not there yet counts as rejected
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Search {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) truth: Truth,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// ci_code (default), ci_name, ci_type, ci_subtype or ci_category; `:desc` for descending
    #[arg(long, value_name = "COL[:desc]", value_parser = parse_word::<Sort>)]
    pub(crate) sort: Option<Sort>,
    /// By how well the keywords fit, as one text, before the sort: the code, the name, what begins with it
    #[arg(long)]
    pub(crate) rank: bool,
    /// Most results, 1 to 500
    #[arg(long, default_value_t = ci_model::limits::SEARCH_DEFAULT)]
    pub(crate) limit: u32,
    /// The page after this one: `next` of an answer to the same search
    #[arg(long, value_name = "CURSOR", value_parser = parse_word::<Cursor>)]
    pub(crate) cursor: Option<Cursor>,
    /// Also count all that is found
    #[arg(long)]
    pub(crate) total: bool,
    /// Also count all that is found by the values of these fields, up to 16; repeatable
    #[arg(long, value_name = "FIELD[,FIELD…]")]
    pub(crate) facet: Vec<String>,
    /// Show these fields alone, such as `ci_code,tags.env`; repeatable
    #[arg(long, value_name = "FIELD[,FIELD…]")]
    pub(crate) fields: Vec<String>,
    /// Find every keyword or nothing: no fallback
    #[arg(long)]
    pub(crate) strict: bool,
    /// Keywords; `--` before the first one protects those that begin with a dash
    #[arg(value_name = "KEYWORD")]
    pub(crate) keywords: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) truth: Truth,
    /// Also when it is soft-deleted
    #[arg(long)]
    pub(crate) include_deleted: bool,
    /// The CI's code or id
    pub(crate) code: String,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) truth: Truth,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Results per page, 1 to 500
    #[arg(long, default_value_t = ci_model::limits::LIST_DEFAULT)]
    pub(crate) limit: u32,
    /// How many of the first to leave out
    #[arg(long, default_value_t = 0)]
    pub(crate) offset: u32,
    /// Which come first: created (default) or updated
    #[arg(long, value_name = "ORDER", value_parser = parse_word::<ListOrder>, default_value = "created")]
    pub(crate) order: ListOrder,
    /// Do not count all of them
    #[arg(long)]
    pub(crate) no_total: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Aggregate {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) truth: Truth,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Up to four fields, such as `ci_type,ci_subtype` or `tags.env`; repeatable; one count of all without
    #[arg(long, value_name = "FIELD[,FIELD…]")]
    pub(crate) group_by: Vec<String>,
    /// Also count the distinct values of this field
    #[arg(long, value_name = "FIELD")]
    pub(crate) distinct: Option<String>,
    /// Most groups, 1 to 200
    #[arg(long, default_value_t = ci_model::limits::GROUPS_DEFAULT)]
    pub(crate) limit: u32,
    /// Only CIs in which all of these are found
    #[arg(value_name = "KEYWORD")]
    pub(crate) keywords: Vec<String>,
}

/// Which relations to follow.
#[derive(Debug, Args)]
pub(crate) struct Follow {
    /// out, in or both, instead of what the view says
    #[arg(long, value_parser = parse_word::<Direction>)]
    pub(crate) direction: Option<Direction>,
    /// Follow only relations of this type; repeatable
    #[arg(long = "type", value_name = "REL")]
    pub(crate) types: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Expand {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) truth: Truth,
    #[command(flatten)]
    pub(crate) follow: Follow,
    /// SUMMARY, COMPOSITION, DEPENDENCY, IMPACT or NEIGHBORS
    #[arg(long, default_value_t = View::Summary, value_parser = parse_word::<View>)]
    pub(crate) view: View,
    /// Most steps; the view's default when not given
    #[arg(long)]
    pub(crate) depth: Option<u8>,
    /// Most CIs, 1 to 2000
    #[arg(long, default_value_t = ci_model::limits::NODES_DEFAULT)]
    pub(crate) max_nodes: u32,
    /// Most relations, 0 to 4000
    #[arg(long, default_value_t = ci_model::limits::EDGES_DEFAULT)]
    pub(crate) max_edges: u32,
    /// Reach only CIs for which this holds, as of a search; repeatable
    #[arg(long = "filter", value_name = "FIELD=VALUE", value_parser = parse_filter)]
    pub(crate) filters: Vec<Filter>,
    /// Also follow to soft-deleted CIs
    #[arg(long)]
    pub(crate) include_deleted: bool,
    /// Code or id of the CI to start at
    pub(crate) code: String,
    /// Further CIs to start at, 15 at most
    pub(crate) others: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Path {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) truth: Truth,
    #[command(flatten)]
    pub(crate) follow: Follow,
    /// Most steps, 1 to 6
    #[arg(long, default_value_t = ci_model::limits::HOPS)]
    pub(crate) max_hops: u8,
    /// Most paths, 1 to 25; all have as many steps as the shortest
    #[arg(long, default_value_t = 1)]
    pub(crate) most: u8,
    /// Code or id of the start
    pub(crate) from: String,
    /// Code or id of the end
    pub(crate) to: String,
}

#[derive(Debug, Args)]
pub(crate) struct Stats {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) truth: Truth,
    /// Also count soft-deleted CIs
    #[arg(long)]
    pub(crate) include_deleted: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Mcp {
    #[command(flatten)]
    pub(crate) database: Database,
    /// Whose CIs
    #[arg(long, env = "CI_CACHE_TENANT", hide_env_values = true)]
    pub(crate) tenant: String,
    /// Largest answer, 8192 to 1048576 bytes: what is beyond is left out, and the answer says so
    #[arg(long, value_name = "BYTES", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(8_192..=1_048_576))]
    pub(crate) answer_bytes: u32,
}

/// Looking at the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum Configuration {
    /// Check all settings, and print each with where it comes from; passwords are not shown
    ///
    /// Takes every option of `serve`, the same variables of the environment and the same file. Reads no database.
    Check(ConfigCheck),
    /// Print a configuration file with every setting, its meaning and its default
    Example,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigCheck {
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: Same,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: Same,
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    pub(crate) settings: Same,
}

/// A running service.
#[derive(Debug, Args)]
pub(crate) struct Service {
    /// Where the service is: its address, or that of its listener for administrators
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8642")]
    pub(crate) address: String,
    /// A file that holds the API token and nothing else
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Trust the certificates of this file (PEM), and no others, when the address begins with https
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Audit a cache of this command's own on this database instead
    #[arg(long, value_name = "ADDRESS", requires = "tenant", conflicts_with = "address")]
    pub(crate) database: Option<String>,
    /// With --database: whose CIs
    #[arg(long, requires = "database")]
    pub(crate) tenant: Option<String>,
    /// With --database: how long, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Most answers to audit; with --database most answers to keep, and to audit in a second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) reads: u64,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) service: Service,
    /// Time between two looks, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) every: u64,
    /// Print one frame and end
    #[arg(long)]
    pub(crate) once: bool,
}

/// The file of tokens.
#[derive(Debug, Args)]
pub(crate) struct Tokens {
    /// The file that holds the tokens, hashed; made when it is not there
    #[arg(long, value_name = "FILE", env = "CI_CACHE_TOKENS")]
    pub(crate) tokens: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApiToken {
    /// Make a token and print it: it is shown once and kept nowhere
    Create(TokenCreate),
    /// List the tokens, without their secrets
    List(TokenList),
    /// Take a token away; services that use the file refuse it within a second
    Revoke(TokenRevoke),
}

#[derive(Debug, Args)]
pub(crate) struct TokenCreate {
    #[command(flatten)]
    pub(crate) file: Tokens,
    /// What it is called, in the list and in the audit log
    #[arg(long)]
    pub(crate) name: String,
    /// read: ask; write: change CIs and relations, too; admin: see into the cache, too
    #[arg(long)]
    pub(crate) role: Role,
    /// Whose CIs it is for; repeatable
    #[arg(
        long,
        value_name = "TENANT",
        required_unless_present = "all_tenants",
        conflicts_with = "all_tenants"
    )]
    pub(crate) tenant: Vec<String>,
    /// It is for every tenant, also those that are to come
    #[arg(long)]
    pub(crate) all_tenants: bool,
    /// It counts for so many days; for ever when not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) days: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct TokenList {
    #[command(flatten)]
    pub(crate) file: Tokens,
}

#[derive(Debug, Args)]
pub(crate) struct TokenRevoke {
    #[command(flatten)]
    pub(crate) file: Tokens,
    /// What it is called
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How many CIs
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(50..=10_000_000))]
    pub(crate) size: u64,
    /// The same seed makes the same estate
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The port on localhost; 0 for any free one
    #[arg(long, default_value_t = 8642)]
    pub(crate) port: u16,
    /// The database; a SQLite file in the temporary folder when not given
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) database: Option<String>,
}

impl Demo {
    /// The address to listen on.
    pub(crate) fn listen(&self) -> SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, self.port).into()
    }
}

/// The domain's errors are fragments that read after "failed to".
fn failed(error: &ci_model::Error) -> String {
    format!("failed to {error}")
}

fn parse_filter(text: &str) -> Result<Filter, String> {
    Filter::parse(text).map_err(|error| failed(&error))
}

fn parse_word<W: FromStr<Err = ci_model::Error>>(text: &str) -> Result<W, String> {
    text.parse().map_err(|error| failed(&error))
}

fn parse_format(word: &str) -> Result<ImportFormat, &'static str> {
    match word {
        "jsonl" => Ok(ImportFormat::JsonLines),
        "csv" => Ok(ImportFormat::Csv),
        _ => Err("expected jsonl or csv"),
    }
}
