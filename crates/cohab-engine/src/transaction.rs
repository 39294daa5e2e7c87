//! A set of changes that becomes durable as a whole.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Bound, RangeBounds};

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};

use crate::branches::Branches;
use crate::entries::{Direction, Entries, OnDamage, out_of_order};
use crate::gap::{verify_absence, verify_put};
use crate::guard::guarded;
use crate::seal::{Guard, SEAL_BYTES, Seal, Value};
use crate::table::TABLES_MAX;
use crate::{Error, Result, Table};

/// A table that was opened.
struct Open<'tx> {
    tree: redb::Table<'tx, &'static [u8], &'static [u8]>,
    seal: Seal,
    /// Whether it held nothing before: then all its pages are this transaction's, and sound.
    is_new: bool,
}

/// An open write transaction. It reads its own writes, and is handed to the closure of
/// [`Engine::write`](crate::Engine::write).
pub struct Transaction<'tx> {
    inner: &'tx WriteTransaction,
    trees: [Option<Open<'tx>>; TABLES_MAX],
    /// What led to where a key would be before it. `None` where that is not known.
    before: Option<Branches>,
    /// The stored form of a value that goes in, or of the one that was there.
    sealed: Vec<u8>,
    failed: bool,
    discarded: bool,
}

impl<'tx> Transaction<'tx> {
    pub(crate) fn new(inner: &'tx WriteTransaction, before: Option<Branches>) -> Self {
        Self {
            inner,
            trees: [const { None }; TABLES_MAX],
            before,
            sealed: Vec::new(),
            failed: false,
            discarded: false,
        }
    }

    /// Whether the system failed an operation, after which redb refuses every further one.
    pub(crate) fn failed(&self) -> bool {
        self.failed
    }

    /// Lets the transaction end without a commit although its closure succeeds: for one that changed nothing.
    pub fn discard(&mut self) {
        self.discarded = true;
    }

    pub(crate) fn discarded(&self) -> bool {
        self.discarded
    }

    /// Notes a failure before passing it on.
    fn note<T>(failed: &mut bool, result: Result<T>) -> Result<T> {
        *failed |= matches!(&result, Err(error) if error.is_system_failure());
        result
    }

    /// Opens the table on first use; a table that is not there yet is created.
    fn tree<'a>(
        inner: &'tx WriteTransaction,
        trees: &'a mut [Option<Open<'tx>>; TABLES_MAX],
        table: Table,
    ) -> Result<&'a mut Open<'tx>> {
        let slot = &mut trees[table.slot()];
        if slot.is_none() {
            let tree = guarded(table.name(), || inner.open_table(table.definition()))?;
            let is_new = guarded(table.name(), || tree.is_empty())?;
            *slot = Some(Open { tree, seal: Seal::new(table), is_new });
        }
        Ok(slot.as_mut().expect("was filled a line before"))
    }

    /// Reads the value of a key, verified; if there is none, the neighbours are.
    pub fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Value<'_>>> {
        let Open { tree, seal, is_new } =
            Self::note(&mut self.failed, Self::tree(self.inner, &mut self.trees, table))?;
        match Self::note(&mut self.failed, seal.find(key, || tree.get(key)))? {
            Some(value) => Ok(Some(value)),
            None if *is_new => Ok(None),
            None => {
                let verified =
                    verify_absence(tree, *seal, key, |_| verify_before(self.before.as_ref(), *seal, key));
                Self::note(&mut self.failed, verified).map(|()| None)
            }
        }
    }

    /// Puts the value that `parts` make up, in order, under a key, and lends out the value that was there, verified; if
    /// there was none, the neighbours are, so that a damaged branch takes no key to where it is not found again.
    ///
    /// Cost: a new key is a second walk down the tree, unless the table was empty before the transaction.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the replaced value or a neighbour is damaged, or the key went elsewhere. The new value
    /// stands in the transaction by then, so an error must end it.
    pub fn insert(&mut self, table: Table, key: &[u8], parts: &[&[u8]]) -> Result<Option<&[u8]>> {
        let Open { tree, seal, is_new } =
            Self::note(&mut self.failed, Self::tree(self.inner, &mut self.trees, table))?;
        let sealed = &mut self.sealed;
        seal.close(key, parts, sealed);
        let replaced = guarded(table.name(), || {
            let before = tree.insert(key, sealed.as_slice())?;
            take(*seal, key, before, sealed)
        });
        let replaced = Self::note(&mut self.failed, replaced)?;
        if !replaced && !*is_new {
            let verified = verify_put(tree, *seal, key, || verify_before(self.before.as_ref(), *seal, key));
            Self::note(&mut self.failed, verified)?;
        }
        Ok(replaced.then(|| &self.sealed[SEAL_BYTES..]))
    }

    /// Removes a key and lends out the value that was there, verified; if there is none, the neighbours are.
    ///
    /// # Errors
    ///
    /// As for [`insert`](Self::insert).
    pub fn remove(&mut self, table: Table, key: &[u8]) -> Result<Option<&[u8]>> {
        let Open { tree, seal, is_new } =
            Self::note(&mut self.failed, Self::tree(self.inner, &mut self.trees, table))?;
        let sealed = &mut self.sealed;
        let removed = guarded(table.name(), || take(*seal, key, tree.remove(key)?, sealed));
        let removed = Self::note(&mut self.failed, removed)?;
        if !removed && !*is_new {
            let verified =
                verify_absence(tree, *seal, key, |_| verify_before(self.before.as_ref(), *seal, key));
            Self::note(&mut self.failed, verified)?;
        }
        Ok(removed.then(|| &self.sealed[SEAL_BYTES..]))
    }

    /// Removes the first entries of a range, at most `limit`, and shows each to `removed` before it goes.
    ///
    /// Returns how many went. Unlike [`remove`](Self::remove) it does not verify them: it is how damaged data is
    /// got rid of as well.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if a damaged branch leads to entries outside the range. One is gone from the transaction by
    /// then, so an error must end it.
    pub fn remove_first(
        &mut self,
        table: Table,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
        mut removed: impl FnMut(&[u8], &[u8]),
    ) -> Result<usize> {
        let Open { tree, seal, .. } =
            Self::note(&mut self.failed, Self::tree(self.inner, &mut self.trees, table))?;
        let result = guarded(table.name(), || {
            // Dropping it looks at the page that it is in. Where that made it panic, it would panic again, and two panics
            // at a time end the process: so then it is not dropped.
            let mut entries = ManuallyDrop::new(tree.extract_from_if(range, |_, _| true)?);
            let mut take = || {
                let mut count = 0;
                while count < limit {
                    let Some(entry) = entries.next() else { break };
                    let (key, stored) = entry?;
                    if !range.contains(key.value()) {
                        return Err(out_of_order(*seal, key.value()));
                    }
                    removed(key.value(), stored.value().get(SEAL_BYTES..).unwrap_or_default());
                    count += 1;
                }
                Ok(count)
            };
            let taken = take();
            let closed = ManuallyDrop::into_inner(entries).close();
            let count = taken?;
            closed?;
            Ok::<_, Error>(count)
        });
        Self::note(&mut self.failed, result)
    }

    /// Reads the entries of a range, lazily, with the changes made so far.
    pub fn range(
        &mut self,
        table: Table,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
    ) -> Result<Entries<'_>> {
        let Open { tree, seal, .. } =
            Self::note(&mut self.failed, Self::tree(self.inner, &mut self.trees, table))?;
        Entries::open(tree, *seal, range, direction, OnDamage::End, None)
    }

    /// Appends entries in ascending order behind everything the table holds; several times as fast as
    /// [`insert`](Self::insert). `entries` hands out stored values, seals included.
    pub(crate) fn append_sealed<'e>(
        &mut self,
        table: Table,
        entries: impl Iterator<Item = Result<crate::Entry<'e>>>,
        mut appended: impl FnMut(usize),
    ) -> Result<()> {
        let Open { tree, .. } = Self::tree(self.inner, &mut self.trees, table)?;
        let mut cursor = guarded(table.name(), || tree.upper_bound_mut(Bound::<&[u8]>::Unbounded))?;
        for entry in entries {
            let entry = entry?;
            let (key, stored) = entry.stored();
            guarded(table.name(), || match cursor.insert_before(key, stored) {
                Err(redb::CursorError::Storage(error)) => Err(Error::from(error)),
                Err(other) => Err(Error::corrupt(table.name(), Some(key), other.to_string())),
                Ok(()) => Ok(()),
            })?;
            appended(key.len() + stored.len());
        }
        guarded(table.name(), || cursor.close())
    }
}

/// Verifies what led to where a key would be before the transaction. That is one leaf, whatever the transaction has removed around
/// it.
fn verify_before(before: Option<&Branches>, seal: Seal, key: &[u8]) -> Result<()> {
    before.map_or(Ok(()), |before| before.verify_key(seal.of(), key))
}

/// Verifies the value that was there, if there was one, and keeps it elsewhere: what is removed only goes when its guard does.
fn take(seal: Seal, key: &[u8], before: Option<Guard<'_>>, sealed: &mut Vec<u8>) -> Result<bool> {
    let Some(before) = before else { return Ok(false) };
    seal.verify(key, before.value())?;
    sealed.clear();
    sealed.extend_from_slice(before.value());
    Ok(true)
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("failed", &self.failed).finish_non_exhaustive()
    }
}
