//! The promises to AI assistants over stdio: every tool, every refusal, bounded answers, one tenant.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod bounds;
mod conversation;
mod settings;

use ci_store::WriteOptions;
use ci_tests::fixture::{Fixture, on_both};
use serde_json::{Value, json};

use conversation::{Conversation, all, filled, refused, tenant, told, write};

fn documented() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/mcp-tools.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn the_tools_are_those_of_the_documentation_and_only_ask() {
    let fixture = Fixture::sqlite();
    filled(&fixture).await.close().await;
    let mut program = Conversation::start(&fixture, "acme", &[]);
    let hello = program.greet();
    let documented = documented();
    assert_eq!(hello["protocolVersion"], conversation::VERSION);
    assert_eq!(hello["instructions"], documented["instructions"]);
    let tools = program.ask("tools/list", &json!({}))["result"]["tools"].take();
    assert_eq!(tools, documented["tools"]);
    let tools = tools.as_array().unwrap();
    assert_eq!(tools.len(), 7);
    for tool in tools {
        let hints = &tool["annotations"];
        assert_eq!(
            (&hints["readOnlyHint"], &hints["destructiveHint"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{tool}");
        for (name, property) in tool["inputSchema"]["properties"].as_object().unwrap() {
            assert!(!name.contains("tenant"), "a tool takes a tenant: {tool}");
            assert!(property["description"].is_string(), "{name} of {tool}");
        }
    }
    assert_eq!(program.end(), (0, String::new(), String::new()));
}

#[tokio::test]
async fn every_tool_answers_on_both_databases() {
    on_both(async |fixture| {
        let store = filled(fixture).await;
        let mut program = Conversation::greeted(fixture, "acme", &[]);

        let found = program.told("search", json!({"keywords": "db", "filters": ["owner=ops", "tags.env in prod,stage"], "total": true}));
        assert_eq!(all(&found["items"], "ci_code"), ["db-1"]);
        assert_eq!((&found["mode"], &found["total"], &found["left_out"]), (&json!("strict"), &json!(1), &json!([])));
        assert!(found["items"][0].get("status").is_none(), "absent columns are left out: {found}");
        assert!(found["freshness"]["token"].is_string() && found["freshness"]["lag_ms"].is_u64(), "{found}");
        let fields = program.told("search", json!({"keywords": "db-1", "fields": ["ci_code", "attributes.net.ip"]}));
        assert_eq!(fields["items"], json!([{"ci_code": "db-1", "attributes.net.ip": "10.0.0.1"}]));
        let page = program.told("search", json!({"limit": 2, "sort": "ci_code:desc"}));
        assert_eq!(all(&page["items"], "ci_code"), ["srv-1", "shop"]);
        let page = program.told("search", json!({"limit": 2, "sort": "ci_code:desc", "cursor": page["next"]}));
        assert_eq!(all(&page["items"], "ci_code"), ["lonely", "db-1"]);

        let one = program.told("get", json!({"ci": "db-1"}));
        assert_eq!((&one["ci"]["criticality"], &one["ci"]["tags"]), (&json!(4), &json!({"env": "prod"})));
        assert!(one["ci"].get("tenant_id").is_none(), "{one}");
        let again = program.told("get", json!({"ci": one["ci"]["ci_id"]}));
        assert_eq!(again["ci"], one["ci"]);
        let part = program.told("get", json!({"ci": "db-1", "fields": ["attributes.net"]}));
        assert_eq!(part["ci"], json!({"attributes.net": {"ip": "10.0.0.1"}}));
        assert_eq!(part["freshness"]["cache"], "hit", "the second question of the same is a hit: {part}");

        let impact = program.told("impact", json!({"ci": "srv-1", "depth": 3}));
        assert_eq!(all(&impact["items"], "ci_code"), ["srv-1", "db-1", "app-1", "shop"]);
        assert_eq!(impact["items"][3]["level"], 3);
        assert_eq!(impact["relations"][0], json!({"from": "db-1", "to": "srv-1", "rel_type": "RUNS_ON"}));
        let wanted = json!({"cis": 3, "relations": 3, "by_level": {"1": 1, "2": 1, "3": 1}, "by_type": {"SW": 2, "SYSTEM": 1}, "complete": true});
        assert_eq!(impact["found"], wanted);
        let cut = program.told("impact", json!({"ci": "srv-1", "depth": 3, "limit": 2}));
        assert_eq!((&cut["found"]["complete"], &cut["found"]["cis"]), (&json!(false), &json!(1)));
        assert!(cut["left_out"][0].as_str().unwrap().contains("more CIs than `limit`"), "{cut}");

        let parts = program.told("related", json!({"ci": "shop", "view": "COMPOSITION"}));
        assert_eq!(all(&parts["items"], "ci_code"), ["shop", "app-1"]);
        let needs = program.told("related", json!({"ci": "app-1", "view": "DEPENDENCY", "direction": "out"}));
        assert_eq!(all(&needs["items"], "ci_code"), ["app-1", "db-1", "srv-1"]);

        let path = program.told("path", json!({"from": "shop", "to": "srv-1"}));
        assert_eq!(path["hops"], 3);
        assert_eq!(all(&path["paths"][0]["items"], "ci_code"), ["shop", "app-1", "db-1", "srv-1"]);
        let none = program.told("path", json!({"from": "shop", "to": "lonely", "most": 3}));
        assert_eq!((&none["hops"], &none["paths"]), (&json!(null), &json!([])));

        let count = program.told("count", json!({"group_by": ["ci_type"]}));
        let wanted = json!([{"ci_type": "HW", "count": 2}, {"ci_type": "SW", "count": 2}, {"ci_type": "SYSTEM", "count": 1}]);
        assert_eq!((&count["items"], &count["truncated"]), (&wanted, &json!(false)));
        assert_eq!(program.told("count", json!({}))["items"], json!([{"count": 5}]));

        let (code, out, err) = program.end();
        assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_changed_is_told_from_a_token_on() {
    on_both(async |fixture| {
        let store = filled(fixture).await;
        let mut program = Conversation::greeted(fixture, "acme", &[]);
        let last = program.told("what_changed", json!({"limit": 3}));
        assert_eq!(last["items"].as_array().unwrap().len(), 3);
        let nothing = program.told("what_changed", json!({"since": last["next"]}));
        assert_eq!(
            (&nothing["items"], &nothing["lost"], &nothing["more"]),
            (&json!([]), &json!(false), &json!(false))
        );

        let draft = |code: &str, name: &str| json!({"ci_code": code, "ci_name": name, "ci_type": "SW"});
        write(&*store, "other", &[draft("secret-2", "new")]).await;
        write(&*store, "acme", &[draft("db-2", "new")]).await;
        conversation::relate(&*store, "acme", &[("app-1", "USES", "db-2")]).await;
        let gone = vec![ci_model::CiRef::parse("lonely").unwrap()];
        store
            .delete_cis(&tenant("acme"), gone, WriteOptions::default())
            .await
            .unwrap();

        let news = program.told("what_changed", json!({"since": nothing["next"]}));
        let items = news["items"].as_array().unwrap();
        let has = |effect: &str, code: &str| {
            items
                .iter()
                .any(|one| one["effect"] == effect && one["ci_code"] == code)
        };
        assert!(has("created", "db-2") && has("deleted", "lonely"), "{news}");
        assert!(
            items
                .iter()
                .any(|one| one["kind"] == "relation" && one["rel_type"] == "USES"),
            "{news}"
        );
        assert!(!news.to_string().contains("secret"), "{news}");
        let after = program.told("what_changed", json!({"since": news["next"]}));
        assert_eq!(after["items"], json!([]));
        let last = program.told("what_changed", json!({}));
        assert_eq!(last["items"][0]["ci_code"], "db-2");

        let foreign = refused(&program.call("what_changed", json!({"since": "ff"})));
        assert!(foreign.starts_with("failed to accept"), "{foreign}");
        assert_eq!(program.end().0, 0);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn more_changes_than_were_asked_for_come_later_or_are_told_of() {
    let fixture = Fixture::sqlite();
    let store = filled(&fixture).await;
    let mut program = Conversation::greeted(&fixture, "acme", &[]);
    let first = program.told("what_changed", json!({}))["next"].take();
    let draft = |code: &str| json!({"ci_code": code, "ci_name": "new", "ci_type": "SW"});
    let mut since = first.clone();
    for code in ["x-1", "x-2"] {
        write(&*store, "acme", &[draft(code)]).await;
        // Asked between the two, so that the feed tells them one after the other.
        let news = program.told("what_changed", json!({"since": since}));
        assert_eq!(all(&news["items"], "ci_code"), [code]);
        since = news["next"].clone();
    }
    let one = program.told("what_changed", json!({"since": first, "limit": 1}));
    assert_eq!(
        (all(&one["items"], "ci_code"), &one["more"]),
        (vec!["x-1".to_owned()], &json!(true))
    );
    let other = program.told("what_changed", json!({"since": one["next"], "limit": 1}));
    assert_eq!(
        (all(&other["items"], "ci_code"), &other["more"]),
        (vec!["x-2".to_owned()], &json!(false))
    );
    assert_eq!(other["left_out"], json!([]));

    write(&*store, "acme", &["y-1", "y-2", "y-3"].map(draft)).await;
    let cut = program.told("what_changed", json!({"since": other["next"], "limit": 2}));
    assert_eq!(cut["items"].as_array().unwrap().len(), 2, "{cut}");
    assert!(
        cut["left_out"][0]
            .as_str()
            .unwrap()
            .starts_with("1 of 3 changes are not shown"),
        "{cut}"
    );
    store.close().await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_what_is_allowed() {
    let fixture = Fixture::sqlite();
    filled(&fixture).await.close().await;
    let mut program = Conversation::greeted(&fixture, "acme", &[]);
    for (tool, arguments, says) in [
        ("search", json!({"limit": 501}), "limit: 501 is outside 1 to 500"),
        ("search", json!({"limit": -1}), "invalid value"),
        (
            "search",
            json!({"filters": ["colour=red"]}),
            "allowed are ci_type",
        ),
        (
            "search",
            json!({"filters": ["criticality contains 4"]}),
            "allowed are =, !=",
        ),
        ("search", json!({"sort": "owner"}), "allowed are"),
        ("search", json!({"fields": ["nothing"]}), "allowed are ci_id"),
        ("search", json!({"cursor": "zz"}), "cursor"),
        (
            "search",
            json!({"tenant": "other"}),
            "unknown field `tenant`, expected one of `keywords`",
        ),
        ("search", json!({"keywords": ["a", "b"]}), "expected a string"),
        ("get", json!({}), "missing field `ci`"),
        ("get", json!({"ci": ""}), "ci_code: it is empty"),
        (
            "impact",
            json!({"ci": "db-1", "depth": 4}),
            "depth: 4 is outside 1 to 3",
        ),
        (
            "impact",
            json!({"ci": "db-1", "limit": 0}),
            "max_nodes: 0 is outside 1 to 2000",
        ),
        (
            "related",
            json!({"ci": "db-1", "view": "EVERYTHING"}),
            "allowed are SUMMARY",
        ),
        (
            "related",
            json!({"ci": "db-1", "direction": "up"}),
            "allowed are out, in, both",
        ),
        (
            "path",
            json!({"from": "db-1", "to": "app-1", "max_hops": 7}),
            "max_hops: 7 is outside 1 to 6",
        ),
        ("count", json!({"group_by": ["ci_name"]}), "allowed are"),
        (
            "what_changed",
            json!({"limit": 0}),
            "limit: 0 is outside 1 to 500",
        ),
        ("what_changed", json!({"since": "yesterday"}), "failed to accept"),
    ] {
        let said = program.refused(tool, arguments.clone());
        assert!(said.contains(says), "{tool} {arguments}: {said}");
    }
    let unknown = program.ask("tools/call", &json!({"name": "delete", "arguments": {}}));
    assert!(
        unknown["error"]["message"]
            .as_str()
            .unwrap()
            .contains("search, get"),
        "{unknown}"
    );
    let method = program.ask("resources/read", &json!({"uri": "file:///etc/passwd"}));
    assert_eq!(method["error"]["code"], -32601, "{method}");
    // What is no message of the protocol ends nothing.
    program.send("{\"no\": \"message\"");
    program.send("");
    program.send(&"[".repeat(100_000));
    let found = loop {
        program.send(
            &json!({"jsonrpc": "2.0", "id": "after", "method": "tools/call", "params": {"name": "count"}})
                .to_string(),
        );
        let answer = program.receive();
        if answer["id"] == "after" {
            break told(&answer["result"]);
        }
        assert!(answer["error"].is_object(), "{answer}");
    };
    assert_eq!(found["items"], json!([{"count": 5}]));
}

#[tokio::test]
async fn another_tenants_ci_is_as_absent_as_one_that_never_was() {
    on_both(async |fixture| {
        let store = filled(fixture).await;
        let secret = {
            let mut other = Conversation::greeted(fixture, "other", &[]);
            other.told("get", json!({"ci": "secret-1"}))["ci"]["ci_id"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let mut program = Conversation::greeted(fixture, "acme", &[]);
        let absent_id = "0189d7a4-1111-4222-8333-444455556666";
        for (theirs, nobodys) in [("secret-1", "secret-9"), (secret.as_str(), absent_id)] {
            for form in [
                |ci: &str| ("get", json!({"ci": ci})),
                |ci: &str| ("get", json!({"ci": ci, "include_deleted": true})),
                |ci: &str| ("impact", json!({"ci": ci})),
                |ci: &str| ("related", json!({"ci": ci})),
                |ci: &str| ("path", json!({"from": ci, "to": "db-1"})),
                |ci: &str| ("path", json!({"from": "db-1", "to": ci})),
            ] {
                let (tool, arguments) = form(theirs);
                let said = program.call(tool, arguments);
                let (tool, arguments) = form(nobodys);
                assert_eq!(said, program.call(tool, arguments));
                let said = refused(&said);
                assert!(said.starts_with("no such CI (`"), "{said}");
                assert!(!said.contains("secret"), "{said}");
            }
            let found = program.told(
                "search",
                json!({"keywords": theirs, "include_deleted": true, "total": true}),
            );
            assert_eq!((&found["items"], &found["total"]), (&json!([]), &json!(0)));
        }
        drop(program);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_program_that_is_told_to_stop_ends_while_its_input_is_open() {
    on_both(async |fixture| {
        filled(fixture).await.close().await;
        let mut program = Conversation::greeted(fixture, "acme", &[]);
        assert_eq!(program.told("count", json!({}))["items"], json!([{"count": 5}]));
        assert_eq!(program.stop(), (0, String::new(), String::new()));
    })
    .await;
}

#[tokio::test]
async fn a_program_that_cannot_begin_says_why_and_nothing_on_stdout() {
    let fixture = Fixture::sqlite();
    let (code, out, err) = Conversation::start(&fixture, "acme", &[]).end();
    assert_eq!(
        (code, out.as_str()),
        (3, ""),
        "a question makes no database: {err}"
    );
    filled(&fixture).await.close().await;
    let (code, out, err) = Conversation::start(&fixture, "", &[]).end();
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    let (code, out, err) = Conversation::start(&fixture, "acme", &["--answer-bytes", "100"]).end();
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("8192..=1048576"), "{err}");
    let (code, out, err) = Conversation::start(&fixture, "acme", &[]).end();
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "", ""),
        "whoever asks nothing did nothing wrong"
    );
}
