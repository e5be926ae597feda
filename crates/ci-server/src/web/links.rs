//! Addresses of the explorer's pages.

use ci_model::{CiCode, CiId, CiRef};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays as it is in a part of an address.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A text as a part of an address.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

/// Addresses of one tenant's pages.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    tenant: String,
}

impl Links {
    pub(crate) fn new(base: &str, tenant: &str) -> Self {
        Self {
            tenant: format!("{base}/explore/{}", encoded(tenant)),
        }
    }

    /// The search.
    pub(crate) fn search(&self) -> &str {
        &self.tenant
    }

    /// A CI's page. By its code; a browser would take `.` and `..` for a way to go, and one in the form of an id is read as that.
    pub(crate) fn ci(&self, code: &CiCode, id: CiId) -> String {
        match code.as_str() {
            "." | ".." => format!("{}/{id}", self.tenant),
            code if matches!(CiRef::parse(code), Ok(CiRef::Id(_))) => format!("{}/{id}", self.tenant),
            code => format!("{}/{}", self.tenant, encoded(code)),
        }
    }

    /// A CI's graph.
    pub(crate) fn graph(&self, code: &CiCode, id: CiId) -> String {
        format!("{}/graph", self.ci(code, id))
    }
}

#[cfg(test)]
mod tests {
    use ci_model::TenantId;

    use super::*;

    #[test]
    fn every_code_has_an_address_of_its_own() {
        let tenant = TenantId::new("a b").unwrap();
        let links = Links::new("/x", tenant.as_str());
        let of = |code: &str| {
            let code = CiCode::new(code).unwrap();
            let id = CiId::derived(&tenant, &code);
            (links.ci(&code, id), id)
        };
        assert_eq!(of("deb:libstdc++6").0, "/x/explore/a%20b/deb%3Alibstdc%2B%2B6");
        assert_eq!(of("a/../b?c#d").0, "/x/explore/a%20b/a%2F..%2Fb%3Fc%23d");
        let (dots, id) = of("..");
        assert_eq!(dots, format!("/x/explore/a%20b/{id}"));
        let (like_an_id, id) = of("0190b6a8-7c1e-7000-8000-000000000001");
        assert_eq!(like_an_id, format!("/x/explore/a%20b/{id}"));
    }
}
