//! The unprivileged account PostgreSQL runs under when we are root, because it refuses to run as root.

use anyhow::Context as _;

/// Accounts to try: the packages' own, then the one that owns nothing.
const NAMES: &[&str] = &["postgres", "nobody"];

/// An account's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// The account to switch to, or `None` when we are not root and stay who we are.
    pub(crate) fn for_server() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let accounts = std::fs::read_to_string("/etc/passwd").context("cannot read the list of accounts")?;
        let found = NAMES.iter().find_map(|name| find(&accounts, name));
        found
            .map(Some)
            .context("neither account `postgres` nor `nobody` exists; run this as a normal user")
    }
}

/// The numbers of `name` in a passwd(5) file; an account with root's number is none.
fn find(accounts: &str, name: &str) -> Option<User> {
    let line = accounts
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2).map(str::parse);
    let user = User {
        uid: numbers.next()?.ok()?,
        gid: numbers.next()?.ok()?,
    };
    (user.uid != 0).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNTS: &str = "root:x:0:0:root:/:/bin/sh\npostgres2:x:9:9::/:\nnobody:x:65534:65533:n:/:/bin/false\n\
        fake:x:0:0::/:\nbroken:x\n";

    #[test]
    fn finds_the_numbers_of_an_account() {
        assert_eq!(
            find(ACCOUNTS, "nobody"),
            Some(User {
                uid: 65534,
                gid: 65533
            })
        );
        assert_eq!(
            find(ACCOUNTS, "postgres"),
            None,
            "a longer name is another account"
        );
        assert_eq!(find(ACCOUNTS, "broken"), None);
    }

    #[test]
    fn never_takes_an_account_that_is_root() {
        assert_eq!(find(ACCOUNTS, "fake"), None);
    }
}
