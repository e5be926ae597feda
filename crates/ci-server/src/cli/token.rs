//! `ci-cache token`: making, listing and revoking API tokens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ci_model::{TenantId, Timestamp};
use serde::Serialize;

use super::args::{ApiToken, TokenCreate, TokenList, TokenRevoke};
use super::failure::Failure;
use super::output::Output;
use super::table;
use crate::access::{NewToken, Role, Tenants, TokenFile};

pub(crate) fn token(arguments: ApiToken, output: &mut Output) -> Result<(), Failure> {
    match arguments {
        ApiToken::Create(arguments) => create(arguments, output),
        ApiToken::List(arguments) => list(&arguments, output),
        ApiToken::Revoke(arguments) => revoke(&arguments, output),
    }
}

/// A token as it is shown, once.
#[derive(Serialize)]
struct Created<'a> {
    name: &'a str,
    token: &'a str,
}

fn create(arguments: TokenCreate, output: &mut Output) -> Result<(), Failure> {
    let TokenCreate {
        file,
        name,
        role,
        tenant,
        all_tenants,
        days,
    } = arguments;
    let tenants = if all_tenants {
        Tenants::All
    } else {
        let names: Result<_, _> = tenant.iter().map(|name| TenantId::new(name.as_str())).collect();
        Tenants::Named(names?)
    };
    if role == Role::Admin && !all_tenants {
        // What an administrator sees, the cache's entries and drops, is everybody's.
        return Err(Failure::Input(
            "create the token: the role admin takes --all-tenants".into(),
        ));
    }
    let new = NewToken {
        name: name.clone(),
        role,
        tenants,
        expires: days.map(in_days).transpose()?,
    };
    let token = TokenFile::change(&file.tokens, |file| file.create(new))?;
    if file.json {
        return output.json(&Created {
            name: &name,
            token: &token,
        });
    }
    // The token alone, so that a script can take it.
    output.line(&token)
}

/// The moment so many days from now.
fn in_days(days: u32) -> Result<Timestamp, Failure> {
    let end = SystemTime::now() + Duration::from_secs(u64::from(days) * 86_400);
    let micros = end.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    Ok(Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))?)
}

/// All tokens, without their secrets.
#[derive(Serialize)]
struct Listed {
    items: Vec<crate::access::TokenInfo>,
}

fn list(arguments: &TokenList, output: &mut Output) -> Result<(), Failure> {
    let items = TokenFile::read(&arguments.file.tokens)?.list();
    if arguments.file.json {
        return output.json(&Listed { items });
    }
    output.line(table::tokens(&items, output.width()))
}

fn revoke(arguments: &TokenRevoke, output: &mut Output) -> Result<(), Failure> {
    TokenFile::change(&arguments.file.tokens, |file| file.revoke(&arguments.name))?;
    output.line(format_args!(
        "revoked; services that use the file refuse it within a second"
    ))
}
