//! What a JWT grants, and every way in which somebody may try to make one that grants more.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
use serde_json::json;
use tempfile::TempDir;

use super::*;

pub(super) const ISSUER: &str = "https://idp.example";

/// A key of the provider, or of somebody who would like to be it.
pub(super) struct Signer {
    id: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
    pem: String,
}

impl Signer {
    pub(super) fn new(id: &'static str, algorithm: Algorithm) -> Self {
        let kind = match algorithm {
            Algorithm::ES384 => &PKCS_ECDSA_P384_SHA384,
            _ => &PKCS_ECDSA_P256_SHA256,
        };
        let pair = KeyPair::generate_for(kind).unwrap();
        Self {
            id,
            algorithm,
            key: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap(),
            pem: pair.public_key_pem(),
        }
    }

    /// Of an RSA key that was made for these tests: to make one takes too long here.
    fn rsa(id: &'static str, private: &str, public: &str) -> Self {
        Self {
            id,
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_pem(private.as_bytes()).unwrap(),
            pem: public.into(),
        }
    }

    pub(super) fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.into());
        serde_json::to_value(jwk).unwrap()
    }

    fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.into());
        header
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        encode(&self.header(), claims, &self.key).unwrap()
    }
}

fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + seconds
}

pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "ci-cache", "sub": "ann", "exp": in_seconds(600),
        "role": "write", "tenants": ["acme", "other"],
    })
}

/// The claims with another one in place of one; null takes it away.
fn but(name: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

fn write(folder: &TempDir, keys: &[Value]) -> PathBuf {
    let path = folder.path().join("keys.json");
    std::fs::write(&path, json!({"keys": keys}).to_string()).unwrap();
    path
}

fn judge(keys: &[Value]) -> (Jwt, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let jwt = Jwt::new(JwtOptions::new(write(&folder, keys), ISSUER, "ci-cache")).unwrap();
    (jwt, folder)
}

#[test]
fn claims_say_who_it_is_what_they_may_do_and_for_whom() {
    let provider = Signer::new("one", Algorithm::ES256);
    let (jwt, _folder) = judge(&[provider.jwk(), Signer::new("two", Algorithm::ES256).jwk()]);
    let grant = jwt.grant(&provider.sign(&claims())).unwrap();
    assert_eq!((&*grant.name, grant.role), ("jwt:ann", Role::Write));
    let names = ["acme", "other"].map(|name| TenantId::new(name).unwrap());
    assert_eq!(grant.tenants, Tenants::Named(names.into()));
    let role = |value: Value| {
        jwt.grant(&provider.sign(&but("role", value)))
            .map(|grant| grant.role)
    };
    assert_eq!(role(json!(["read", "staff", "admin"])), Some(Role::Admin));
    let tenants = |value: Value| {
        jwt.grant(&provider.sign(&but("tenants", value)))
            .map(|grant| grant.tenants)
    };
    assert_eq!(tenants(json!("*")), Some(Tenants::All));
    assert!(matches!(tenants(json!("acme")), Some(Tenants::Named(names)) if names.len() == 1));
    // An audience may be a list, and clocks may differ a little.
    assert!(
        jwt.grant(&provider.sign(&but("aud", json!(["x", "ci-cache"]))))
            .is_some()
    );
    assert!(
        jwt.grant(&provider.sign(&but("exp", json!(in_seconds(-10)))))
            .is_some()
    );
    assert!(
        jwt.grant(&provider.sign(&but("nbf", json!(in_seconds(10)))))
            .is_some()
    );

    let mut options = jwt.options.clone();
    (options.role_claim, options.role_prefix) = ("realm.roles".into(), "ci-cache-".into());
    let nested = Jwt::new(options).unwrap();
    let theirs = but("realm", json!({"roles": ["admin", "ci-cache-read"]}));
    assert_eq!(nested.grant(&provider.sign(&theirs)).unwrap().role, Role::Read);
    assert_eq!(nested.grant(&provider.sign(&claims())), None);
}

#[test]
fn claims_that_do_not_fit_grant_nothing() {
    let provider = Signer::new("one", Algorithm::ES256);
    let (jwt, _folder) = judge(&[provider.jwk()]);
    for (name, value) in [
        ("iss", json!("https://evil.example")),
        ("iss", json!([ISSUER])),
        ("iss", json!([ISSUER, "https://evil.example"])),
        ("iss", Value::Null),
        ("aud", json!("grafana")),
        ("aud", json!([])),
        ("aud", Value::Null),
        ("exp", json!(in_seconds(-120))),
        ("exp", json!("never")),
        ("exp", Value::Null),
        ("nbf", json!(in_seconds(120))),
        ("nbf", json!("soon")),
        ("sub", Value::Null),
        ("role", json!("owner")),
        ("role", json!([])),
        ("role", json!(["read", 7])),
        ("role", json!({"admin": true})),
        ("role", Value::Null),
        ("tenants", json!([])),
        ("tenants", json!([""])),
        ("tenants", json!(true)),
        ("tenants", Value::Null),
    ] {
        assert_eq!(
            jwt.grant(&provider.sign(&but(name, value.clone()))),
            None,
            "{name}: {value}"
        );
    }
    assert!(jwt.grant(&provider.sign(&claims())).is_some());
    let long = "x".repeat(LONGEST);
    assert_eq!(jwt.grant(&provider.sign(&but("sub", json!(long)))), None);
    let name = jwt
        .grant(&provider.sign(&but("sub", json!("a\nb".repeat(99)))))
        .unwrap()
        .name;
    assert!(name.chars().count() <= NAME + 4 && !name.contains('\n'));
}

/// A part of a token.
fn part(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut encoded = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..=chunk.len() {
            encoded.push(char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    encoded
}

#[test]
fn what_the_provider_did_not_sign_grants_nothing() {
    let provider = Signer::new("one", Algorithm::ES256);
    let (jwt, _folder) = judge(&[provider.jwk()]);
    let good = provider.sign(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, body, signature] = parts[..] else {
        panic!("three parts")
    };
    let admin = part(&but("role", json!("admin")).to_string());
    let impostor = Signer::new("one", Algorithm::ES256);
    let mut own_key = impostor.header();
    own_key.jwk = Some(serde_json::from_value(impostor.jwk()).unwrap());
    own_key.jku = Some("https://evil.example/keys.json".into());
    let with = |header: &str| format!("{}.{admin}.", part(header));
    let mut attacks = vec![
        // No algorithm at all, in whatever letters, with and without the old signature.
        with(r#"{"alg":"none"}"#),
        with(r#"{"alg":"None","typ":"JWT","kid":"one"}"#),
        format!("{}{signature}", with(r#"{"alg":"nOnE","kid":"one"}"#)),
        with(r#"{"alg":"","kid":"one"}"#),
        with(r#"{"kid":"one"}"#),
        // What was signed, changed, and put together anew.
        format!("{header}.{admin}.{signature}"),
        format!("{header}.{body}."),
        format!("{header}.{body}"),
        format!("{header}.{body}.{signature}.{signature}"),
        format!("{header}.{body}.{}", "A".repeat(signature.len())),
        // Another one's key, under the provider's name, or brought along.
        impostor.sign(&claims()),
        encode(&own_key, &claims(), &impostor.key).unwrap(),
        String::new(),
        "..".into(),
        "a.b.c".into(),
    ];
    // The public key as a shared secret, in the forms in which it is public.
    let jwk = provider.jwk().to_string();
    for secret in [&provider.pem, &jwk] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let mut header = Header::new(algorithm);
            header.kid = Some("one".into());
            let key = EncodingKey::from_secret(secret.as_bytes()).unwrap();
            attacks.push(encode(&header, &claims(), &key).unwrap());
        }
    }
    for attack in attacks {
        assert_eq!(jwt.grant(&attack), None, "{attack}");
    }
    for index in (0..signature.len()).step_by(7) {
        let mut flipped = signature.to_owned().into_bytes();
        flipped[index] = if flipped[index] == b'A' { b'B' } else { b'A' };
        let flipped = String::from_utf8(flipped).unwrap();
        assert_eq!(jwt.grant(&format!("{header}.{body}.{flipped}")), None, "{index}");
    }
    for change in [
        |header: &mut Header| header.kid = Some("two".into()),
        |header: &mut Header| header.typ = Some("logout+jwt".into()),
        |header: &mut Header| header.crit = Some(vec!["exp".into()]),
        |header: &mut Header| header.crit = Some(Vec::new()),
    ] {
        let mut header = provider.header();
        change(&mut header);
        assert_eq!(
            jwt.grant(&encode(&header, &claims(), &provider.key).unwrap()),
            None,
            "{header:?}"
        );
    }
    let mut unnamed = provider.header();
    unnamed.kid = None;
    let unnamed = encode(&unnamed, &claims(), &provider.key).unwrap();
    assert!(jwt.grant(&unnamed).is_some(), "there is one key only");
    let (choice, _folder) = judge(&[provider.jwk(), Signer::new("two", Algorithm::ES256).jwk()]);
    assert_eq!(choice.grant(&unnamed), None);
    let (twice, _folder) = judge(&[provider.jwk(), impostor.jwk()]);
    assert_eq!(twice.grant(&good), None, "two keys of one name");
}

#[test]
fn an_rsa_key_signs_and_nobody_signs_with_what_is_public_of_it() {
    let public = include_str!("test_keys/rsa_one.public.pem");
    let provider = Signer::rsa("one", include_str!("test_keys/rsa_one.pem"), public);
    let impostor = Signer::rsa("one", include_str!("test_keys/rsa_two.pem"), "");
    let jwk = provider.jwk();
    let (jwt, _folder) = judge(&[jwk.clone(), Signer::new("two", Algorithm::ES256).jwk()]);
    let good = provider.sign(&claims());
    assert_eq!(&*jwt.grant(&good).unwrap().name, "jwt:ann");

    let header_of = |algorithm: Algorithm, id: &str| {
        let mut header = Header::new(algorithm);
        header.kid = Some(id.into());
        header
    };
    let (rest, signature) = good.rsplit_once('.').unwrap();
    let (_, body) = rest.split_once('.').unwrap();
    let mut attacks = vec![
        impostor.sign(&claims()),
        // The same signature under another algorithm of its family, or none, or another key's name.
        format!("{}.{body}.{signature}", part(r#"{"alg":"RS512","kid":"one"}"#)),
        format!("{}.{body}.{signature}", part(r#"{"alg":"none","kid":"one"}"#)),
        format!("{}.{body}.", part(r#"{"alg":"none","kid":"one"}"#)),
        format!("{}.{body}.{signature}", part(r#"{"alg":"ES256","kid":"two"}"#)),
        encode(&header_of(Algorithm::RS256, "two"), &claims(), &provider.key).unwrap(),
        // Algorithms of its family that are not pinned.
        encode(&header_of(Algorithm::RS384, "one"), &claims(), &provider.key).unwrap(),
        encode(&header_of(Algorithm::RS512, "one"), &claims(), &provider.key).unwrap(),
        encode(&header_of(Algorithm::PS256, "one"), &claims(), &provider.key).unwrap(),
    ];
    // The public key as a shared secret, in the forms in which it is public: PEM with and without its last line end, DER, JWK, modulus.
    let der: String = public.lines().filter(|line| !line.starts_with('-')).collect();
    let number = jwk["n"].as_str().unwrap();
    assert_eq!(decoded(number).len(), 256);
    let secrets: [Vec<u8>; 6] = [
        public.into(),
        public.trim_end().into(),
        decoded(&der),
        jwk.to_string().into(),
        number.into(),
        decoded(number),
    ];
    for secret in &secrets {
        let key = EncodingKey::from_secret(secret).unwrap();
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            attacks.push(encode(&header_of(algorithm, "one"), &claims(), &key).unwrap());
        }
    }
    for attack in attacks {
        assert_eq!(jwt.grant(&attack), None, "{attack}");
    }
    // A shared secret beside it, as an attacker of the file's source would like it, is not taken.
    let shared = json!({"kty": "oct", "kid": "three", "alg": "HS256", "k": "c2VjcmV0"});
    let (beside, _folder) = judge(&[jwk, shared]);
    let key = EncodingKey::from_secret(b"secret").unwrap();
    let forged = encode(&header_of(Algorithm::HS256, "three"), &claims(), &key).unwrap();
    assert_eq!(beside.grant(&forged), None);
    assert!(beside.grant(&good).is_some());
}

/// What Base64 stands for, in either alphabet.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |character: u8| match character {
        b'A'..=b'Z' => Some(u32::from(character - b'A')),
        b'a'..=b'z' => Some(u32::from(character - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(character - b'0') + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let digits: Vec<u32> = text.bytes().filter_map(digit).collect();
    let mut bytes = Vec::new();
    for chunk in digits.chunks(4) {
        let bits = chunk.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - chunk.len()));
        bytes.extend(&bits.to_be_bytes()[1..chunk.len()]);
    }
    bytes
}

#[test]
fn only_public_keys_for_signatures_by_pinned_algorithms_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Signer::new("one", Algorithm::ES256);
    let larger = Signer::new("one", Algorithm::ES384);
    let mut for_secrets = provider.jwk();
    for_secrets["use"] = "enc".into();
    let mut for_another = provider.jwk();
    for_another["alg"] = "ES384".into();
    let shared = json!({"kty": "oct", "kid": "one", "alg": "HS256", "k": "c2VjcmV0"});
    for refused in [
        larger.jwk(),
        for_secrets,
        for_another,
        shared,
        json!({"kty": "odd"}),
    ] {
        let options = JwtOptions::new(write(&folder, std::slice::from_ref(&refused)), ISSUER, "ci-cache");
        let error = Jwt::new(options).unwrap_err();
        assert!(error.reason.contains("by RS256, ES256"), "{error}");
    }
    let mut pinned = JwtOptions::new(write(&folder, &[larger.jwk()]), ISSUER, "ci-cache");
    pinned.algorithms = vec!["ES384".into()];
    let jwt = Jwt::new(pinned).unwrap();
    assert!(jwt.grant(&larger.sign(&claims())).is_some());
    assert_eq!(jwt.grant(&provider.sign(&claims())), None);
    std::fs::write(folder.path().join("keys.json"), "{").unwrap();
    assert!(
        Jwt::new(jwt.options.clone())
            .unwrap_err()
            .reason
            .contains("no JWK set")
    );
}

#[tokio::test(start_paused = true)]
async fn a_provider_may_change_its_keys() {
    let (old, new) = (
        Signer::new("old", Algorithm::ES256),
        Signer::new("new", Algorithm::ES256),
    );
    let (jwt, folder) = judge(&[old.jwk()]);
    write(&folder, &[new.jwk()]);
    let _over = tokio::time::timeout(LOOK * 3, jwt.watch()).await;
    assert_eq!(jwt.grant(&old.sign(&claims())), None);
    assert!(jwt.grant(&new.sign(&claims())).is_some());
    // What cannot be read changes nothing.
    std::fs::write(folder.path().join("keys.json"), "{").unwrap();
    let _over = tokio::time::timeout(LOOK * 3, jwt.watch()).await;
    assert!(jwt.grant(&new.sign(&claims())).is_some());
}

#[test]
fn tokens_of_the_file_and_jwts_count_side_by_side() {
    use super::super::{Access, NewToken, TokenFile};
    let provider = Signer::new("one", Algorithm::ES256);
    let folder = tempfile::tempdir().unwrap();
    let options = JwtOptions::new(write(&folder, &[provider.jwk()]), ISSUER, "ci-cache");
    let tokens = folder.path().join("tokens.json");
    let new = NewToken {
        name: "grafana".into(),
        role: Role::Read,
        tenants: Tenants::All,
        expires: None,
    };
    let token = format!(
        "Bearer {}",
        TokenFile::change(&tokens, |file| file.create(new)).unwrap()
    );
    let jwt = format!("Bearer {}", provider.sign(&claims()));
    let both = Access::by_file_or_jwt(&tokens, options.clone()).unwrap();
    assert_eq!(&*both.grant(&token).unwrap().name, "grafana");
    assert_eq!(&*both.grant(&jwt).unwrap().name, "jwt:ann");
    let one = Access::by_jwt(options).unwrap();
    assert!(!one.is_open() && one.grant(&token).is_none() && one.grant(&jwt).is_some());
    assert!(Access::by_file(&tokens).unwrap().grant(&jwt).is_none());
}
