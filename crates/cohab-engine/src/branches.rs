//! The branches that lead to a key, verified where no entry tells that they led to the right leaf.
//!
//! redb verifies a page's checksum only along with all others. What is read is verified entry by entry, and what stands beside a
//! gap tells most of the rest; but a leaf of which a flipped bit says that it is empty is passed over, and nothing beside it
//! tells. So where a gap is not within one leaf, the pages that lead there are read [by the format](crate::format).
//!
//! That needs to be done for a commit whose pages stay: which a snapshot is of is told by the header, if that was the same before
//! and afterwards. Only a writer's own snapshots lag behind it, by the commit that waits for the disk; they pin its pages as well.

use std::path::Path;
use std::sync::Arc;

use crate::format::{Commit, Definition, Fault, Header, Root, header, reading};
use crate::storage::Opened;
use crate::{Error, Result};

/// How often a snapshot is taken, where there was a commit meanwhile.
const TAKEN_MAX: usize = 3;

/// The branches of a commit, which stay as they are: a snapshot pins them, or a transaction that follows the commit is open.
pub(crate) struct Branches {
    opened: Arc<Opened>,
    path: Arc<Path>,
    commit: Commit,
}

impl Branches {
    /// Takes a snapshot, and notes what the last commit was, unless there are more of them meanwhile than that can be told.
    pub(crate) fn of_snapshot<T>(
        opened: &Arc<Opened>,
        path: &Arc<Path>,
        take: impl FnMut() -> Result<T>,
    ) -> Result<(T, Option<Self>)> {
        let (snapshot, header) = undisturbed(|| header(&**opened, path), take)?;
        Ok((snapshot, Self::of_last(opened, path, header.flatten().as_ref())))
    }

    /// Notes what the commit was that an open transaction follows: nobody commits beside it.
    pub(crate) fn of_transaction(opened: &Arc<Opened>, path: &Arc<Path>) -> Result<Option<Self>> {
        Ok(Self::of_last(opened, path, header(&**opened, path)?.as_ref()))
    }

    fn of_last(opened: &Arc<Opened>, path: &Arc<Path>, header: Option<&Header>) -> Option<Self> {
        let commit = Commit::last(header?)?;
        Some(Self { opened: opened.clone(), path: path.clone(), commit })
    }

    /// Verifies what leads to where a key of a table would be.
    ///
    /// Cost: reads a page for each level of the tree, and where the table begins.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if a page does not match its checksum, or a leaf is said to be empty; [`Error::Io`];
    /// [`Error::Closed`].
    pub(crate) fn verify_key(&self, table: &'static str, key: &[u8]) -> Result<()> {
        self.verify(table, key, Some(key), usize::MAX).map(drop)
    }

    /// Verifies what leads to a range of keys, all of it or to so many leaves: then the key is returned from which to go on.
    ///
    /// Cost: reads each branch, and how each leaf begins.
    ///
    /// # Errors
    ///
    /// As for [`verify_key`](Self::verify_key).
    pub(crate) fn verify(
        &self,
        table: &'static str,
        from: &[u8],
        to: Option<&[u8]>,
        leaves: usize,
    ) -> Result<Option<Vec<u8>>> {
        let verified = self.root(table).and_then(|root| match root {
            Some(root) => self.commit.pages(&*self.opened).verify_branches(root, from, to, leaves),
            None => Ok(None),
        });
        verified.map_err(|fault| match fault {
            _ if self.opened.is_closed() => Error::Closed,
            Fault::Page(page) => {
                let detail = format!("page {page:#x}, on the way to it, does not match what leads there");
                Error::corrupt(table, Some(from), detail)
            }
            Fault::Io(error) => reading(&self.path, error),
        })
    }

    fn root(&self, table: &str) -> Result<Option<Root>, Fault> {
        let Some(tables) = self.commit.tables else { return Ok(None) };
        let definition = self.commit.pages(&*self.opened).find(tables, table.as_bytes())?;
        Ok(definition.and_then(|bytes| Definition::parse(&bytes)).map(|definition| definition.root))
    }
}

/// Takes something, again if a mark has changed meanwhile, and returns the mark if it has not.
fn undisturbed<T, M: PartialEq>(
    mark: impl Fn() -> Result<M>,
    mut take: impl FnMut() -> Result<T>,
) -> Result<(T, Option<M>)> {
    let mut before = mark()?;
    for _ in 0..TAKEN_MAX {
        let taken = take()?;
        let after = mark()?;
        if before == after {
            return Ok((taken, Some(after)));
        }
        before = after;
    }
    Ok((take()?, None))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::{Engine, Options, Table};

    const TABLE: Table = Table::new(0, "one");

    #[test]
    fn what_was_taken_is_taken_again_where_something_came_in_between() -> Result<()> {
        for (changes, expected) in [(0, (1, Some(0))), (1, (2, Some(1))), (2, (3, Some(2))), (3, (4, None))] {
            let (mark, taken) = (Cell::new(0), Cell::new(0));
            let take = || {
                mark.set((mark.get() + 1).min(changes));
                taken.set(taken.get() + 1);
                Ok(taken.get())
            };
            assert_eq!(undisturbed(|| Ok(mark.get()), take)?, expected, "{changes} changes");
        }
        Ok(())
    }

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
        let absent = 2000u32.to_be_bytes();
        assert!(snapshot.get(TABLE, &absent)?.is_none());
        engine.close()?;
        let next = Engine::open(&path, Options::new(&[TABLE]))?;
        for length in [200, 50, 300, 100] {
            fill(&next, length)?;
        }
        for error in
            [snapshot.get(TABLE, &absent).map(drop), snapshot.verify_branches(TABLE, b"", 1).map(drop)]
        {
            assert!(matches!(error, Err(Error::Closed)), "{error:?}");
        }
        Ok(())
    }
}
