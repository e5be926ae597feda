//! What is told of errors: no addresses, no secrets, and whether it is the account that is at fault.

use ci_runner::tier::TierError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// A user or a password that does not count.
pub(crate) const REFUSED: &str = "the account or its password is refused";
/// A user who may not do what was asked, or not there.
pub(crate) const FORBIDDEN: &str = "the account may not do this";
/// Nobody may ask without saying who asks.
pub(crate) const UNNAMED: &str = "an account or a password is wanted";

/// What an error says of the account; nothing if it is about something else.
pub(crate) fn of_account(error: &RedisError) -> Option<&'static str> {
    match (error.kind(), error.code()) {
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => Some(FORBIDDEN),
        (_, Some("NOAUTH")) => Some(UNNAMED),
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS")) => Some(REFUSED),
        _ => None,
    }
}

/// What an error says, for people.
pub(crate) fn of(error: &RedisError) -> &str {
    of_account(error).unwrap_or_else(|| error.category())
}

/// The same, as whoever asks a tier is told it.
pub(crate) fn told(error: &RedisError) -> TierError {
    TierError::new(of(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_told_from_all_else_and_nothing_is_told_of_it() {
        for (line, told) in [
            (
                "NOPERM User hunter2 has no permissions to run the 'get' command",
                FORBIDDEN,
            ),
            (
                "NOPERM No permissions to access a key used as an argument",
                FORBIDDEN,
            ),
            (
                "WRONGPASS invalid username-password pair or user hunter2 is disabled.",
                REFUSED,
            ),
            ("NOAUTH Authentication required by 10.0.0.1.", UNNAMED),
            ("READONLY hunter2", "read-only"),
            ("ERR hunter2", "response error"),
        ] {
            let answer = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
            let error = answer.extract_error().unwrap_err();
            assert_eq!(of(&error), told, "{line}");
            assert_eq!(
                super::told(&error).to_string(),
                format!("the shared tier: {told}")
            );
        }
        let failed = RedisError::from((ErrorKind::AuthenticationFailed, "hunter2"));
        assert_eq!(of(&failed), REFUSED);
    }
}
