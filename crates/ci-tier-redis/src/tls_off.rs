//! Without the feature `tls` nothing is encrypted.

use redis::{Client, ConnectionInfo, RedisResult};

use crate::Error;
use crate::options::Certificates;

#[derive(Clone)]
pub(crate) struct Encryption;

impl Encryption {
    pub(crate) fn of(given: &Certificates, is_encrypted: bool) -> Result<Self, Error> {
        if is_encrypted || !given.is_empty() {
            return Err(Error::WithoutTls);
        }
        Ok(Self)
    }

    #[expect(clippy::unused_self, reason = "the form of its twin")]
    pub(crate) fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        Client::open(info)
    }
}
