//! A log of requests, to be asked again: what was asked of a runner, and when.
//!
//! Recording must not slow down whoever asks, so a request is put into a bounded queue and written by a thread of its own; when the queue is full it
//! is left out and counted. The file is JSON Lines: a header, a line for each request, and at the end what was left out.
//!
//! ```text
//! {"format":"ci-cache request log","version":1}
//! {"at_us":1520,"ask":"one","keys":["01040000006163..."]}
//! {"at_us":1544,"ask":"page","keys":["0104...","0104..."]}
//! {"recorded":2,"dropped":0}
//! ```
//!
//! `at_us` are microseconds since the recording began, `ask` says how the questions were asked together, and a key ([`Key`]) in hexadecimal is the
//! whole question with its tenant. So the file holds keywords and filter values: protect it like the database. Answers are not in it.

use std::fs::File;
use std::io::{self, BufRead, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use ci_model::{Key, Question, TenantId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

const FORMAT: &str = "ci-cache request log";
const VERSION: u32 = 1;
/// Requests that wait to be written; beyond that they are left out.
const QUEUE: usize = 16_384;

/// How the questions of a request were asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Form {
    /// One question by itself. A search that falls back is several: a step each.
    One,
    /// Several gets, by [`Tenant::get_many`](crate::Tenant::get_many).
    Batch,
    /// Several that belong together, such as a dashboard.
    Page,
    /// An expansion with its CIs in full.
    Traverse,
}

/// A request of a log.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// When it began, in microseconds since the recording did.
    pub at_us: u64,
    /// How it was asked.
    pub form: Form,
    /// Whose it was.
    pub tenant: TenantId,
    /// What was asked.
    pub questions: Vec<Question>,
}

/// What a recording came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Recorded {
    /// Requests that are in the file.
    pub recorded: u64,
    /// Requests that are not, because the queue was full or the file could not be written.
    pub dropped: u64,
}

/// Writes a log of what a runner is asked: for [`RunnerBuilder::record`](crate::RunnerBuilder::record). Clones write one file.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    began: Instant,
    /// None once it is finished.
    queue: Mutex<Option<SyncSender<Entry>>>,
    dropped: Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<u64>>>,
}

/// A request on its way to the file.
struct Entry {
    at_us: u64,
    form: Form,
    keys: Vec<Key>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at_us: u64,
    ask: Form,
    keys: Vec<String>,
}

impl Recorder {
    /// Begins a log in a new file, in place of one that is there; on Unix it is its owner's alone.
    ///
    /// # Errors
    /// When the file cannot be made, or a thread cannot be started.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Self::to(BufWriter::new(options.open(path)?), QUEUE)
    }

    fn to(mut out: impl Write + Send + 'static, room: usize) -> io::Result<Self> {
        let header = Header {
            format: FORMAT.to_owned(),
            version: VERSION,
        };
        line(&mut out, &header)?;
        let (queue, entries) = sync_channel(room);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        let writer = thread::Builder::new()
            .name("ci-cache-record".to_owned())
            .spawn(move || write_all(out, &entries, &counted))?;
        Ok(Self(Arc::new(Shared {
            began: Instant::now(),
            queue: Mutex::new(Some(queue)),
            dropped,
            writer: Mutex::new(Some(writer)),
        })))
    }

    /// Records a request; never waits for the file. Cost: a key for each question, and a lock that is held for a moment.
    pub(crate) fn record(&self, form: Form, tenant: &TenantId, questions: &[Question]) {
        let at_us = u64::try_from(self.0.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let keys = questions
            .iter()
            .map(|question| Key::new(tenant, question))
            .collect();
        let entry = Entry { at_us, form, keys };
        let sent = match &*self.0.queue.lock() {
            Some(queue) => queue.try_send(entry),
            None => Err(TrySendError::Disconnected(entry)),
        };
        if sent.is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests that have been left out so far.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Ends the log and waits until it is written; requests that come later are left out. Blocks for as long as the file takes: in an
    /// asynchronous program call it where that is allowed. Called again it says nothing was recorded.
    pub fn finish(&self) -> Recorded {
        self.0.queue.lock().take();
        let writer = self.0.writer.lock().take();
        Recorded {
            recorded: writer.and_then(|writer| writer.join().ok()).unwrap_or(0),
            dropped: self.dropped(),
        }
    }
}

fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Writes what comes until nobody sends any more; gives how many requests were written. After a failure the rest counts as dropped.
fn write_all(mut out: impl Write, entries: &Receiver<Entry>, dropped: &AtomicU64) -> u64 {
    let (mut recorded, mut works) = (0, true);
    for Entry { at_us, form, keys } in entries {
        let keys = keys.iter().map(|key| to_hex(key.as_bytes())).collect();
        let entry = Line {
            at_us,
            ask: form,
            keys,
        };
        works = works && line(&mut out, &entry).is_ok();
        if works {
            recorded += 1;
        } else {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
    let end = Recorded {
        recorded,
        dropped: dropped.load(Ordering::Relaxed),
    };
    if line(&mut out, &end).and_then(|()| out.flush()).is_err() {
        tracing::warn!("the end of a request log could not be written");
    }
    recorded
}

/// Reads a log: its requests, and what its end says of it (all zero where it has none, because the process was killed).
///
/// A request with a question that cannot be read back is left out and counted in the last number: the broad step of a search is such a one, and
/// so is every question of a key format that this version does not know, and a request whose questions are of several tenants.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] naming the line that is none, and those of the reader.
pub fn read_log(text: impl BufRead) -> io::Result<(Vec<Request>, Recorded, u64)> {
    let invalid = |number: usize, what: &str| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("line {number} of the request log: {what}"),
        )
    };
    let mut lines = text.lines();
    let header = lines.next().transpose()?.unwrap_or_default();
    let is_known = serde_json::from_str(&header)
        .is_ok_and(|header: Header| header.format == FORMAT && header.version == VERSION);
    if !is_known {
        return Err(invalid(1, "no header of a version that this program reads"));
    }
    let (mut requests, mut end, mut unreadable) = (Vec::new(), Recorded::default(), 0);
    for (number, text) in (2..).zip(lines) {
        let text = text?;
        if let Ok(recorded) = serde_json::from_str(&text) {
            end = recorded;
            break;
        }
        let line: Line = serde_json::from_str(&text).map_err(|error| invalid(number, &error.to_string()))?;
        match request(&line) {
            Some(request) => requests.push(request),
            None => unreadable += 1,
        }
    }
    Ok((requests, end, unreadable))
}

fn request(line: &Line) -> Option<Request> {
    let read = line
        .keys
        .iter()
        .map(|key| Key::read(&from_hex(key)?))
        .collect::<Option<Vec<_>>>()?;
    let tenant = read.first()?.0.clone();
    // No runner is asked for two tenants at once: the questions of one must not become another's.
    if read.iter().any(|(of, _)| *of != tenant) {
        return None;
    }
    Some(Request {
        at_us: line.at_us,
        form: line.ask,
        tenant,
        questions: read.into_iter().map(|(_, question)| question).collect(),
    })
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|half| char::from(DIGITS[usize::from(half)]))
        .collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let half = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| Some(half(pair[0])? << 4 | half(pair[1])?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ci_model::{Aggregate, CiCode, Get, Search};
    use std::sync::mpsc;

    fn questions() -> Vec<Question> {
        vec![
            Get::new(CiCode::new("db-1").unwrap()).into(),
            Search::builder()
                .keyword("erp 東京")
                .limit(7)
                .build()
                .unwrap()
                .into(),
            Aggregate::builder().group_by("status").build().unwrap().into(),
        ]
    }

    #[test]
    fn a_log_reads_as_it_was_asked() {
        let folder = tempfile::tempdir().unwrap();
        let (path, acme) = (folder.path().join("log"), TenantId::new("acme").unwrap());
        let recorder = Recorder::create(&path).unwrap();
        recorder.record(Form::One, &acme, &questions()[..1]);
        recorder.record(Form::Page, &acme, &questions());
        let ended = recorder.finish();
        assert_eq!((ended.recorded, ended.dropped), (2, 0));
        recorder.record(Form::One, &acme, &questions()[..1]);
        assert_eq!(recorder.dropped(), 1, "what comes after the end is counted");
        let text = std::fs::read(&path).unwrap();
        let (requests, end, unreadable) = read_log(&text[..]).unwrap();
        assert_eq!((end, unreadable), (ended, 0));
        assert_eq!(requests[1].questions, questions());
        assert_eq!((requests[1].form, &requests[1].tenant), (Form::Page, &acme));
        assert!(requests[0].at_us <= requests[1].at_us);
    }

    /// Takes the header, and what comes after it once the gate is open. A line comes in pieces, so what a piece begins with says nothing.
    struct Slow {
        gate: Receiver<()>,
        has_header: bool,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.has_header {
                // An error means that the gate is open for good.
                let _open = self.gate.recv();
            }
            self.has_header |= bytes.ends_with(b"\n");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_queue_holds_nobody_up_and_is_counted() {
        let (open, gate) = mpsc::channel::<()>();
        let recorder = Recorder::to(
            Slow {
                gate,
                has_header: false,
            },
            4,
        )
        .unwrap();
        let acme = TenantId::new("acme").unwrap();
        for _ in 0..100 {
            recorder.record(Form::One, &acme, &questions()[..1]);
        }
        // Four wait, and one is with the writer at most.
        assert!(recorder.dropped() >= 95, "{}", recorder.dropped());
        drop(open);
        let ended = recorder.finish();
        assert_eq!(
            ended.recorded + ended.dropped,
            100,
            "each is in the file or counted"
        );
    }

    /// The fuzzer found that every question of a line was read as one of the first one's tenant.
    #[test]
    fn the_questions_of_one_tenant_never_become_anothers() {
        let key = |tenant: &str| {
            let key = Key::new(&TenantId::new(tenant).unwrap(), &questions()[0]);
            to_hex(key.as_bytes())
        };
        let read = |keys: [String; 2]| {
            let [one, other] = keys;
            let log = format!(
                "{{\"format\":\"{FORMAT}\",\"version\":{VERSION}}}\n\
                 {{\"at_us\":1,\"ask\":\"page\",\"keys\":[\"{one}\",\"{other}\"]}}\n"
            );
            let (requests, _, unreadable) = read_log(log.as_bytes()).unwrap();
            (requests.len(), unreadable)
        };
        assert_eq!(read([key("acme"), key("acme")]), (1, 0));
        assert_eq!(read([key("acme"), key("other")]), (0, 1));
    }

    #[test]
    fn other_files_are_refused_and_damage_is_named() {
        assert!(read_log(&b""[..]).is_err());
        assert!(read_log(&b"{\"format\":\"ci-cache request log\",\"version\":2}\n"[..]).is_err());
        let header = "{\"format\":\"ci-cache request log\",\"version\":1}\n";
        let error = read_log(format!("{header}nonsense\n").as_bytes()).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        let cut = format!("{header}{{\"at_us\":1,\"ask\":\"one\",\"keys\":[\"01zz\"]}}\n");
        let (requests, end, unreadable) = read_log(cut.as_bytes()).unwrap();
        assert_eq!((requests.len(), end, unreadable), (0, Recorded::default(), 1));
    }
}
