//! Records of a CSV file (RFC 4180), strictly and in bounded memory.
//!
//! A general reader keeps a record whole, so one stray quote makes it swallow the rest of a large file, and takes what
//! it swallowed for a cell. Here a record that grows too long is passed over, a quote that is never closed is an error,
//! and every record knows the line that it starts on.

use std::io::{self, BufRead};

use super::lines::{BYTE_ORDER_MARK, MAX_BYTES, TOO_LONG};

/// Where the reader stands within a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the first byte of a cell.
    Start,
    /// In a cell without quotes.
    Plain,
    /// Between a cell's quotes.
    Quoted,
    /// After a quote within quotes: the cell's end, or the first half of a doubled quote.
    Closed,
}

/// Reads records, one at a time.
pub(super) struct Records<R> {
    input: R,
    /// Line that the next byte stands on, from 1.
    line: u64,
    record: Record,
}

/// One record, or why it is none.
pub(super) struct Record {
    /// Line that it starts on.
    pub(super) line: u64,
    /// What is wrong with it; its cells are incomplete then.
    pub(super) problem: Option<&'static str>,
    /// The cells' bytes, one after the other.
    bytes: Vec<u8>,
    /// Where each cell ends in `bytes`.
    ends: Vec<usize>,
    /// Bytes of the file that it has taken, its quotes and commas included.
    pub(super) taken: usize,
    state: State,
}

impl Record {
    /// The cells, in order.
    ///
    /// # Errors
    /// A reason when the record is malformed, too long or not UTF-8.
    pub(super) fn cells(&self) -> Result<impl ExactSizeIterator<Item = &str>, &'static str> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let text = std::str::from_utf8(&self.bytes).map_err(|_| "not UTF-8")?;
        // A cell begins and ends beside ASCII bytes, so never within a character.
        Ok((0..self.ends.len()).map(move |i| {
            let start = if i == 0 { 0 } else { self.ends[i - 1] };
            &text[start..self.ends[i]]
        }))
    }

    /// Whether the line holds nothing at all.
    fn is_blank(&self) -> bool {
        self.problem.is_none() && self.ends.len() <= 1 && self.bytes.trim_ascii().is_empty()
    }

    fn begin(&mut self, line: u64) {
        self.line = line;
        self.problem = None;
        self.bytes.clear();
        self.ends.clear();
        self.taken = 0;
        self.state = State::Start;
    }

    /// Takes one byte; true when the record is complete.
    fn step(&mut self, byte: u8) -> bool {
        self.taken += 1;
        if self.taken > MAX_BYTES {
            self.problem = Some(TOO_LONG);
        }
        match (self.state, byte) {
            (State::Quoted, b'"') => self.state = State::Closed,
            (State::Quoted, _) => self.push(byte),
            (State::Start, b'"') => self.state = State::Quoted,
            (State::Closed, b'"') => {
                self.push(b'"');
                self.state = State::Quoted;
            }
            (_, b',') => self.end_cell(),
            (_, b'\n') => {
                self.end_record();
                return true;
            }
            (State::Closed, b'\r') => {}
            (State::Closed, _) => {
                self.problem = self.problem.or(Some("text after a closing quote"));
                self.state = State::Plain;
            }
            (State::Start | State::Plain, _) => {
                self.push(byte);
                self.state = State::Plain;
            }
        }
        false
    }

    fn push(&mut self, byte: u8) {
        if self.problem.is_none() {
            self.bytes.push(byte);
        }
    }

    fn end_cell(&mut self) {
        if self.problem.is_none() {
            self.ends.push(self.bytes.len());
        }
        self.state = State::Start;
    }

    fn end_record(&mut self) {
        if self.state == State::Quoted {
            self.problem = self.problem.or(Some("a quote is not closed"));
        }
        if self.state == State::Plain && self.bytes.last() == Some(&b'\r') {
            self.bytes.pop();
        }
        self.end_cell();
    }
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(input: R) -> Self {
        let record = Record {
            line: 1,
            problem: None,
            bytes: Vec::new(),
            ends: Vec::new(),
            taken: 0,
            state: State::Start,
        };
        Self {
            input,
            line: 1,
            record,
        }
    }

    /// The next record that is not blank; nothing at the end.
    pub(super) fn next_record(&mut self) -> io::Result<Option<&Record>> {
        loop {
            self.record.begin(self.line);
            let complete = self.read_record()?;
            if !complete && self.record.taken == 0 {
                return Ok(None);
            }
            if !complete {
                self.record.end_record();
            }
            if !self.record.is_blank() {
                return Ok(Some(&self.record));
            }
        }
    }

    /// Feeds bytes to the record; false when the file ended before its line did.
    fn read_record(&mut self) -> io::Result<bool> {
        loop {
            let chunk = match self.input.fill_buf() {
                Ok([]) => return Ok(false),
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for (at, &byte) in chunk.iter().enumerate() {
                self.line += u64::from(byte == b'\n');
                if self.record.step(byte) {
                    self.input.consume(at + 1);
                    return Ok(true);
                }
            }
            let bytes = chunk.len();
            self.input.consume(bytes);
        }
    }

    /// The header: the first record, without a byte order mark.
    pub(super) fn header(&mut self) -> io::Result<Result<Vec<String>, &'static str>> {
        let Some(record) = self.next_record()? else {
            return Ok(Err("the file is empty"));
        };
        let mark = str::from_utf8(BYTE_ORDER_MARK).unwrap_or_default();
        let names = record.cells().map(|cells| {
            cells
                .map(|cell| match cell.strip_prefix(mark) {
                    // A quote after the mark is not the first byte of its cell, so it is still there.
                    Some(bare) => bare.trim().trim_matches('"').to_owned(),
                    None => cell.trim().to_owned(),
                })
                .collect()
        });
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (u64, Result<Vec<String>, &'static str>);

    fn records(text: &[u8]) -> Vec<Read> {
        let mut records = Records::new(io::BufReader::with_capacity(3, text));
        let mut all = Vec::new();
        while let Some(record) = records.next_record().unwrap() {
            all.push((
                record.line,
                record.cells().map(|cells| cells.map(str::to_owned).collect()),
            ));
        }
        all
    }

    fn good(line: u64, cells: &[&str]) -> Read {
        (line, Ok(cells.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn quotes_commas_line_ends_and_blank_lines() {
        let text = b"a,b\r\n\r\n\"x,\"\"y\"\"\nz\",\n,\"\"\r\n5\" disk,w\n\nlast,one";
        assert_eq!(
            records(text),
            [
                good(1, &["a", "b"]),
                good(3, &["x,\"y\"\nz", ""]),
                good(5, &["", ""]),
                good(6, &["5\" disk", "w"]),
                good(8, &["last", "one"]),
            ]
        );
        assert_eq!(records(b""), []);
        assert_eq!(records(b"a\r"), [good(1, &["a"])]);
    }

    #[test]
    fn malformed_records_are_named_and_the_next_one_is_read() {
        let mut text = b"\"a\"b,c\nok\n\xff\n".to_vec();
        text.extend(vec![b','; MAX_BYTES + 1]);
        text.extend(b"\nok\n\"open,\nto the end\n");
        assert_eq!(
            records(&text),
            [
                (1, Err("text after a closing quote")),
                good(2, &["ok"]),
                (3, Err("not UTF-8")),
                (4, Err(TOO_LONG)),
                good(5, &["ok"]),
                (6, Err("a quote is not closed")),
            ]
        );
    }

    #[test]
    fn a_header_may_begin_with_a_byte_order_mark() {
        for text in ["\u{feff}a, b ,c\n", "\u{feff}\"a\",b,c\n", "a,b,\"c\"\r\n"] {
            let names = Records::new(text.as_bytes()).header().unwrap().unwrap();
            assert_eq!(names, ["a", "b", "c"]);
        }
        assert!(Records::new(&b""[..]).header().unwrap().is_err());
    }
}
