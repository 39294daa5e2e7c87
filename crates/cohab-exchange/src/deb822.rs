//! Stanzas of Debian control files, such as a repository's `Packages` and dpkg's `status`.
//!
//! A file is stanzas between blank lines, a stanza is fields of the form `Name: value`, and a line that begins
//! with a space or tab continues the field above it. Lines that begin with `#` are comments (deb822(5)). Each
//! stanza becomes an entry.
//!
//! **The key** is the stanza's `Package`. If an earlier and different stanza took that key, it is
//! `package=version`; if that is taken as well, `package=version:architecture`; and if that, too, is taken, it is
//! an error. A stanza that equals the one that took a key on that way is dropped as a repetition. What was taken
//! is known by its digest, so memory grows with the number of keys, not with what they hold.
//!
//! **The value** is the stanza as it stands in the file, comments within it included, from its first line to its
//! last, without the line feed and the carriage returns before it that end its last line. Stanzas joined by two
//! line feeds are a file again, with the same stanzas.

use std::collections::HashMap;
use std::io::BufRead;
use std::ops::Range;

use cohab_core::Digest;
use cohab_core::limits::VALUE_BYTES_MAX;

use crate::error::{check_key, quote};
use crate::lines::append_line;
use crate::{Error, Result};

/// One stanza, borrowed from the reader until the next is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Stanza<'a> {
    /// The key it gets, which no stanza before it got.
    pub key: &'a [u8],
    /// Its `Section` field.
    pub section: Option<&'a str>,
    /// The whole of it.
    pub body: &'a [u8],
    /// The line it begins on, counted from 1.
    pub line: u64,
}

/// Reads stanzas one at a time, into buffers that are used again.
#[derive(Debug)]
pub struct Stanzas<R> {
    reader: R,
    line: u64,
    key: Vec<u8>,
    body: Vec<u8>,
    taken: HashMap<Box<[u8]>, Digest>,
    repeated: u64,
    ended: bool,
}

/// Where in a stanza the fields are that decide about it.
#[derive(Debug, Default)]
struct Fields {
    line: u64,
    package: Option<Range<usize>>,
    version: Option<Range<usize>>,
    architecture: Option<Range<usize>>,
    section: Option<Range<usize>>,
}

impl<R: BufRead> Stanzas<R> {
    /// Begins to read.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            line: 0,
            key: Vec::new(),
            body: Vec::new(),
            taken: HashMap::new(),
            repeated: 0,
            ended: false,
        }
    }

    /// Returns how many stanzas were dropped so far because they repeat an earlier one.
    pub const fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Reads the next stanza. After the last one, and after an error, there is none.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend out its buffers")]
    pub fn next(&mut self) -> Result<Option<Stanza<'_>>> {
        if self.ended {
            return Ok(None);
        }
        // Until a stanza has proved good: nothing is read beyond an error.
        self.ended = true;
        let fields = loop {
            let Some(fields) = self.read_stanza()? else { return Ok(None) };
            if self.take_key(&fields)? {
                break fields;
            }
            self.repeated += 1;
        };
        let section = match fields.section {
            None => None,
            Some(range) => Some(str::from_utf8(&self.body[range.clone()]).map_err(|_| {
                let offending = &self.body[range];
                Error::malformed(fields.line, "the stanza's `Section` is not UTF-8", offending)
            })?),
        };
        self.ended = false;
        Ok(Some(Stanza { key: &self.key, section, body: &self.body, line: fields.line }))
    }

    /// Fills `body` with the next stanza and finds its fields. Returns `None` where there is none.
    fn read_stanza(&mut self) -> Result<Option<Fields>> {
        let mut fields: Option<Fields> = None;
        let mut first = self.line + 1;
        self.body.clear();
        loop {
            let start = self.body.len();
            let is_line = append_line(&mut self.reader, &mut self.body, &mut self.line)?;
            let line = without_end(&self.body[start..]);
            match line.first() {
                Some(b'#') => {}
                Some(b' ' | b'\t') if !is_blank(line) => {
                    if fields.is_none() {
                        let problem =
                            "a line that begins with white space continues a field, but there is none";
                        return Err(Error::malformed(self.line, problem, line));
                    }
                }
                Some(byte) if !matches!(byte, b' ' | b'\t') => {
                    fields.get_or_insert_default().add(line, start, self.line)?;
                }
                // A blank line, or the end of the file. Comments without a field beside them are not a stanza.
                _ => {
                    if fields.is_some() || !is_line {
                        self.body.truncate(start);
                        break;
                    }
                    self.body.clear();
                    first = self.line + 1;
                }
            }
            // The end of the last line does not count, and whether this is the last is not known yet.
            if self.body.len() > VALUE_BYTES_MAX + 2 {
                return Err(self.too_long(first));
            }
        }
        let Some(mut fields) = fields else { return Ok(None) };
        fields.line = first;
        self.body.truncate(without_end(&self.body).len());
        if self.body.len() > VALUE_BYTES_MAX {
            return Err(self.too_long(first));
        }
        Ok(Some(fields))
    }

    fn too_long(&self, line: u64) -> Error {
        Error::too_long(line, "stanza", &self.body, VALUE_BYTES_MAX)
    }

    /// Puts the stanza's key into `key`. Returns whether it is free: if it is not, the stanza repeats another.
    fn take_key(&mut self, fields: &Fields) -> Result<bool> {
        let package = fields.package.clone().filter(|range| !range.is_empty());
        let Some(package) = package else {
            return Err(Error::malformed(fields.line, "the stanza has no `Package`", &self.body));
        };
        let mut digest = Digest::EMPTY;
        digest.add(b"", &self.body);
        self.key.clear();
        let parts = [("", Some(package)), ("=", fields.version.clone()), (":", fields.architecture.clone())];
        for (mark, part) in parts {
            let Some(part) = part else { break };
            self.key.extend_from_slice(mark.as_bytes());
            self.key.extend_from_slice(&self.body[part]);
            check_key(fields.line, &self.key)?;
            let Some(&taken) = self.taken.get(&self.key[..]) else {
                self.taken.insert(self.key[..].into(), digest);
                return Ok(true);
            };
            if taken == digest {
                return Ok(false);
            }
        }
        let problem = format!("an earlier and different stanza has the key {}", quote(&self.key));
        Err(Error::malformed(fields.line, problem, &self.body))
    }
}

impl Fields {
    /// Adds a field's first line, which begins at `start` of the stanza.
    fn add(&mut self, line: &[u8], start: usize, number: u64) -> Result<()> {
        let is_name = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        let colon = line.iter().position(|&byte| !is_name(byte));
        let Some(colon) = colon.filter(|&at| at > 0 && line[at] == b':') else {
            let problem = "this is neither a field of the form `Name: value` nor a continuation of one";
            return Err(Error::malformed(number, problem, line));
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // The length rules most fields out before any letter is compared.
        let field = match colon {
            7 if name.eq_ignore_ascii_case(b"Package") => &mut self.package,
            7 if name.eq_ignore_ascii_case(b"Version") => &mut self.version,
            7 if name.eq_ignore_ascii_case(b"Section") => &mut self.section,
            12 if name.eq_ignore_ascii_case(b"Architecture") => &mut self.architecture,
            _ => return Ok(()),
        };
        if field.is_some() {
            return Err(Error::malformed(number, "the stanza has this field already", line));
        }
        let indent = line.len() - colon - 1 - line[colon + 1..].trim_ascii_start().len();
        let value_start = start + colon + 1 + indent;
        *field = Some(value_start..value_start + value.len());
        Ok(())
    }
}

/// Takes off what ends a line: a line feed, and carriage returns before it. All of them, or a stanza that ends with
/// one would lose it when its file is put together again with line feeds.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
    &line[..end]
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t'))
}

#[cfg(test)]
mod tests;
