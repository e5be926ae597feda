//! Child processes: started, waited for, told to stop, and never outlived by accident.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};

use crate::interrupt::{self, Stop};

/// How often a wait looks at its child and at the note of [`interrupt`].
const POLL: Duration = Duration::from_millis(20);
/// How long a child may take to end by itself after it was told to.
const GRACE: Duration = Duration::from_secs(10);

/// The request to stop, as an error: `main` turns it into the exit code of the signal.
#[derive(Debug)]
pub(crate) struct Interrupted(pub(crate) Stop);

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped by a signal")
    }
}

impl std::error::Error for Interrupted {}

/// Who a signal for a child is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The child alone; it shares our process group, so the terminal reaches it without us.
    Child,
    /// The child and all it started; it leads a process group of its own.
    Group,
}

/// The `cargo` that runs us, so that a `+toolchain` choice holds for the children too.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    forget_ourselves(&mut command);
    command
}

/// Takes from a command what cargo has told us about our own package. The build scripts of some dependencies (ring's) ask for these
/// variables: with ours they would run again, and everything above them would be built again, whenever cargo is called in the other way.
pub(crate) fn forget_ourselves(command: &mut Command) {
    let ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())) {
        command.env_remove(name);
    }
}

/// The workspace's folder: the nearest one upwards that holds this package's folder.
pub(crate) fn workspace_root() -> anyhow::Result<PathBuf> {
    let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(package) => PathBuf::from(package),
        None => std::env::current_dir().context("cannot tell the current folder")?,
    };
    let root = start
        .ancestors()
        .find(|dir| dir.join("xtask/Cargo.toml").is_file());
    root.map(Path::to_path_buf)
        .context("not inside the ci-cache workspace; run it from there")
}

/// Waits a little. This program watches processes it does not control, through interfaces that cannot block on them.
pub(crate) fn pause() {
    #[expect(
        clippy::disallowed_methods,
        reason = "polls foreign processes; no test waits on it"
    )]
    std::thread::sleep(POLL);
}

/// Runs a command that owns the terminal (a server, a shell) and waits for it.
pub(crate) fn run_interactive(command: &mut Command) -> anyhow::Result<ExitStatus> {
    let child = command.spawn().with_context(|| cannot_start(command))?;
    supervise(child, Reach::Child)
}

/// Runs a command without input, in a process group of its own, so that all it started can be stopped.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<ExitStatus> {
    let child = command.stdin(Stdio::null()).process_group(0).spawn();
    supervise(child.with_context(|| cannot_start(command))?, Reach::Group)
}

/// Like [`run`], and gives every line of standard output to `each` (which decides about printing it).
pub(crate) fn run_reading(
    command: &mut Command,
    mut each: impl FnMut(&str) + Send,
) -> anyhow::Result<ExitStatus> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn().with_context(|| cannot_start(command))?;
    let output = child.stdout.take().context("the child has no output to read")?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Bytes, not `lines()`: a test may print what is not UTF-8 and must not end the reading.
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(read) if read > 0) {
                each(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
                line.clear();
            }
        });
        supervise(child, Reach::Group)
    })
}

/// The exit code to pass on; a program that a signal ended counts as failed.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1)
}

/// Runs a short command and returns its standard output; a failure carries its standard error.
pub(crate) fn output_of(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| cannot_start(command))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed ({}):\n{}",
            name_of(command),
            output.status,
            text.trim_end()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed no UTF-8", name_of(command)))
}

/// Sends `signal` to a child that has not been reaped yet.
pub(crate) fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = pid_of(child) {
        // The only failure is "no such process": it ended by itself, which is what we want.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Waits until the child has ended or `limit` is over; `true` when it has ended.
pub(crate) fn ends_within(child: &mut Child, limit: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < limit {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        pause();
    }
    false
}

fn supervise(mut child: Child, reach: Reach) -> anyhow::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a child process")? {
            // A child that the same Ctrl-C ended must not look like a failure of its own.
            return match interrupt::requested() {
                Some(stop) if !status.success() => Err(Interrupted(stop).into()),
                _ => Ok(status),
            };
        }
        if let Some(stop) = interrupt::requested() {
            end(&mut child, reach, stop);
            return Err(Interrupted(stop).into());
        }
        pause();
    }
}

fn end(child: &mut Child, reach: Reach, stop: Stop) {
    // In our own group the terminal told the child already; a second signal would cut its clean shutdown short.
    let told = reach == Reach::Child && stop == Stop::Keyboard;
    if told && ends_within(child, GRACE) {
        return;
    }
    reach_out(child, reach, Signal::TERM);
    if !ends_within(child, GRACE) {
        reach_out(child, reach, Signal::KILL);
        let _ = child.wait();
    }
}

fn reach_out(child: &Child, reach: Reach, what: Signal) {
    match (reach, pid_of(child)) {
        (Reach::Group, Some(leader)) => {
            let _ = rustix::process::kill_process_group(leader, what);
        }
        _ => signal(child, what),
    }
}

/// The process id of a child, for a signal.
pub(crate) fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

fn name_of(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start {}", name_of(command))
}
