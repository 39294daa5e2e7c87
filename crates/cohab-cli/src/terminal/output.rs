//! The standard output, in the form that was asked for.

use std::io::{self, BufWriter, IsTerminal, Write};

use anstyle::Style;
use clap::ValueEnum;
use serde::Serialize;

use super::table::{self, CHUNK_ROWS, Layout};
use super::{Cell, Record};
use crate::failure::Failure;

/// The form of the output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// Aligned text for people, cut to the width of the terminal
    Table,
    /// One JSON value
    Json,
    /// One JSON object a line
    Jsonl,
    /// The values alone: bytes as they are, fields with a tab between them
    Raw,
}

/// How many columns a table has where there is no terminal that says it.
const COLUMNS: usize = 120;

/// The standard output.
pub(crate) struct Output {
    out: BufWriter<Box<dyn Write>>,
    /// What the user asked for, if anything.
    chosen: Option<Format>,
    format: Format,
    width: usize,
    is_colored: bool,
}

impl Output {
    pub(crate) fn to_stdout(chosen: Option<Format>, is_colored: bool) -> Self {
        let stdout = io::stdout();
        let default = if stdout.is_terminal() { Format::Table } else { Format::Jsonl };
        let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
        let size = terminal_size::terminal_size_of(&stdout);
        let width = size.map(|(width, _)| usize::from(width.0)).or_else(columns).unwrap_or(COLUMNS);
        Self {
            // Not locked: a command that stays open prints from other threads as well.
            out: BufWriter::with_capacity(64 << 10, Box::new(stdout)),
            chosen,
            format: chosen.unwrap_or(default),
            width,
            is_colored,
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Prints a table unless the user asked for something else, also where that is not a terminal.
    pub(crate) fn prefer_table(&mut self) {
        self.format = self.chosen.unwrap_or(Format::Table);
    }

    /// Returns the writer itself, for what has a form of its own.
    pub(crate) fn writer(&mut self) -> &mut impl Write {
        &mut self.out
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(|error| Failure::output(&error))
    }

    /// Hands over everything that was printed.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| Failure::output(&error))
    }

    /// Prints one result.
    pub(crate) fn record(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        match self.format {
            Format::Table => {
                let text = table::record(record, self.width);
                self.bytes(text.as_bytes())
            }
            Format::Json => self.json(record, 0),
            Format::Jsonl => self.json_line(record),
            Format::Raw => match record.fields() {
                [(_, cell)] => self.raw_line(&[cell]),
                fields => {
                    fields.iter().try_for_each(|(name, cell)| self.raw_line(&[&Cell::from(*name), cell]))
                }
            },
        }
    }

    /// Begins to print many results. `columns` are the fields that a table shows, and `raw` those that raw output
    /// does.
    pub(crate) fn list(
        &mut self,
        columns: &'static [&'static str],
        raw: &'static [&'static str],
    ) -> Result<List<'_>, Failure> {
        if self.format == Format::Json {
            self.bytes(b"[")?;
        }
        let layout = Layout::new(columns, self.width);
        Ok(List { out: self, layout, raw, count: 0, rows: Vec::new() })
    }

    /// Prints a table with lines around it.
    pub(crate) fn framed(&mut self, columns: &[&str], rows: &[Record<'_>]) -> Result<(), Failure> {
        let table = table::framed(columns, rows, self.width);
        self.bytes(format!("{table}\n").as_bytes())
    }

    /// Prints one JSON object in a line, whatever the form.
    pub(crate) fn line(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        self.json_line(record)
    }

    fn json(&mut self, value: &impl Serialize, indent: usize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(|error| Failure::defect(&error))?;
        // Strings have their line feeds escaped, so every one there is ends a line of the layout.
        let text = text.replace('\n', &format!("\n{}", " ".repeat(indent)));
        self.bytes(text.as_bytes())?;
        if indent == 0 { self.bytes(b"\n") } else { Ok(()) }
    }

    fn json_line(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let written = serde_json::to_writer(&mut self.out, value);
        written.map_err(|error| Failure::output(&error.into()))?;
        self.bytes(b"\n")
    }

    fn raw_line(&mut self, cells: &[&Cell<'_>]) -> Result<(), Failure> {
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                self.bytes(b"\t")?;
            }
            self.bytes(&cell.raw())?;
        }
        self.bytes(b"\n")
    }
}

/// Many results, printed as they come.
pub(crate) struct List<'o> {
    out: &'o mut Output,
    layout: Layout,
    raw: &'static [&'static str],
    count: u64,
    rows: Vec<Record<'static>>,
}

impl List<'_> {
    /// Prints one of them, or keeps it until there are enough for a piece of the table.
    pub(crate) fn push(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        self.count += 1;
        match self.out.format {
            Format::Table => {
                let width = self.out.width;
                self.rows.push(record.shortened(width));
                if self.rows.len() == CHUNK_ROWS { self.lay_out() } else { Ok(()) }
            }
            Format::Json => {
                let separator = if self.count == 1 { "\n  " } else { ",\n  " };
                self.out.bytes(separator.as_bytes())?;
                self.out.json(record, 2)
            }
            Format::Jsonl => self.out.json_line(record),
            Format::Raw => {
                let cells: Vec<_> = self.raw.iter().map(|column| record.cell(column)).collect();
                self.out.raw_line(&cells)
            }
        }
    }

    /// Ends the list.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        match self.out.format {
            Format::Table if !self.rows.is_empty() => self.lay_out(),
            Format::Json => self.out.bytes(if self.count == 0 { b"]\n" } else { b"\n]\n" }),
            _ => Ok(()),
        }
    }

    fn lay_out(&mut self) -> Result<(), Failure> {
        let is_first = self.count <= CHUNK_ROWS as u64;
        let text = self.layout.rows(&std::mem::take(&mut self.rows)) + "\n";
        let style = if self.out.is_colored { Style::new().bold() } else { Style::new() };
        match text.split_once('\n') {
            Some((header, rows)) if is_first => {
                self.out.bytes(format!("{style}{header}{style:#}\n{rows}").as_bytes())
            }
            _ => self.out.bytes(text.as_bytes()),
        }
    }
}
