//! Changes whose order nobody can tell: on PostgreSQL a CI's row and its documents, written by several transactions between two polls.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::time::Duration;

use ci_model::{CiCode, CiDraft, CiRef, Direction, Expand, Filter, RelationDraft, TenantId, View};
use ci_runner::{Level, Tenant};
use ci_tests::fixture::{Fixture, on_both};

/// Longer than the test: the feed is polled when the runner asks for it, and then has several transactions at once.
const LONG: Duration = Duration::from_secs(60);

/// Replaces a CI's documents, in transactions of their own.
async fn replace_documents(fixture: &Fixture, ci: &str, tags: &str) {
    let sql = format!("SELECT CAST(ci_id AS TEXT) FROM ci WHERE ci_code = '{ci}'");
    let id = fixture.texts(&sql).await.pop().unwrap();
    fixture
        .execute(&format!("DELETE FROM ci_ext WHERE ci_id = '{id}'"))
        .await;
    let sql = format!("INSERT INTO ci_ext (ci_id, tags, attributes) VALUES ('{id}', '{tags}', '{{}}')");
    fixture.execute(&sql).await;
}

fn neighbours(of: &str, filter: &str, max_nodes: u32) -> Expand {
    let root: CiRef = CiCode::new(of).unwrap().into();
    let expand = Expand::builder(root, View::Neighbors).direction(Direction::Both);
    let filter = Filter::parse(filter).unwrap();
    expand.filter(filter).max_nodes(max_nodes).build().unwrap()
}

async fn agrees(tenant: &Tenant, expand: &Expand, when: &str) {
    let cached = tenant.strong().expand(expand).await.unwrap().value;
    let asked = tenant.at(Level::Bypass).expand(expand).await.unwrap().value;
    assert_eq!(cached, asked, "{when}: {expand:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filtered_graph_hears_of_a_ci_that_comes_to_pass_while_its_documents_change() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let runner = ci_tests::fixture::patient(store)
            .poll_every(LONG)
            .poll_idle(LONG)
            .build()
            .unwrap();
        let tenant = runner.tenant(TenantId::new("acme").unwrap());
        let draft = |code: &str| CiDraft {
            status: Some("spare".into()),
            ..CiDraft::new(code, code, "HW")
        };
        let codes = ["root", "w", "x", "y", "z"];
        tenant.upsert_cis(codes.map(draft).to_vec()).await.unwrap();
        let uses = |to| RelationDraft::new("root", "USES", to);
        let relations = codes[1..].iter().map(|to| uses(*to)).collect();
        tenant.upsert_relations(relations).await.unwrap();
        let graphs = [
            neighbours("root", "status=active", 10),
            neighbours("root", "status=active", 2),
            neighbours("root", "status!=active", 10),
            neighbours("root", "status!=active", 2),
            neighbours("root", "tags.a=1", 10),
            neighbours("root", "tags.a=1", 2),
        ];
        for (status, tags) in [
            ("active", r#"{"a": 1}"#),
            ("spare", r#"{"a": 2}"#),
            ("active", "{}"),
        ] {
            for ci in ["x", "z", "w"] {
                for graph in &graphs {
                    agrees(&tenant, graph, "before").await;
                }
                let sql = format!("UPDATE ci SET status = '{status}' WHERE ci_code = '{ci}'");
                fixture.execute(&sql).await;
                replace_documents(fixture, ci, tags).await;
                for graph in &graphs {
                    agrees(&tenant, graph, &format!("{ci} {status} {tags}")).await;
                }
                replace_documents(fixture, ci, tags).await;
                replace_documents(fixture, ci, r#"{"a": 1}"#).await;
                for graph in &graphs {
                    agrees(&tenant, graph, &format!("{ci} with other documents")).await;
                }
            }
        }
        runner.close().await;
    })
    .await;
}
