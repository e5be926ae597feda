//! x
mod charts;
mod text;
use crate::run_file::RunFile;
use std::path::Path;
/// All tables.
pub fn tables(run: &RunFile) -> String {
    let mut s = String::new();
    for f in &run.figures {
        s += &format!("{:?} {} {}\n", f.name(), f.value, f.unit);
    }
    s
}
/// Renders.
///
/// # Errors
/// io
pub fn into(_run: &RunFile, _path: &Path, _root: &Path) -> anyhow::Result<()> {
    Ok(())
}
