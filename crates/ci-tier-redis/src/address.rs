//! The address of a tier, read: one server, a service that sentinels watch, or a cluster.
//!
//! What is wrong is said by naming the form, and never by repeating a part of the address: any part of it may be a secret that somebody
//! put into the wrong place.

use std::fmt;
use std::net::Ipv6Addr;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};

use crate::Error;

const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// The forms, as people are told them.
pub(crate) const ANY: &str = "redis://, rediss:// (TLS), redis+unix://, redis+sentinel://, rediss+sentinel://, redis+cluster:// or rediss+cluster://, and \
    what follows (`valkey` may stand in place of `redis`)";
const ONE: &str = "redis://[[user]:password@]host[:port][/db] (rediss:// for TLS)";
const SOCKET: &str = "redis+unix:///path[?db=&user=&pass=]";
const SENTINEL: &str = "redis+sentinel://[[user]:password@]host[:port][,host[:port]...]/SERVICE[/db][?sentinel_user=&sentinel_password=] \
    (rediss+sentinel:// for TLS)";
const CLUSTER: &str =
    "redis+cluster://[[user]:password@]host[:port][,host[:port]...] (rediss+cluster:// for TLS)";

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Who asks. Its text form says nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    user: Option<String>,
    password: Option<String>,
}

impl Account {
    /// What a connection begins with.
    pub(crate) fn settings(&self, db: i64) -> RedisConnectionInfo {
        let mut settings = RedisConnectionInfo::default().set_db(db);
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        settings
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}

/// Sentinels, and what they are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) sentinels: Vec<Place>,
    /// Who asks the sentinels.
    pub(crate) sentinel_account: Account,
    /// What they call the servers.
    pub(crate) service: String,
    pub(crate) db: i64,
    /// Who asks the servers.
    pub(crate) account: Account,
}

/// What leads to a server.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// One server.
    One(ConnectionInfo),
    /// Whichever server of a service takes writes.
    Sentinel(Watched),
    /// A cluster, by some of its nodes.
    Cluster { nodes: Vec<Place>, account: Account },
}

/// An address, and whether it wants TLS.
#[derive(Debug, Clone)]
pub(crate) struct Parsed {
    pub(crate) address: Address,
    pub(crate) is_encrypted: bool,
}

/// Reads an address.
///
/// # Errors
/// [`Error::Address`] with the form and what of it is wrong; [`Error::WithoutTls`] where this build cannot encrypt.
pub(crate) fn parse(address: &str) -> Result<Parsed, Error> {
    let (scheme, rest) = address
        .split_once("://")
        .ok_or_else(|| wrong(ANY, "there is no `://`"))?;
    let is_encrypted = ["rediss", "valkeys"].contains(&scheme.split('+').next().unwrap_or_default());
    if is_encrypted && cfg!(not(feature = "tls")) {
        return Err(Error::WithoutTls);
    }
    let parsed = match scheme {
        "redis" | "rediss" | "valkey" | "valkeys" => one(address, rest, ONE)?,
        "unix" | "redis+unix" | "valkey+unix" => one(address, rest, SOCKET)?,
        "redis+sentinel" | "rediss+sentinel" | "valkey+sentinel" | "valkeys+sentinel" => {
            Address::Sentinel(sentinel(rest)?)
        }
        "redis+cluster" | "rediss+cluster" | "valkey+cluster" | "valkeys+cluster" => cluster(rest)?,
        _ => return Err(wrong(ANY, "it begins with something else")),
    };
    Ok(Parsed {
        address: parsed,
        is_encrypted,
    })
}

fn wrong(form: &'static str, wrong: &'static str) -> Error {
    Error::Address { form, wrong }
}

/// One server, by the name of its host or its socket, as the client library reads it.
fn one(address: &str, rest: &str, form: &'static str) -> Result<Address, Error> {
    // Would cut a password, or skip the check of certificates where some other crate of the program has asked for the possibility.
    if rest.contains('#') {
        return Err(wrong(
            form,
            "there is a `#`; write it as %23 if it is of a password",
        ));
    }
    let unread = |_| wrong(form, "it cannot be read");
    let info = address.into_connection_info().map_err(unread)?;
    let settings = info.redis_settings();
    if settings.username().is_some() && settings.password().is_none() {
        // Nobody would say who asks.
        return Err(wrong(form, "there is a user without a password"));
    }
    match info.addr() {
        ConnectionAddr::Tcp(_, 0) | ConnectionAddr::TcpTls { port: 0, .. } => {
            Err(wrong(form, "a port is not 1 to 65535"))
        }
        _ => Ok(Address::One(info)),
    }
}

/// What follows the scheme, in its parts.
struct Parts<'a> {
    account: Account,
    places: Vec<Place>,
    /// Without the slash before it; none where there is no slash.
    path: Option<&'a str>,
    query: Option<&'a str>,
}

fn parts<'a>(rest: &'a str, port: u16, form: &'static str) -> Result<Parts<'a>, Error> {
    if rest.contains('#') {
        return Err(wrong(
            form,
            "there is a `#`; write it as %23 if it is of a password",
        ));
    }
    let (rest, query) = split(rest, '?');
    let (authority, path) = split(rest, '/');
    let (account, places) = match authority.rsplit_once('@') {
        Some((account, places)) => (self::account(account, form)?, places),
        None => (Account::default(), authority),
    };
    Ok(Parts {
        account,
        places: self::places(places, port, form)?,
        path,
        query,
    })
}

/// The text before a separator, and what is behind it if there is one.
fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    }
}

fn sentinel(rest: &str) -> Result<Watched, Error> {
    let parts = parts(rest, SENTINEL_PORT, SENTINEL)?;
    let path = parts.path.unwrap_or_default();
    let (service, db) = split(path, '/');
    let is_name = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if service.is_empty() || !service.chars().all(is_name) {
        return Err(wrong(
            SENTINEL,
            "the service is not letters, digits, `.`, `-` and `_`",
        ));
    }
    let db = match db {
        Some(db) if !db.is_empty() && db.bytes().all(|byte| byte.is_ascii_digit()) => db.parse::<u32>().ok(),
        Some(_) => None,
        None => Some(0),
    };
    Ok(Watched {
        sentinels: parts.places,
        sentinel_account: parts.query.map_or(Ok(Account::default()), sentinel_account)?,
        service: service.to_owned(),
        db: db
            .ok_or_else(|| wrong(SENTINEL, "the database is not a number"))?
            .into(),
        account: parts.account,
    })
}

/// The parameters: the account of the sentinels.
fn sentinel_account(query: &str) -> Result<Account, Error> {
    let mut account = Account::default();
    for parameter in query.split('&') {
        let (name, value) = parameter
            .split_once('=')
            .ok_or_else(|| wrong(SENTINEL, "a parameter has no `=`"))?;
        let field = match name {
            "sentinel_user" => &mut account.user,
            "sentinel_password" => &mut account.password,
            _ => return Err(wrong(SENTINEL, "there is an unknown parameter")),
        };
        let unread = || {
            wrong(
                SENTINEL,
                "a parameter's value is empty, or not escaped as it has to be",
            )
        };
        let value = decoded(value).ok_or_else(unread)?;
        if field.replace(value).is_some() {
            return Err(wrong(SENTINEL, "a parameter is there twice"));
        }
    }
    if account.password.is_none() {
        return Err(wrong(
            SENTINEL,
            "there is a `sentinel_user` without `sentinel_password`",
        ));
    }
    Ok(account)
}

fn cluster(rest: &str) -> Result<Address, Error> {
    let parts = parts(rest, SERVER_PORT, CLUSTER)?;
    if !parts.path.unwrap_or_default().is_empty() {
        return Err(wrong(
            CLUSTER,
            "there is a path: a cluster has no other database than 0",
        ));
    }
    if parts.query.is_some() {
        return Err(wrong(CLUSTER, "there is an unknown parameter"));
    }
    Ok(Address::Cluster {
        nodes: parts.places,
        account: parts.account,
    })
}

/// `user:password` or `:password`.
fn account(text: &str, form: &'static str) -> Result<Account, Error> {
    let unread = || {
        wrong(
            form,
            "the account is not user:password, with other signs than letters and digits as %XX",
        )
    };
    if text.contains('@') {
        return Err(unread());
    }
    let (user, password) = text.split_once(':').ok_or_else(unread)?;
    let user = match user {
        "" => None,
        user => Some(decoded(user).ok_or_else(unread)?),
    };
    Ok(Account {
        user,
        password: Some(decoded(password).ok_or_else(unread)?),
    })
}

/// Text in which `%XX` stands for a byte; none when it is empty, or not of that form.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.bytes();
    while let Some(byte) = left.next() {
        bytes.push(match byte {
            b'%' => digit(left.next()?)? << 4 | digit(left.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Places, separated by commas, each of them once.
fn places(text: &str, port: u16, form: &'static str) -> Result<Vec<Place>, Error> {
    let mut places = Vec::new();
    for text in text.split(',') {
        let place = place(text, port).ok_or_else(|| {
            wrong(
                form,
                "a host is not a name or an address, or a port not 1 to 65535",
            )
        })?;
        if places.contains(&place) {
            return Err(wrong(form, "a host is there twice"));
        }
        places.push(place);
    }
    Ok(places)
}

/// `host`, `host:port`, `[IPv6]` or `[IPv6]:port`.
fn place(text: &str, port: u16) -> Option<Place> {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, behind) = bracketed.split_once(']')?;
            let port = match behind {
                "" => Some(port),
                behind => number(behind.strip_prefix(':')?),
            };
            (host.parse::<Ipv6Addr>().ok()?.to_string(), port?)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (name(host)?, number(port)?),
            None => (name(text)?, port),
        },
    };
    Some(Place { host, port })
}

fn name(host: &str) -> Option<String> {
    let is_of_names = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let good = !host.is_empty() && host.chars().all(is_of_names);
    good.then(|| host.to_ascii_lowercase())
}

fn number(port: &str) -> Option<u16> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|port| digits && *port != 0)
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
