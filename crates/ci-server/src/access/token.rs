//! The text of a token, and its hash.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

/// What every token begins with, so that scanners of leaked secrets know it.
const PREFIX: &str = "cic_";
/// Hexadecimal digits of an id, and of a secret.
const ID: usize = 8;
const SECRET: usize = 64;

/// A token as its owner has it: `cic_`, 8 digits that name it, `_`, 64 digits that nobody else knows.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token {
    id: String,
    secret: String,
}

impl fmt::Debug for Token {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Draws a new one from the system's random source.
    pub(super) fn draw() -> Self {
        let digits = |uuid: Uuid| uuid.simple().to_string();
        let mut id = digits(Uuid::new_v4());
        id.truncate(ID);
        let secret = digits(Uuid::new_v4()) + &digits(Uuid::new_v4());
        Self { id, secret }
    }

    /// Reads one; nothing for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        (is_hex(id, ID) && is_hex(secret, SECRET)).then(|| Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
        })
    }

    /// What names it in the open.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The text for its owner.
    pub(super) fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }
}

/// The hash of a token's secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

impl fmt::Debug for Digest {
    /// Without the hash: logs are read by more people than the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

impl Digest {
    pub(super) fn of(token: &Token) -> Self {
        Self(Sha256::digest(token.secret.as_bytes()).into())
    }

    /// Tells whether it is of this token, in a time that does not depend on where they differ.
    pub(super) fn is_of(&self, token: &Token) -> bool {
        self.0.ct_eq(&Self::of(token).0).into()
    }

    /// As 64 hexadecimal digits.
    pub(super) fn to_hex(self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a text cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let (digits, []) = text.as_bytes().as_chunks::<2>() else {
            return None;
        };
        let byte = |pair: &[u8; 2]| {
            let digit = |c: u8| char::from(c).to_digit(16);
            u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
        };
        let bytes: Option<Vec<u8>> = digits.iter().map(byte).collect();
        Some(Self(bytes?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_nothing_else_does() {
        let token = Token::draw();
        let text = token.reveal();
        assert_eq!(Token::parse(&text), Some(token.clone()));
        assert_ne!(Token::draw(), token);
        assert!(!format!("{token:?}").contains(&token.secret));
        for wrong in [
            "",
            "cic_",
            "cic_12345678_",
            &text[1..],
            &text.to_uppercase(),
            &text.replace('_', "-"),
            &text.replace("cic_", "cic_g"),
        ] {
            assert_eq!(Token::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_digest_is_the_standards_and_reads_back() {
        // FIPS 180-2, appendix B.1: the digest of `abc`.
        let abc = Token {
            id: String::new(),
            secret: "abc".into(),
        };
        let digest = Digest::of(&abc);
        assert_eq!(format!("{digest:?}"), "Digest");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_hex(), hex);
        assert_eq!(Digest::from_hex(hex), Some(digest));
        assert!(digest.is_of(&abc) && !digest.is_of(&Token::draw()));
        for wrong in ["", "ba", &hex[1..], &hex.replace('b', "g")] {
            assert_eq!(Digest::from_hex(wrong), None, "{wrong}");
        }
    }
}
