//! One logical transaction: what a `write` closure sees, and what a batch is applied through.

use std::fmt;
use std::ops::Bound;

use cohab_core::limits::TRANSACTION_LABEL_BYTES_MAX;
use cohab_core::{InstanceId, NamespaceId, Timestamp, Version, planted};
use cohab_log::{Chain, Change, Header, RecordWriter, Summary};
use cohab_namespace::{Contents, History};

use crate::commit::{Commit, Open};
use crate::entries::{Range, Value};
use crate::guard::Pending;
use crate::layout::{DATA, DataRange, LOG, check_value, data_key, prefix_end, split_value, version_prefix};
use crate::range::KeyRange;
use crate::view::Direction;
use crate::{Error, Fence, Result};

/// An open transaction, handed to the closure of [`Store::write`](crate::Store::write).
///
/// It sees the store as the last commit left it, and its own changes. Namespaces are named in every call; whoever
/// works on one for long takes [`namespace`](Self::namespace) and spares the look-up.
pub struct Transaction<'c, 'tx> {
    pub(crate) commit: Commit<'c, 'tx>,
    pub(crate) ledger: Ledger,
    /// What plugins are to be asked about before it commits.
    pub(crate) pending: Pending,
}

/// What a transaction has to report: its log record, begun with its first change, and what it touched.
pub(crate) struct Ledger {
    header: Header,
    record: Option<RecordWriter>,
    touched: Vec<NamespaceId>,
    /// Set once a snapshot was taken before something is destroyed.
    is_guarded: bool,
}

impl Ledger {
    /// Returns whether the transaction has changed something.
    pub(crate) fn has_begun(&self) -> bool {
        self.record.is_some()
    }

    /// Notes that a snapshot is taken, and returns whether it is the first.
    pub(crate) fn guard(&mut self) -> bool {
        !std::mem::replace(&mut self.is_guarded, true)
    }

    /// Says that somebody else committed this first, and when.
    pub(crate) fn stamp(&mut self, time: Timestamp, instance: InstanceId) {
        self.header.time = time;
        self.header.instance = instance;
    }

    /// Returns whether the transaction was named.
    pub(crate) fn is_labelled(&self) -> bool {
        !self.header.label.is_empty()
    }

    /// Returns the log record, which begins with the first change.
    pub(crate) fn record(&mut self) -> &mut RecordWriter {
        self.record.get_or_insert_with(|| RecordWriter::begin(&self.header))
    }

    /// Notes what becomes of a namespace's contents, and what they were before the transaction.
    pub(crate) fn sum_up(&mut self, open: &Open, after: Contents) {
        let is_touched = open.changed_in == Some(self.header.version);
        let before = if is_touched { open.before } else { open.contents };
        self.record().summary(Summary { namespace: open.record.id, before, after });
    }

    /// Notes that a key of a namespace changes.
    fn touch(&mut self, open: &mut Open, key: &[u8]) -> &mut RecordWriter {
        if let Some(written) = &mut open.written {
            written.add(key);
        }
        if open.changed_in != Some(self.header.version) {
            open.changed_in = Some(self.header.version);
            open.before = open.contents;
            open.unrecorded = 0;
            self.touched.push(open.record.id);
        }
        self.record()
    }

    /// Hands a full chunk of the record to the engine, so that a transaction of any size needs one in memory.
    pub(crate) fn send_full_chunk(&mut self, tx: &mut cohab_engine::Transaction<'_>) -> Result<()> {
        if let Some(record) = self.record.as_mut().filter(|record| record.is_full()) {
            record.flush(|key, chunk| tx.insert(LOG, key, &[chunk]).map(drop))?;
        }
        Ok(())
    }
}

impl<'c, 'tx> Transaction<'c, 'tx> {
    pub(crate) fn begin(commit: Commit<'c, 'tx>) -> Self {
        let header = Header {
            version: commit.root.version.next(),
            epoch: commit.epoch,
            instance: commit.inner.instance,
            time: commit.now,
            label: String::new(),
            previous: Chain::from_bytes(commit.root.chain),
        };
        let pending = Pending::begin(commit.inner);
        let ledger = Ledger { header, record: None, touched: Vec::new(), is_guarded: false };
        Self { commit, ledger, pending }
    }

    /// Leaves the transaction, which must not have changed anything.
    pub(crate) fn abandon(self) -> Commit<'c, 'tx> {
        debug_assert!(self.ledger.record.is_none(), "a refused transaction has changed nothing");
        self.commit
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.commit.broken
    }

    /// Ends the transaction and returns the version it made, or the present one if it changed nothing.
    pub(crate) fn finish(self) -> Result<(Commit<'c, 'tx>, Version)> {
        let Self { mut commit, ledger, .. } = self;
        let Some(mut record) = ledger.record else {
            let version = commit.root.version;
            return Ok((commit, version));
        };
        let version = ledger.header.version;
        for id in ledger.touched {
            // A namespace that the transaction dropped and purged has nothing to sum up.
            let Some(open) = commit.opened(id) else { continue };
            open.contents.data_version = version;
            if open.unrecorded > 0 {
                record.unrecorded(id, open.unrecorded);
            }
            record.summary(Summary { namespace: id, before: open.before, after: open.contents });
        }
        let tx = &mut *commit.tx;
        let finished = record.finish(|key, chunk| tx.insert(LOG, key, &[chunk]).map(drop))?;
        let root = &mut commit.root;
        if root.log_oldest == version {
            root.log_oldest_time = commit.now;
        }
        root.version = version;
        root.epoch = commit.epoch;
        root.chain = finished.chain.to_bytes();
        root.log_bytes += finished.bytes;
        commit.changed = true;
        Ok((commit, version))
    }

    /// Returns the version that the transaction makes if it changes anything.
    pub fn version(&self) -> Version {
        self.ledger.header.version
    }

    /// Names the transaction in the log. Comes before the first change.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidInput`](crate::Kind::InvalidInput) after the first change, for a label over the limit, or for one that
    /// begins with `plugin:`, as those of plugins do.
    pub fn label(&mut self, label: impl Into<String>) -> Result<()> {
        let label = label.into();
        refuse_reserved(&label)?;
        self.label_any(label)
    }

    /// Names the transaction as it was named elsewhere, or by cohab itself.
    pub(crate) fn label_any(&mut self, label: String) -> Result<()> {
        check_label(&label)?;
        if self.ledger.record.is_some() {
            return Err(Error::invalid("a transaction is labelled before its first change"));
        }
        self.ledger.header.label = label;
        Ok(())
    }

    /// Makes sure that a lock is still held by who thinks so: refuses a fencing token once a later holder of the same
    /// lock has shown its own to the store.
    ///
    /// A process that was stopped for long may have lost a lock without knowing; what it then writes with the fence is
    /// refused, in the same transaction (Kleppmann, "How to do distributed locking", 2016).
    ///
    /// # Errors
    ///
    /// [`Kind::Fenced`](crate::Kind::Fenced).
    pub fn fence(&mut self, fence: &Fence) -> Result<()> {
        self.commit.fence(fence)
    }

    /// Runs an operation that may fail half-way, and notes if it did: such a transaction is never committed, even if
    /// the closure drops the error.
    pub(crate) fn whole<T>(&mut self, operation: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let result = operation(self);
        self.commit.broken |= result.is_err();
        result
    }

    /// Returns a namespace to read from and write to.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::Kind::NotFound) if there is none of that name.
    pub fn namespace(&mut self, name: impl AsRef<str>) -> Result<NamespaceMut<'_, 'c, 'tx>> {
        let id = self.commit.require(name.as_ref())?;
        Ok(NamespaceMut { transaction: self, id })
    }

    /// Reads a key's value, with the changes made so far.
    pub fn get(&mut self, namespace: impl AsRef<str>, key: impl AsRef<[u8]>) -> Result<Option<Value<'_>>> {
        let id = self.commit.require(namespace.as_ref())?;
        self.get_in(id, key.as_ref())
    }

    /// Puts a value under a key, replacing what was there.
    pub fn put(
        &mut self,
        namespace: impl AsRef<str>,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<()> {
        let id = self.commit.require(namespace.as_ref())?;
        self.put_in(id, key.as_ref(), value.as_ref())
    }

    /// Removes a key, and returns whether it was there.
    pub fn delete(&mut self, namespace: impl AsRef<str>, key: impl AsRef<[u8]>) -> Result<bool> {
        let id = self.commit.require(namespace.as_ref())?;
        self.delete_in(id, key.as_ref())
    }

    pub(crate) fn get_in(&mut self, id: NamespaceId, key: &[u8]) -> Result<Option<Value<'_>>> {
        let row = data_key(id, key)?;
        Ok(self.commit.tx.get(DATA, &row)?.map(Value::new))
    }

    pub(crate) fn put_in(&mut self, id: NamespaceId, key: &[u8], value: &[u8]) -> Result<()> {
        check_value(key, value)?;
        let row = data_key(id, key)?;
        self.whole(|Self { commit, ledger, pending }| {
            let (tx, open) = commit.split(id);
            let full = open.record.metadata.history == History::Full;
            let version = version_prefix(ledger.header.version);
            let record = ledger.touch(open, key);
            if let Some(stored) = tx.insert(DATA, &row, &[&version, value])? {
                let (before_version, before) = split_value(stored);
                pending.note(open, key, Some(before), Some(value));
                if !planted!(OverwrittenStaysCounted) {
                    open.contents.remove(key, before);
                }
                if full {
                    record.change(id, Change::Update { key, before, before_version, value });
                }
            } else {
                pending.note(open, key, None, Some(value));
                if full {
                    record.change(id, Change::Insert { key, value });
                }
            }
            open.contents.add(key, value);
            open.unrecorded += u64::from(!full);
            ledger.send_full_chunk(tx)
        })
    }

    pub(crate) fn delete_in(&mut self, id: NamespaceId, key: &[u8]) -> Result<bool> {
        let row = data_key(id, key)?;
        self.whole(|Self { commit, ledger, pending }| {
            let (tx, open) = commit.split(id);
            let Some(stored) = tx.remove(DATA, &row)? else { return Ok(false) };
            let (before_version, before) = split_value(stored);
            pending.note(open, key, Some(before), None);
            // Before the contents change, of which it notes what they were.
            let record = ledger.touch(open, key);
            open.contents.remove(key, before);
            if open.record.metadata.history == History::Full {
                record.change(id, Change::Delete { key, before, before_version });
            } else {
                open.unrecorded += 1;
            }
            ledger.send_full_chunk(tx)?;
            Ok(true)
        })
    }

    pub(crate) fn range_in(
        &mut self,
        id: NamespaceId,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
    ) -> Result<Range<'_>> {
        let entries = self.commit.tx.range(DATA, DataRange::of(id, bounds).bounds(), direction)?;
        Ok(Range::new(entries, None))
    }
}

/// What the labels of transactions begin with that plugins made.
pub(crate) const PLUGIN_LABEL: &str = "plugin:";

/// Refuses a label that says that a plugin was at work: plugins are told by it what to pass over.
pub(crate) fn refuse_reserved(label: &str) -> Result<()> {
    if label.starts_with(PLUGIN_LABEL) {
        let message =
            format!("the label {label:?} begins with `{PLUGIN_LABEL}`, which is reserved for plugins");
        return Err(Error::invalid(message).hint("call the transaction something else"));
    }
    Ok(())
}

pub(crate) fn check_label(label: &str) -> Result<()> {
    if label.len() <= TRANSACTION_LABEL_BYTES_MAX {
        return Ok(());
    }
    let bytes = label.len();
    let message =
        format!("a transaction's label is {bytes} bytes long, the most is {TRANSACTION_LABEL_BYTES_MAX}");
    Err(Error::invalid(message))
}

impl fmt::Debug for Transaction<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("version", &self.version()).finish_non_exhaustive()
    }
}

/// One namespace within a transaction.
#[derive(Debug)]
pub struct NamespaceMut<'t, 'c, 'tx> {
    transaction: &'t mut Transaction<'c, 'tx>,
    id: NamespaceId,
}

impl NamespaceMut<'_, '_, '_> {
    /// Returns the namespace's identity.
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// Returns how many keys it holds, with the changes made so far. Cost: none.
    pub fn count(&mut self) -> u64 {
        self.transaction.commit.open(self.id).contents.keys
    }

    /// Reads a key's value, with the changes made so far.
    pub fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Value<'_>>> {
        self.transaction.get_in(self.id, key.as_ref())
    }

    /// Puts a value under a key, replacing what was there.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.transaction.put_in(self.id, key.as_ref(), value.as_ref())
    }

    /// Removes a key, and returns whether it was there.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.transaction.delete_in(self.id, key.as_ref())
    }

    /// Reads a range in ascending order, lazily, with the changes made so far.
    #[expect(clippy::needless_pass_by_value, reason = "ranges are written in place")]
    pub fn range(&mut self, range: impl KeyRange) -> Result<Range<'_>> {
        self.transaction.range_in(self.id, range.bounds(), Direction::Forward)
    }

    /// Reads the keys that begin with a prefix, in ascending order.
    pub fn prefix(&mut self, prefix: impl AsRef<[u8]>) -> Result<Range<'_>> {
        let prefix = prefix.as_ref();
        let end = prefix_end(prefix);
        let bounds = (Bound::Included(prefix), end.as_ref().map(Vec::as_slice));
        self.transaction.range_in(self.id, bounds, Direction::Forward)
    }
}
