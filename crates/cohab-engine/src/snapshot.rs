//! A view of the file that never changes.

use std::fmt;
use std::ops::Bound;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableError};

use crate::branches::Branches;
use crate::entries::{Direction, Entries, OnDamage};
use crate::gap::{verify_absence, verify_edge};
use crate::guard::guarded;
use crate::seal::{Seal, Value};
use crate::table::TABLES_MAX;
use crate::{Result, Table};

type Tree = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// All tables as they were at one commit, until it is dropped.
///
/// A snapshot pins the pages it can reach: the writer works on beside it but cannot reuse them, so a snapshot
/// that is kept for long makes the file grow. The kernel releases the pin when the process dies. Reading takes no
/// lock and may happen on any number of threads.
pub struct Snapshot {
    trees: [Option<(Tree, Seal)>; TABLES_MAX],
    /// `None` where it is not known of which commit it is.
    branches: Option<Branches>,
}

impl Snapshot {
    pub(crate) fn open(
        transaction: &ReadTransaction,
        branches: Option<Branches>,
        tables: &[Table],
    ) -> Result<Self> {
        let mut trees = [const { None }; TABLES_MAX];
        for &table in tables {
            let tree = guarded(table.name(), || match transaction.open_table(table.definition()) {
                Err(TableError::TableDoesNotExist(_)) => Ok(None),
                other => other.map(Some),
            })?;
            trees[table.slot()] = tree.map(|tree| (tree, Seal::new(table)));
        }
        Ok(Self { trees, branches })
    }

    fn tree(&self, table: Table) -> Option<(&Tree, Seal)> {
        self.trees[table.slot()].as_ref().map(|(tree, seal)| (tree, *seal))
    }

    /// Reads the value of a key, verified. Cost: one walk down the tree, no copy, no allocation.
    ///
    /// When there is none, the neighbours are verified too (a second walk), and at the edge of a leaf what leads there (a third
    /// one): a damaged key must not pass for an absent one.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the entry, a neighbour or a page on the way is damaged.
    #[inline]
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Value<'_>>> {
        let Some((tree, seal)) = self.tree(table) else { return Ok(None) };
        if let Some(value) = seal.find(key, || tree.get(key))? {
            return Ok(Some(value));
        }
        let branches = self.branches.as_ref();
        verify_absence(tree, seal, key, |beside| verify_edge(branches, seal, beside)).map(|()| None)
    }

    /// Reads the entries of a range, lazily.
    pub fn range(
        &self,
        table: Table,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
    ) -> Result<Entries<'_>> {
        self.entries(table, range, direction, OnDamage::End)
    }

    /// Reads the entries of a range, lazily, and goes on behind entries that are damaged.
    ///
    /// Each of them is an error, behind which [`Entries::step`] comes to the next entry, unless the page itself cannot
    /// be read: then [`Entries::has_ended`].
    pub fn salvage(
        &self,
        table: Table,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
    ) -> Result<Entries<'_>> {
        self.entries(table, range, direction, OnDamage::GoOn)
    }

    /// Verifies the pages that lead to the entries of a table from a key on, and that none of their leaves is said to be empty:
    /// so many leaves, or somewhat more. Returns the key from which to go on, if that was not all.
    ///
    /// What is in the leaves is verified as it is read. Cost: reads each branch, and how each leaf begins.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt) if one is damaged.
    pub fn verify_branches(&self, table: Table, from: &[u8], leaves: usize) -> Result<Option<Vec<u8>>> {
        // Without a table of its own that it has open, it pins nothing.
        match (&self.branches, self.tree(table)) {
            (Some(branches), Some(_)) => branches.verify_from(table, from, leaves),
            _ => Ok(None),
        }
    }

    #[cfg(test)]
    pub(crate) fn knows_its_branches(&self) -> bool {
        self.branches.is_some()
    }

    fn entries(
        &self,
        table: Table,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        on_damage: OnDamage,
    ) -> Result<Entries<'_>> {
        match self.tree(table) {
            Some((tree, seal)) => {
                Entries::open(tree, seal, range, direction, on_damage, self.branches.as_ref())
            }
            None => Ok(Entries::empty(table)),
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}
