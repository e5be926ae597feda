//! The names by which a service may be asked that lets everybody in.
//!
//! A page of another site can be served under a name that is then given the address of this machine (DNS rebinding): to the browser the
//! service is of that page's site from then on. Only its name tells. Addresses are no names: no page has one that it was not served from.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};

/// Which names count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts(Option<Vec<String>>);

impl Hosts {
    /// These (`HOST` or `HOST:PORT`), beside `localhost` and whatever is an address.
    pub(crate) fn only(names: Vec<String>) -> Self {
        Self(Some(names))
    }

    /// Tells whether a request asks by a name that counts. One that names nobody is from no browser.
    pub(crate) fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(names) = &self.0 else { return true };
        let mut given = headers.get_all(header::HOST).iter();
        let Some(host) = given.next() else { return true };
        let Ok(host) = host.to_str() else { return false };
        given.next().is_none() && is_known(host, names)
    }
}

fn is_known(host: &str, names: &[String]) -> bool {
    let name = without_port(host);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let own = name.to_ascii_lowercase();
    own == "localhost"
        || own.ends_with(".localhost")
        || address.parse::<IpAddr>().is_ok()
        || names
            .iter()
            .any(|known| known.eq_ignore_ascii_case(host) || known.eq_ignore_ascii_case(name))
}

/// A host without the port behind it.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // What is left of an address of version 6 in brackets ends with one.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_this_machine_and_what_is_listed_count() {
        let hosts = Hosts::only(vec!["cmdb.example".into(), "other:8080".into()]);
        for (host, counts) in [
            ("127.0.0.1", true),
            ("127.0.0.1:8642", true),
            ("10.1.2.3:80", true),
            ("[::1]:8642", true),
            ("[::1]", true),
            ("localhost", true),
            ("LOCALHOST:8642", true),
            ("a.localhost:1", true),
            ("cmdb.example", true),
            ("CMDB.example:443", true),
            ("other:8080", true),
            ("other:8081", false),
            ("other", false),
            ("evil.example", false),
            ("evil.example:8642", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("notlocalhost", false),
            ("", false),
        ] {
            let headers: HeaderMap = [(header::HOST, host.parse().unwrap())].into_iter().collect();
            assert_eq!(hosts.allow(&headers), counts, "{host}");
            assert!(Hosts::default().allow(&headers), "{host}");
        }
        assert!(hosts.allow(&HeaderMap::new()));
    }

    #[test]
    fn of_two_names_none_counts() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, "localhost".parse().unwrap());
        headers.append(header::HOST, "127.0.0.1".parse().unwrap());
        assert!(!Hosts::only(Vec::new()).allow(&headers));
    }
}
