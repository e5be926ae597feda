//! What a service needs of the machine: files, the address, limits.

use std::io;
use std::net::{TcpListener, ToSocketAddrs as _};
use std::path::Path;

use ci_store::{Finding, Remedy};

use crate::access::{Access, FileError, TokenFile};
use crate::config::{Config, Given, Origin, Plan, Settings, redacted};

/// Files that a service has open beside its connections.
const BESIDE: u64 = 64;
/// Less room than this is told, in bytes.
const ROOM: u64 = 256 << 20;

/// Everything that is looked at without the database.
pub(super) fn findings(given: &Given, config: &Config, plan: &Plan) -> Vec<Finding> {
    let settings = &plan.settings;
    let mut findings = Vec::new();
    findings.extend(config.unused().into_iter().map(|said| {
        let advice = "set the address, or take the other settings out";
        Finding::warning("unused settings", said, Remedy::Advice(advice.into()))
    }));
    findings.extend(secrecy(given, config, settings));
    findings.push(tokens(plan));
    findings.extend(tls(plan));
    findings.extend(tier_key(settings));
    findings.extend(warm(settings));
    findings.push(listen("listen", &settings.listen));
    findings.extend(
        plan.admin_listen()
            .map(|address| listen("admin_listen", &address)),
    );
    findings.push(open_files(settings));
    findings.extend(room(settings));
    findings
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Whether a password of one of the addresses can be read by others.
fn secrecy(given: &Given, config: &Config, settings: &Settings) -> Option<Finding> {
    const CHECK: &str = "secrets";
    let addresses = [
        ("database", Some(&settings.database)),
        ("replica_url", settings.replica_url.as_ref()),
        ("tier_url", settings.tier_url.as_ref()),
    ];
    let with_password: Vec<&str> = addresses
        .into_iter()
        .filter(|(_, address)| address.is_some_and(|address| redacted(address) != *address))
        .map(|(key, _)| key)
        .collect();
    let from = |origin| {
        let of = with_password
            .iter()
            .filter(|key| config.origin(key) == Some(origin));
        let named: Vec<String> = of.map(|key| format!("`{key}`")).collect();
        (!named.is_empty()).then(|| named.join(", "))
    };
    if let Some(named) = from(Origin::Flag) {
        let advice = "give the address in the configuration file (mode 0600) or in the environment (CI_CACHE_DATABASE, CI_CACHE_REPLICA_URL, CI_CACHE_TIER_URL), \
            or PostgreSQL's password in PGPASSFILE";
        let what =
            format!("the password of {named} is in a flag, which every process of this machine can read");
        return Some(Finding::warning(CHECK, what, Remedy::Advice(advice.into())));
    }
    let (Some(named), Some(path)) = (from(Origin::File), &given.file) else {
        return None;
    };
    Some(if is_private(path) {
        let what = format!("the file with the password of {named} is its owner's alone");
        Finding::ok(CHECK, what)
    } else {
        let what = format!("others may read the file with the password of {named}");
        Finding::warning(CHECK, what, Remedy::command(["chmod", "600", &shown(path)]))
    })
}

/// Who is let in, and whether the file that says so is good.
fn tokens(plan: &Plan) -> Finding {
    const CHECK: &str = "tokens";
    let settings = &plan.settings;
    let mut listens = [Some(settings.listen.clone()), plan.admin_listen()]
        .into_iter()
        .flatten();
    let is_loopback = listens.all(|address| is_local(&address));
    if let Some(jwt) = plan.jwt() {
        if let Err(error) = Access::by_jwt(jwt) {
            let advice = "put the provider's JWK set there: its address is `jwks_uri` of ISSUER/.well-known/openid-configuration";
            return Finding::failure(CHECK, format!("failed to {error}"), Remedy::Advice(advice.into()));
        }
        if settings.tokens.is_none() {
            return Finding::ok(CHECK, "who has a JWT of the issuer is let in, and nobody else");
        }
    }
    let Some(path) = &settings.tokens else {
        return match (is_loopback, settings.without_authentication) {
            (true, _) => Finding::ok(CHECK, "everybody on this machine is let in, and nobody else"),
            (false, true) => Finding::ok(
                CHECK,
                "everybody who reaches the address is let in, as it was asked for",
            ),
            (false, false) => {
                let what = "other machines reach the address, and it is not known who may ask: the service does not start";
                Finding::failure(
                    CHECK,
                    what,
                    Remedy::Commands(vec![create(Path::new("tokens.json"))]),
                )
            }
        };
    };
    match TokenFile::read(path) {
        Ok(file) if file.list().is_empty() => {
            let what = "the file holds no token: nobody is let in";
            Finding::warning(CHECK, what, Remedy::Commands(vec![create(path)]))
        }
        Ok(_) if !is_private(path) => {
            let what = "others may read or write the file of tokens; who can write it can let anybody in";
            Finding::warning(CHECK, what, Remedy::command(["chmod", "600", &shown(path)]))
        }
        Ok(file) => Finding::ok(CHECK, format!("the file holds {} tokens", file.list().len())),
        Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Finding::failure(
            CHECK,
            "the file of tokens is not there",
            Remedy::Commands(vec![create(path)]),
        ),
        Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            let what = "this user may not read the file of tokens";
            Finding::failure(CHECK, what, Remedy::command(["chmod", "600", &shown(path)]))
        }
        Err(error) => {
            let aside = ["mv".into(), shown(path), format!("{}.broken", shown(path))];
            Finding::failure(
                CHECK,
                format!("failed to {error}"),
                Remedy::Commands(vec![aside.to_vec(), create(path)]),
            )
        }
    }
}

/// Makes a first token.
fn create(path: &Path) -> Vec<String> {
    let file = shown(path);
    let words = [
        "ci-cache",
        "token",
        "create",
        "--tokens",
        &file,
        "--name",
        "admin",
        "--role",
        "admin",
        "--all-tenants",
    ];
    words.map(str::to_owned).to_vec()
}

/// Whether the warm file can be written.
fn warm(settings: &Settings) -> Option<Finding> {
    const CHECK: &str = "warm file";
    let path = settings.warm_file.as_ref()?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let is_writable = folder.is_dir() && may_write(folder);
    Some(if is_writable {
        Finding::ok(CHECK, "its folder is there and can be written")
    } else {
        let folder = shown(folder);
        let (make, open) = (["mkdir", "-p", &folder], ["chmod", "u+rwx", &folder]);
        let what = "its folder is not there or cannot be written: the service starts cold and logs why";
        Finding::warning(
            CHECK,
            what,
            Remedy::Commands(vec![
                make.map(str::to_owned).to_vec(),
                open.map(str::to_owned).to_vec(),
            ]),
        )
    })
}

/// Whether this user may make files in a folder.
#[cfg(unix)]
fn may_write(folder: &Path) -> bool {
    use rustix::fs::Access;
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

#[cfg(not(unix))]
fn may_write(folder: &Path) -> bool {
    folder
        .metadata()
        .is_ok_and(|folder| !folder.permissions().readonly())
}

/// Whether the certificate can be used, and its key is its owner's alone.
fn tls(plan: &Plan) -> Option<Finding> {
    const CHECK: &str = "certificate";
    let key = plan.settings.tls_key.as_ref()?;
    Some(match plan.tls() {
        Err(error) => {
            let advice =
                "give a certificate and its key in PEM; `openssl x509 -noout -text -in FILE` shows one";
            Finding::failure(CHECK, format!("failed to {error}"), Remedy::Advice(advice.into()))
        }
        Ok(_) if !is_private(key) => {
            let what = "others may read the private key";
            Finding::warning(CHECK, what, Remedy::command(["chmod", "600", &shown(key)]))
        }
        Ok(_) => Finding::ok(CHECK, "it fits its key"),
    })
}

/// Whether the key by which the shared tier knows this service is its owner's alone. Whether it fits is checked before anything else.
fn tier_key(settings: &Settings) -> Option<Finding> {
    const CHECK: &str = "key of the shared tier";
    let key = settings.tier_key.as_ref()?;
    Some(if is_private(key) {
        Finding::ok(CHECK, "the private key is its owner's alone")
    } else {
        let what = "others may read the private key";
        Finding::warning(CHECK, what, Remedy::command(["chmod", "600", &shown(key)]))
    })
}

/// Whether only this machine reaches an address.
fn is_local(address: &str) -> bool {
    let addresses = address.to_socket_addrs();
    addresses.is_ok_and(|mut all| all.all(|one| one.ip().is_loopback()))
}

/// Whether the address is free.
fn listen(check: &'static str, address: &str) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(check, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let what =
                format!("something listens on {address} already; where that is this service, all is well");
            let advice = "`ss -ltnp` says what listens; stop it, or give the service another address";
            Finding::warning(check, what, Remedy::Advice(advice.into()))
        }
        Err(error) => {
            let advice = "give HOST:PORT with an address of this machine, and a port from 1024 on for a user who is not root";
            Finding::failure(
                check,
                format!("{address} cannot be listened on: {}", error.kind()),
                Remedy::Advice(advice.into()),
            )
        }
    }
}

/// Whether as many connections may be open as requests may be at work.
#[cfg(unix)]
fn open_files(settings: &Settings) -> Finding {
    const CHECK: &str = "open files";
    let wanted = settings.concurrency.get() as u64 + u64::from(settings.connections) + BESIDE;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match limit {
        Some(limit) if limit < wanted => {
            let what =
                format!("{limit} files may be open, and as many requests as may be at work take {wanted}");
            Finding::warning(
                CHECK,
                what,
                Remedy::command(["ulimit", "-n", &wanted.next_power_of_two().to_string()]),
            )
        }
        _ => Finding::ok(
            CHECK,
            format!("enough may be open for {} requests at once", settings.concurrency),
        ),
    }
}

#[cfg(not(unix))]
fn open_files(_: &Settings) -> Finding {
    Finding::ok("open files", "this system has no such limit")
}

/// The room on the disk of a SQLite file.
#[cfg(unix)]
fn room(settings: &Settings) -> Option<Finding> {
    const CHECK: &str = "disk";
    let path = settings.database.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if path == ":memory:" {
        return None;
    }
    let folder = Path::new(path)
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let room = rustix::fs::statvfs(folder.unwrap_or(Path::new("."))).ok()?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let what = format!("{} MiB are free where the database is", free >> 20);
    Some(if free < ROOM {
        let advice = "make room, or move the database: a full disk fails every write and, when the log cannot grow, reads too";
        Finding::warning(CHECK, what, Remedy::Advice(advice.into()))
    } else {
        Finding::ok(CHECK, what)
    })
}

#[cfg(not(unix))]
fn room(_: &Settings) -> Option<Finding> {
    None
}

/// Whether a file is its owner's alone; where that is root, a group may read it: then it is the service's, as its unit sets it up.
#[cfg(unix)]
fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    path.metadata().is_ok_and(|file| {
        let others = file.permissions().mode() & 0o077;
        others == 0 || (others == 0o040 && file.uid() == 0)
    })
}

#[cfg(not(unix))]
fn is_private(_: &Path) -> bool {
    true
}
