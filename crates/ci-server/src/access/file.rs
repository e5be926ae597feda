//! The file that holds tokens: JSON, written as a whole, for its owner alone.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ci_model::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::token::{Digest, Token};
use super::{Grant, Known, Role, Table, Tenants, now};

/// Most characters of a token's name.
const NAME: usize = 100;
/// Stands for all tenants in the file.
const ALL: &str = "*";

/// Why a file of tokens cannot be used or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read or written.
    #[error("read or write the tokens in {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no file of tokens.
    #[error("read the tokens in {path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What does not fit; without a token's hash.
        reason: String,
    },
    /// There is a token of that name already.
    #[error("create the token `{0}`: there is one of that name; revoke it first, or choose another name")]
    NameTaken(String),
    /// There is no token of that name.
    #[error("revoke the token `{0}`: there is none of that name")]
    NoSuchToken(String),
    /// A name that cannot be one.
    #[error("create the token: a name has 1 to {} printable characters", NAME)]
    Name,
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What it is called: in the list, and in the audit log.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// And for whom.
    pub tenants: Tenants,
    /// Until when; for ever where there is none.
    pub expires: Option<Timestamp>,
}

/// What may be told of a token: everything but its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenInfo {
    /// What it is called.
    pub name: String,
    /// What a request names it by.
    pub id: String,
    /// What it may do.
    pub role: Role,
    /// Whose CIs it is for; `*` for everybody's.
    pub tenants: Vec<String>,
    /// When it was made.
    pub created: String,
    /// Until when it counts; for ever where there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// One token in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    name: String,
    role: Role,
    tenants: Vec<String>,
    created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    sha256: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    tokens: Vec<Row>,
}

/// The tokens of a file, each of which fits.
#[derive(Debug, Default)]
pub struct TokenFile(Vec<(Row, Known)>);

impl TokenFile {
    /// Reads a file. Blocks on the disk.
    ///
    /// # Errors
    /// [`FileError::Io`], [`FileError::Content`]: a file with one row that does not fit is not used at all.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        Ok(Self::read_with(path)?.0)
    }

    /// The same with the bytes of the file.
    pub(super) fn read_with(path: &Path) -> Result<(Self, Vec<u8>), FileError> {
        let bytes = fs::read(path).map_err(|source| FileError::Io {
            path: path.to_owned(),
            source,
        })?;
        match Self::parse(&bytes) {
            Ok(file) => Ok((file, bytes)),
            Err(reason) => Err(FileError::Content {
                path: path.to_owned(),
                reason,
            }),
        }
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// What does not fit, in words for people and without a token's hash.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        // Errors of syntax tell a place and what was expected there.
        let rows: Content = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
        let mut tokens = Vec::with_capacity(rows.tokens.len());
        for row in rows.tokens {
            let known = known(&row).map_err(|what| format!("token `{}`: {what}", row.name))?;
            if !names.insert(row.name.clone()) || !ids.insert(row.id.clone()) {
                return Err(format!("token `{}`: its name or id comes twice", row.name));
            }
            tokens.push((row, known));
        }
        Ok(Self(tokens))
    }

    /// Changes a file: nobody else changes it meanwhile, and whoever reads it reads the old one or the new one. A file that is not there
    /// is made. Blocks on the disk.
    ///
    /// # Errors
    /// Those of the change, and of reading and writing; then the file stays as it was.
    pub fn change<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
        let io = |source| FileError::Io {
            path: path.to_owned(),
            source,
        };
        let lock = private(&beside(path, ".lock"), false).map_err(io)?;
        // Whoever may change the file may lock it. If it cannot be given away, neither can the file, and that is told.
        drop(as_before(&lock, path));
        lock.lock().map_err(io)?;
        let mut file = match Self::read(path) {
            Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Self::default(),
            read => read?,
        };
        let done = change(&mut file)?;
        file.write(path).map_err(io)?;
        Ok(done)
    }

    /// Makes a token; what it returns is shown to its owner and kept nowhere.
    ///
    /// # Errors
    /// [`FileError::NameTaken`], [`FileError::Name`].
    pub fn create(&mut self, new: NewToken) -> Result<String, FileError> {
        let name = new.name.trim();
        if name.is_empty() || name.chars().count() > NAME || name.chars().any(char::is_control) {
            return Err(FileError::Name);
        }
        if self.0.iter().any(|(row, _)| row.name == name) {
            return Err(FileError::NameTaken(name.to_owned()));
        }
        let token = std::iter::repeat_with(Token::draw)
            .find(|token| self.0.iter().all(|(row, _)| row.id != token.id()))
            .ok_or(FileError::Name)?;
        let row = Row {
            id: token.id().to_owned(),
            name: name.to_owned(),
            role: new.role,
            tenants: match &new.tenants {
                Tenants::All => vec![ALL.to_owned()],
                Tenants::Named(names) => names.iter().map(|name| name.as_str().to_owned()).collect(),
            },
            created: Timestamp::from_micros(now()).map_or_else(|_| String::new(), |now| now.to_string()),
            expires: new.expires.map(|end| end.to_string()),
            sha256: Digest::of(&token).to_hex(),
        };
        let known = Known {
            digest: Digest::of(&token),
            expires: new.expires,
            grant: Arc::new(Grant {
                name: name.into(),
                role: new.role,
                tenants: new.tenants,
            }),
        };
        self.0.push((row, known));
        Ok(token.reveal())
    }

    /// Takes a token away.
    ///
    /// # Errors
    /// [`FileError::NoSuchToken`].
    pub fn revoke(&mut self, name: &str) -> Result<(), FileError> {
        let before = self.0.len();
        self.0.retain(|(row, _)| row.name != name);
        if self.0.len() == before {
            return Err(FileError::NoSuchToken(name.to_owned()));
        }
        Ok(())
    }

    /// What may be told of them, in the order in which they were made.
    pub fn list(&self) -> Vec<TokenInfo> {
        let info = |(row, _): &(Row, Known)| TokenInfo {
            name: row.name.clone(),
            id: row.id.clone(),
            role: row.role,
            tenants: row.tenants.clone(),
            created: row.created.clone(),
            expires: row.expires.clone(),
        };
        self.0.iter().map(info).collect()
    }

    pub(super) fn into_table(self) -> Table {
        self.0.into_iter().map(|(row, known)| (row.id, known)).collect()
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let content = Content {
            tokens: self.0.iter().map(|(row, _)| row.clone()).collect(),
        };
        let mut text = serde_json::to_vec_pretty(&content)?;
        text.push(b'\n');
        let new = beside(path, &format!(".{}.new", std::process::id()));
        // Left by a process that was killed, or put there by somebody: nobody's link is followed.
        drop(fs::remove_file(&new));
        let written = private(&new, true).and_then(|mut file| {
            as_before(&file, path)?;
            file.write_all(&text)?;
            file.sync_all()
        });
        let replaced = written.and_then(|()| fs::rename(&new, path));
        if replaced.is_err() {
            drop(fs::remove_file(&new));
        }
        replaced
    }
}

/// Reads a row; an error says what does not fit, never the hash.
fn known(row: &Row) -> Result<Known, &'static str> {
    let tenants = match &row.tenants[..] {
        [] => return Err("it is for no tenant"),
        [all] if all == ALL => Tenants::All,
        names => {
            let names: Result<_, _> = names.iter().map(|name| TenantId::new(name.as_str())).collect();
            Tenants::Named(names.map_err(|_| "a tenant's name does not fit")?)
        }
    };
    let expires = row.expires.as_deref().map(str::parse).transpose();
    Ok(Known {
        digest: Digest::from_hex(&row.sha256).ok_or("sha256 is not 64 hexadecimal digits")?,
        expires: expires.map_err(|_| "`expires` is not a moment")?,
        grant: Arc::new(Grant {
            name: row.name.as_str().into(),
            role: row.role,
            tenants,
        }),
    })
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(end);
    beside.into()
}

/// Opens a file for its owner alone; a new one if it has to be.
fn private(path: &Path, new: bool) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(!new).create_new(new).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Gives a new file the owner, the group and the mode of the one that it is to replace, or the owner and the group of the folder that it is
/// the first in: what a service could read before, it can read afterwards, whoever made the change.
#[cfg(unix)]
fn as_before(file: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let now = file.metadata()?;
    let before = match fs::metadata(path) {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = fs::metadata(folder.unwrap_or(Path::new(".")))?;
            // Nobody but root can give a file away; then it is the caller's, as files are.
            if now.uid() == 0 && folder.uid() != 0 {
                fchown(file, Some(folder.uid()), Some(folder.gid()))?;
            }
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
        fchown(file, Some(before.uid()), Some(before.gid())).map_err(|error| {
            let what = format!(
                "it is the file of the user with the number {}, who could not read it afterwards: run this as that user, or as root \
                 ({error})",
                before.uid()
            );
            io::Error::new(error.kind(), what)
        })?;
    }
    file.set_permissions(before.permissions())
}

#[cfg(not(unix))]
fn as_before(_: &File, _: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str) -> NewToken {
        NewToken {
            name: name.into(),
            role: Role::Write,
            tenants: Tenants::All,
            expires: Timestamp::from_micros(4_102_444_800_000_000).ok(),
        }
    }

    #[cfg(unix)]
    #[test]
    fn whoever_could_read_the_file_can_read_it_after_a_change() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        let of = |path: &Path| {
            let file = fs::metadata(path).unwrap();
            (file.uid(), file.gid(), file.permissions().mode() & 0o777)
        };
        // Only root can give files away; anybody else changes files of their own.
        let is_root = of(folder.path()).0 == 0;
        let someone = if is_root { 65_534 } else { of(folder.path()).0 };
        if is_root {
            chown(folder.path(), Some(someone), Some(someone)).unwrap();
        }
        let group = of(folder.path()).1;
        TokenFile::change(&path, |file| file.create(new("first"))).unwrap();
        assert_eq!(
            of(&path),
            (someone, group, 0o600),
            "the first is its folder's owner's"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        TokenFile::change(&path, |file| file.create(new("second"))).unwrap();
        assert_eq!(of(&path), (someone, group, 0o640));
        assert_eq!(of(&beside(&path, ".lock")).0, someone);
    }

    #[test]
    fn names_are_one_persons_and_a_failed_change_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        TokenFile::change(&path, |file| file.create(new("grafana"))).unwrap();
        let before = fs::read(&path).unwrap();
        let taken = TokenFile::change(&path, |file| file.create(new(" grafana ")));
        assert!(matches!(taken, Err(FileError::NameTaken(_))));
        for name in ["", "a\nb", &"x".repeat(NAME + 1)] {
            let refused = TokenFile::change(&path, |file| file.create(new(name)));
            assert!(matches!(refused, Err(FileError::Name)), "{name}");
        }
        let nobody = TokenFile::change(&path, |file| file.revoke("nobody"));
        assert!(matches!(nobody, Err(FileError::NoSuchToken(_))));
        assert_eq!(fs::read(&path).unwrap(), before);
        let listed = TokenFile::read(&path).unwrap().list();
        assert_eq!(listed[0].tenants, ["*"]);
        assert_eq!(
            (listed.len(), listed[0].role, &*listed[0].name),
            (1, Role::Write, "grafana")
        );
        assert!(
            listed[0]
                .expires
                .as_deref()
                .is_some_and(|end| end.starts_with("2100-01-01"))
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_that_does_not_fit_is_not_used_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        TokenFile::change(&path, |file| file.create(new("a"))).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let hash = TokenFile::read(&path).unwrap().0[0].0.sha256.clone();
        for (from, to) in [
            ("\"write\"", "\"owner\""),
            ("\"*\"", ""),
            ("\"*\"", "\"\""),
            ("2100-", "in "),
            (&hash, &format!("zz{}", &hash[2..])),
            ("\"id\"", "\"idea\""),
            ("{", "["),
        ] {
            fs::write(&path, good.replacen(from, to, 1)).unwrap();
            let error = TokenFile::read(&path).unwrap_err();
            assert!(matches!(error, FileError::Content { .. }), "{from} {to}");
            assert!(!error.to_string().contains(&hash[4..]), "{error}");
        }
        let row = good.split_once('[').unwrap().1.rsplit_once(']').unwrap().0;
        fs::write(&path, format!("{{\"tokens\": [{row}, {row}]}}")).unwrap();
        assert!(TokenFile::read(&path).unwrap_err().to_string().contains("twice"));
        fs::write(&path, good).unwrap();
        TokenFile::read(&path).unwrap();
    }
}
