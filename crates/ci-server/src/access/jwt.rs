//! Who asks by a JWT of an identity provider (OpenID Connect, OAuth 2): the provider's public keys are in a file (a JWK set) or are fetched
//! from it, and claims say what the bearer may do.
//!
//! What a token says of itself is never believed before its signature is: the algorithm has to be one of those that were pinned and one of its
//! key's, the key is looked up by its id in that set alone (`jku`, `jwk`, `x5u` and `x5c` of the header are not read), and keys that are
//! shared secrets are not taken from it, so that nobody signs with what is public.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ci_model::TenantId;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::provider::{Last, Provider};
use super::{Grant, LOOK, Role, Tenants};

/// Longest token that is looked at, in bytes.
const LONGEST: usize = 16 << 10;
/// Most characters of a name in the audit log.
const NAME: usize = 100;
/// Types of tokens, in lower case; others were made for something else.
const TYPES: [&str; 2] = ["jwt", "at+jwt"];
/// Stands for all tenants in a claim.
const ALL: &str = "*";

/// Algorithms that may be pinned: those with a public key.
pub(crate) const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// Where the provider's public keys are, a JWK set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwtKeys {
    /// In this file, which is read again when it changes.
    File(PathBuf),
    /// At the provider, which is asked for them.
    Url {
        /// `jwks_uri` of the provider; `https`, but of this machine.
        url: String,
        /// The time between two fetches.
        refresh: Duration,
    },
}

impl fmt::Display for JwtKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url { .. } => f.write_str("what the provider sends"),
        }
    }
}

/// What is asked of a token, and which of its claims say what.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JwtOptions {
    /// The provider's public keys.
    pub keys: JwtKeys,
    /// Who has to have made it (`iss`).
    pub issuer: String,
    /// For whom it has to be made (`aud`).
    pub audience: String,
    /// The algorithms it may be signed with, by their names: `RS256` and `ES256`.
    pub algorithms: Vec<String>,
    /// How far clocks may be apart (`exp`, `nbf`); 30 s.
    pub leeway: Duration,
    /// The claim that names the bearer in the audit log; `sub`.
    pub name_claim: String,
    /// The claim with the role, a text or texts of which the greatest counts; `role`. A dot leads into an object.
    pub role_claim: String,
    /// What stands before `read`, `write` or `admin` there; nothing.
    pub role_prefix: String,
    /// The claim with the tenants, a text or texts, `*` for all; `tenants`. A dot leads into an object.
    pub tenants_claim: String,
}

impl JwtOptions {
    /// Tokens of this issuer for this audience, by the keys of this file.
    pub fn new(keys: impl Into<PathBuf>, issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self::by(JwtKeys::File(keys.into()), issuer, audience)
    }

    /// Tokens of this issuer for this audience, by these keys.
    pub fn by(keys: JwtKeys, issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            keys,
            issuer: issuer.into(),
            audience: audience.into(),
            algorithms: vec!["RS256".into(), "ES256".into()],
            leeway: Duration::from_secs(30),
            name_claim: "sub".into(),
            role_claim: "role".into(),
            role_prefix: String::new(),
            tenants_claim: "tenants".into(),
        }
    }
}

/// Why keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read the keys in {place}: {reason}")]
pub struct KeysError {
    /// Where they are to be.
    pub place: String,
    /// What does not fit.
    pub reason: String,
}

/// Judges tokens.
pub(super) struct Jwt {
    options: JwtOptions,
    pinned: Vec<Algorithm>,
    keys: ArcSwap<Vec<Key>>,
    source: Source,
}

/// Where keys come from.
enum Source {
    /// From a file, with the digest of what was read first.
    File(PathBuf, [u8; 32]),
    Provider(Provider),
}

/// A public key, and what it may have signed with.
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Jwt {
    pub(super) fn new(options: JwtOptions) -> Result<Self, KeysError> {
        let pinned = ALGORITHMS
            .into_iter()
            .filter(|(name, _)| options.algorithms.iter().any(|pinned| pinned == name))
            .map(|(_, algorithm)| algorithm)
            .collect::<Vec<_>>();
        let (keys, source) = match &options.keys {
            JwtKeys::File(path) => {
                let (keys, first) = read(path, &pinned)?;
                (keys, Source::File(path.clone(), first))
            }
            JwtKeys::Url { url, refresh } => {
                let provider = Provider::new(url, *refresh).map_err(|reason| KeysError {
                    place: options.keys.to_string(),
                    reason: reason.into(),
                })?;
                (Vec::new(), Source::Provider(provider))
            }
        };
        Ok(Self {
            options,
            pinned,
            keys: ArcSwap::from_pointee(keys),
            source,
        })
    }

    /// Whether keys are still to be fetched, so that nobody is let in.
    pub(super) fn lacks_keys(&self) -> bool {
        self.keys.load().is_empty()
    }

    /// Fetches the keys; nothing where they are in a file. When it fails they stay as they were.
    pub(super) async fn fetch(&self) -> Result<(), KeysError> {
        let Source::Provider(provider) = &self.source else {
            return Ok(());
        };
        let keys = match provider.fetch().await {
            Ok(bytes) => parse(&bytes, &self.pinned),
            Err(reason) => Err(reason),
        };
        let keys = keys.map_err(|reason| KeysError {
            place: self.options.keys.to_string(),
            reason,
        })?;
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// What a token grants; none when anything at all is wrong with it.
    pub(super) fn grant(&self, token: &str) -> Option<Grant> {
        if token.len() > LONGEST {
            return None;
        }
        let header = jsonwebtoken::decode_header(token).ok()?;
        let is_ours = |kind: &String| TYPES.contains(&kind.to_lowercase().as_str());
        if !self.pinned.contains(&header.alg) || !header.typ.as_ref().is_none_or(is_ours) {
            return None;
        }
        let keys = self.keys.load();
        let mut fitting = keys.iter().filter(|key| match &header.kid {
            Some(id) => key.id.as_ref() == Some(id),
            // Without a name there must be no choice.
            None => keys.len() == 1,
        });
        let first = fitting.next();
        if let (None, Source::Provider(provider)) = (first, &self.source) {
            provider.want();
        }
        let key = first.filter(|_| fitting.next().is_none())?;
        if !key.algorithms.contains(&header.alg) {
            return None;
        }
        let options = &self.options;
        let mut validation = Validation::new(header.alg);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&options.issuer]);
        validation.set_audience(&[&options.audience]);
        validation.validate_nbf = true;
        validation.leeway = options.leeway.as_secs();
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key.decoding, &validation)
            .ok()?
            .claims;
        // The library takes a list of issuers, too; a token has one.
        if claims.get("iss")?.as_str()? != options.issuer {
            return None;
        }
        self.read_claims(&claims)
    }

    fn read_claims(&self, claims: &Map<String, Value>) -> Option<Grant> {
        let options = &self.options;
        let name = claim(claims, &options.name_claim)?.as_str()?;
        let shown: String = name.chars().filter(|c| !c.is_control()).take(NAME).collect();
        let roles = texts(claim(claims, &options.role_claim)?)?;
        let roles = roles
            .into_iter()
            .filter_map(|role| role.strip_prefix(options.role_prefix.as_str()));
        let role = roles.filter_map(|role| role.parse::<Role>().ok()).max()?;
        let tenants = texts(claim(claims, &options.tenants_claim)?)?;
        let tenants = if tenants.contains(&ALL) {
            Tenants::All
        } else {
            let names: Result<BTreeSet<_>, _> = tenants.into_iter().map(TenantId::new).collect();
            Tenants::Named(names.ok().filter(|names| !names.is_empty())?)
        };
        Some(Grant {
            // So that no subject is taken for a token of the file.
            name: format!("jwt:{shown}").into(),
            role,
            tenants,
        })
    }

    /// Reads the keys again every second, as [`Access::watch`](super::Access::watch) does with tokens, or fetches them now and then.
    pub(super) async fn watch(&self) {
        match &self.source {
            Source::File(path, first) => self.watch_file(path, *first).await,
            Source::Provider(provider) => self.follow(provider).await,
        }
    }

    /// Fetches the keys again and again. Each failure of a kind is logged once, until a fetch is good.
    async fn follow(&self, provider: &Provider) {
        let mut last = Last::Good;
        let mut told = None;
        loop {
            if !self.lacks_keys() {
                provider.due(last).await;
            }
            match self.fetch().await {
                Ok(()) => {
                    last = Last::Good;
                    if told.take().is_some() {
                        tracing::info!("the keys of tokens can be fetched again");
                    }
                }
                Err(error) => {
                    last = Last::Failed;
                    if told.as_ref() != Some(&error) {
                        tracing::error!(%error, "the keys of tokens stay as they were");
                        told = Some(error);
                    }
                    if self.lacks_keys() {
                        provider.due(Last::Nothing).await;
                    }
                }
            }
        }
    }

    async fn watch_file(&self, path: &Path, first: [u8; 32]) {
        let mut seen = Ok(first);
        loop {
            tokio::time::sleep(LOOK).await;
            let (path, pinned) = (path.to_owned(), self.pinned.clone());
            let Ok(read) = tokio::task::spawn_blocking(move || read(&path, &pinned)).await else {
                continue;
            };
            let now = read.as_ref().map(|(_, of)| *of).map_err(Clone::clone);
            if now == seen {
                continue;
            }
            seen = now;
            match read {
                Ok((keys, _)) => {
                    tracing::info!(keys = keys.len(), "the keys of tokens were read again");
                    self.keys.store(Arc::new(keys));
                }
                Err(error) => tracing::error!(%error, "the keys of tokens stay as they were"),
            }
        }
    }
}

/// A claim by its name, or by a way through objects.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        claim(claims.get(first)?.as_object()?, rest)
    })
}

/// A text, or several; none when something else is among them.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(values) => values.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn read(path: &Path, pinned: &[Algorithm]) -> Result<(Vec<Key>, [u8; 32]), KeysError> {
    let refused = |reason: String| KeysError {
        place: path.display().to_string(),
        reason,
    };
    let bytes = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    let keys = parse(&bytes, pinned).map_err(refused)?;
    Ok((keys, Sha256::digest(&bytes).into()))
}

/// The keys of a JWK set that count; what does not fit otherwise.
fn parse(bytes: &[u8], pinned: &[Algorithm]) -> Result<Vec<Key>, String> {
    let set: JwkSet = serde_json::from_slice(bytes)
        .map_err(|error| format!("this is no JWK set (line {})", error.line()))?;
    // Providers publish keys for other uses beside those for signatures.
    let keys: Vec<Key> = set.keys.iter().filter_map(|jwk| key(jwk, pinned)).collect();
    if keys.is_empty() {
        let names: Vec<&str> = ALGORITHMS
            .iter()
            .filter(|(_, one)| pinned.contains(one))
            .map(|(name, _)| *name)
            .collect();
        return Err(format!(
            "there is no public key for signatures by {} in it",
            names.join(", ")
        ));
    }
    Ok(keys)
}

/// A key that may have signed; none for shared secrets, keys for encryption, and kinds that are not pinned.
fn key(jwk: &Jwk, pinned: &[Algorithm]) -> Option<Key> {
    use Algorithm as A;
    let of_kind: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[A::RS256, A::RS384, A::RS512, A::PS256, A::PS384, A::PS512],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[A::ES256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[A::ES384],
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[A::EdDSA],
        _ => return None,
    };
    let signs = jwk
        .common
        .public_key_use
        .as_ref()
        .is_none_or(|is_for| *is_for == PublicKeyUse::Signature);
    let own = jwk.common.key_algorithm;
    let is_allowed =
        |one: &Algorithm| pinned.contains(one) && own.is_none_or(|own| own == KeyAlgorithm::from(*one));
    let algorithms: Vec<Algorithm> = of_kind.iter().copied().filter(is_allowed).collect();
    if !signs || algorithms.is_empty() {
        return None;
    }
    Some(Key {
        id: jwk.common.key_id.clone(),
        algorithms,
        decoding: DecodingKey::from_jwk(jwk).ok()?,
    })
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "fetched_tests.rs"]
mod fetched_tests;
