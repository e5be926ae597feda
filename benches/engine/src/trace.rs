//! Request traces: zstd-compressed sequences of little-endian 32-bit object numbers.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// How the names of trace files end.
const ENDING: &str = ".u32.zst";

/// The requests of a trace, its objects renumbered from zero in order of first request.
#[derive(Debug)]
pub(crate) struct Trace {
    /// The file's name without its ending.
    pub(crate) name: String,
    /// The objects requested, in order.
    pub(crate) requests: Vec<u32>,
    /// How many different objects there are.
    pub(crate) objects: usize,
}

impl Trace {
    /// Renumbers the objects of a sequence of requests.
    pub(crate) fn new(name: &str, numbers: impl IntoIterator<Item = u32>) -> Self {
        let mut known: HashMap<u32, u32> = HashMap::new();
        let requests = numbers
            .into_iter()
            .zip(0..=u32::MAX)
            .map(|(number, _)| {
                let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
                *known.entry(number).or_insert(next)
            })
            .collect();
        Self {
            name: name.to_owned(),
            requests,
            objects: known.len(),
        }
    }

    fn read(path: &Path, limit: usize) -> anyhow::Result<Self> {
        let file = fs::read(path)?;
        let bytes = zstd::decode_all(file.as_slice())?;
        ensure!(
            bytes.len().is_multiple_of(4),
            "it is no sequence of 32-bit numbers"
        );
        let numbers = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| u32::from_le_bytes(*bytes));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self::new(name.trim_end_matches(ENDING), numbers.take(limit)))
    }
}

/// Reads every trace of the folders, at most `limit` requests of each, in the order of their names.
pub(crate) fn read_all(folders: &[PathBuf], limit: usize) -> anyhow::Result<Vec<Trace>> {
    let mut paths = Vec::new();
    for folder in folders {
        let entries =
            fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(ENDING) {
                paths.push(path);
            }
        }
    }
    paths.sort();
    ensure!(!paths.is_empty(), "no {ENDING} file in the folders of traces");
    let read =
        |path: &PathBuf| Trace::read(path, limit).with_context(|| format!("cannot read {}", path.display()));
    paths.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_renumbered_in_order() {
        let trace = Trace::new("t", [900, 7, 900, u32::MAX, 7]);
        assert_eq!(trace.requests, [0, 1, 0, 2, 1]);
        assert_eq!(trace.objects, 3);
    }

    #[test]
    fn a_folder_without_traces_is_an_error() {
        assert!(read_all(&[PathBuf::from("src")], 1).is_err());
        assert!(read_all(&[PathBuf::from("no-such-folder")], 1).is_err());
    }
}
