//! What addresses are read as, and what is told of those that are not.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{RedisOptions, RedisTier};

fn place(host: &str, port: u16) -> Place {
    Place {
        host: host.into(),
        port,
    }
}

fn who(user: Option<&str>, password: &str) -> Account {
    Account {
        user: user.map(Into::into),
        password: Some(password.into()),
    }
}

fn watched(address: &str) -> Watched {
    match parse(address).unwrap().address {
        Address::Sentinel(watched) => watched,
        other => panic!("{other:?}"),
    }
}

fn nodes(address: &str) -> (Vec<Place>, Account) {
    match parse(address).unwrap().address {
        Address::Cluster { nodes, account } => (nodes, account),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_server_is_what_it_was() {
    for address in [
        "redis://h",
        "redis://h/",
        "redis://h:1/3",
        "valkey://:p@h",
        "redis://u:p%40@[::1]:7000/0",
        "redis+unix:///run/s",
        "valkey+unix:///run/s?db=1&user=u&pass=p",
        "unix:///run/s",
        "redis://h?protocol=resp3",
    ] {
        let parsed = parse(address).unwrap();
        assert!(
            matches!(parsed.address, Address::One(_)) && !parsed.is_encrypted,
            "{address}"
        );
    }
}

#[test]
fn sentinels_have_accounts_of_their_own_and_ports_by_default() {
    let read = watched(
        "redis+sentinel://cache:p%40ss%2f:w@s1,s2:1,[::1],[fe80::2]:3/my-svc.1/7?sentinel_user=w%26&sentinel_password=a=b",
    );
    assert_eq!(
        read.sentinels,
        [
            place("s1", 26_379),
            place("s2", 1),
            place("::1", 26_379),
            place("fe80::2", 3)
        ]
    );
    assert_eq!((read.service.as_str(), read.db), ("my-svc.1", 7));
    assert_eq!(read.account, who(Some("cache"), "p@ss/:w"));
    assert_eq!(read.sentinel_account, who(Some("w&"), "a=b"));
    let read = watched("valkey+sentinel://:p@S1/m?sentinel_password=x");
    assert_eq!(read.account, who(None, "p"));
    assert_eq!(read.sentinel_account, who(None, "x"));
    assert_eq!((read.sentinels, read.db), (vec![place("s1", 26_379)], 0));
    assert_eq!(watched("redis+sentinel://h/m").account, Account::default());
}

#[test]
fn clusters_are_some_of_their_nodes() {
    let expected = (vec![place("a", 6_379), place("b", 7_001)], who(Some("u"), "p"));
    assert_eq!(nodes("redis+cluster://u:p@a,b:7001"), expected);
    assert_eq!(nodes("valkey+cluster://u:p@a,b:7001/"), expected);
}

#[test]
#[cfg(feature = "tls")]
fn the_scheme_says_what_is_encrypted() {
    for address in [
        "rediss://h",
        "valkeys://h",
        "rediss+sentinel://h/m",
        "valkeys+sentinel://h/m",
        "rediss+cluster://h",
        "valkeys+cluster://h",
    ] {
        assert!(parse(address).unwrap().is_encrypted, "{address}");
    }
}

#[test]
#[cfg(not(feature = "tls"))]
fn without_the_feature_nothing_is_encrypted() {
    for address in ["rediss://h", "rediss+sentinel://h/m", "valkeys+cluster://h"] {
        assert_eq!(parse(address).unwrap_err(), Error::WithoutTls, "{address}");
    }
    let options = RedisOptions::new().ca("x");
    assert_eq!(
        RedisTier::new("redis://h", options).unwrap_err(),
        Error::WithoutTls
    );
}

#[test]
fn what_is_empty_doubled_or_wrong_is_refused_with_the_form_and_nothing_else() {
    for (address, of) in [
        ("", ANY),
        ("hunter2", ANY),
        ("hunter2://h", ANY),
        ("redis+sentinels://hunter2", ANY),
        ("redis://", ONE),
        ("redis://h/hunter2", ONE),
        ("redis://h:0", ONE),
        ("redis://:hunter2@h/#insecure", ONE),
        ("redis://hunter2@h", ONE),
        ("redis://hunter2:@h", ONE),
        ("redis+unix://hunter2", SOCKET),
        ("redis+unix:///run/s?user=u&pass=hunter2#x", SOCKET),
        ("redis+unix:///run/s?user=hunter2", SOCKET),
        ("redis+sentinel://", SENTINEL),
        ("redis+sentinel://h", SENTINEL),
        ("redis+sentinel://h/", SENTINEL),
        ("redis+sentinel://h//1", SENTINEL),
        ("redis+sentinel:///m", SENTINEL),
        ("redis+sentinel://h,/m", SENTINEL),
        ("redis+sentinel://,h/m", SENTINEL),
        ("redis+sentinel://h,h/m", SENTINEL),
        ("redis+sentinel://h,H:26379/m", SENTINEL),
        ("redis+sentinel://h:/m", SENTINEL),
        ("redis+sentinel://h:0/m", SENTINEL),
        ("redis+sentinel://h:+1/m", SENTINEL),
        ("redis+sentinel://h:65536/m", SENTINEL),
        ("redis+sentinel://h:1:2/m", SENTINEL),
        ("redis+sentinel://::1/m", SENTINEL),
        ("redis+sentinel://[::1/m", SENTINEL),
        ("redis+sentinel://[::1]2/m", SENTINEL),
        ("redis+sentinel://[hunter2]/m", SENTINEL),
        ("redis+sentinel://h/m/", SENTINEL),
        ("redis+sentinel://h/m/-1", SENTINEL),
        ("redis+sentinel://h/m/1/2", SENTINEL),
        ("redis+sentinel://h/m/99999999999", SENTINEL),
        ("redis+sentinel://h/hunter 2", SENTINEL),
        ("redis+sentinel://hunter2@h/m", SENTINEL),
        ("redis+sentinel://u:@h/m", SENTINEL),
        ("redis+sentinel://@h/m", SENTINEL),
        ("redis+sentinel://u:hunter2%4@h/m", SENTINEL),
        ("redis+sentinel://u:hunter2%zz@h/m", SENTINEL),
        ("redis+sentinel://u:hunter2%ff@h/m", SENTINEL),
        ("redis+sentinel://u:hunter2@x@h/m", SENTINEL),
        ("redis+sentinel://u:hunter2/x@h/m", SENTINEL),
        ("redis+sentinel://u:hunter2?x@h/m", SENTINEL),
        ("redis+sentinel://u:hunter2#x@h/m", SENTINEL),
        ("redis+sentinel://h/m?", SENTINEL),
        ("redis+sentinel://h/m?hunter2", SENTINEL),
        ("redis+sentinel://h/m?hunter2=1", SENTINEL),
        ("redis+sentinel://h/m?sentinel_user=hunter2", SENTINEL),
        ("redis+sentinel://h/m?sentinel_password=", SENTINEL),
        (
            "redis+sentinel://h/m?sentinel_password=hunter2&sentinel_password=hunter2",
            SENTINEL,
        ),
        ("redis+cluster://", CLUSTER),
        ("redis+cluster://h/1", CLUSTER),
        ("redis+cluster://h,h:6379", CLUSTER),
        ("redis+cluster://h?sentinel_password=hunter2", CLUSTER),
        ("redis+cluster://hunter2 2", CLUSTER),
    ] {
        let error = parse(address).unwrap_err();
        match &error {
            Error::Address { form, .. } => assert_eq!(*form, of, "{address}"),
            other => panic!("{address}: {other:?}"),
        }
        let told = format!("{error} {error:?}");
        assert!(!told.contains("hunter"), "{address}: {told}");
    }
}

#[test]
fn certificates_want_an_address_that_is_encrypted() {
    let refused = |options| RedisTier::new("redis+cluster://h", options).unwrap_err();
    let expected = if cfg!(feature = "tls") {
        Error::NotEncrypted
    } else {
        Error::WithoutTls
    };
    assert_eq!(refused(RedisOptions::new().ca("x")), expected);
    assert_eq!(
        refused(RedisOptions::new().client_certificate("x", "y")),
        expected
    );
    assert_eq!(refused(RedisOptions::new().prefix("")), Error::Prefix);
    for timeout in [
        Duration::ZERO,
        Duration::from_micros(999),
        Duration::from_millis(60_001),
        Duration::MAX,
    ] {
        let options = RedisOptions::new().connect_timeout(timeout);
        assert_eq!(refused(options), Error::ConnectTimeout, "{timeout:?}");
    }
    for timeout in [Duration::from_millis(1), Duration::from_secs(60)] {
        let options = RedisOptions::new().connect_timeout(timeout);
        assert!(
            RedisTier::new("redis+cluster://h", options).is_ok(),
            "{timeout:?}"
        );
    }
}

/// As many `%XX` as bytes.
fn escaped(text: &str) -> String {
    text.bytes()
        .fold(String::new(), |text, byte| format!("{text}%{byte:02X}"))
}

fn forms() -> impl Strategy<Value = String> {
    let scheme = prop_oneof![
        Just("redis"),
        Just("rediss"),
        Just("redis+unix"),
        Just("redis+sentinel"),
        Just("rediss+sentinel"),
        Just("redis+cluster"),
        Just("valkeys+cluster"),
    ];
    let rest = prop_oneof![
        any::<String>(),
        "[a-z0-9:/@?#%&=,\\[\\].-]{0,40}",
        "(u:p@)?[a-z0-9.]{1,3}(:[0-9]{1,6})?(,[a-z]{1,2}){0,2}(/[a-z]{0,2}){0,2}(\\?sentinel_(user|password)=[a-z%]{0,3}){0,2}",
    ];
    (scheme, rest).prop_map(|(scheme, rest)| format!("{scheme}://{rest}"))
}

proptest! {
    #[test]
    fn no_address_panics(address in prop_oneof![any::<String>(), forms()]) {
        drop(parse(&address));
    }

    #[test]
    fn passwords_come_back_and_are_nowhere_else(
        user in "[a-z]{0,8}",
        password in "\\PC{0,12}",
        form in prop_oneof![Just("redis+sentinel://U:P@h,i:2/m/1?sentinel_password=P"), Just("redis+cluster://U:P@h,i:2")],
    ) {
        let password = format!("k4n4ry{password}k4n4ry");
        let address = form.replace('U', &user).replace('P', &escaped(&password));
        let parsed = parse(&address).unwrap();
        let expected = who((!user.is_empty()).then_some(&user), &password);
        let account = match &parsed.address {
            Address::Sentinel(watched) => {
                prop_assert_eq!(&watched.sentinel_account, &who(None, &password));
                &watched.account
            }
            Address::Cluster { account, .. } => account,
            Address::One(_) => unreachable!("not among the forms"),
        };
        prop_assert_eq!(account, &expected);
        let tier = RedisTier::new(&address, RedisOptions::new()).unwrap();
        let told = format!("{parsed:?} {tier:?}");
        prop_assert!(!told.contains("k4n4ry"), "{}", told);
    }

    #[test]
    fn no_error_has_a_part_of_the_address(form in forms(), at in any::<prop::sample::Index>()) {
        let starts: Vec<usize> = form.char_indices().map(|(start, _)| start).chain([form.len()]).collect();
        let mut address = form.clone();
        address.insert_str(*at.get(&starts), "k4n4ry");
        match parse(&address) {
            Ok(parsed) => drop(parsed),
            Err(error) => {
                let told = format!("{error} {error:?}");
                prop_assert!(!told.contains("k4n4ry"), "{}", told);
            }
        }
    }
}
