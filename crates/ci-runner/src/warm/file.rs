//! The bytes of a warm file; knows no cache.
//!
//! ```text
//! header    magic (8 bytes), format (u32), program's version, kind of store, bookmark (texts)
//! entry     1; key; answer
//! end       0; checksum of all before it (u64)
//! ```
//!
//! Texts, keys and answers have their length before them (u32). The entry to be kept longest comes last. The checksum tells accidents,
//! not forgers: who can write the file can make the runner say anything.

use std::fs::{self, File as Handle};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use ci_model::{Key, Question, TenantId};

use crate::Reply;
use crate::encoding::bytes::{Reader, Writer};
use crate::encoding::{PROGRAM, answer, checksum};

const MAGIC: &[u8; 8] = b"CIWARM\x1A\n";
/// Raised with every change of the layout, of a key's or of an answer's.
const FORMAT: u32 = 2;
const TRAILER: usize = 8;

/// Why a file is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it is no warm file, or is damaged")]
    Damaged,
    #[error("it has format {0}")]
    Format(u32),
    #[error("it is of another kind of store")]
    Backend,
}

/// A file on its way out.
#[derive(Debug)]
pub(super) struct File {
    bytes: Writer,
    count: usize,
}

impl File {
    pub(super) fn begin(backend: &str, bookmark: &str) -> Self {
        let mut bytes = Writer::default();
        bytes.0.extend_from_slice(MAGIC);
        bytes.0.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.text(PROGRAM);
        bytes.text(backend);
        bytes.text(bookmark);
        Self { bytes, count: 0 }
    }

    /// Adds an answer that is true at the bookmark's position. One whose key cannot be read back is left out.
    pub(super) fn push(&mut self, key: &Key, answer: &Reply) {
        if Key::read(key.as_bytes()).is_none() {
            return;
        }
        let mut body = Writer::default();
        answer::write(&mut body, answer);
        self.bytes.byte(1);
        self.bytes.bytes(key.as_bytes());
        self.bytes.bytes(&body.0);
        self.count += 1;
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn seal(mut self) -> Vec<u8> {
        self.bytes.byte(0);
        let sum = checksum(&self.bytes.0);
        self.bytes.number(sum);
        self.bytes.0
    }
}

/// A file whose every byte was checked.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) bookmark: String,
    /// Whether this version of the program wrote it. If not, only its questions are of use.
    pub(super) is_ours: bool,
    /// The entry to be kept longest comes last.
    pub(super) entries: Vec<Written>,
}

/// One answer of a file.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) tenant: TenantId,
    pub(super) question: Question,
    pub(super) answer: Reply,
}

/// Checks a file as a whole and reads it.
pub(super) fn open(bytes: &[u8], backend: &str) -> Result<Opened, Refused> {
    let mut head = Reader(bytes);
    if head.array() != Some(*MAGIC) {
        return Err(Refused::Damaged);
    }
    let format = head.array().map(u32::from_le_bytes).ok_or(Refused::Damaged)?;
    // Before the checksum: another format may have another.
    if format != FORMAT {
        return Err(Refused::Format(format));
    }
    let (body, sum) = bytes.split_last_chunk::<TRAILER>().ok_or(Refused::Damaged)?;
    if checksum(body) != u64::from_le_bytes(*sum) {
        return Err(Refused::Damaged);
    }
    let mut reader = Reader(
        body.get(MAGIC.len() + size_of::<u32>()..)
            .ok_or(Refused::Damaged)?,
    );
    let is_ours = reader.text().ok_or(Refused::Damaged)? == PROGRAM;
    if reader.text().ok_or(Refused::Damaged)? != backend {
        return Err(Refused::Backend);
    }
    let bookmark = reader.text().ok_or(Refused::Damaged)?.to_owned();
    let entries = entries(&mut reader).ok_or(Refused::Damaged)?;
    Ok(Opened {
        bookmark,
        is_ours,
        entries,
    })
}

fn entries(reader: &mut Reader<'_>) -> Option<Vec<Written>> {
    let mut entries = Vec::new();
    while reader.flag()? {
        let key = reader.bytes()?;
        let mut answer = Reader(reader.bytes()?);
        let (tenant, question) = Key::read(key)?;
        entries.push(Written {
            tenant,
            question,
            answer: answer::read(&mut answer).filter(|_| answer.0.is_empty())?,
        });
    }
    reader.0.is_empty().then_some(entries)
}

/// Replaces a file as a whole: whoever opens it reads the old one or the new one. On Unix its owner alone may read it, whatever the
/// old one's permissions were: it holds rows of all tenants. Blocks on the disk.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    // Left by a process that was killed, or put there by somebody: nobody's link is followed.
    drop(fs::remove_file(&beside));
    let written = private(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&beside, path));
    if replaced.is_err() {
        // What is left of it is of no use; the first error is the one to tell.
        drop(fs::remove_file(&beside));
    }
    replaced
}

/// Makes a file that was not there, for its owner alone.
fn private(path: &Path) -> io::Result<Handle> {
    let mut options = Handle::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ci_model::{CiCode, CiRef, Get, Search};

    fn file() -> Vec<u8> {
        let tenant = TenantId::new("acme").unwrap();
        let mut file = File::begin("sqlite", "here");
        let search: Question = Search::builder().keyword("erp").build().unwrap().into();
        let get: Question = Get::new(CiRef::from(CiCode::new("a").unwrap())).into();
        file.push(&Key::new(&tenant, &search), &Reply::Rows([].into()));
        file.push(&Key::new(&tenant, &get), &Reply::Ci(None));
        assert_eq!(file.count(), 2);
        file.seal()
    }

    #[test]
    fn what_was_written_is_read() {
        let opened = open(&file(), "sqlite").unwrap();
        assert_eq!((opened.bookmark.as_str(), opened.entries.len()), ("here", 2));
        assert_eq!(opened.entries[1].answer, Reply::Ci(None));
        assert_eq!(open(&file(), "postgres").unwrap_err(), Refused::Backend);
    }

    #[test]
    fn whatever_is_damaged_is_refused() {
        let whole = file();
        for end in 0..whole.len() {
            assert!(open(&whole[..end], "sqlite").is_err());
        }
        for bit in 0..whole.len() * 8 {
            let mut other = whole.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&other, "sqlite").is_err(), "bit {bit}");
        }
        let mut newer = whole;
        newer[8] = 3;
        assert_eq!(open(&newer, "sqlite").unwrap_err(), Refused::Format(3));
    }

    #[test]
    fn the_file_of_another_version_of_the_program_is_told_apart() {
        let mut other = file();
        let body = other.len() - TRAILER;
        // The version begins after magic, format and its length.
        other[16] ^= 1;
        let sum = checksum(&other[..body]);
        other.truncate(body);
        other.extend_from_slice(&sum.to_le_bytes());
        assert!(!open(&other, "sqlite").unwrap().is_ours);
        assert!(open(&file(), "sqlite").unwrap().is_ours);
    }

    /// Behind a checksum that fits: lengths and counts that were never written ask for no memory and end in a refusal.
    #[test]
    fn what_was_never_written_is_refused() {
        let whole = file();
        let body = whole.len() - TRAILER;
        for at in 12..body {
            for byte in [0, 1, 0x7F, 0xFF] {
                let mut other = whole[..body].to_vec();
                other[at] = byte;
                let sum = checksum(&other);
                other.extend_from_slice(&sum.to_le_bytes());
                drop(open(&other, "sqlite"));
            }
        }
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = std::env::temp_dir().join(format!("ci-warm-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("answers");
        for bytes in [b"one".as_slice(), b"another"] {
            replace(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600);
                fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            }
        }
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        assert!(replace(&folder.join("no/such"), b"x").is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
