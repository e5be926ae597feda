//! Who may ask what: API tokens with a role and tenants, kept hashed in a file; and JWTs of an identity provider.
//!
//! A token is shown once, when it is made. The file holds the SHA-256 of its secret, which is drawn at random (244 bits), so a
//! slow hash would protect nothing more. A request names its token's id in the open and proves the secret, which is compared in
//! constant time. Whoever can write the file can let anybody in; whoever can read it can let nobody in.

mod file;
mod jwt;
mod provider;
mod token;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use axum::http::HeaderValue;
use ci_model::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use file::{FileError, NewToken, TokenFile, TokenInfo};
pub(crate) use jwt::ALGORITHMS;
use jwt::Jwt;
pub use jwt::{JwtKeys, JwtOptions, KeysError};
pub(crate) use provider::check as check_provider;
use token::{Digest, Token};

/// Between two looks at the file: a token that is revoked is refused after this time at the latest.
const LOOK: Duration = Duration::from_secs(1);

/// What a token may do. Each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Ask questions.
    Read,
    /// Change CIs and relations.
    Write,
    /// See into the cache; for that it has to be for all tenants, too.
    Admin,
}

impl Role {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Read, Self::Write, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == name)
            .ok_or_else(|| format!("`{name}` is no role; there are read, write and admin"))
    }
}

/// Whose CIs a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenants {
    /// Everybody's, also those that are to come.
    All,
    /// Those of these.
    Named(BTreeSet<TenantId>),
}

/// What a request's token grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The token's name, which the audit log tells.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
    /// And for whom.
    pub tenants: Tenants,
}

impl Grant {
    /// Tells whether it allows something that takes a role, about a tenant, or about all of them where there is none.
    pub fn allows(&self, role: Role, tenant: Option<&TenantId>) -> bool {
        let theirs = match (&self.tenants, tenant) {
            (Tenants::All, _) => true,
            (Tenants::Named(names), Some(tenant)) => names.contains(tenant),
            (Tenants::Named(_), None) => false,
        };
        theirs && self.role >= role
    }
}

/// A token that is known.
#[derive(Debug, Clone)]
struct Known {
    digest: Digest,
    expires: Option<Timestamp>,
    grant: Arc<Grant>,
}

/// That somebody had a token, without its secret.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    id: String,
    digest: Digest,
}

impl Proof {
    /// The token's id, which is no secret.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

type Table = HashMap<String, Known>;

/// Decides which requests are answered. Cloning copies a pointer.
#[derive(Debug, Clone)]
pub struct Access(Option<Arc<Guarded>>);

/// What lets somebody in.
#[derive(Debug)]
struct Guarded {
    tokens: Option<Tokens>,
    jwt: Option<Jwt>,
}

#[derive(Debug)]
struct Tokens {
    path: PathBuf,
    table: ArcSwap<Table>,
    /// The digest of the content that was read first: a token that is revoked before anybody watches is not missed.
    first: [u8; 32],
}

impl Access {
    /// Everybody may do everything: for a service that only this machine can reach, or behind a gateway that decides.
    pub fn open() -> Self {
        Self(None)
    }

    /// Who has a token in this file may do what it grants, and nobody else anything. Reads the file; [`watch`](Self::watch) follows it.
    ///
    /// # Errors
    /// When the file cannot be read or is none.
    pub fn by_file(path: impl Into<PathBuf>) -> Result<Self, FileError> {
        Ok(Self::guarded(Guarded {
            tokens: Some(Tokens::read(path.into())?),
            jwt: None,
        }))
    }

    /// Who has a JWT that fits may do what its claims say, and nobody else anything. Reads the keys, or leaves it to
    /// [`fetch_keys`](Self::fetch_keys) to fetch them; [`watch`](Self::watch) follows them.
    ///
    /// # Errors
    /// When there are no keys that can be used.
    pub fn by_jwt(options: JwtOptions) -> Result<Self, KeysError> {
        Ok(Self::guarded(Guarded {
            tokens: None,
            jwt: Some(Jwt::new(options)?),
        }))
    }

    /// Both: tokens of the file, and JWTs.
    ///
    /// # Errors
    /// Those of [`by_file`](Self::by_file), and those of [`by_jwt`](Self::by_jwt) as [`FileError::Content`].
    pub fn by_file_or_jwt(path: impl Into<PathBuf>, options: JwtOptions) -> Result<Self, FileError> {
        let tokens = Tokens::read(path.into())?;
        let jwt = Jwt::new(options).map_err(|error| FileError::Content {
            path: error.place.into(),
            reason: error.reason,
        })?;
        Ok(Self::guarded(Guarded {
            tokens: Some(tokens),
            jwt: Some(jwt),
        }))
    }

    fn guarded(guarded: Guarded) -> Self {
        Self(Some(Arc::new(guarded)))
    }

    /// Fetches the keys of JWTs, where they are at their provider; [`watch`](Self::watch) does so again and again. Takes some seconds when the
    /// provider does not answer. Cancel safe.
    ///
    /// # Errors
    /// Why there are none; those of an earlier fetch go on to count.
    pub async fn fetch_keys(&self) -> Result<(), KeysError> {
        match self.jwt() {
            Some(jwt) => jwt.fetch().await,
            None => Ok(()),
        }
    }

    /// Tells whether keys of JWTs are still to be fetched: until then no JWT counts.
    pub(crate) fn lacks_keys(&self) -> bool {
        self.jwt().is_some_and(Jwt::lacks_keys)
    }

    fn jwt(&self) -> Option<&Jwt> {
        self.0.as_ref()?.jwt.as_ref()
    }

    /// Tells whether everybody may do everything.
    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// What an `Authorization` header grants; none for an unknown token, a wrong secret, one that has expired, and anything else that
    /// is no token. Cost: a look-up and one SHA-256; of a JWT the check of its signature.
    pub fn grant(&self, authorization: &str) -> Option<Arc<Grant>> {
        let guarded = self.0.as_ref()?;
        let (scheme, text) = authorization.split_once(' ')?;
        let text = scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())?;
        match (Token::parse(text), &guarded.jwt) {
            (Some(_), _) => self.granted(&self.proof(text)?),
            (None, Some(jwt)) => jwt.grant(text).map(Arc::new),
            (None, None) => None,
        }
    }

    /// Tells whether a caller who was let in by this header to read a tenant's CIs would be let in now.
    pub(crate) fn still_reads(&self, authorization: Option<&HeaderValue>, tenant: &TenantId) -> bool {
        let grant = || self.grant(authorization?.to_str().ok()?);
        self.is_open() || grant().is_some_and(|grant| grant.allows(Role::Read, Some(tenant)))
    }

    /// Checks the text of an API token once and for all; none for what is no token of this service. Cost: a look-up and one SHA-256.
    pub(crate) fn proof(&self, text: &str) -> Option<Proof> {
        let token = Token::parse(text)?;
        let table = self.0.as_ref()?.tokens.as_ref()?.table.load();
        let digest = table.get(token.id())?.digest;
        digest.is_of(&token).then(|| Proof {
            id: token.id().to_owned(),
            digest,
        })
    }

    /// What a token that was proven grants now; nothing once it has expired or was revoked.
    pub(crate) fn granted(&self, proof: &Proof) -> Option<Arc<Grant>> {
        let table = self.0.as_ref()?.tokens.as_ref()?.table.load();
        let known = table.get(&proof.id)?;
        let lives = known.expires.is_none_or(|end| now() < end.as_micros());
        // Another token may have come to the same id.
        (known.digest == proof.digest && lives).then(|| Arc::clone(&known.grant))
    }

    /// Reads files again every second, from what was read first on, and fetches keys now and then, until the future is dropped. What cannot be
    /// read changes nothing, and is logged once. Ends at once where everybody may do everything.
    pub async fn watch(&self) {
        let Some(guarded) = &self.0 else { return };
        let tokens = async {
            if let Some(tokens) = &guarded.tokens {
                tokens.watch().await;
            }
        };
        let keys = async {
            if let Some(jwt) = &guarded.jwt {
                jwt.watch().await;
            }
        };
        tokio::join!(tokens, keys);
    }
}

impl Tokens {
    fn read(path: PathBuf) -> Result<Self, FileError> {
        let (table, first) = read(&path)?;
        let table = ArcSwap::from_pointee(table);
        Ok(Self { path, table, first })
    }

    async fn watch(&self) {
        let mut seen = Ok(self.first);
        loop {
            tokio::time::sleep(LOOK).await;
            let path = self.path.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || read(&path)).await else {
                continue;
            };
            // Content and error, not a time of change: two changes may have one.
            let now = read.as_ref().map(|(_, of)| *of).map_err(FileError::to_string);
            if now == seen {
                continue;
            }
            seen = now;
            match read {
                Ok((table, _)) => {
                    tracing::info!(tokens = table.len(), "the tokens were read again");
                    self.table.store(Arc::new(table));
                }
                Err(error) => tracing::error!(%error, "the tokens stay as they were"),
            }
        }
    }
}

/// Reads a file of tokens, with the digest of its content.
fn read(path: &Path) -> Result<(Table, [u8; 32]), FileError> {
    let (file, bytes) = TokenFile::read_with(path)?;
    Ok((file.into_table(), Sha256::digest(&bytes).into()))
}

/// The present moment, in microseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn grant(role: Role, tenants: Tenants) -> Grant {
        Grant {
            name: "n".into(),
            role,
            tenants,
        }
    }

    #[test]
    fn a_role_may_do_what_the_lower_ones_may_for_its_tenants() {
        let named = || Tenants::Named([tenant("acme")].into());
        for (role, allowed) in [(Role::Read, 1), (Role::Write, 2), (Role::Admin, 3)] {
            let roles = [Role::Read, Role::Write, Role::Admin];
            for (at, wanted) in roles.into_iter().enumerate() {
                let acme = Some(tenant("acme"));
                assert_eq!(grant(role, named()).allows(wanted, acme.as_ref()), at < allowed);
                assert!(!grant(role, named()).allows(wanted, Some(&tenant("other"))));
                assert!(!grant(role, named()).allows(wanted, None));
                assert_eq!(grant(role, Tenants::All).allows(wanted, None), at < allowed);
            }
        }
        assert!("owner".parse::<Role>().is_err() && "admin".parse() == Ok(Role::Admin));
    }

    #[test]
    fn a_token_is_granted_by_its_secret_alone_until_it_expires_or_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        let make = |name: &str, expires| {
            let new = NewToken {
                name: name.into(),
                role: Role::Read,
                tenants: Tenants::Named([tenant("acme")].into()),
                expires,
            };
            TokenFile::change(&path, |file| file.create(new)).unwrap()
        };
        let (one, other) = (make("one", None), make("other", None));
        let late = make("late", Some(Timestamp::from_micros(1).unwrap()));
        let access = Access::by_file(&path).unwrap();
        let name = |text: &str| access.grant(text).map(|grant| grant.name.to_string());
        assert_eq!(name(&format!("Bearer {one}")).as_deref(), Some("one"));
        assert_eq!(name(&format!("bearer  {other} ")).as_deref(), Some("other"));
        let mixed = format!("{}{}", &one[..13], &other[13..]);
        assert_ne!(mixed, one);
        for wrong in [
            one.clone(),
            format!("Basic {one}"),
            format!("Bearer {mixed}"),
            format!("Bearer {late}"),
            format!("Bearer {}", &one[..one.len() - 1]),
            format!("Bearer {one}0"),
            "Bearer ".into(),
            String::new(),
        ] {
            assert_eq!(name(&wrong), None, "{wrong}");
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for token in [&one, &other, &late] {
            assert!(!text.contains(&token[13..]), "the secret is in the file");
        }
        TokenFile::change(&path, |file| file.revoke("one")).unwrap();
        let access = Access::by_file(&path).unwrap();
        assert_eq!(access.grant(&format!("Bearer {one}")), None);
        assert!(access.grant(&format!("Bearer {other}")).is_some());
        assert!(Access::open().is_open() && Access::by_file(folder.path().join("none")).is_err());
    }

    /// A service opens its database between the two, which may take long.
    #[tokio::test(start_paused = true)]
    async fn what_is_revoked_before_anybody_watches_is_not_missed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        let new = NewToken {
            name: "one".into(),
            role: Role::Read,
            tenants: Tenants::All,
            expires: None,
        };
        let token = TokenFile::change(&path, |file| file.create(new)).unwrap();
        let access = Access::by_file(&path).unwrap();
        TokenFile::change(&path, |file| file.revoke("one")).unwrap();
        assert!(access.grant(&format!("Bearer {token}")).is_some());
        let _over = tokio::time::timeout(LOOK * 3, access.watch()).await;
        assert!(access.grant(&format!("Bearer {token}")).is_none());
    }
}
