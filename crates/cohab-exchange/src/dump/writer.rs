//! Writing a dump.

use std::io::Write;

use serde::Serialize;

use super::line::End;
use super::progress::Progress;
use super::{FORMAT, NamespaceEnd, NamespaceHeader, Totals};
use crate::{Error, Result, Text};

/// How much is collected before it is handed on, so that what is written to needs no buffer of its own.
const BUFFER_BYTES: usize = 256 << 10;

/// Writes a dump, line by line.
///
/// Calls come in the order of the lines: [`namespace`](Self::namespace), any number of [`entry`](Self::entry),
/// [`end_namespace`](Self::end_namespace), and so on, then [`finish`](Self::finish). Memory is a buffer of 256
/// KiB, or one line if that is longer.
///
/// # Panics
///
/// Calls in another order, names or keys that do not ascend, and a history that is neither `full` nor `off` are
/// mistakes of the program and panic.
#[must_use = "a dump that is not finished is refused by whoever reads it"]
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    buffer: Vec<u8>,
    line: u64,
    progress: Progress,
}

/// The lines that have a name.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    CohabDump(u64),
    Namespace(&'a NamespaceHeader),
    End(&'a End),
    EndOfDump(Totals),
}

impl<W: Write> Writer<W> {
    /// Begins a dump.
    pub fn begin(output: W) -> Result<Self> {
        let buffer = Vec::with_capacity(BUFFER_BYTES);
        let mut dump = Self { output, buffer, line: 0, progress: Progress::default() };
        dump.write(&Line::CohabDump(FORMAT))?;
        Ok(dump)
    }

    /// Begins a namespace, whose name is greater than that of the one before.
    pub fn namespace(&mut self, header: &NamespaceHeader) -> Result<()> {
        follow(self.progress.begin_namespace(header));
        self.write(&Line::Namespace(header))
    }

    /// Writes an entry, whose key is greater than that of the one before.
    pub fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        follow(self.progress.entry(key, value));
        self.buffer.extend_from_slice(br#"{"key":"#);
        append(&mut self.buffer, &Text::new(key));
        self.buffer.extend_from_slice(br#","value":"#);
        append(&mut self.buffer, &Text::new(value));
        self.buffer.push(b'}');
        self.end_line()
    }

    /// Ends the namespace, and returns what was counted.
    pub fn end_namespace(&mut self) -> Result<NamespaceEnd> {
        let end = follow(self.progress.end_namespace());
        self.write(&Line::End(&end))?;
        Ok(end.into_public())
    }

    /// Ends the dump, flushes the writer and returns it.
    pub fn finish(mut self) -> Result<W> {
        let totals = follow(self.progress.end());
        self.write(&Line::EndOfDump(totals))?;
        self.hand_on()?;
        let Self { mut output, line, .. } = self;
        output.flush().map_err(|source| Error::Write { line, source })?;
        Ok(output)
    }

    fn write(&mut self, line: &Line<'_>) -> Result<()> {
        append(&mut self.buffer, line);
        self.end_line()
    }

    fn end_line(&mut self) -> Result<()> {
        self.buffer.push(b'\n');
        self.line += 1;
        if self.buffer.len() >= BUFFER_BYTES { self.hand_on() } else { Ok(()) }
    }

    fn hand_on(&mut self) -> Result<()> {
        let written = self.output.write_all(&self.buffer);
        self.buffer.clear();
        written.map_err(|source| Error::Write { line: self.line, source })
    }
}

fn append(buffer: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(buffer, value).expect("writing into memory does not fail");
}

/// A reader would refuse what breaks the rules, so a program that breaks them stops here.
fn follow<T>(step: Result<T, String>) -> T {
    step.unwrap_or_else(|problem| panic!("a dump is written out of order: {problem}"))
}
