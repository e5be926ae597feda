//! The program as other programs call it: forms, JSON, exit codes, pipes, signals.

#[allow(dead_code, reason = "other tests of the command line use the rest")]
mod program;

use ci_bench::Estate;
use program::{Place, Service};
use serde_json::{Value, json};

const APP: &str = "app-iam-login-01-1";

#[test]
fn files_of_every_form_are_imported_and_asked() {
    let place = Place::new();
    let (cis, relations) = place.estate(Estate::new(1, 300));
    let gz = place.compressed(&cis, "cis.jsonl.gz");
    let imported = place.run(
        &["import", "--json", "FILE", "--relations", "RELATIONS"],
        &[&gz, &relations],
    );
    assert_eq!(imported.code, 0, "{}", imported.err);
    let report = imported.json();
    assert_eq!(
        (&report["cis"]["created"], &report["cis"]["rejected_count"]),
        (&json!(300), &json!(0))
    );
    assert_eq!(report["relations"]["lines"], report["relations"]["created"]);
    let again = place.run(&["import", "FILE"], &[&cis]);
    assert!(
        again.code == 0 && again.out.contains("300 unchanged"),
        "{}",
        again.out
    );
    let only_relations = place.run(&["import", "--relations", "FILE"], &[&relations]);
    assert_eq!(only_relations.code, 0);

    let found = place.run(
        &[
            "search",
            "--filter",
            "ci_type=SW",
            "--sort",
            "ci_name:desc",
            "--limit",
            "2",
            "--strict",
            "--json",
            "--",
            "iam",
            "LOGIN",
        ],
        &[],
    );
    let found = found.json();
    assert_eq!(found["mode"], "strict");
    let names: Vec<&str> = found["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ci| ci["ci_name"].as_str().unwrap())
        .collect();
    assert!(names.len() == 2 && names[0] > names[1], "{names:?}");
}

#[test]
fn an_exact_match_comes_first_unless_an_order_is_asked_for() {
    let place = Place::new();
    let cis = place.file(
        "cis.jsonl",
        concat!(
            r#"{"ci_code":"a-ssl","ci_name":"wraps OpenSSL","ci_type":"SW"}"#,
            "\n",
            r#"{"ci_code":"m-ssl","ci_name":"OpenSSL","ci_type":"SW"}"#,
            "\n",
            r#"{"ci_code":"z-ssl","ci_name":"uses openssl","ci_type":"SW"}"#,
        ),
    );
    assert_eq!(place.run(&["import", "FILE"], &[&cis]).code, 0);
    let first = |arguments: &[&str]| {
        let arguments = [&["search", "--json"], arguments].concat();
        let found = place.run(&arguments, &[]).json();
        found["items"][0]["ci_code"].as_str().unwrap().to_owned()
    };
    assert_eq!(first(&["openSSL"]), "m-ssl");
    assert_eq!(first(&["openssl", "nowhere"]), "m-ssl", "broad, too");
    assert_eq!(first(&["--strict", "openssl"]), "a-ssl");
    assert_eq!(first(&["--sort", "ci_code", "openssl"]), "a-ssl");
    assert_eq!(first(&["--sort", "ci_code:desc", "openssl"]), "z-ssl");
    let keywords = ["k"; 17];
    let many = place.run(&[&["search"], &keywords[..]].concat(), &[]);
    assert!(
        many.code == 2 && many.err.contains("accept keywords: 17"),
        "{}",
        many.err
    );
    let wrong = place.run(&["search", "--sort", "colour", "x"], &[]);
    assert!(
        wrong.code == 2 && wrong.err.contains("failed to accept the sort column"),
        "{}",
        wrong.err
    );
}

#[test]
fn every_question_is_answered_in_json() {
    let place = Place::filled();
    let list = place
        .run(
            &[
                "list",
                "--limit",
                "3",
                "--offset",
                "1",
                "--filter",
                "ci_type=HW",
                "--json",
            ],
            &[],
        )
        .json();
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    assert!(list["total"].as_u64().unwrap() > 3);
    let groups = place
        .run(
            &[
                "aggregate",
                "--group-by",
                "ci_type,status",
                "--distinct",
                "owner",
                "--json",
            ],
            &[],
        )
        .json();
    let first = &groups["items"][0];
    assert!(
        first["ci_type"].is_string() && first["count"].is_u64() && first["distinct"].is_u64(),
        "{first}"
    );
    let repeated = place.run(
        &[
            "aggregate",
            "--group-by",
            "ci_type",
            "--group-by",
            "status",
            "--distinct",
            "owner",
            "--json",
        ],
        &[],
    );
    assert_eq!(repeated.json(), groups);
    let stats = place.run(&["stats", "--json"], &[]).json();
    assert_eq!(
        (&stats["total"], &stats["database"]),
        (&json!(300), &json!("sqlite"))
    );
}

#[test]
fn graphs_and_paths_are_answered_in_json() {
    let place = Place::filled();
    let graph = place
        .run(
            &["expand", "--view", "impact", "--depth", "1", "--json", APP],
            &[],
        )
        .json();
    assert_eq!(graph["items"][0]["ci_code"], APP);
    assert_eq!(graph["items"][0]["ci_id"], graph["root"]);
    assert!(!graph["relations"].as_array().unwrap().is_empty());
    assert_eq!(
        (&graph["nodes_truncated"], &graph["edges_truncated"]),
        (&json!(false), &json!(false))
    );
    let cut = place
        .run(
            &["expand", "--view", "IMPACT", "--max-nodes", "2", "--json", APP],
            &[],
        )
        .json();
    assert_eq!(
        (&cut["nodes_truncated"], cut["items"].as_array().unwrap().len()),
        (&json!(true), 2)
    );
    let deployed = place
        .run(
            &[
                "expand",
                "--direction",
                "out",
                "--type",
                "DEPLOYED_ON",
                "--json",
                APP,
            ],
            &[],
        )
        .json();
    let types = deployed["relations"].as_array().unwrap();
    assert!(!types.is_empty() && types.iter().all(|relation| relation["rel_type"] == "DEPLOYED_ON"));
    let path = place
        .run(&["path", "--json", "sys-iam-login-01", APP], &[])
        .json();
    assert_eq!(
        (&path["hops"], path["items"].as_array().unwrap().len()),
        (&json!(1), 2)
    );
    let none = place.run(
        &["path", "--json", "--direction", "out", APP, "sys-iam-login-01"],
        &[],
    );
    assert_eq!(
        (none.code, none.json()),
        (0, json!({"items": [], "relations": [], "hops": null}))
    );
    let id = path["items"][1]["ci_id"].as_str().unwrap().to_owned();
    assert_eq!(place.run(&["get", "--json", &id], &[]).json()["ci_code"], APP);
}

#[test]
fn every_question_is_answered_in_tables() {
    let place = Place::filled();
    for (arguments, part) in [
        (&["search", "iam", "login"][..], APP),
        (&["search", "login", "zzzz"], "by any of the keywords"),
        (&["list", "--limit", "1"], "1 of 300, after 0"),
        (&["get", APP], "tags.env"),
        (&["aggregate", "--group-by", "ci_type"], "CI_TYPE"),
        (&["expand", APP], "DEPLOYED_ON"),
        (&["path", "sys-iam-login-01", APP], "COMPOSED_OF"),
        (
            &["path", "--direction", "out", APP, "sys-iam-login-01"],
            "no path of at most 6 steps",
        ),
        (&["stats"], "300 CIs of tenant acme"),
    ] {
        let told = place.run(arguments, &[]);
        assert!(
            told.code == 0 && told.out.contains(part),
            "{arguments:?}: {}{}",
            told.out,
            told.err
        );
    }
}

#[test]
fn exit_codes_tell_what_failed() {
    let place = Place::filled();
    let nowhere = [
        "--database",
        "sqlite:no-such-folder/no-such-file.db",
        "--tenant",
        "acme",
    ];
    for (arguments, code, part) in [
        (&["search", "no-such-ci-anywhere"][..], 0, ""),
        (&["get", "nobody"], 4, "find the CI `nobody` of tenant `acme`"),
        (&["expand", "nobody"], 4, "`nobody`"),
        (&["path", APP, "nobody"], 4, "`nobody`"),
        (&["path", "nobody", APP], 4, "`nobody`"),
        (&["search", "--limit", "501"], 2, "501 is outside 1 to 500"),
        (&["search", "--filter", "colour=red"], 2, "allowed are ci_type"),
        (&["search", "--sort", "owner"], 2, "allowed are ci_code"),
        (&["expand", "--view", "PATH", APP], 2, "ask a path question"),
        (&["aggregate", "--group-by", "created_at"], 2, "created_at"),
        (&["get", "--tenant", " ", APP], 2, "tenant: it is empty"),
        (&["import", "no-such-file.jsonl"], 2, "no-such-file.jsonl"),
        (&["import"], 2, "required"),
        (&["dance"], 2, "dance"),
        (&[&["get", APP], &nowhere[..]].concat(), 3, "reach the database"),
    ] {
        let done = place.run(arguments, &[]);
        assert_eq!(done.code, code, "{arguments:?}: {}", done.err);
        assert!(done.err.contains(part), "{arguments:?}: {}", done.err);
        assert!(code == 0 || done.err.starts_with("error: "), "{}", done.err);
    }
    assert!(!place.path("no-such-folder").exists());
}

#[test]
fn a_password_is_never_shown() {
    let place = Place::new();
    let address = "postgres://someone:hunter2@127.0.0.1:1/cmdb";
    for arguments in [
        &["get", "x"][..],
        &["serve", "--listen", "127.0.0.1:0"],
        &["get", "--help"],
        &["get", "x", "-vv"],
    ] {
        let done = place.run_at(address, arguments);
        assert!(
            !done.out.contains("hunter2") && !done.err.contains("hunter2"),
            "{arguments:?}"
        );
    }
    assert_eq!(place.run_at(address, &["get", "x"]).code, 3);
    let unknown = place.run_at("oracle:someone:hunter2@db", &["get", "x"]);
    assert!(
        unknown.code == 2 && !unknown.err.contains("hunter2"),
        "{}",
        unknown.err
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::filled();
    for arguments in [
        &["list", "--limit", "300", "--json"][..],
        &["list", "--limit", "300"],
        &["--help"],
    ] {
        let mut child = place.spawn(arguments);
        drop(child.stdout.take());
        let done = child.wait_with_output().unwrap();
        let err = String::from_utf8(done.stderr).unwrap();
        assert!(!err.contains("panicked") && !err.contains("error"), "{err}");
        assert!(done.status.success(), "{arguments:?}: {}", done.status);
    }
}

#[test]
fn serve_tells_its_address_answers_and_stops_on_sigterm() {
    let place = Place::filled();
    let service = Service::start(place.spawn(&["serve", "--listen", "127.0.0.1:0"]));
    let answer = service.get(&format!("/v1/acme/cis/{APP}"));
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("x-cache: miss"),
        "{answer}"
    );
    let answer = service.get(&format!("/v1/acme/cis/{APP}"));
    assert!(answer.contains("x-cache: hit"), "{answer}");
    let taken = place.run(&["serve", "--listen", &service.address], &[]);
    assert!(
        taken.code == 2 && taken.err.contains("hint: take another port"),
        "{}",
        taken.err
    );
    assert!(service.stop().success());
}

#[test]
fn tokens_are_made_shown_once_followed_and_revoked() {
    let place = Place::filled();
    let create = |name: &str, rest: &[&str]| {
        let mut line = vec!["token", "create", "--tokens", "tokens.json", "--name", name];
        line.extend(rest);
        place.run(&line, &[])
    };
    let reader = create("grafana", &["--role", "read", "--tenant", "acme", "--days", "30"]);
    assert_eq!(reader.code, 0, "{}", reader.err);
    let other = create("backup", &["--role", "write", "--tenant", "other", "--json"]).json();
    for wrong in [
        create("grafana", &["--role", "read", "--tenant", "acme"]),
        create("x", &["--role", "owner", "--tenant", "acme"]),
        create("x", &["--role", "read"]),
        create("x", &["--role", "read", "--tenant", " "]),
        create("x", &["--role", "admin", "--tenant", "acme"]),
    ] {
        assert_eq!(wrong.code, 2, "{}{}", wrong.out, wrong.err);
    }
    let (reader, other) = (
        reader.out.trim().to_owned(),
        other["token"].as_str().unwrap().to_owned(),
    );
    let listed = place.run(&["token", "list", "--tokens", "tokens.json", "--json"], &[]);
    let names: Vec<Value> = listed.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["name"].clone())
        .collect();
    assert_eq!(names, ["grafana", "backup"]);
    assert!(!listed.out.contains(&reader[13..]) && !listed.out.contains("sha256"));

    let service =
        Service::start(place.spawn(&["serve", "--listen", "127.0.0.1:0", "--tokens", "tokens.json"]));
    let uri = format!("/v1/acme/cis/{APP}");
    let status = |token: &str| {
        let answer = service.get_with(&uri, &format!("authorization: Bearer {token}\r\n"));
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert!(service.get(&uri).starts_with("HTTP/1.1 401"));
    assert!(service.get("/readyz").starts_with("HTTP/1.1 200"));
    assert_eq!(
        (status(&reader).as_str(), status(&other).as_str()),
        ("200", "403")
    );
    let revoked = place.run(&["token", "revoke", "--tokens", "tokens.json", "grafana"], &[]);
    assert_eq!(revoked.code, 0, "{}", revoked.err);
    while status(&reader) != "401" {
        std::thread::yield_now();
    }
    assert_eq!(status(&other), "403");
    // A file that does not fit changes nothing.
    let token = create("second", &["--role", "read", "--tenant", "acme"])
        .out
        .trim()
        .to_owned();
    while status(&token) != "200" {
        std::thread::yield_now();
    }
    place.file("tokens.json", "{}");
    for _ in 0..200 {
        assert_eq!(status(&token), "200");
    }
    assert!(service.stop().success());
    let again = place.run(&["token", "revoke", "--tokens", "tokens.json", "grafana"], &[]);
    assert!(
        again.code == 2 && again.err.contains("missing field"),
        "{}",
        again.err
    );
}

#[test]
fn serve_lets_nobody_else_in_unless_it_is_told_to() {
    let place = Place::filled();
    let refused = place.run(&["serve", "--listen", "0.0.0.0:0"], &[]);
    assert!(
        refused.code == 2 && refused.err.contains("--tokens"),
        "{}",
        refused.err
    );
    let missing = place.run(
        &["serve", "--listen", "127.0.0.1:0", "--tokens", "none.json"],
        &[],
    );
    assert!(
        missing.code == 2 && missing.err.contains("none.json"),
        "{}",
        missing.err
    );
    let service =
        Service::start(place.spawn(&["serve", "--listen", "0.0.0.0:0", "--without-authentication"]));
    assert!(
        service
            .get(&format!("/v1/acme/cis/{APP}"))
            .starts_with("HTTP/1.1 200")
    );
    assert!(service.stop().success());
}

#[test]
fn the_demo_prints_three_commands_that_work() {
    let place = Place::new();
    for _ in 0..2 {
        let child = place.spawn(&["demo", "--port", "0", "--size", "200"]);
        let mut service = Service::start(child);
        let commands: Vec<String> = service
            .lines()
            .filter(|line| line.starts_with("  "))
            .take(3)
            .collect();
        for curl in &commands[..2] {
            let (_, rest) = curl.split_once("http://").expect("an address");
            let (address, path) = rest.trim_end_matches('\'').split_once('/').expect("a path");
            assert_eq!(address, service.address);
            let answer = service.get(&format!("/{path}"));
            assert!(
                answer.starts_with("HTTP/1.1 200 OK") && answer.contains("ci_code"),
                "{curl}: {answer}"
            );
        }
        let shell = std::process::Command::new("sh")
            .args(["-c", &commands[2]])
            .output()
            .unwrap();
        let told = String::from_utf8(shell.stdout).unwrap();
        assert!(
            shell.status.success() && told.contains("steps"),
            "{}: {told}",
            commands[2]
        );
        let answer = service.get("/v1/demo/list?limit=1");
        assert!(
            answer.contains("\"total\":200"),
            "the second run added rows: {answer}"
        );
        assert!(service.stop().success());
    }
}
