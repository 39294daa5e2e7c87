//! Reading a dump, and believing none of it unchecked.

use std::borrow::Cow;
use std::io::BufRead;

use serde::Deserialize;

use super::line::Line;
use super::progress::Progress;
use super::{FORMAT, NamespaceEnd, NamespaceHeader, Totals};
use crate::error::{check_key, check_value, quote};
use crate::lines::append_line;
use crate::{Error, Result, object};

/// Reads a dump, one line at a time.
///
/// A namespace's header and entries are known to be whole when its [`Event::EndOfNamespace`] comes, and the dump
/// when [`Event::End`] does. Whoever stores them does so in a transaction that waits for that.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    buffer: Vec<u8>,
    line: u64,
    progress: Progress,
    ended: bool,
}

/// What a line of a dump says.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A namespace begins. Names ascend.
    Namespace(NamespaceHeader),
    /// The namespace that has begun has this entry. Keys ascend.
    Entry {
        /// The key.
        key: Cow<'a, [u8]>,
        /// The value.
        value: Cow<'a, [u8]>,
    },
    /// The namespace ends, and what was read of it has these counts and this digest.
    EndOfNamespace(NamespaceEnd),
    /// The dump is whole, and nothing follows.
    End(Totals),
}

impl<R: BufRead> Reader<R> {
    /// Begins to read.
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), line: 0, progress: Progress::default(), ended: false }
    }

    /// Returns the number of the line that was read last, counted from 1.
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// Reads the next line. After [`Event::End`], and after an error, there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] if the dump is of another format, [`Error::CutOff`] if it stops early,
    /// [`Error::Damaged`] if it contradicts itself, [`Error::Malformed`] and [`Error::TooLong`] if a line is
    /// none of a dump's, and [`Error::Read`].
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend out its buffer")]
    pub fn next(&mut self) -> Result<Option<Event<'_>>> {
        if self.ended {
            return Ok(None);
        }
        // Until the line has proved good: nothing is read beyond an error.
        self.ended = true;
        if self.line == 0 {
            self.read_line()?;
            check_format(&self.buffer)?;
        }
        self.read_line()?;
        let number = self.line;
        let damaged = |problem| Error::Damaged { line: number, problem };
        let event = match Line::parse(number, &self.buffer)? {
            Line::Namespace(header) => {
                self.progress.begin_namespace(&header).map_err(damaged)?;
                Event::Namespace(header)
            }
            Line::Entry(key, value) => {
                let (key, value) = (key.into_bytes(), value.into_bytes());
                check_key(number, &key)?;
                check_value(number, &value)?;
                self.progress.entry(&key, &value).map_err(damaged)?;
                Event::Entry { key, value }
            }
            Line::End(says) => {
                let read = self.progress.end_namespace().map_err(damaged)?;
                if says != read {
                    return Err(damaged(format!("it says {says}, but what was read is {read}")));
                }
                Event::EndOfNamespace(read.into_public())
            }
            Line::EndOfDump(says) => {
                let read = self.progress.end().map_err(damaged)?;
                if says != read {
                    return Err(damaged(format!("it says {says}, but what was read is {read}")));
                }
                let mut more = Vec::new();
                if append_line(&mut self.input, &mut more, &mut self.line)? {
                    return Err(Error::malformed(self.line, "this follows the end of the dump", &more));
                }
                return Ok(Some(Event::End(read)));
            }
        };
        self.ended = false;
        Ok(Some(event))
    }

    /// Fills the buffer with the next line, which has to be there as a whole.
    fn read_line(&mut self) -> Result<()> {
        self.buffer.clear();
        let line = self.line;
        let is_line = append_line(&mut self.input, &mut self.buffer, &mut self.line)?;
        if self.buffer.pop_if(|byte| *byte == b'\n').is_some() {
            return Ok(());
        }
        let missing = match line {
            _ if is_line => format!("the next line is incomplete: {}", quote(&self.buffer)),
            0 => "there is nothing in it".to_owned(),
            _ => self.progress.missing(),
        };
        Err(Error::CutOff { line, missing })
    }
}

/// Checks the first line. A newer format may have more fields there, which are not looked at before the number.
fn check_format(line: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct AnyFormat {
        cohab_dump: u64,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct ThisFormat {
        #[serde(rename = "cohab_dump")]
        _number: u64,
    }
    let Ok(AnyFormat { cohab_dump: found }) = object::parse(1, line) else {
        return Err(Error::malformed(1, "this is not the beginning of a dump, `{\"cohab_dump\":1}`", line));
    };
    if found != FORMAT {
        return Err(Error::Format { found });
    }
    let ThisFormat { .. } = object::parse(1, line)?;
    Ok(())
}
