//! Files that may be damaged: warm files, request logs, files of tokens. Each is read whole or refused, and nothing comes out that was not in it.

use ci_model::{Groups, Key, ListPage};
use ci_runner::record::{Request, read_log};
use ci_runner::{Reply, warm_file};
use ci_server::access::TokenFile;
use serde_json::{Value, json};

use super::Defect;
use super::questions::{Parts, row, tenant, word};
use super::texts::hex;
use crate::bytes::Bytes;

const BACKEND: &str = "nothing";
const TRAILER: usize = 8;

/// A warm file gives the answers that were written into it, or is refused; behind a checksum that fits nothing panics.
pub(super) fn warm(bytes: &mut Bytes<'_>, planted: Option<Defect>) {
    let entries: Vec<_> = (0..bytes.byte() % 4)
        .filter_map(|_| Some((tenant(bytes.byte()), Parts::draw(bytes).question()?, reply(bytes))))
        .filter(|(tenant, question, _)| Key::read(Key::new(tenant, question).as_bytes()).is_some())
        .collect();
    let whole = warm_file::write(BACKEND, &bytes.text(), &entries);
    let body = &whole[..whole.len() - TRAILER];
    match bytes.byte() % 4 {
        0 => {
            let read = read_warm(&whole, planted).expect("it was written");
            let same = read.1.iter().zip(&entries).all(|(read, written)| {
                (&read.0, &read.2) == (&written.0, &written.2)
                    && Key::new(&read.0, &read.1) == Key::new(&written.0, &written.1)
            });
            assert!(same && read.1.len() == entries.len(), "{read:?} for {entries:?}");
        }
        1 => {
            let damaged = changed(&whole, bytes);
            let read = read_warm(&damaged, planted);
            assert!(
                damaged == whole || read.is_none(),
                "{damaged:?} is read as {read:?}"
            );
        }
        2 => reads_again(&warm_file::seal(changed(body, bytes))),
        _ => {
            let head = body.len().min(usize::from(bytes.byte()));
            reads_again(&warm_file::seal([&body[..head], bytes.rest()].concat()));
        }
    }
}

fn read_warm(bytes: &[u8], planted: Option<Defect>) -> Option<(String, Vec<warm_file::Entry>)> {
    if planted == Some(Defect::ReadsDamagedFiles) {
        let body = bytes.get(..bytes.len().saturating_sub(TRAILER))?;
        return warm_file::read(BACKEND, &warm_file::seal(body.to_vec()));
    }
    warm_file::read(BACKEND, bytes)
}

/// What is read, written and read again is the same.
fn reads_again(bytes: &[u8]) {
    let Some((bookmark, entries)) = warm_file::read(BACKEND, bytes) else {
        return;
    };
    let again = warm_file::read(BACKEND, &warm_file::write(BACKEND, &bookmark, &entries));
    assert_eq!(again, Some((bookmark, entries)));
}

fn reply(bytes: &mut Bytes<'_>) -> Reply {
    let rows = |bytes: &mut Bytes<'_>| -> Vec<_> { (0..bytes.byte() % 3).map(|_| row(bytes)).collect() };
    // Names are checked when they are read, those of rows that nobody could have written are not.
    match bytes.byte() % 4 {
        0 => Reply::Ci(None),
        1 => Reply::Rows(rows(bytes).into()),
        2 => Reply::List(
            ListPage {
                items: rows(bytes),
                total: Some(bytes.micros()),
                last: None,
            }
            .into(),
        ),
        _ => Reply::Groups(
            Groups {
                items: Vec::new(),
                truncated: bytes.byte() % 2 == 1,
            }
            .into(),
        ),
    }
}

/// A few bytes changed, or the end cut off, or something put behind it.
fn changed(whole: &[u8], bytes: &mut Bytes<'_>) -> Vec<u8> {
    let mut other = whole.to_vec();
    for _ in 0..=bytes.byte() % 3 {
        let at = (usize::from(bytes.byte()) * 7 + usize::from(bytes.byte())) % other.len().max(1);
        match bytes.byte() % 4 {
            0 => other.truncate(at),
            1 => other.extend_from_slice(bytes.take(9)),
            _ => {
                if let Some(byte) = other.get_mut(at) {
                    *byte = bytes.byte();
                }
            }
        }
    }
    other
}

/// A log gives no request but those of its lines, each of one tenant and with the questions of its line.
pub(super) fn log(bytes: &mut Bytes<'_>, planted: Option<Defect>) {
    let mut text = b"{\"format\":\"ci-cache request log\",\"version\":1}\n".to_vec();
    for _ in 0..bytes.byte() % 4 {
        let keys: Vec<_> = (0..bytes.byte() % 4).filter_map(|_| key(bytes)).collect();
        let form = bytes.pick(["one", "batch", "page", "traverse"]);
        let line = json!({"at_us": bytes.micros(), "ask": form, "keys": keys});
        text.extend_from_slice(format!("{line}\n").as_bytes());
    }
    let text = match bytes.byte() % 3 {
        0 => [&text, bytes.rest()].concat(),
        1 => changed(&text, bytes),
        _ => text,
    };
    let Ok((mut requests, _, _)) = read_log(&text[..]) else {
        return;
    };
    if planted == Some(Defect::LogsForgetTheTenant) {
        requests.iter_mut().for_each(|request| request.tenant = tenant(0));
    }
    let lines: Vec<Vec<String>> = text.split(|byte| *byte == b'\n').filter_map(keys).collect();
    for request in &requests {
        assert!(lines.contains(&written(request)), "no line asks {request:?}");
    }
}

/// A key in hexadecimal, mostly of one tenant.
fn key(bytes: &mut Bytes<'_>) -> Option<String> {
    let of = tenant(if bytes.byte().is_multiple_of(4) { 1 } else { 3 });
    Some(hex(Key::new(&of, &Parts::draw(bytes).question()?).as_bytes()))
}

/// The keys of a line as they stand there.
fn keys(line: &[u8]) -> Option<Vec<String>> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let keys = line["keys"].as_array()?.iter();
    keys.map(|key| Some(key.as_str()?.to_ascii_lowercase())).collect()
}

/// The keys of the line that a request would be written as.
fn written(request: &Request) -> Vec<String> {
    let questions = request.questions.iter();
    questions
        .map(|question| hex(Key::new(&request.tenant, question).as_bytes()))
        .collect()
}

/// A file of tokens gives all of its rows or is refused, and no two of them have one name or id.
pub(super) fn tokens(bytes: &mut Bytes<'_>, planted: Option<Defect>) {
    let rows: Vec<Value> = (0..bytes.byte() % 4).map(|_| token(bytes)).collect();
    let text = json!({"tokens": rows}).to_string().into_bytes();
    let text = match bytes.byte() % 3 {
        0 => bytes.rest().to_vec(),
        1 => changed(&text, bytes),
        _ => text,
    };
    let Ok(file) = TokenFile::parse(&text) else { return };
    let mut ids: Vec<String> = file.list().into_iter().map(|info| info.id).collect();
    if planted == Some(Defect::LosesTokens) {
        ids.pop();
    }
    let read: Value = serde_json::from_slice(&text).expect("it was read");
    let rows = read["tokens"].as_array().expect("rows").iter();
    assert!(
        rows.map(|row| row["id"].as_str().unwrap_or_default())
            .eq(ids.iter().map(String::as_str))
    );
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
}

fn token(bytes: &mut Bytes<'_>) -> Value {
    let tenants: Vec<String> = (0..bytes.byte() % 3).map(|_| word(bytes)).collect();
    let tenants = if tenants.is_empty() {
        vec!["*".to_owned()]
    } else {
        tenants
    };
    let id = format!("{:08x}", bytes.micros());
    let mut row = json!({
        "id": id, "name": word(bytes), "role": bytes.pick(["read", "write", "admin", "owner"]),
        "tenants": tenants, "created": "2026-01-31T08:00:00Z", "sha256": "0a".repeat(32),
    });
    if bytes.byte().is_multiple_of(4) {
        row["expires"] = word(bytes).into();
    }
    row
}
