//! A client of the protocol that speaks line by line, so that what is on the wire is what is looked at.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use ci_model::{CiDraft, RelationDraft, TenantId};
use ci_store::{Store, WriteOptions};
use ci_tests::fixture::Fixture;
use serde_json::{Value, json};

/// What `initialize` says.
pub(crate) const VERSION: &str = "2025-06-18";

/// A program that was started as an assistant starts it.
pub(crate) struct Conversation {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    next: u64,
}

impl Conversation {
    /// Starts the program for a tenant.
    pub(crate) fn start(fixture: &Fixture, tenant: &str, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ci-cache-tested"))
            .args(["mcp", "--tenant", tenant, "--database", fixture.address()])
            .args(more)
            .env_remove("CI_CACHE_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Self {
            child,
            input,
            output: BufReader::new(output.expect("its output")),
            next: 0,
        }
    }

    /// Starts it and greets it.
    pub(crate) fn greeted(fixture: &Fixture, tenant: &str, more: &[&str]) -> Self {
        let mut conversation = Self::start(fixture, tenant, more);
        let hello = conversation.greet();
        assert_eq!(hello["serverInfo"]["name"], "ci-cache", "{hello}");
        conversation
    }

    pub(crate) fn greet(&mut self) -> Value {
        let client = json!({"name": "test", "version": "1"});
        let hello = json!({"protocolVersion": VERSION, "capabilities": {}, "clientInfo": client});
        let hello = self.ask("initialize", &hello)["result"].take();
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string());
        hello
    }

    pub(crate) fn send(&mut self, line: &str) {
        let input = self.input.as_mut().expect("not ended");
        writeln!(input, "{line}").expect("it reads");
    }

    pub(crate) fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not the protocol: {line:?}"))
    }

    /// Asks, and gives the answer with the same number.
    pub(crate) fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.next += 1;
        let id = self.next;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
        let answer = self.receive();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Calls a tool, and gives its result.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let mut params = json!({"name": tool});
        params["arguments"] = arguments;
        self.ask("tools/call", &params)["result"].take()
    }

    /// Calls a tool that answers; gives what it tells.
    pub(crate) fn told(&mut self, tool: &str, arguments: Value) -> Value {
        told(&self.call(tool, arguments))
    }

    /// Calls a tool that refuses; gives what it says.
    pub(crate) fn refused(&mut self, tool: &str, arguments: Value) -> String {
        refused(&self.call(tool, arguments))
    }

    /// Asks the program to stop as a supervisor does, while it listens; gives what [`end`](Self::end) does.
    pub(crate) fn stop(mut self) -> (i32, String, String) {
        let line = format!("kill -TERM {}", self.child.id());
        let told = Command::new("sh").args(["-c", &line]).status().expect("a shell");
        assert!(told.success());
        // Kept open, so that it is not the end of the input that ends it.
        let input = self.input.take();
        let ended = self.end();
        drop(input);
        ended
    }

    /// Ends the input, and gives what else was said: the exit code, on stdout, on stderr.
    pub(crate) fn end(mut self) -> (i32, String, String) {
        drop(self.input.take());
        let (mut out, mut err) = (String::new(), String::new());
        self.output.read_to_string(&mut out).expect("text");
        let log = self.child.stderr.as_mut().expect("its log");
        log.read_to_string(&mut err).expect("text");
        let code = self.child.wait().expect("it ends").code().unwrap_or(-1);
        (code, out, err)
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // It has ended in most tests; one that failed must not leave a process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of a result.
pub(crate) fn text(result: &Value) -> &str {
    assert_eq!(result["content"].as_array().map(Vec::len), Some(1), "{result}");
    result["content"][0]["text"].as_str().expect("a text")
}

/// What a result tells: in a text, and the same once more structured.
pub(crate) fn told(result: &Value) -> Value {
    assert_eq!(result["isError"], false, "{result}");
    let told: Value = serde_json::from_str(text(result)).expect("JSON");
    assert_eq!(result["structuredContent"], told);
    assert!(
        told["left_out"].is_array() && told["freshness"].is_object(),
        "{told}"
    );
    told
}

/// What a refusal says: a text, and nothing that could be taken for an answer.
pub(crate) fn refused(result: &Value) -> String {
    assert_eq!(result["isError"], true, "{result}");
    assert!(result.get("structuredContent").is_none(), "{result}");
    text(result).to_owned()
}

/// The values that a list has under a name.
pub(crate) fn all(list: &Value, name: &str) -> Vec<String> {
    let list = list.as_array().expect("a list");
    let one = |value: &Value| value[name].as_str().expect("a text").to_owned();
    list.iter().map(one).collect()
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a tenant")
}

/// Writes CIs.
pub(crate) async fn write(store: &dyn Store, name: &str, drafts: &[Value]) {
    let records = drafts.iter().map(|draft| {
        let draft: CiDraft = serde_json::from_value(draft.clone()).expect("a draft");
        draft.check(&tenant(name)).expect("a CI")
    });
    let written = store.upsert_cis(records.collect(), WriteOptions::default()).await;
    assert!(written.expect("written").iter().all(Result::is_ok));
}

/// Writes relations.
pub(crate) async fn relate(store: &dyn Store, name: &str, relations: &[(&str, &str, &str)]) {
    let records = relations.iter().map(|(from, rel_type, to)| {
        let draft = RelationDraft {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            rel_type: (*rel_type).to_owned(),
            from_id: None,
            to_id: None,
        };
        draft.check(&tenant(name)).expect("a relation")
    });
    let written = store
        .upsert_relations(records.collect(), WriteOptions::default())
        .await;
    assert!(written.expect("written").iter().all(Result::is_ok));
}

/// A small estate of tenant `acme`, and one CI of tenant `other`.
pub(crate) async fn filled(fixture: &Fixture) -> std::sync::Arc<dyn Store> {
    let store = fixture.open().await;
    let ci = |code: &str, kind: &str, subtype: &str| {
        json!({"ci_code": code, "ci_name": format!("The {code}"), "ci_type": kind, "ci_subtype": subtype,
               "owner": "ops", "criticality": 4, "tags": {"env": "prod"}, "attributes": {"net": {"ip": "10.0.0.1"}}})
    };
    let all = [
        ci("shop", "SYSTEM", "service"),
        ci("app-1", "SW", "app"),
        ci("db-1", "SW", "db"),
        ci("srv-1", "HW", "server"),
        ci("lonely", "HW", "server"),
    ];
    write(&*store, "acme", &all).await;
    write(&*store, "other", &[ci("secret-1", "SW", "db")]).await;
    let relations = [
        ("shop", "COMPOSED_OF", "app-1"),
        ("app-1", "DEPENDS_ON", "db-1"),
        ("db-1", "RUNS_ON", "srv-1"),
    ];
    relate(&*store, "acme", &relations).await;
    store
}
