//! A copy of a snapshot in a file of its own.

use std::io;
use std::path::Path;

use crate::engine::Engine;
use crate::entries::Direction;
use crate::{Error, Options, Result, Snapshot, Table, Transaction};

/// How far a copy has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CopyProgress {
    /// Entries copied so far.
    pub entries: u64,
    /// Bytes of keys and stored values copied so far.
    pub bytes: u64,
}

/// How many entries are copied between two calls of the progress callback.
const PROGRESS_STEP: u64 = 4096;

impl Snapshot {
    /// Writes everything the snapshot holds into a new file, which opens as an engine's own.
    ///
    /// The copy is consistent, verified entry by entry, densely packed, durable when this returns, and made while
    /// the writer goes on. `change` may amend it before it is committed. Memory is bounded by the cache budget in
    /// `options`; a failed copy may leave an unfinished file behind, which the caller removes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file exists already, [`Error::Corrupt`] if an entry is damaged.
    pub fn copy_to(
        &self,
        path: &Path,
        options: Options,
        tables: &[Table],
        mut progress: impl FnMut(CopyProgress),
        change: impl FnOnce(&mut Transaction<'_>) -> Result<()>,
    ) -> Result<()> {
        let copy = Engine::create_new(path, options.clone())?;
        copy.write(|tx| {
            let mut done = CopyProgress { entries: 0, bytes: 0 };
            for &table in tables {
                let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
                let entries = self.range(table, all, Direction::Forward)?;
                tx.append_sealed(table, entries, |bytes| {
                    done.entries += 1;
                    done.bytes += bytes as u64;
                    if done.entries.is_multiple_of(PROGRESS_STEP) {
                        progress(done);
                    }
                })?;
            }
            progress(done);
            change(tx)
        })?;
        copy.close()?;
        close_properly(path, &options.create(false))?;
        let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|error| Error::io(format!("syncing {}", path.display()), error))
    }
}

/// Makes sure that who only reads can open a file.
///
/// The B-tree says nothing of it if closing fails, for want of space for instance. A writer that opens such a file recovers it,
/// and a reader has to do without.
fn close_properly(path: &Path, options: &Options) -> Result<()> {
    let look = || Engine::open_reader(path, options.clone())?.close();
    match look() {
        Err(Error::NeedsRecovery(_)) => {
            let refused = Engine::open(path, options.clone())?.close_and_tell()?;
            look().map_err(|error| match error {
                // The copy will be gone when somebody could recover it.
                Error::NeedsRecovery(_) => {
                    let reason = refused.unwrap_or_else(|| io::Error::other("it is not closed properly"));
                    Error::io(format!("closing {}", path.display()), reason)
                }
                error => error,
            })
        }
        other => other,
    }
}
