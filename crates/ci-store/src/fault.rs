//! Turns the driver's errors into ours: by class, never with the text of a value, a row or a connection string.

use crate::Error;

/// Longest constraint name that an error repeats, in characters.
const NAME_CHARS: usize = 64;

impl From<sqlx::Error> for Error {
    /// Sorts a driver's error by what the caller can do about it.
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(inner) => from_database(inner.as_ref()),
            sqlx::Error::Io(inner) => {
                Self::Unavailable(format!("connection failed ({})", inner.kind()).into())
            }
            sqlx::Error::Tls(_) => Self::Unavailable("no encrypted connection could be made".into()),
            sqlx::Error::PoolTimedOut => Self::Timeout("no connection became free".into()),
            sqlx::Error::PoolClosed => Self::Unavailable("the store is closed".into()),
            sqlx::Error::WorkerCrashed => Self::Unavailable("the connection's worker ended".into()),
            // Sent when the server closes the connection between two messages.
            sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => {
                Self::Unavailable("the connection was left in an unusable state".into())
            }
            sqlx::Error::Configuration(_) => {
                Self::Address("the address has a part that is not understood".into())
            }
            sqlx::Error::ColumnDecode { index, .. } => {
                Self::Corrupt(format!("column {index} cannot be read").into())
            }
            sqlx::Error::Decode(_) => Self::Corrupt("a column cannot be read".into()),
            _ => Self::Database("the driver refused it".into()),
        }
    }
}

/// Sorts by SQLSTATE (five characters, PostgreSQL) or by extended result code (a number, SQLite).
fn from_database(error: &dyn sqlx::error::DatabaseError) -> Error {
    const SQLSTATE_LENGTH: usize = 5;
    let code = error.code().unwrap_or_default();
    let constraint: String = error
        .constraint()
        .unwrap_or_default()
        .chars()
        .take(NAME_CHARS)
        .collect();
    match code.parse::<i32>() {
        Ok(number) if code.len() < SQLSTATE_LENGTH => from_sqlite(number),
        _ => from_sqlstate(&code, &constraint),
    }
}

fn from_sqlite(code: i32) -> Error {
    const PRIMARY: i32 = 0xff;
    match code & PRIMARY {
        5 | 6 => Error::Conflict("another connection holds the database's lock".into()),
        9 => Error::Timeout("the statement was interrupted".into()),
        8 => Error::Database("the database is read-only".into()),
        10 => Error::Unavailable("the file cannot be read or written".into()),
        11 | 26 => Error::Corrupt("the file is damaged, or not a SQLite database".into()),
        13 => Error::Unavailable("the disk is full".into()),
        14 => Error::Unavailable("the file cannot be opened".into()),
        19 => Error::Database(format!("a constraint does not hold (SQLite code {code})").into()),
        _ => Error::Database(format!("SQLite code {code}").into()),
    }
}

fn from_sqlstate(code: &str, constraint: &str) -> Error {
    let class = code.get(..2).unwrap_or_default();
    match (class, code) {
        (_, "40001" | "40P01" | "55P03") => Error::Conflict(format!("SQLSTATE {code}").into()),
        (_, "57014") => Error::Timeout("the statement took longer than allowed".into()),
        (_, "53300") => Error::Unavailable("the server has no connection left".into()),
        ("08" | "57" | "53" | "58", _) => Error::Unavailable(format!("SQLSTATE {code}").into()),
        ("28", _) => Error::Address("the server refuses this user or password".into()),
        (_, "3D000") => Error::Address("the server has no such database".into()),
        ("23", _) => {
            Error::Database(format!("the constraint {constraint} does not hold (SQLSTATE {code})").into())
        }
        _ => Error::Database(format!("SQLSTATE {code}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_what_the_caller_can_do() {
        for (error, transient) in [
            (Error::from(sqlx::Error::PoolTimedOut), true),
            (Error::from(sqlx::Error::PoolClosed), true),
            (
                Error::from(sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into())),
                true,
            ),
            (Error::from(sqlx::Error::RowNotFound), false),
            (from_sqlite(261), true),
            (from_sqlite(2067), false),
            (from_sqlstate("40001", ""), true),
            (from_sqlstate("57P01", ""), true),
            (from_sqlstate("3D000", ""), false),
            (from_sqlstate("23505", "ci_pkey"), false),
        ] {
            assert_eq!(error.is_transient(), transient, "{error}");
        }
    }

    #[test]
    fn a_decoding_error_keeps_the_value_to_itself() {
        let source = "the secret".to_owned().into();
        let error = Error::from(sqlx::Error::ColumnDecode {
            index: "owner".into(),
            source,
        });
        assert_eq!(error.to_string(), "read a row: column owner cannot be read");
    }
}
