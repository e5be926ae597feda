//! What may be shown of an address: everything but its password.

/// Stands for a password.
const HIDDEN: &str = "***";

/// The address of a database without its password, in the user's part or as a parameter. It hides too much rather than too little.
pub(crate) fn redacted(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    if scheme == "sqlite" {
        return address.to_owned();
    }
    let (place, parameters) = match rest.split_once('?') {
        // It may be of a parameter's value, or the end of a password with a `?` that was not escaped.
        Some((_, parameters)) if parameters.contains('@') => return format!("{scheme}://{HIDDEN}"),
        Some((place, parameters)) => (place, Some(parameters)),
        None => (rest, None),
    };
    // The last one: a password that was not escaped may hold others.
    let (user, path) = match place.rsplit_once('@') {
        Some((user, path)) => (Some(user), path),
        None => (None, place),
    };
    let user = user.map(|user| match user.split_once(':') {
        Some((name, _)) => format!("{name}:{HIDDEN}@"),
        None => format!("{user}@"),
    });
    let parameters = parameters.map(|parameters| {
        let shown = parameters
            .split('&')
            .map(|parameter| match parameter.split_once('=') {
                Some((name, _)) if name.to_lowercase().contains("pass") => format!("{name}={HIDDEN}"),
                _ => parameter.to_owned(),
            });
        format!("?{}", shown.collect::<Vec<_>>().join("&"))
    });
    format!(
        "{scheme}://{}{path}{}",
        user.unwrap_or_default(),
        parameters.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_wherever_they_are() {
        for (address, shown) in [
            ("sqlite:cmdb.db", "sqlite:cmdb.db"),
            ("postgres://me@db:5432/cmdb", "postgres://me@db:5432/cmdb"),
            ("postgres://me:pw@db/cmdb", "postgres://me:***@db/cmdb"),
            ("postgres://me:p:w@x/y@db/cmdb", "postgres://me:***@db/cmdb"),
            (
                "postgres:///cmdb?user=me&password=pw&host=/run",
                "postgres:///cmdb?user=me&password=***&host=/run",
            ),
            (
                "postgres://db/cmdb?sslmode=require&sslPassword=pw",
                "postgres://db/cmdb?sslmode=require&sslPassword=***",
            ),
            ("postgres://db/cmdb?user=me&password=hunter@2", "postgres://***"),
            ("postgres:///cmdb?user=me&password=p@w", "postgres://***"),
            ("postgres://me:p?w@db/cmdb", "postgres://***"),
            ("postgres://me:a@p?a=b@db/cmdb?sslmode=require", "postgres://***"),
        ] {
            assert_eq!(redacted(address), shown);
        }
    }
}
