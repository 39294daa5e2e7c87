//! Reading the transaction log.

use std::fmt;
use std::ops::{Bound, RangeBounds};

use cohab_core::{Epoch, InstanceId, NamespaceId, Timestamp, Version};
use cohab_log::{Chain, Change, Header, Item, Summary, items, parse_chunk_key, record_start};
use cohab_namespace::catalog::Stored;
use cohab_namespace::{Metadata, Record};

use crate::layout::LOG;
use crate::past::record_header;
use crate::snapshot::State;
use crate::view::Direction;
use crate::{Error, Result, Snapshot};

impl Snapshot {
    /// Returns the oldest version that the log still has a record of. Cost: none.
    pub fn oldest_version(&self) -> Version {
        self.state().root.log_oldest
    }

    /// Returns how many bytes the log's records have. Cost: none.
    pub fn log_bytes(&self) -> u64 {
        self.state().root.log_bytes
    }

    /// Reads the records of a range of versions, lazily; versions that were trimmed are not among them.
    pub fn log(&self, versions: impl RangeBounds<Version>) -> Log<'_> {
        let first = match versions.start_bound() {
            Bound::Unbounded => Version::ZERO,
            Bound::Included(version) => *version,
            Bound::Excluded(version) => Version::new(version.get().saturating_add(1)),
        };
        let last = match versions.end_bound() {
            Bound::Unbounded => self.version(),
            Bound::Included(version) => *version,
            Bound::Excluded(version) => Version::new(version.get().saturating_sub(1)),
        };
        let next = first.max(self.oldest_version());
        Log { state: self.state(), next, last: last.min(self.version()) }
    }
}

/// An iterator over records of the log, oldest first.
pub struct Log<'s> {
    state: &'s State,
    next: Version,
    last: Version,
}

impl<'s> Iterator for Log<'s> {
    type Item = Result<LogRecord<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.last {
            return None;
        }
        let version = self.next;
        self.next = version.next();
        Some(LogRecord::open(self.state, version))
    }
}

impl DoubleEndedIterator for Log<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.next > self.last {
            return None;
        }
        let version = self.last;
        self.last = Version::new(version.get().saturating_sub(1));
        // Version zero has no record; the range is empty from here on.
        if version == Version::ZERO {
            return None;
        }
        Some(LogRecord::open(self.state, version))
    }
}

/// What one transaction did.
pub struct LogRecord<'s> {
    state: &'s State,
    header: Header,
}

/// A piece of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LogItem<'a> {
    /// A key changed.
    Change {
        /// Whose key.
        namespace: NamespaceId,
        /// The values before and after.
        change: Change<'a>,
    },
    /// What people say about a namespace changed, or where it is.
    Metadata {
        /// Which namespace.
        namespace: NamespaceId,
        /// What was said before; nothing if the namespace was created, or lay in the trash.
        before: Option<Box<Metadata>>,
        /// What is said now; nothing if it was dropped or purged.
        after: Option<Box<Metadata>>,
    },
    /// Keys of a namespace with history off changed.
    Unrecorded {
        /// Which namespace.
        namespace: NamespaceId,
        /// How many changes there were.
        changes: u64,
    },
    /// What a namespace holds since.
    Summary(Summary),
}

impl<'s> LogRecord<'s> {
    fn open(state: &'s State, version: Version) -> Result<Self> {
        Ok(Self { state, header: record_header(state, version)? })
    }

    /// Returns the version that the transaction made.
    pub fn version(&self) -> Version {
        self.header.version
    }

    /// Returns when it was committed, by the wall clock.
    pub fn time(&self) -> Timestamp {
        self.header.time
    }

    /// Returns what the application called it; may be empty.
    pub fn label(&self) -> &str {
        &self.header.label
    }

    /// Returns who committed it.
    pub fn instance(&self) -> InstanceId {
        self.header.instance
    }

    /// Returns the epoch of the writer that committed it.
    pub fn epoch(&self) -> Epoch {
        self.header.epoch
    }

    /// Returns the chain hash of everything before it.
    pub fn previous(&self) -> Chain {
        self.header.previous
    }

    /// Shows every piece of the record to `visit`, in order. Memory: one chunk of the record.
    ///
    /// Returns the chain hash with the record in it.
    ///
    /// # Errors
    ///
    /// [`Kind::Corrupt`](crate::Kind::Corrupt) if the record is damaged or incomplete, and what `visit` returns.
    pub fn visit(&self, mut visit: impl FnMut(LogItem<'_>) -> Result<()>) -> Result<Chain> {
        let version = self.version();
        let damaged = |what: &str| Error::corrupt(format!("the log's record of version {version} {what}"));
        let (from, to) = (record_start(version), record_start(version.next()));
        let bounds = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        let mut link = cohab_log::ChainBuilder::after(self.header.previous);
        let (mut namespace, mut changes, mut ended) = (None, 0, false);
        for (expected, row) in (0..).zip(self.state.engine()?.range(LOG, bounds, Direction::Forward)?) {
            let row = row?;
            if parse_chunk_key(row.key()) != Some((version, expected)) {
                return Err(damaged("lacks a chunk"));
            }
            link.chunk(row.value());
            for item in items(row.value()) {
                if ended {
                    return Err(damaged("goes on after its end"));
                }
                match item? {
                    Item::Namespace(id) => namespace = Some(id),
                    Item::Change(change) => {
                        changes += 1;
                        let namespace = namespace.ok_or_else(|| damaged("has a change of no namespace"))?;
                        visit(LogItem::Change { namespace, change })?;
                    }
                    Item::Metadata { namespace, before, after } => {
                        let (before, after) = (live(before.map(|b| &**b))?, live(after.map(|a| &**a))?);
                        visit(LogItem::Metadata { namespace, before, after })?;
                    }
                    Item::Unrecorded { namespace, changes } => {
                        visit(LogItem::Unrecorded { namespace, changes })?;
                    }
                    Item::Summary(summary) => visit(LogItem::Summary(summary))?,
                    Item::End { changes: counted } if counted == changes => ended = true,
                    Item::End { .. } => return Err(damaged("lacks a change")),
                    _ => {}
                }
            }
        }
        if ended { Ok(link.finish()) } else { Err(damaged("has no end")) }
    }
}

/// What a catalogue record says, unless the namespace lay in the trash.
fn live(record: Option<&[u8]>) -> Result<Option<Box<Metadata>>> {
    let record = record.map(Record::decode).transpose()?;
    Ok(record.filter(|record| record.dropped.is_none()).map(|record| Box::new(record.metadata)))
}

impl fmt::Debug for Log<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({:?}..={:?})", self.next, self.last)
    }
}

impl fmt::Debug for LogRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogRecord").field(&self.header).finish()
    }
}
