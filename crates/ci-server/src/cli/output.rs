//! Where answers go: one writer over stdout that survives a reader that goes away.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;

use super::failure::Failure;

/// The program's standard output. Nothing else in the program writes there.
pub(crate) struct Output {
    out: BufWriter<Stdout>,
    /// Columns of the terminal; absent when the output is a file or a pipe.
    width: Option<u16>,
}

impl Output {
    /// The process's stdout.
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let width = stdout
            .is_terminal()
            .then(terminal_size::terminal_size)
            .flatten()
            .map(|(terminal_size::Width(columns), _)| columns);
        Self {
            out: BufWriter::new(stdout),
            width,
        }
    }

    /// Columns of the terminal, if it is one.
    pub(crate) fn width(&self) -> Option<u16> {
        self.width
    }

    /// Writes one JSON value and a line end.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.out, value).map_err(io::Error::from)?;
        self.line("")
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) -> Result<(), Failure> {
        writeln!(self.out, "{text}")?;
        // Whoever waits for this line must get it now; answers are one call each, so this costs nothing.
        self.out.flush()?;
        Ok(())
    }
}
