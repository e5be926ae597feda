//! Warm files without a runner, for the fuzzer: written and read by what a runner writes and reads them by.

use ci_model::{Key, Question, TenantId};

use super::file::{File, Written, open};
use crate::Reply;
use crate::encoding::checksum;

/// One answer of a file.
pub type Entry = (TenantId, Question, Reply);

/// Writes a file; answers whose question cannot be read back are left out.
pub fn write(backend: &str, bookmark: &str, entries: &[Entry]) -> Vec<u8> {
    let mut file = File::begin(backend, bookmark);
    for (tenant, question, answer) in entries {
        file.push(&Key::new(tenant, question), answer);
    }
    file.seal()
}

/// Reads the bookmark and the answers of a file; nothing where a runner would refuse it.
pub fn read(backend: &str, bytes: &[u8]) -> Option<(String, Vec<Entry>)> {
    let opened = open(bytes, backend).ok()?;
    let entry = |written: Written| (written.tenant, written.question, written.answer);
    Some((opened.bookmark, opened.entries.into_iter().map(entry).collect()))
}

/// Puts a checksum that fits behind bytes, so that what a reader does behind it can be seen.
pub fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}
