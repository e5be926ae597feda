//! Auditing by command and in the background: what is found is told, and a wrong answer is no secret.

use axum::http::Method;
use ci_server::http::{AppState, ServerOptions, serve};
use ci_tests::fixture::Fixture;
use ci_tests::history::{Meddler, Planted};
use ci_tests::program::Desk;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::service::Service;
use crate::socket::{answer, ask};

async fn audit(service: &Service, body: Value) -> Value {
    let reply = service.json(Method::POST, "/v1/cache/audit", body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

#[tokio::test]
async fn a_wrong_answer_is_told_and_a_right_one_confirmed() {
    let fixture = Fixture::sqlite();
    let (store, _) = Meddler::around(fixture.open().await, Some(Planted::LosesAll));
    let service = Service::over(store, ServerOptions::default());
    for code in ["a", "b"] {
        service.put_ci(code).await;
        while service
            .get(&format!("/v1/acme/cis/{code}"))
            .await
            .header("x-cache")
            != Some("hit")
        {}
    }
    let nothing = service.get("/v1/cache/audit").await.json();
    assert_eq!(
        (&nothing["checked"], &nothing["violations"]),
        (&json!(0), &json!(0))
    );
    let found = audit(&service, json!({"reads": 2})).await;
    assert_eq!((&found["same"], &found["violations"]), (&json!(2), &json!(0)));
    fixture
        .execute("UPDATE ci SET ci_name = 'else' WHERE ci_code = 'a'")
        .await;
    let found = audit(&service, json!({"reads": 2})).await;
    assert_eq!(
        (&found["checked"], &found["same"], &found["violations"]),
        (&json!(2), &json!(1), &json!(1))
    );
    let wrong = &found["latest"][0];
    assert_eq!(
        (&wrong["tenant"], &wrong["kind"]),
        (&json!("acme"), &json!("get"))
    );
    let told = service.get("/v1/cache/audit").await.json();
    assert_eq!(
        (&told["checked"], &told["violations"], &told["latest"][0]),
        (&json!(4), &json!(1), wrong)
    );
    for body in [
        json!({"reads": 0}),
        json!({"reads": 1_001}),
        json!({"reads": "1"}),
        json!({"all": true}),
    ] {
        let reply = service.json(Method::POST, "/v1/cache/audit", body.clone()).await;
        assert_eq!(reply.status, 400, "{body}");
    }
}

#[tokio::test]
async fn a_service_audits_in_the_background_if_it_is_told_to() {
    let fixture = Fixture::sqlite();
    let runner = ci_tests::fixture::patient(fixture.open().await).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let options = ServerOptions::default().audit_rate(6_000);
    let served = tokio::spawn(serve(listener, AppState::new(runner, options), async {
        let _ = stopped.await;
    }));
    loop {
        let asked = answer(ask(address, "/v1/acme/cis?q=nothing").await).await;
        assert!(asked.starts_with("HTTP/1.1 200"), "{asked}");
        let told = answer(ask(address, "/v1/cache/audit").await).await;
        let body = told.split_once("\r\n\r\n").unwrap().1;
        if serde_json::from_str::<Value>(body).unwrap()["same"].as_u64() > Some(2) {
            break;
        }
    }
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
}

/// `ci-cache audit` of a service, and of a cache of its own: what it says, and its exit code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_ends_with_7_where_an_answer_is_wrong() {
    let fixture = Fixture::sqlite();
    let (store, _) = Meddler::around(fixture.open().await, Some(Planted::LosesAll));
    let runner = ci_tests::fixture::patient(store).build().unwrap();
    let tenant = runner.tenant(ci_model::TenantId::new("acme").unwrap());
    let draft = ci_model::CiDraft::new("a", "old", "SW");
    tenant.upsert_cis(vec![draft]).await.unwrap();
    while !tenant.get_by_code("a").await.unwrap().source.is_hit() {}
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve(
        listener,
        AppState::new(runner, ServerOptions::default()),
        async {
            let _ = stopped.await;
        },
    ));
    let run = async |arguments: String| {
        let run = move || {
            let desk = Desk::new(env!("CARGO_BIN_EXE_ci-cache-tested"));
            desk.run(&format!("ci-cache audit {arguments}"))
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    let of_service = format!("--address http://{address}");
    let right = run(of_service.clone()).await;
    assert_eq!(right.code, 0, "{}", right.err);
    assert!(right.out.starts_with("checked 1"), "{}", right.out);
    fixture.execute("UPDATE ci SET ci_name = 'new'").await;
    let wrong = run(of_service).await;
    assert_eq!(wrong.code, 7, "{}{}", wrong.out, wrong.err);
    assert!(wrong.out.contains("wrong: get ") && wrong.out.contains("no change that touches it was applied"));
    let mut checked = None;
    // However slow the machine is, in one of them there is time for two.
    for seconds in [1, 2, 4, 8, 16] {
        let own = format!(
            "--database {} --tenant acme --seconds {seconds} --reads 20 --json",
            fixture.address()
        );
        let own = run(own).await;
        assert_eq!(own.code, 0, "{}", own.err);
        let found: Value = serde_json::from_str(&own.out).unwrap();
        assert_eq!(found["violations"], 0, "{found}");
        checked = found["checked"].as_u64();
        if checked > Some(1) {
            break;
        }
    }
    assert!(checked > Some(1), "{checked:?}");
    let none = run("--database sqlite:nowhere.db --tenant acme".into()).await;
    assert_ne!(none.code, 0);
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
}
