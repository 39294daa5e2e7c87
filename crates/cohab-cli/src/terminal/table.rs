//! Tables of any length, in memory a few hundred rows at a time.

use comfy_table::{CellAlignment, ColumnConstraint, TableStyle, Width, presets};
use unicode_width::UnicodeWidthStr;

use super::{Cell, Record};

/// How many rows are laid out together.
pub(super) const CHUNK_ROWS: usize = 500;

/// Between two columns.
const GAP: usize = 2;

/// The least a column is cut to.
const COLUMN_MIN: usize = 8;

/// Lays rows out in columns whose widths the first rows decide, so that those after them stand below.
pub(super) struct Layout {
    columns: &'static [&'static str],
    width: usize,
    widths: Option<Vec<usize>>,
}

impl Layout {
    pub(super) fn new(columns: &'static [&'static str], width: usize) -> Self {
        Self { columns, width, widths: None }
    }

    /// Lays out some rows, the first time below a header.
    pub(super) fn rows(&mut self, records: &[Record<'_>]) -> String {
        let is_first = self.widths.is_none();
        let widths = self.widths.get_or_insert_with(|| fit(self.columns, records, self.width));
        let mut table = bare_table();
        if is_first {
            let header = self.columns.iter().map(|column| {
                let is_number = records.first().is_some_and(|record| record.cell(column).is_number());
                let alignment = if is_number { CellAlignment::Right } else { CellAlignment::Left };
                comfy_table::Cell::new(heading(column)).set_alignment(alignment)
            });
            table.set_header(header);
        }
        for record in records {
            let cells = self.columns.iter().zip(&*widths).map(|(column, width)| {
                let cell = record.cell(column);
                let alignment = if cell.is_number() { CellAlignment::Right } else { CellAlignment::Left };
                comfy_table::Cell::new(cell.shown(*width)).set_alignment(alignment)
            });
            table.add_row(cells);
        }
        for (index, width) in widths.iter().enumerate() {
            let padding = if index + 1 < self.columns.len() { GAP } else { 0 };
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, u16::try_from(padding).unwrap_or(0)));
                let width = u16::try_from(width + padding).unwrap_or(u16::MAX);
                column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
            }
        }
        table.trim_fmt()
    }
}

fn bare_table() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn heading(column: &str) -> String {
    column.replace('_', " ").to_uppercase()
}

/// The widths that the rows need, cut to what there is, the widest column first.
fn fit(columns: &[&str], records: &[Record<'_>], width: usize) -> Vec<usize> {
    let needed = |column: &&str| {
        let cells = records.iter().map(|record| record.cell(column).shown(width).width());
        cells.chain([heading(column).width()]).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = columns.iter().map(needed).collect();
    let available = width.saturating_sub(GAP * columns.len().saturating_sub(1));
    while widths.iter().sum::<usize>() > available {
        let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > COLUMN_MIN) else { break };
        *widest -= 1;
    }
    widths
}

/// Lays out one record, a line for each field.
pub(super) fn record(record: &Record<'_>, width: usize) -> String {
    let names = record.fields().iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let room = width.saturating_sub(names + GAP).max(COLUMN_MIN);
    let line = |(name, cell): &(&str, Cell<'_>)| {
        let name = name.replace('_', " ");
        format!("{name:names$}  {}", cell.shown(room)).trim_end().to_owned() + "\n"
    };
    record.fields().iter().map(line).collect()
}

/// Lays out a small table with lines around it, as wide as it needs to be.
pub(super) fn framed(columns: &[&str], rows: &[Record<'_>], width: usize) -> String {
    const FRAME: TableStyle = presets::UTF8_FULL_CONDENSED;
    // Each column has a space on either side and a line behind it; what `fit` leaves between two counts as well.
    let frame = 3 * columns.len() + 1;
    let gaps = GAP * columns.len().saturating_sub(1);
    let widths = fit(columns, rows, (width + gaps).saturating_sub(frame));
    let mut table = comfy_table::Table::new();
    table.load_style(FRAME).set_header(columns.iter().map(|column| heading(column)));
    for row in rows {
        table.add_row(columns.iter().zip(&widths).map(|(column, width)| row.cell(column).shown(*width)));
    }
    table.trim_fmt()
}
