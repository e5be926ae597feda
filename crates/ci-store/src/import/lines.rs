//! Lines of bounded length: a line that is too long is passed over without ever being held.

use std::io::{self, BufRead, Read};

/// Longest line, and longest CSV record, in bytes. The largest CI is two documents of 256 KiB and its short columns.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// The reason that goes with it.
pub(super) const TOO_LONG: &str = "longer than 1 MiB";
/// The mark that some programs begin a UTF-8 file with.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads lines that hold something, one at a time.
pub(super) struct Lines<R> {
    input: R,
    /// Number of the line that was read last.
    number: u64,
    buffer: Vec<u8>,
}

/// One line: its number, and its bytes without the end, or nothing when it is too long.
pub(super) type Line<'a> = (u64, Option<&'a [u8]>);

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            number: 0,
            buffer: Vec::new(),
        }
    }

    /// The next line that is not blank; nothing at the end.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            self.buffer.clear();
            let mut bounded = self.input.by_ref().take(MAX_BYTES as u64 + 1);
            if bounded.read_until(b'\n', &mut self.buffer)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.buffer.len() > MAX_BYTES && self.buffer.last() != Some(&b'\n') {
                self.input.skip_until(b'\n')?;
                return Ok(Some((self.number, None)));
            }
            if self.number == 1 && self.buffer.starts_with(BYTE_ORDER_MARK) {
                self.buffer.drain(..BYTE_ORDER_MARK.len());
            }
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        Ok(Some((self.number, Some(self.buffer.trim_ascii()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<(u64, Option<usize>)> {
        let mut lines = Lines::new(io::BufReader::with_capacity(7, text));
        let mut all = Vec::new();
        while let Some((number, line)) = lines.next_line().unwrap() {
            all.push((number, line.map(<[u8]>::len)));
        }
        all
    }

    #[test]
    fn blank_lines_count_but_are_not_given() {
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"\n \r\n\t"), []);
        assert_eq!(lines(b"a\r\n\nbc"), [(1, Some(1)), (3, Some(2))]);
        assert_eq!(
            lines(b"\xef\xbb\xbfa\n\xef\xbb\xbf"),
            [(1, Some(1)), (2, Some(3))]
        );
        assert_eq!(lines(b"\xef\xbb\xbf\nb"), [(2, Some(1))]);
    }

    #[test]
    fn a_line_too_long_is_passed_over_and_the_next_one_is_read() {
        let at = vec![b'x'; MAX_BYTES];
        let over = vec![b'x'; MAX_BYTES + 1];
        let text = [&at[..], b"\n", &over, b"\n", b"ok\n", &over].concat();
        assert_eq!(
            lines(&text),
            [(1, Some(MAX_BYTES)), (2, None), (3, Some(2)), (4, None)]
        );
    }
}
