//! The branches that lead to a key, verified where no entry tells that they led to the right leaf.
//!
//! redb verifies a page's checksum only along with all others. What is read is verified entry by entry, and what stands beside a
//! gap tells most of the rest; but a leaf of which a flipped bit says that it is empty is passed over, and nothing beside it
//! tells. So where a gap is not within one leaf, the pages that lead there are read [by the format](crate::format).
//!
//! That needs to be done for a commit whose pages stay. The header tells which the last one is; read once a snapshot was taken, it
//! is the one that the snapshot is of, or a later one, and what a snapshot pins are the pages of its commit and of all later ones.
//! (What redb commits in memory alone, where it has the file for itself, changes no table of ours.)

use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::format::{Commit, Definition, Fault, Leaf, Pages, Root, Verified, header, reading};
use crate::storage::Opened;
use crate::table::TABLES_MAX;
use crate::{Error, Result, Table};

/// How often the header is read again that is another one each time.
const HEADERS_MAX: usize = 5;

/// A file whose branches are verified.
pub(crate) struct Source {
    opened: Arc<Opened>,
    path: Arc<Path>,
    verified: Verified,
}

impl Source {
    pub(crate) fn new(opened: Arc<Opened>, path: Arc<Path>) -> Arc<Self> {
        Arc::new(Self { opened, path, verified: Verified::default() })
    }

    /// Reads the header until it is twice the same: of one that is written meanwhile, parts may be of two commits.
    fn last_commit(&self) -> Result<Option<Commit>> {
        let read = || header(&*self.opened, &self.path);
        let mut before = read()?;
        for _ in 0..HEADERS_MAX {
            let header = read()?;
            if header == before {
                return Ok(header.as_ref().and_then(Commit::last));
            }
            before = header;
        }
        Ok(None)
    }
}

/// The branches of a commit, which stay as they are: a snapshot pins them, or a transaction that follows the commit is open.
pub(crate) struct Branches {
    source: Arc<Source>,
    commit: Commit,
    /// Where tables begin, once that was looked up.
    roots: [OnceLock<Option<Root>>; TABLES_MAX],
}

impl Branches {
    /// Notes what the last commit is, of which a snapshot has been taken, or which an open transaction follows. `None` where the
    /// header does not look as it should.
    pub(crate) fn of_last(source: &Arc<Source>) -> Result<Option<Self>> {
        let roots = [const { OnceLock::new() }; TABLES_MAX];
        let commit = source.last_commit()?;
        Ok(commit.map(|commit| Self { source: source.clone(), commit, roots }))
    }

    /// Verifies that there are so many leaves, and no more, from one key of a table, or the first, to another, or the last; and
    /// what leads there. Those were seen that have something in them.
    ///
    /// Cost: looks at the branches that lead there; they are read if they were not, lately.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if a page does not match its checksum, or a leaf is said to be empty; [`Error::Io`].
    pub(crate) fn verify_leaves(
        &self,
        table: Table,
        [from, to]: [Option<&[u8]>; 2],
        leaves: usize,
    ) -> Result<()> {
        let counted = self.root(table).and_then(|root| match root {
            Some(root) => self.known().count_leaves(root, from, to),
            None => Ok(0),
        });
        let from = from.unwrap_or_default();
        match counted {
            Ok(count) if count == leaves => Ok(()),
            // It may be a later commit than the one that was seen.
            Ok(_) => self.verify_range(table, from, to),
            Err(fault) => self.refuse(fault, table, Some(from)),
        }
    }

    /// Finds the leaf where a key of a table would be, or returns `None` where nothing is known of it.
    pub(crate) fn leaf_of(&self, table: Table, key: &[u8]) -> Option<Leaf> {
        let root = self.root(table).ok()??;
        self.known().leaf_of(root, key).ok()?
    }

    /// Verifies what leads to where a key of a table would be, and that the leaf there is not said to be empty.
    ///
    /// # Errors
    ///
    /// As for [`verify_leaves`](Self::verify_leaves).
    pub(crate) fn verify_key(&self, table: Table, key: &[u8]) -> Result<()> {
        self.verify_range(table, key, Some(key))
    }

    fn verify_range(&self, table: Table, from: &[u8], to: Option<&[u8]>) -> Result<()> {
        let verified = self.root(table).and_then(|root| match root {
            Some(root) => self.known().verify_branches(root, from, to, usize::MAX).map(drop),
            None => Ok(()),
        });
        verified.or_else(|fault| self.refuse(fault, table, Some(from)))
    }

    /// Verifies what leads to the keys of a table from one on, and that no leaf there is said to be empty: all of it or so many
    /// leaves. Then the key is returned from which to go on.
    ///
    /// Cost: reads each branch, also one that was verified before, and how each leaf begins.
    ///
    /// # Errors
    ///
    /// As for [`verify_leaves`](Self::verify_leaves).
    pub(crate) fn verify_from(&self, table: Table, from: &[u8], leaves: usize) -> Result<Option<Vec<u8>>> {
        let verified = self.root(table).and_then(|root| match root {
            Some(root) => self.pages().verify_branches(root, from, None, leaves),
            None => Ok(None),
        });
        verified.or_else(|fault| self.refuse(fault, table, None).map(|()| None))
    }

    fn pages(&self) -> Pages<'_> {
        self.commit.pages(&*self.source.opened)
    }

    /// The pages, of which branches are not read that were verified lately.
    fn known(&self) -> Pages<'_> {
        self.pages().knowing(&self.source.verified)
    }

    fn root(&self, table: Table) -> Result<Option<Root>, Fault> {
        let (Some(tables), known) = (self.commit.tables, &self.roots[table.slot()]) else { return Ok(None) };
        if let Some(root) = known.get() {
            return Ok(*root);
        }
        let definition = self.pages().find(tables, table.name().as_bytes())?;
        let root = definition.and_then(|bytes| Definition::parse(&bytes)).map(|definition| definition.root);
        Ok(*known.get_or_init(|| root))
    }

    /// Says what is wrong. Of a file that was closed nothing is: its pages may be used anew by now, and what is still read was in
    /// memory.
    fn refuse(&self, fault: Fault, table: Table, key: Option<&[u8]>) -> Result<()> {
        match fault {
            _ if self.source.opened.is_closed() => Ok(()),
            Fault::Page(page) => {
                let detail = format!("page {page:#x} does not match what leads there");
                Err(Error::corrupt(table.name(), key, detail))
            }
            Fault::Io(error) => Err(reading(&self.source.path, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::ops::Bound;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::{Direction, Engine, Options};

    const TABLE: Table = Table::new(0, "one");

    /// A writer's header in the file is ahead of what its own snapshots are of, for as long as a commit waits for the disk.
    #[test]
    fn a_writers_snapshot_has_sound_branches_beside_its_commits() -> Result<(), Box<dyn std::error::Error>> {
        const COMMITS: u32 = 400;
        let scratch = tempfile::tempdir()?;
        let engine = Engine::open(&scratch.path().join("store.redb"), Options::new(&[TABLE]))?;
        let value = [7; 200];
        let is_done = AtomicBool::new(false);
        let (known, taken) = thread::scope(|scope| -> Result<_> {
            let writing = scope.spawn(|| {
                let written = (0..COMMITS).try_for_each(|round| {
                    engine.write(|tx| {
                        (0..60u32).try_for_each(|i| {
                            let key = (i * 31 + round * 7) % 2000 * 2;
                            if (i + round).is_multiple_of(3) {
                                tx.remove(TABLE, &key.to_be_bytes())?;
                            } else {
                                tx.insert(TABLE, &key.to_be_bytes(), &[&value])?;
                            }
                            Ok::<_, Error>(())
                        })
                    })
                });
                is_done.store(true, Ordering::Release);
                written
            });
            let (mut known, mut taken) = (0u32, 0u32);
            let mut kept = VecDeque::new();
            while !is_done.load(Ordering::Acquire) {
                let snapshot = engine.snapshot()?;
                taken += 1;
                known += u32::from(snapshot.knows_its_branches());
                kept.push_back(snapshot);
                // Now, and once more when the pages of commits before it have been used anew.
                for snapshot in [kept.back(), kept.front()].into_iter().flatten() {
                    snapshot.verify_branches(TABLE, b"", usize::MAX)?;
                    for key in (1..4000u32).step_by(40) {
                        assert!(snapshot.get(TABLE, &key.to_be_bytes())?.is_none());
                    }
                }
                if kept.len() > 20 {
                    kept.pop_front();
                }
            }
            writing.join().expect("does not panic")?;
            Ok((known, taken))
        })?;
        assert!(known > taken / 2, "{known} of {taken} snapshots");
        Ok(())
    }

    /// The B-tree has pages in memory, and goes on showing them; in the file they are another's by now.
    #[test]
    fn a_snapshot_of_a_file_that_was_closed_does_not_take_it_for_damaged()
    -> Result<(), Box<dyn std::error::Error>> {
        let scratch = tempfile::tempdir()?;
        let path = scratch.path().join("store.redb");
        let fill = |engine: &Engine, length: usize| {
            engine.write(|tx| {
                (0..2000u32)
                    .try_for_each(|key| tx.insert(TABLE, &key.to_be_bytes(), &[&vec![7; length]]).map(drop))
            })
        };
        let engine = Engine::open(&path, Options::new(&[TABLE]))?;
        fill(&engine, 100)?;
        let snapshot = engine.snapshot()?;
        let [last, absent] = [1999, 2000].map(u32::to_be_bytes);
        assert!(snapshot.get(TABLE, &last)?.is_some());
        engine.close()?;
        let next = Engine::open(&path, Options::new(&[TABLE]))?;
        for length in [200, 50, 300, 100] {
            fill(&next, length)?;
        }
        assert!(snapshot.get(TABLE, &absent)?.is_none());
        assert!(snapshot.verify_branches(TABLE, b"", 1)?.is_none());
        Ok(())
    }

    /// No page is seen more often than it is there, also where there are hardly any others in the file.
    #[test]
    fn all_branches_of_a_dense_file_are_sound_and_no_scan_is_refused()
    -> Result<(), Box<dyn std::error::Error>> {
        let scratch = tempfile::tempdir()?;
        let engine = Engine::open(&scratch.path().join("store.redb"), Options::new(&[TABLE]))?;
        engine.write(|tx| {
            (0..40_000u32).try_for_each(|key| tx.insert(TABLE, &key.to_be_bytes(), &[&[7; 100]]).map(drop))
        })?;
        while engine.compact()? {}
        let bytes = engine.file_bytes()?;
        assert!((4 << 20..8 << 20).contains(&bytes), "{bytes} bytes");
        let snapshot = engine.snapshot()?;
        assert!(snapshot.knows_its_branches());
        assert_eq!(snapshot.verify_branches(TABLE, b"", usize::MAX)?, None);
        let all = (Bound::Unbounded, Bound::Unbounded);
        for direction in [Direction::Forward, Direction::Reverse] {
            let read = snapshot.range(TABLE, all, direction)?.collect::<Result<Vec<_>>>()?;
            assert_eq!(read.len(), 40_000);
        }
        Ok(())
    }
}
