//! Every route asked by everybody: without a token, with one of another tenant, and with one of each role.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Method;
use ci_model::TenantId;
use ci_server::access::{Access, NewToken, Role, Tenants, TokenFile};
use ci_tests::fixture::Fixture;
use serde_json::json;
use tempfile::TempDir;

use crate::service::{DOCUMENT, Service};

/// Who may ask for what: the one table that says so. A route that is not in it fails the test.
const ROUTES: &[(&str, &str, Option<Role>)] = {
    use Role::{Admin, Read, Write};
    &[
        ("GET", "/healthz", None),
        ("GET", "/readyz", None),
        ("GET", "/openapi.json", None),
        ("GET", "/metrics", Some(Read)),
        ("GET", "/v1/cache/stats", Some(Admin)),
        ("GET", "/v1/cache/entries", Some(Admin)),
        ("GET", "/v1/cache/drops", Some(Admin)),
        ("GET", "/v1/cache/savings", Some(Admin)),
        ("GET", "/v1/cache/tenants", Some(Admin)),
        ("POST", "/v1/cache/clear", Some(Admin)),
        ("POST", "/v1/cache/invalidate", Some(Admin)),
        ("POST", "/v1/cache/warm", Some(Admin)),
        ("GET", "/v1/cache/audit", Some(Admin)),
        ("POST", "/v1/cache/audit", Some(Admin)),
        ("GET", "/v1/{tenant}/cis", Some(Read)),
        ("GET", "/v1/{tenant}/cis/{id_or_code}", Some(Read)),
        ("GET", "/v1/{tenant}/cis/{id_or_code}/graph", Some(Read)),
        ("GET", "/v1/{tenant}/cis/{id_or_code}/page", Some(Read)),
        ("GET", "/v1/{tenant}/cis/{id_or_code}/traversal", Some(Read)),
        ("GET", "/v1/{tenant}/dashboard", Some(Read)),
        ("GET", "/v1/{tenant}/list", Some(Read)),
        ("GET", "/v1/{tenant}/paths", Some(Read)),
        ("GET", "/v1/{tenant}/aggregate", Some(Read)),
        ("POST", "/v1/{tenant}/batch-get", Some(Read)),
        ("GET", "/v1/{tenant}/changes", Some(Read)),
        ("GET", "/v1/{tenant}/export", Some(Read)),
        ("PUT", "/v1/{tenant}/cis/{id_or_code}", Some(Write)),
        ("DELETE", "/v1/{tenant}/cis/{id_or_code}", Some(Write)),
        ("PUT", "/v1/{tenant}/relations", Some(Write)),
        ("DELETE", "/v1/{tenant}/relations", Some(Write)),
        ("POST", "/v1/{tenant}/import", Some(Write)),
    ]
};

/// A service that lets in who has a token, and the tokens.
pub(crate) struct Guarded {
    pub(crate) service: Service,
    folder: TempDir,
}

impl Guarded {
    pub(crate) async fn new(fixture: &Fixture) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens.json");
        // So that there is a file.
        token(&folder, "first", Role::Read, Tenants::All);
        let access = Access::by_file(path).expect("a file of tokens");
        let service = Service::guarded(fixture, access).await;
        Self { service, folder }
    }

    /// Makes a token of a role for some tenants, and lets the service know of it.
    pub(crate) async fn token(&mut self, fixture: &Fixture, role: Role, tenants: &[&str]) -> String {
        let tenants = if tenants.is_empty() {
            Tenants::All
        } else {
            let names = tenants.iter().map(|name| TenantId::new(*name).expect("a tenant"));
            Tenants::Named(names.collect())
        };
        let name = format!("{role} {tenants:?}");
        let token = token(&self.folder, &name, role, tenants);
        let access = Access::by_file(self.folder.path().join("tokens.json")).expect("a file of tokens");
        self.service = Service::guarded(fixture, access).await;
        token
    }
}

fn token(folder: &TempDir, name: &str, role: Role, tenants: Tenants) -> String {
    let new = NewToken {
        name: name.into(),
        role,
        tenants,
        expires: None,
    };
    let path = folder.path().join("tokens.json");
    TokenFile::change(&path, |file| file.create(new)).expect("a token")
}

fn uri(route: &str, tenant: &str) -> String {
    route.replace("{tenant}", tenant).replace("{id_or_code}", "a")
}

#[tokio::test]
async fn every_route_answers_everybody_as_the_table_says() {
    let documented: BTreeSet<(String, String)> = DOCUMENT["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(route, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(|method| (method.to_uppercase(), route.clone()))
        })
        .collect();
    let table: BTreeSet<(String, String)> = ROUTES
        .iter()
        .map(|(method, route, _)| ((*method).to_owned(), (*route).to_owned()))
        .collect();
    assert_eq!(documented, table);

    let fixture = Fixture::sqlite();
    let mut guarded = Guarded::new(&fixture).await;
    let mut callers = vec![("nobody", None, None, false)];
    for role in [Role::Read, Role::Write, Role::Admin] {
        for (name, tenants) in [
            ("of acme", &["acme"][..]),
            ("of another", &["other"]),
            ("of all", &[]),
        ] {
            let text = guarded.token(&fixture, role, tenants).await;
            callers.push((name, Some(role), Some(text), tenants.is_empty()));
        }
    }
    for (method, route, least) in ROUTES {
        for (name, role, token, is_for_all) in &callers {
            let uri = uri(route, "acme");
            let reply = guarded
                .service
                .send_as(method.parse().unwrap(), &uri, token.as_deref(), Body::empty())
                .await;
            let has_tenant = route.contains("{tenant}");
            let theirs = *is_for_all || has_tenant && *name == "of acme";
            let refusal = match (least, role) {
                (Some(_), None) => Some(401),
                (Some(least), Some(role)) if role < least || !theirs => Some(403),
                _ => None,
            };
            let told = (reply.status == 401 || reply.status == 403).then_some(reply.status);
            assert_eq!(told, refusal, "{method} {uri} by {name}, {role:?}");
            assert_eq!(
                reply.header("www-authenticate"),
                (told == Some(401)).then_some("Bearer")
            );
        }
    }
}

/// Whatever of another tenant is asked for, the answer is that of one that nobody ever heard of.
#[tokio::test]
async fn another_tenant_is_as_one_that_never_was() {
    let fixture = Fixture::sqlite();
    let mut guarded = Guarded::new(&fixture).await;
    let all = guarded.token(&fixture, Role::Write, &[]).await;
    let mine = guarded.token(&fixture, Role::Write, &["acme"]).await;
    let ci = json!({"ci_name": "n", "ci_type": "t"}).to_string();
    let made = guarded
        .service
        .send_as(Method::PUT, "/v1/other/cis/a", Some(&all), ci.into())
        .await;
    assert_eq!(made.status, 201);
    for (method, route, least) in ROUTES {
        if least.is_none() || !route.contains("{tenant}") {
            continue;
        }
        let mut answers = Vec::new();
        for tenant in ["other", "never-was", "%FF", "%20", "a%00b"] {
            let uri = uri(route, tenant);
            let reply = guarded
                .service
                .send_as(method.parse().unwrap(), &uri, Some(&mine), Body::empty())
                .await;
            answers.push((reply.status, reply.headers, reply.body));
        }
        assert_eq!(answers[0].0, 403, "{method} {route}");
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{method} {route}: {answers:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_token_lets_nobody_in() {
    let fixture = Fixture::sqlite();
    let mut guarded = Guarded::new(&fixture).await;
    let good = guarded.token(&fixture, Role::Read, &["acme"]).await;
    let service = &guarded.service;
    let list = "/v1/acme/list";
    let status = async |values: &[&str]| service.get_with(list, "authorization", values).await.status;
    let bearer = format!("Bearer {good}");
    assert_eq!(status(&[&bearer]).await, 200);
    let (short, long) = (&bearer[..bearer.len() - 1], format!("{bearer}0"));
    for values in [
        &[][..],
        &[""],
        &["Bearer"],
        &[&good],
        &[short],
        &[&long],
        &[&format!("Basic {good}")],
        // Which one would count?
        &[&bearer, &bearer],
        &["Bearer cic_00000000_0000000000000000000000000000000000000000000000000000000000000000"],
    ] {
        assert_eq!(status(values).await, 401, "{values:?}");
    }
    // Not in the query, where logs keep it.
    let query = format!("{list}?access_token={good}");
    assert_eq!(service.get(&query).await.status, 401);
}
