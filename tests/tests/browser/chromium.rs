//! A browser that tests drive: Chromium without a window, over the pipe of its DevTools protocol.
//!
//! The protocol is JSON messages that end with a zero byte, from the browser on its file 4, to it on its file 3. Nothing waits for a time: a
//! test waits until a page says that something is so, and a page that never does ends the test with what it shows.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Where `cargo xtask test` says it is.
const ENV: &str = "CI_CACHE_TEST_CHROMIUM";
/// After so long without what a test waits for, it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running browser; it ends with its last handle.
pub(crate) struct Browser {
    child: Child,
    wire: Arc<Wire>,
    _profile: TempDir,
}

/// What is sent and what is awaited.
#[derive(Default)]
struct Wire {
    input: Mutex<Option<ChildStdin>>,
    next: AtomicU64,
    answers: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    /// Complaints of each page by its session.
    complaints: Mutex<HashMap<String, Vec<String>>>,
    /// What pages asked their reader for confirmation of.
    dialogs: Mutex<Vec<String>>,
}

impl Browser {
    /// Starts one with a profile of its own.
    pub(crate) fn start() -> Self {
        let program = std::env::var_os(ENV).unwrap_or_else(|| "chromium".into());
        let profile = tempfile::tempdir().expect("a folder");
        // The shell puts the two pipes where the browser looks for them.
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#, "sh"])
            .arg(&program)
            .args([
                "--headless",
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
            ])
            .args([
                "--no-first-run",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
            ])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("a shell");
        let wire = Arc::new(Wire::default());
        *wire.input.lock().expect("not poisoned") = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let reader = Arc::clone(&wire);
        std::thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                reader.take(&message);
            }
            // Whoever waits is told that there will be no answer.
            reader.answers.lock().expect("not poisoned").clear();
        });
        Self {
            child,
            wire,
            _profile: profile,
        }
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let answer = self.wire.call(None, method, params).await;
        answer.unwrap_or_else(|error| {
            let program = std::env::var(ENV).unwrap_or_else(|_| "chromium".into());
            panic!("{method}: {error}; is {program} a Chromium? `cargo xtask test` finds or installs one, or set {ENV}")
        })
    }

    /// Opens a page that shares nothing with others, of this width.
    pub(crate) async fn page(&self, width: u32, height: u32, scheme: &str) -> Page {
        let context = self.call("Target.createBrowserContext", json!({})).await;
        let target = json!({"url": "about:blank", "browserContextId": context["browserContextId"]});
        let target = self.call("Target.createTarget", target).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.call("Target.attachToTarget", attach).await["sessionId"]
            .as_str()
            .expect("a session")
            .to_owned();
        let page = Page {
            wire: Arc::clone(&self.wire),
            session,
        };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({})).await;
        }
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        page.call("Emulation.setDeviceMetricsOverride", metrics).await;
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        page.call("Emulation.setEmulatedMedia", media).await;
        page
    }

    /// What pages asked their reader, who said yes to all of it.
    pub(crate) fn dialogs(&self) -> Vec<String> {
        self.wire.dialogs.lock().expect("not poisoned").clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Without its pipe it ends; it is not waited for longer than that takes.
        self.wire.input.lock().expect("not poisoned").take();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Wire {
    fn send(&self, message: &Value) {
        let mut input = self.input.lock().expect("not poisoned");
        if let Some(input) = input.as_mut() {
            let mut bytes = message.to_string().into_bytes();
            bytes.push(0);
            // A browser that is gone is noticed by who waits for its answer.
            let _ = input.write_all(&bytes).and_then(|()| input.flush());
        }
    }

    async fn call(&self, session: Option<&str>, method: &str, params: Value) -> Result<Value, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = oneshot::channel();
        self.answers.lock().expect("not poisoned").insert(id, sender);
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        self.send(&message);
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let answer = answer.map_err(|_| "no answer".to_owned())?;
        let answer = answer.map_err(|_| "the browser has ended, or did not start".to_owned())?;
        match answer.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(answer["result"].clone()),
        }
    }

    /// Takes a message of the browser.
    fn take(&self, message: &[u8]) {
        let Ok(message) = serde_json::from_slice::<Value>(message) else {
            return;
        };
        if let Some(id) = message["id"].as_u64() {
            let waiting = self.answers.lock().expect("not poisoned").remove(&id);
            if let Some(waiting) = waiting {
                let _ = waiting.send(message);
            }
            return;
        }
        let session = message["sessionId"].as_str().unwrap_or_default();
        let (method, params) = (message["method"].as_str().unwrap_or_default(), &message["params"]);
        if method == "Page.javascriptDialogOpening" {
            let said = params["message"].as_str().unwrap_or_default().to_owned();
            self.dialogs.lock().expect("not poisoned").push(said);
            // Nobody waits for this answer.
            self.send(&json!({"id": 0, "sessionId": session, "method": "Page.handleJavaScriptDialog", "params": {"accept": true}}));
        }
        if let Some(complaint) = complaint(method, params) {
            let mut complaints = self.complaints.lock().expect("not poisoned");
            complaints.entry(session.to_owned()).or_default().push(complaint);
        }
    }
}

/// What is wrong with a page, if an event says that something is.
fn complaint(method: &str, params: &Value) -> Option<String> {
    let is_wrong = match method {
        "Runtime.exceptionThrown" => true,
        "Runtime.consoleAPICalled" => ["error", "warning", "assert"].contains(&params["type"].as_str()?),
        "Log.entryAdded" => ["error", "warning"].contains(&params["entry"]["level"].as_str()?),
        "Network.responseReceived" => params["response"]["status"].as_u64()? >= 400,
        // Live updates end when the page is left.
        "Network.loadingFailed" => params["canceled"] != true && params["errorText"] != "net::ERR_ABORTED",
        _ => false,
    };
    is_wrong.then(|| format!("{method}: {params}"))
}

/// A page.
pub(crate) struct Page {
    wire: Arc<Wire>,
    session: String,
}

impl Page {
    async fn try_call(&self, method: &str, params: Value) -> Result<Value, String> {
        self.wire.call(Some(&self.session), method, params).await
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let answer = self.try_call(method, params).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Goes to an address, and waits until all of the page is there, wherever it was led.
    pub(crate) async fn visit(&self, url: &str) {
        // Not the page that is there already, if it is that one.
        self.eval("window.left = true").await;
        let went = self.call("Page.navigate", json!({"url": url})).await;
        assert!(went.get("errorText").is_none(), "{url}: {went}");
        self.until("!window.left && document.readyState === 'complete'")
            .await;
    }

    /// The value of an expression.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        self.try_eval(expression)
            .await
            .unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    async fn try_eval(&self, expression: &str) -> Result<Value, String> {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.try_call("Runtime.evaluate", asked).await?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(details.to_string()),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// Waits until an expression is true, also across pages that come and go.
    pub(crate) async fn until(&self, expression: &str) {
        let look = format!(
            "new Promise(done => {{ const look = () => {{ let is = false; try {{ is = ({expression}); }} catch {{}} \
             if (is) done(true); else setTimeout(look, 15); }}; look(); }})"
        );
        let wait = async {
            // A page that is left takes the question with it.
            while self.try_eval(&look).await != Ok(Value::Bool(true)) {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let shown = self.eval("location.href + '\\n' + document.body.innerText").await;
            panic!(
                "never was: {expression}\n{}\n{:#?}",
                shown.as_str().unwrap_or_default(),
                self.complaints()
            );
        }
    }

    /// Clicks into the middle of an element, which is brought into sight.
    pub(crate) async fn click(&self, selector: &str) {
        let at = self.middle(selector).await;
        for kind in ["mousePressed", "mouseReleased"] {
            self.mouse(kind, at).await;
        }
    }

    /// The middle of an element, which is brought into sight.
    async fn middle(&self, selector: &str) -> (f64, f64) {
        let look = format!(
            "(() => {{ const it = document.querySelector({selector:?}); it.scrollIntoView({{block: 'center'}}); \
             const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        );
        let at = self.eval(&look).await;
        let number = |value: &Value| value.as_f64().expect("a number");
        (number(&at[0]), number(&at[1]))
    }

    async fn mouse(&self, kind: &str, (x, y): (f64, f64)) {
        let event = json!({"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1});
        self.call("Input.dispatchMouseEvent", event).await;
    }

    /// Drags from the middle of an element by so many pixels.
    pub(crate) async fn drag(&self, selector: &str, by: (f64, f64)) {
        let (x, y) = self.middle(selector).await;
        for (kind, part) in [
            ("mousePressed", 0.0),
            ("mouseMoved", 0.5),
            ("mouseMoved", 1.0),
            ("mouseReleased", 1.0),
        ] {
            self.mouse(kind, (x + by.0 * part, y + by.1 * part)).await;
        }
    }

    /// Types into what has the focus.
    pub(crate) async fn write(&self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Presses a key.
    pub(crate) async fn press(&self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "ArrowLeft" => 37,
            "ArrowRight" => 39,
            _ => u32::from(key.as_bytes()[0]),
        };
        let text = match key {
            "Enter" => "\r",
            key if key.len() == 1 => key,
            _ => "",
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// All that went wrong in this page so far.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let complaints = self.wire.complaints.lock().expect("not poisoned");
        complaints.get(&self.session).cloned().unwrap_or_default()
    }

    /// Fails the test if anything went wrong.
    pub(crate) fn is_clean(&self) {
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }

    /// A picture of what is in sight, as WebP.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        use base64::Engine as _;
        let shot = self
            .call("Page.captureScreenshot", json!({"format": "webp", "quality": 82}))
            .await;
        let data = shot["data"].as_str().expect("a picture");
        base64::engine::general_purpose::STANDARD
            .decode(data)
            .expect("base64")
    }
}
