//! Where an import reads from: a file or any reader, plain or compressed, JSON Lines or CSV.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ImportError;

/// Bytes that are read from the operating system, and decompressed, at a time.
const BUFFER_BYTES: usize = 128 * 1024;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A zstd file may begin with a skippable frame, as those of parallel compressors do; the first byte's low half varies.
const ZSTD_SKIPPABLE_MAGIC: [u8; 3] = [0x2a, 0x4d, 0x18];

/// How the rows are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportFormat {
    /// One JSON object per line.
    JsonLines,
    /// Comma-separated values with a header row of column names (RFC 4180).
    Csv,
}

impl ImportFormat {
    /// Reads the format from a file's name; a `.gz`, `.gzip`, `.zst` or `.zstd` at its end is looked past.
    ///
    /// # Errors
    /// [`ImportError::UnknownFormat`] when neither `.jsonl`, `.ndjson`, `.json` nor `.csv` is there, in any case.
    pub fn of_path(path: &Path) -> Result<Self, ImportError> {
        let name = match Compression::of_path(path) {
            Some(_) => PathBuf::from(path.file_stem().unwrap_or_default()),
            None => path.to_owned(),
        };
        match extension(&name).as_str() {
            "jsonl" | "ndjson" | "json" => Ok(Self::JsonLines),
            "csv" => Ok(Self::Csv),
            _ => Err(ImportError::UnknownFormat),
        }
    }
}

fn extension(path: &Path) -> String {
    path.extension()
        .map(|extension| extension.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    fn of_path(path: &Path) -> Option<Self> {
        match extension(path).as_str() {
            "gz" | "gzip" => Some(Self::Gzip),
            "zst" | "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Neither JSON nor CSV text can begin with these bytes: they are not UTF-8, or control characters.
    fn of_content(head: &[u8]) -> Option<Self> {
        if head.starts_with(&GZIP_MAGIC) {
            return Some(Self::Gzip);
        }
        let skippable = head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == ZSTD_SKIPPABLE_MAGIC;
        (skippable || head.starts_with(&ZSTD_MAGIC)).then_some(Self::Zstd)
    }
}

/// What to import. Compression is recognised by content, then by name.
#[derive(Debug)]
pub struct ImportSource {
    input: Input,
    pub(super) format: ImportFormat,
    bytes_total: Option<u64>,
}

enum Input {
    Path(PathBuf),
    Reader(Box<dyn Read + Send>),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Self::Reader(_) => f.write_str("Reader"),
        }
    }
}

impl ImportSource {
    /// A file whose name tells its format. It is opened when the import runs.
    ///
    /// # Errors
    /// Those of [`ImportFormat::of_path`].
    pub fn file(path: impl Into<PathBuf>) -> Result<Self, ImportError> {
        let path = path.into();
        ImportFormat::of_path(&path).map(|format| Self::file_as(path, format))
    }

    /// A file of a given format, whatever its name. It is opened when the import runs.
    pub fn file_as(path: impl Into<PathBuf>, format: ImportFormat) -> Self {
        Self {
            input: Input::Path(path.into()),
            format,
            bytes_total: None,
        }
    }

    /// Anything that can be read: standard input, a request's body. It is read on a thread that may block.
    pub fn reader(reader: impl Read + Send + 'static, format: ImportFormat) -> Self {
        Self {
            input: Input::Reader(Box::new(reader)),
            format,
            bytes_total: None,
        }
    }

    /// Says how many bytes a reader will give, for [`Progress`](super::Progress).
    pub fn with_bytes_total(mut self, bytes: u64) -> Self {
        self.bytes_total = Some(bytes);
        self
    }

    /// Opens the source for reading. Blocks.
    pub(super) fn open(self) -> io::Result<Opened> {
        let (reader, bytes_total, named): (Box<dyn Read + Send>, _, _) = match self.input {
            Input::Reader(reader) => (reader, self.bytes_total, None),
            Input::Path(path) => {
                let file = File::open(&path)?;
                let about = file.metadata()?;
                if about.is_dir() {
                    return Err(io::Error::from(io::ErrorKind::IsADirectory));
                }
                let size = about.is_file().then_some(about.len());
                (
                    Box::new(file),
                    size.or(self.bytes_total),
                    Compression::of_path(&path),
                )
            }
        };
        let count = Arc::new(AtomicU64::new(0));
        let mut reader = Counting {
            reader,
            count: Arc::clone(&count),
        };
        let head = head(&mut reader)?;
        let compression = Compression::of_content(&head).or(named);
        let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(reader));
        Ok(Opened {
            reader: decompressed(whole, compression)?,
            bytes_read: count,
            bytes_total,
        })
    }
}

/// A source that is ready to be read.
pub(super) struct Opened {
    /// The text.
    pub(super) reader: Box<dyn BufRead + Send>,
    /// Bytes taken from the file so far; grows while `reader` is read.
    pub(super) bytes_read: Arc<AtomicU64>,
    /// Size of the file, when known.
    pub(super) bytes_total: Option<u64>,
}

/// The first bytes, as many as the longest magic number has; fewer only when there are no more.
fn head(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(ZSTD_MAGIC.len());
    reader.take(ZSTD_MAGIC.len() as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn decompressed(
    reader: impl BufRead + Send + 'static,
    compression: Option<Compression>,
) -> io::Result<Box<dyn BufRead + Send>> {
    Ok(match compression {
        None => Box::new(reader),
        Some(Compression::Gzip) => {
            let decoder = flate2::bufread::MultiGzDecoder::new(reader);
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
        Some(Compression::Zstd) => {
            let decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
    })
}

struct Counting<R> {
    reader: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.reader.read(into)?;
        // Read by the thread that also reads the file; the atomic only lets both sides hold it.
        self.count.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_name_tells_the_format_below_its_compression() {
        for (name, format) in [
            ("a.jsonl", ImportFormat::JsonLines),
            ("a.b.NDJSON.gz", ImportFormat::JsonLines),
            ("dir.csv/a.json.zst", ImportFormat::JsonLines),
            ("a.CSV.ZSTD", ImportFormat::Csv),
        ] {
            assert_eq!(ImportFormat::of_path(Path::new(name)).unwrap(), format, "{name}");
        }
        for name in ["a", "a.gz", "csv", "a.xlsx", "a.csv.bz2"] {
            assert!(ImportFormat::of_path(Path::new(name)).is_err(), "{name}");
        }
    }

    fn text_of(bytes: Vec<u8>) -> io::Result<String> {
        let mut text = String::new();
        let opened = ImportSource::reader(Cursor::new(bytes), ImportFormat::JsonLines).open()?;
        let mut reader = opened.reader;
        reader.read_to_string(&mut text)?;
        Ok(text)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn content_tells_the_compression_and_members_are_joined() {
        let members = [gzip("one\n"), gzip("two\n")].concat();
        assert_eq!(text_of(members).unwrap(), "one\ntwo\n");
        let frames = [
            zstd::encode_all(&b"one\n"[..], 1).unwrap(),
            zstd::encode_all(&b"two\n"[..], 1).unwrap(),
        ];
        assert_eq!(text_of(frames.concat()).unwrap(), "one\ntwo\n");
        let mut skippable = vec![0x5a, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
        skippable.extend(&frames[0]);
        assert_eq!(text_of(skippable).unwrap(), "one\n");
        assert_eq!(text_of(b"ab".to_vec()).unwrap(), "ab");
        assert_eq!(text_of(Vec::new()).unwrap(), "");
    }

    #[test]
    fn a_cut_file_is_an_error_and_never_a_shorter_text() {
        let text = "a line of text\n".repeat(50_000);
        for whole in [gzip(&text), zstd::encode_all(text.as_bytes(), 1).unwrap()] {
            for cut in [whole.len() - 1, whole.len() / 2, 5] {
                assert!(
                    text_of(whole[..cut].to_vec()).is_err(),
                    "{cut} of {}",
                    whole.len()
                );
            }
        }
    }
}
