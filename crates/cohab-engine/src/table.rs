//! Names of tables.

use redb::TableDefinition;

/// The most tables a file can have.
pub(crate) const TABLES_MAX: usize = 8;

pub(crate) type Definition<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

/// A table of the file: a position, by which open tables are found without a search, and a name on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    slot: usize,
    name: &'static str,
    bytes_min: usize,
}

impl Table {
    /// Names a table. Every table of a file has a slot of its own, from 0 to 7, and a name of its own.
    ///
    /// # Panics
    ///
    /// If the slot is past 7 or the name is empty; in a `const`, when it is compiled.
    pub const fn new(slot: usize, name: &'static str) -> Self {
        assert!(slot < TABLES_MAX, "a file has eight tables at most");
        assert!(!name.is_empty(), "a table has a name");
        Self { slot, name, bytes_min: 0 }
    }

    /// Says that every value of the table has this many bytes at least; a shorter one that is read is damage.
    #[must_use]
    pub const fn bytes_min(mut self, bytes_min: usize) -> Self {
        self.bytes_min = bytes_min;
        self
    }

    pub(crate) const fn is_long_enough(self, value: &[u8]) -> bool {
        value.len() >= self.bytes_min
    }

    /// Returns the name that the table has in the file.
    pub const fn name(self) -> &'static str {
        self.name
    }

    pub(crate) const fn slot(self) -> usize {
        self.slot
    }

    pub(crate) const fn definition(self) -> Definition<'static> {
        TableDefinition::new(self.name)
    }
}
