//! What the cases ask of an engine, and what an engine's file implements.
//!
//! An engine implements [`Reads`] and [`Adapter`]: open, write, and show the bytes that a read finds to a closure.
//! Everything that is done with those bytes happens in the one implementation of [`Reader`] for all of them, so that
//! no engine is asked for more or for less than another.

use std::path::Path;

use anyhow::Result;

use crate::name::Name;
use crate::reading::{Reader, Reads};
use crate::workload::{Key, Row};

/// Whether an engine that can keep the past of a store does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum History {
    /// Every change is recorded with the value before it.
    Full,
    /// Only the present is kept.
    Off,
}

/// What an engine's file implements for writing, beside [`Reads`].
pub trait Adapter: Reads {
    /// Writes rows in one transaction, calls `before_commit`, and commits; durable when it returns.
    fn write(&self, rows: &[Row], before_commit: &dyn Fn()) -> Result<()>;

    /// Commits one row durably. Any number of threads may call this at a time; an engine that can lets them share
    /// one wait for the disk.
    fn put(&self, row: &Row) -> Result<()> {
        self.write(std::slice::from_ref(row), &|| ())
    }

    /// Waits until no thread of the engine's own is at work.
    fn settle(&self) {}

    /// The engine as one that other processes read from, if it is.
    fn neighbour(&self) -> Option<&dyn Neighbour> {
        None
    }

    /// The engine as one that has named namespaces, if it is.
    fn namespaces(&self) -> Option<&dyn Namespaces> {
        None
    }

    /// The engine as one whose cache of values is measured, if it has one.
    fn any_size(&self) -> Option<&dyn AnySize> {
        None
    }

    /// Makes a copy of the store that is in one directory in another, an empty one, the way of this name; durable when it
    /// returns. Returns whether the engine has a way to.
    fn copy(&self, name: Name, from: &Path, to: &Path) -> Result<bool> {
        let _ = (name, from, to);
        Ok(false)
    }
}

/// Another part of the store, beside the one that the readers read from: a namespace, a table, whatever it is called.
pub trait Neighbour {
    /// Writes rows there in one transaction, durably. Makes it if it is not there.
    fn commit(&self, rows: &[Row]) -> Result<()>;

    /// Removes it.
    fn remove(&self) -> Result<()>;
}

/// Named namespaces beside the one that the other cases use.
pub trait Namespaces {
    /// Creates a namespace and fills it.
    fn create(&self, name: &str, rows: &[Row]) -> Result<()>;

    /// Renames a namespace, durably.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
}

/// A store that is also given rows of other sizes.
pub trait AnySize {
    /// Writes rows in one transaction, durably.
    fn load(&self, rows: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<()>;
}

/// An open store, as the cases see it.
pub trait Engine: Reader {
    /// Writes rows in one transaction, calls `before_commit`, and commits; durable when it returns.
    fn write(&self, rows: &[Row], before_commit: &dyn Fn()) -> Result<()>;

    /// Writes rows in one transaction, durable when it returns.
    fn commit(&self, rows: &[Row]) -> Result<()> {
        self.write(rows, &|| ())
    }

    /// Commits one row durably, from any thread.
    fn put(&self, row: &Row) -> Result<()>;

    /// Waits until no thread of the engine's own is at work.
    fn settle(&self);

    /// The engine as one that other processes read from, if it is.
    fn neighbour(&self) -> Option<&dyn Neighbour>;

    /// The engine as one that has named namespaces, if it is.
    fn namespaces(&self) -> Option<&dyn Namespaces>;

    /// The engine as one whose cache of values is measured, if it has one.
    fn any_size(&self) -> Option<&dyn AnySize>;

    /// Makes a copy of the store that is in one directory in another, an empty one. Returns whether it has a way to.
    fn copy(&self, name: Name, from: &Path, to: &Path) -> Result<bool>;
}

impl<A: Adapter> Engine for A {
    fn write(&self, rows: &[Row], before_commit: &dyn Fn()) -> Result<()> {
        Adapter::write(self, rows, before_commit)
    }

    fn put(&self, row: &Row) -> Result<()> {
        Adapter::put(self, row)
    }

    fn settle(&self) {
        Adapter::settle(self);
    }

    fn neighbour(&self) -> Option<&dyn Neighbour> {
        Adapter::neighbour(self)
    }

    fn namespaces(&self) -> Option<&dyn Namespaces> {
        Adapter::namespaces(self)
    }

    fn any_size(&self) -> Option<&dyn AnySize> {
        Adapter::any_size(self)
    }

    fn copy(&self, name: Name, from: &Path, to: &Path) -> Result<bool> {
        Adapter::copy(self, name, from, to)
    }
}
