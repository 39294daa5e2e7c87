//! Reading lines of bounded length.

use std::io::{BufRead, Read};

use cohab_core::limits::LINE_BYTES_MAX;

use crate::{Error, Result};

/// Appends the next line to a buffer, with the line feed if it has one. Returns whether there was a line.
///
/// `line` counts the lines that were begun. No more than one byte above the limit is ever held of a line.
pub(crate) fn append_line(reader: &mut impl BufRead, buffer: &mut Vec<u8>, line: &mut u64) -> Result<bool> {
    let start = buffer.len();
    let appended = reader.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', buffer);
    let bytes = appended.map_err(|source| Error::Read { line: *line, source })?;
    if bytes == 0 {
        return Ok(false);
    }
    *line += 1;
    if bytes > LINE_BYTES_MAX && buffer.last() != Some(&b'\n') {
        return Err(Error::too_long(*line, "line", &buffer[start..], LINE_BYTES_MAX));
    }
    Ok(true)
}

/// The lines of an input, one at a time in one buffer.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    number: u64,
}

/// A line without its line feed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) number: u64,
    pub(crate) bytes: &'a [u8],
}

impl<R: BufRead> Lines<R> {
    pub(crate) const fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), number: 0 }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>> {
        self.buffer.clear();
        if !append_line(&mut self.reader, &mut self.buffer, &mut self.number)? {
            return Ok(None);
        }
        let bytes = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        Ok(Some(Line { number: self.number, bytes }))
    }
}

/// Parses every line that is not blank. After an error nothing more is yielded.
pub(crate) fn parse_each<R: BufRead, T>(
    reader: R,
    parse: impl Fn(Line<'_>) -> Result<T>,
) -> impl Iterator<Item = Result<T>> {
    let mut lines = Some(Lines::new(reader));
    std::iter::from_fn(move || {
        loop {
            let parsed = match lines.as_mut()?.next() {
                Ok(Some(line)) if line.bytes.trim_ascii().is_empty() => continue,
                Ok(Some(line)) => parse(line),
                Ok(None) => {
                    lines = None;
                    return None;
                }
                Err(error) => Err(error),
            };
            if parsed.is_err() {
                lines = None;
            }
            return Some(parsed);
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufReader};

    use super::*;

    #[test]
    fn lines_are_counted() {
        let mut lines = Lines::new(&b"a\n\r\nlast"[..]);
        let mut next = || {
            let line = lines.next().expect("can be read")?;
            Some((line.number, line.bytes.to_vec()))
        };
        assert_eq!(next(), Some((1, b"a".to_vec())));
        assert_eq!(next(), Some((2, b"\r".to_vec())));
        assert_eq!(next(), Some((3, b"last".to_vec())));
        assert_eq!(next(), None);
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_not_longer() {
        let check = |bytes: usize, is_accepted: bool| {
            let endless = BufReader::with_capacity(1 << 20, io::repeat(b'x')).take(bytes as u64);
            let mut lines = Lines::new((&b"first\n"[..]).chain(endless).chain(&b"\n"[..]));
            lines.next().expect("the first is short");
            match lines.next() {
                Ok(line) => assert!(is_accepted && line.is_some_and(|line| line.bytes.len() == bytes)),
                Err(error) => {
                    let message = error.to_string();
                    assert!(!is_accepted && message.starts_with("line 2: the line `xxx"), "{message}");
                }
            }
            assert!(lines.buffer.len() <= LINE_BYTES_MAX + 1);
        };
        check(LINE_BYTES_MAX, true);
        check(LINE_BYTES_MAX + 1, false);
        check(usize::MAX, false);
    }

    #[test]
    fn nothing_follows_an_error() {
        let parse = |line: Line<'_>| match line.bytes {
            b"bad" => Err(Error::malformed(line.number, "bad", line.bytes)),
            _ => Ok(line.number),
        };
        let mut numbers = parse_each(&b"\n1\n \t\r\nbad\n2\n"[..], parse);
        assert_eq!(numbers.next().expect("a line").ok(), Some(2));
        assert!(numbers.next().expect("a line").is_err());
        assert!(numbers.next().is_none());
    }
}
