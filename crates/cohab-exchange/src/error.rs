//! What can be wrong with data on its way in or out.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;

use cohab_core::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// How many characters of the input an error repeats.
const QUOTE_CHARS: usize = 60;

/// How many characters of somebody else's message an error repeats; such messages quote input without a bound.
const PROBLEM_CHARS: usize = 240;

/// Why data was not read or written. Lines are counted from 1, and in compressed input after decompression.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input is not of its format.
    #[error("line {line}: {problem}: {quote}")]
    Malformed {
        /// The offending line.
        line: u64,
        /// What is wrong with it.
        problem: String,
        /// The offending part of it.
        quote: String,
    },
    /// A line, key, value or stanza is longer than its limit.
    #[error("line {line}: the {what} {start} is longer than {bytes_max} bytes")]
    TooLong {
        /// The offending line.
        line: u64,
        /// What is too long.
        what: &'static str,
        /// How it begins.
        start: String,
        /// The most bytes it may have.
        bytes_max: usize,
    },
    /// The dump is of a format this build does not know; a newer one may.
    #[error("line 1: the dump has format {found}, this build reads format {}", crate::dump::FORMAT)]
    Format {
        /// The format the dump says it has.
        found: u64,
    },
    /// The dump stops before its end.
    #[error("the dump is cut off after line {line}: {missing}")]
    CutOff {
        /// The last whole line.
        line: u64,
        /// What should have followed.
        missing: String,
    },
    /// The dump contradicts itself: a count, a digest or an order is not what it should be.
    #[error("line {line}: the dump is damaged: {problem}")]
    Damaged {
        /// The line at which that was found out.
        line: u64,
        /// The contradiction.
        problem: String,
    },
    /// Reading failed.
    #[error("reading failed after line {line}")]
    Read {
        /// The last line that was read.
        line: u64,
        /// The system's or the decompressor's reason.
        #[source]
        source: io::Error,
    },
    /// Writing failed.
    #[error("writing failed at or before line {line}")]
    Write {
        /// The last line that was handed over.
        line: u64,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file or directory cannot become an entry.
    #[error("{} {problem}", path.display())]
    Unfit {
        /// Which.
        path: PathBuf,
        /// Why, as the end of a sentence.
        problem: String,
    },
    /// The system refused an operation on a file.
    #[error("{action} {} failed", path.display())]
    Io {
        /// What was attempted, such as `opening`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn malformed(line: u64, problem: impl Into<String>, offending: &[u8]) -> Self {
        Self::Malformed { line, problem: problem.into(), quote: quote(offending) }
    }

    pub(crate) fn too_long(line: u64, what: &'static str, offending: &[u8], bytes_max: usize) -> Self {
        Self::TooLong { line, what, start: quote(offending), bytes_max }
    }

    /// Turns the parser's error about one line into one that names the line, and quotes what the parser stopped
    /// at.
    pub(crate) fn json(line: u64, error: &serde_json::Error, bytes: &[u8]) -> Self {
        let message = error.to_string();
        // The parser counts lines within what it was given, which is always line 1.
        let position = format!(" at line {} column {}", error.line(), error.column());
        let message = message.strip_suffix(&position).unwrap_or(&message);
        let start = error.column().saturating_sub(QUOTE_CHARS / 2).min(bytes.len());
        Self::malformed(line, printable(message, PROBLEM_CHARS), &bytes[start..])
    }
}

/// Quotes a piece of the input: between backticks, cut after [`QUOTE_CHARS`], without anything a terminal obeys.
pub(crate) fn quote(bytes: &[u8]) -> String {
    // Four bytes a character at most, and one character more to know whether something was cut.
    let start = &bytes[..bytes.len().min(4 * (QUOTE_CHARS + 1))];
    format!("`{}`", printable(&String::from_utf8_lossy(start), QUOTE_CHARS))
}

fn printable(text: &str, chars_max: usize) -> String {
    let mut printable = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == chars_max {
            printable.push('…');
            break;
        }
        match character {
            '"' | '\'' | '\\' => printable.push(character),
            other => write!(printable, "{}", other.escape_debug()).expect("a string takes all text"),
        }
    }
    printable
}

/// Checks a key that came with a line.
pub(crate) fn check_key(line: u64, key: &[u8]) -> Result<()> {
    if key.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    Err(Error::too_long(line, "key", key, KEY_BYTES_MAX))
}

/// Checks a value that came with a line.
pub(crate) fn check_value(line: u64, value: &[u8]) -> Result<()> {
    if value.len() <= VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(Error::too_long(line, "value", value, VALUE_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_short_and_safe_to_print() {
        let check = |bytes: &[u8], quoted: &str| assert_eq!(quote(bytes), quoted);
        check(b"", "``");
        check(br#"{"key":"it's"}"#, r#"`{"key":"it's"}`"#);
        check(b"a\x1b[2Jb\n\xff", "`a\\u{1b}[2Jb\\n\u{fffd}`");
        check("a\u{202e}b".as_bytes(), "`a\\u{202e}b`");
        check(&[b'x'; 60], &format!("`{}`", "x".repeat(60)));
        check(&[b'x'; 61], &format!("`{}…`", "x".repeat(60)));
        check("ü".repeat(1000).as_bytes(), &format!("`{}…`", "ü".repeat(60)));
    }

    #[test]
    fn a_parsers_message_is_cut_too() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        let line = format!(r#"{{"{}":1}}"#, "field\\u001b".repeat(10_000));
        let error = serde_json::from_str::<Nothing>(&line).expect_err("has a field");
        let message = Error::json(7, &error, line.as_bytes()).to_string();
        assert!(message.starts_with(r"line 7: unknown field `field\u{1b}field"), "{message}");
        assert!(message.len() < 2000, "{message}");
    }
}
