//! The service with a `replica_url`.

use ci_tests::program::Served;
use serde_json::Value;

use super::stage::{DATABASE, Stage};

fn body(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"))
}

#[tokio::test]
async fn the_service_asks_the_replica_and_says_how_it_went() {
    let stage = Stage::new().await;
    let replica = format!("--replica-url {}", stage.standby.url(DATABASE));
    let program = env!("CARGO_BIN_EXE_ci-cache-tested");
    let served = Served::over(program, &stage.primary.url(DATABASE), &replica);
    let ask = |method: &str, path: &str, body: &str| served.ask(method, path, "host: localhost\r\n", body);
    let mut asked = 0;
    let loads = loop {
        asked += 1;
        let path = format!("/v1/acme/cis/c-{asked}");
        let written = format!("{{\"ci_name\": \"name {asked}\", \"ci_type\": \"SW\"}}");
        let put = ask("PUT", &path, &written);
        assert!(put.starts_with("HTTP/1.1 20"), "{put}");
        // Whoever answers it, it is there.
        let got = body(&ask("GET", &path, ""));
        assert_eq!(got["ci_name"], format!("name {asked}"), "{got}");
        let stats = body(&ask("GET", "/v1/cache/stats", ""));
        let loads = stats["replica"]["loads"].clone();
        if loads["used"].as_u64().unwrap() > 0 {
            break loads;
        }
    };
    let all = loads.as_object().unwrap().values();
    assert!(all.filter_map(Value::as_u64).sum::<u64>() >= asked, "{loads}");
    let metrics = ask("GET", "/metrics", "");
    let line = "ci_cache_replica_loads_total{runner=\"main\",outcome=\"used\"}";
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(served.stop(), 0);
}
