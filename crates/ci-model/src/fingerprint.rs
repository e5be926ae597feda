//! Fingerprints: what tells one text from another without keeping either.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::{CiDetail, Error};

/// The first half of the SHA-256 of some bytes: equal bytes have equal ones, and nobody finds different bytes with the same one.
///
/// Written as 32 hexadecimal digits, in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// That of some bytes. Cost: a pass over them.
    pub fn of(bytes: &[u8]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&Sha256::digest(bytes)[..16]);
        Self(half)
    }
}

impl CiDetail {
    /// The fingerprint of the CI's JSON: another one as soon as anything about it is. It is the same on every database and every node of
    /// one version of this program.
    pub fn fingerprint(&self) -> Fingerprint {
        // A CI is always JSON; if it were not, nobody could have got it to change it.
        Fingerprint::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::value("a fingerprint", "32 hexadecimal digits in lower case");
        let digits = text.as_bytes();
        if digits.len() != 32
            || !digits
                .iter()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(refused());
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| refused())?;
        Ok(Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_that_of_its_bytes_and_reads_what_it_writes() {
        // The first half of SHA-256("abc"), FIPS 180-2, appendix B.1.
        let abc = Fingerprint::of(b"abc");
        assert_eq!(abc.to_string(), "ba7816bf8f01cfea414140de5dae2223");
        assert_eq!(abc.to_string().parse::<Fingerprint>().unwrap(), abc);
        assert_ne!(Fingerprint::of(b"abd"), abc);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "ba78",
            "+a7816bf8f01cfea414140de5dae2223",
            "BA7816BF8F01CFEA414140DE5DAE2223",
            "ba7816bf8f01cfea414140de5dae22233",
        ] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
