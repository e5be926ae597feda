//! Running `ci-cache` from a folder of its own, as somebody would who reads the documentation.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with `ci-cache` on its path.
#[derive(Debug)]
pub struct Desk {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

/// How something ended.
#[derive(Debug)]
pub struct Done {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it logged.
    pub err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Desk {
    /// A folder in which `ci-cache` is this program (`env!("CARGO_BIN_EXE_ci-cache-tested")` of the test).
    ///
    /// # Panics
    /// When no temporary folder can be made.
    pub fn new(program: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin).expect("a folder");
        #[cfg(unix)]
        std::os::unix::fs::symlink(program, bin.join("ci-cache")).expect("a link");
        #[cfg(not(unix))]
        std::fs::copy(program, bin.join("ci-cache.exe")).expect("a copy");
        Self {
            folder,
            variables: Vec::new(),
        }
    }

    /// Sets a variable of the environment for all that runs later.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    /// Lines of a shell, with `ci-cache` on its path and no other variable of ours than those that were set.
    pub fn shell(&self, script: &str) -> Command {
        let ours = std::env::vars_os().map(|(name, _)| name);
        let ours = ours.filter(|name| name.to_string_lossy().starts_with("CI_CACHE_"));
        let mut command = Command::new("sh");
        command.args(["-euc", script]).current_dir(self.folder.path());
        ours.for_each(|name| {
            command.env_remove(name);
        });
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = [self.path("bin")].into_iter().chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(paths).unwrap_or(path.clone()));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs lines of a shell to their end.
    ///
    /// # Panics
    /// When there is no shell.
    pub fn run(&self, script: &str) -> Done {
        let mut command = self.shell(script);
        command.stdin(Stdio::null()).output().expect("a shell").into()
    }

    /// Starts something that runs on.
    ///
    /// # Panics
    /// When there is no shell.
    pub fn start(&self, script: &str) -> Running {
        let mut command = self.shell(&format!("exec {script}"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Running(command.spawn().expect("it starts"))
    }

    /// What the doctor says, with these arguments, and its exit code.
    ///
    /// # Panics
    /// When it says nothing.
    pub fn doctor(&self, arguments: &str) -> (Value, i32) {
        let done = self.run(&format!("ci-cache doctor --json {arguments}"));
        let said = serde_json::from_str(&done.out).unwrap_or_else(|_| panic!("no JSON: {}", done.err));
        (said, done.code)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A service of the program, over an empty SQLite file in a folder of its own.
#[derive(Debug)]
pub struct Served {
    desk: Desk,
    running: Running,
    address: String,
}

impl Served {
    /// Starts it with these arguments, and waits until it listens. Its polls may take as long as they like, and so may what is under way when it
    /// is stopped, if the arguments do not say how long.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(program: &str, arguments: &str) -> Self {
        Self::over(program, "sqlite:cmdb.db", arguments)
    }

    /// The same over another database.
    ///
    /// # Panics
    /// When it does not.
    pub fn over(program: &str, database: &str, arguments: &str) -> Self {
        let desk = Desk::new(program);
        let drain = if arguments.contains("--drain-timeout") {
            ""
        } else {
            "--drain-timeout 60s"
        };
        let mut running = desk.start(&format!(
            "ci-cache serve --database {database} --listen 127.0.0.1:0 --poll-timeout 60s {drain} {arguments}"
        ));
        let mut line = String::new();
        let out = running.out().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("text");
        let address = line.trim().rsplit('/').next().expect("an address").to_owned();
        assert!(!address.is_empty(), "it ended without an address");
        Self {
            desk,
            running,
            address,
        }
    }

    /// Sends a request with these header lines, each with its line end; gives the answer, head and body.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// The same; gives the status alone.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn status(&self, method: &str, path: &str, headers: &str, body: &str) -> u16 {
        let headers = format!("host: localhost\r\n{headers}");
        let answer = self.ask(method, path, &headers, body);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.expect("a status")
    }

    /// Stops it as a supervisor does; gives its exit code.
    ///
    /// # Panics
    /// When it cannot be told to.
    pub fn stop(mut self) -> i32 {
        let told = self.desk.run(&format!("kill {}", self.running.id()));
        assert_eq!(told.code, 0, "{}", told.err);
        self.running.wait()
    }
}

/// Something that runs; killed when the test ends before it.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Its standard output, once.
    pub fn out(&mut self) -> Option<std::process::ChildStdout> {
        self.0.stdout.take()
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When the system has lost it.
    pub fn wait(&mut self) -> i32 {
        self.0.wait().expect("it ends").code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended in most tests; one that failed must not leave a process behind.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
