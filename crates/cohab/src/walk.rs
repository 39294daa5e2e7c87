//! Going through the records of several versions.

use std::ops::Bound;

use cohab_core::Version;
use cohab_log::{Header, Item, Net, items, parse_chunk_key, record_start};

use crate::{Error, Result};

/// The rows of the log that hold the records after a version and up to another.
pub(crate) struct Span {
    pub(crate) after: Version,
    pub(crate) through: Version,
    from: [u8; 12],
    to: [u8; 12],
}

impl Span {
    pub(crate) fn new(after: Version, through: Version) -> Self {
        Self { after, through, from: record_start(after.next()), to: record_start(through.next()) }
    }

    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Included(&self.from), Bound::Excluded(&self.to))
    }

    /// Shows every item of the records, in order, having made sure that none is missing. Memory: one chunk.
    pub(crate) fn visit(
        &self,
        mut rows: cohab_engine::Entries<'_>,
        mut visit: impl FnMut(Version, &Item<'_>) -> Result<()>,
    ) -> Result<()> {
        let damaged = |version: Version, what: &str| {
            Error::corrupt(format!("the log's record of version {version} {what}"))
        };
        // Of the record at hand: the version, the chunk that comes next, its changes so far, and whether it has ended.
        let (mut version, mut chunk, mut changes, mut ended) = (self.after, 0, 0, true);
        while let Some(row) = rows.step()? {
            let place = parse_chunk_key(row.key());
            if ended && place == Some((version.next(), 0)) {
                (version, chunk, changes, ended) = (version.next(), 0, 0, false);
            } else if ended || place != Some((version, chunk)) {
                return Err(damaged(if ended { version.next() } else { version }, "is incomplete"));
            }
            chunk += 1;
            for item in items(row.value()) {
                let item = item?;
                match item {
                    _ if ended => return Err(damaged(version, "goes on after its end")),
                    Item::Change(_) => changes += 1,
                    Item::End { changes: counted } if counted == changes => ended = true,
                    Item::End { .. } => return Err(damaged(version, "lacks a change")),
                    _ => {}
                }
                visit(version, &item)?;
            }
        }
        if version == self.through && ended {
            return Ok(());
        }
        Err(damaged(if ended { version.next() } else { version }, "is incomplete"))
    }

    /// Takes the net effect of the records together.
    pub(crate) fn fold(&self, rows: cohab_engine::Entries<'_>, mut net: Net) -> Result<Net> {
        self.visit(rows, |version, item| {
            net.add(version, item);
            if net.is_over() {
                let message =
                    format!("what changed since version {} is too much to be taken together", self.after);
                return Err(
                    Error::invalid(message).hint("take fewer versions, or the whole store: `cohab backup`")
                );
            }
            Ok(())
        })?;
        Ok(net)
    }
}

/// Decodes the header of a version's record from its first chunk, if there is one.
pub(crate) fn header(version: Version, chunk: Option<&[u8]>) -> Result<Header> {
    let none = || Error::corrupt(format!("the log has no record of version {version}"));
    let header = cohab_log::header(chunk.ok_or_else(none)?)?;
    if header.version == version {
        return Ok(header);
    }
    let found = header.version;
    Err(Error::corrupt(format!("the log's record of version {version} is that of {found}")))
}
