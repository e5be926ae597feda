//! Running the program: in a folder of its own, to its end or as a service.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use ci_bench::Estate;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a database.
pub(crate) struct Place(TempDir);

/// How a run ended.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("an exit code"),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

impl Done {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {}{}", self.out, self.err))
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// With an estate of 300 CIs of tenant `acme`.
    pub(crate) fn filled() -> Self {
        let place = Self::new();
        let (cis, relations) = place.estate(Estate::new(1, 300));
        let done = place.run(&["import", "FILE", "--relations", "FILE"], &[&cis, &relations]);
        assert_eq!(done.code, 0, "{}", done.err);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    pub(crate) fn estate(&self, estate: Estate) -> (PathBuf, PathBuf) {
        let (cis, relations) = (self.path("cis.jsonl"), self.path("relations.jsonl"));
        estate
            .write_cis(File::create(&cis).expect("a file"))
            .expect("CIs");
        estate
            .write_relations(File::create(&relations).expect("a file"))
            .expect("relations");
        (cis, relations)
    }

    pub(crate) fn compressed(&self, from: &Path, name: &str) -> PathBuf {
        let path = self.path(name);
        let file = File::create(&path).expect("a file");
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder
            .write_all(&std::fs::read(from).expect("a file"))
            .expect("written");
        encoder.finish().expect("finished");
        path
    }

    fn database(&self) -> String {
        format!("sqlite:{}", self.path("cmdb.db").display())
    }

    fn command(&self, database: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ci-cache"));
        command.current_dir(self.0.path()).args(arguments);
        command
            .env("CI_CACHE_DATABASE", database)
            .env("CI_CACHE_TENANT", "acme")
            .env_remove("CI_CACHE_LOG");
        // The demo has no use for the variable; everything else may as well be told by the option.
        if arguments.first() == Some(&"demo") {
            command.args(["--database", database]);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs to the end; arguments in capitals that are no values are replaced by the files, in their order.
    pub(crate) fn run(&self, arguments: &[&str], files: &[&Path]) -> Done {
        let mut files = files.iter().map(|file| file.to_str().expect("a text"));
        let is_file = |argument: &str| ["FILE", "RELATIONS", "REJECTS"].contains(&argument);
        let arguments: Vec<&str> = arguments
            .iter()
            .map(|argument| {
                if is_file(argument) {
                    files.next().expect("a file")
                } else {
                    argument
                }
            })
            .collect();
        self.command(&self.database(), &arguments)
            .output()
            .expect("it runs")
            .into()
    }

    pub(crate) fn run_at(&self, database: &str, arguments: &[&str]) -> Done {
        self.command(database, arguments)
            .output()
            .expect("it runs")
            .into()
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Done {
        let mut command = self.command(&self.database(), arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("written");
        drop(stdin);
        child.wait_with_output().expect("it ends").into()
    }

    /// Starts it, and lets it log errors alone: nobody reads the log, and a full pipe would stop it.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(&self.database(), arguments)
            .env("CI_CACHE_LOG", "error")
            // However long a poll takes on a machine that stalls, what is cached is answered from memory.
            .env("CI_CACHE_POLL_TIMEOUT", "60s")
            .spawn()
            .expect("it starts")
    }
}

/// A running service; killed when the test ends before it.
pub(crate) struct Service {
    child: Child,
    out: BufReader<ChildStdout>,
    /// `HOST:PORT`
    pub(crate) address: String,
}

impl Service {
    /// Waits for the line that tells the address.
    pub(crate) fn start(mut child: Child) -> Self {
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            if out.read_line(&mut line).expect("text") == 0 {
                let mut err = String::new();
                child
                    .stderr
                    .take()
                    .expect("a pipe")
                    .read_to_string(&mut err)
                    .expect("text");
                panic!("it ended without an address: {err}");
            }
            let told = line.trim().strip_prefix("listening on ");
            if let Some((_, address)) = told.and_then(|told| told.split_once("://")) {
                break address.to_owned();
            }
        };
        Self { child, out, address }
    }

    /// The lines that follow.
    pub(crate) fn lines(&mut self) -> impl Iterator<Item = String> {
        self.out.by_ref().lines().map(|line| line.expect("text"))
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.get_with(path, "")
    }

    /// Asks with a header, a whole line.
    pub(crate) fn get_with(&self, path: &str, header: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: localhost\r\n{header}connection: close\r\n\r\n"
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// Asks it to stop as a supervisor does, and waits.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(id.expect("an id"), rustix::process::Signal::TERM).expect("a signal");
        self.child.wait().expect("it ends")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended in most tests; one that failed must not leave a process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
