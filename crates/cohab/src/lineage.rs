//! Whether what the store shows now continues what it showed before, and its log ends where it says.
//!
//! A store that was put back from a copy and written again has other versions under the same numbers. What this process
//! remembers – the last version it has shown, and what it has cached – is of another history then.

use std::ops::Bound;
use std::sync::{Mutex, PoisonError};

use cohab_core::Version;
use cohab_engine::Direction;
use cohab_log::{Chain, header, parse_chunk_key, record_start};
use cohab_namespace::catalog::Root;

use crate::latest::replaced;
use crate::layout::LOG;
use crate::store::Inner;
use crate::{Error, Result};

/// The last version that was shown, and the hash of the log up to it.
#[derive(Debug, Default)]
pub(crate) struct Lineage(Mutex<Option<(Version, Chain)>>);

/// Refuses to write where the log goes on behind the last version that the store's own row says there is.
///
/// A page is older than the others then, because a write of it was lost or went elsewhere. Whoever reads is shown that version;
/// a commit would give numbers out again, and write over the log.
///
/// # Errors
///
/// [`Kind::Corrupt`](crate::Kind::Corrupt).
pub(crate) fn check_end(snapshot: &cohab_engine::Snapshot, root: &Root) -> Result<()> {
    let behind = record_start(root.version.next());
    let bounds = (Bound::Included(&behind[..]), Bound::Unbounded);
    let first = snapshot.range(LOG, bounds, Direction::Forward).and_then(|mut rows| {
        let first = rows.step()?;
        Ok(first.map(|row| parse_chunk_key(row.key())))
    });
    let found = match first {
        // A log that cannot be read there says so to the commit that adds to it.
        Ok(None) | Err(cohab_engine::Error::Corrupt { .. }) => return Ok(()),
        first => first?.flatten(),
    };
    let found = found.map_or_else(|| "what is no version".to_owned(), |(version, _)| version.to_string());
    let last = root.version;
    let message = format!(
        "the last version is {last}, and the log goes on to {found}: a page is older than the others"
    );
    Err(Error::corrupt(message)
        .hint("restore the store from a backup; what is there can be read, but not written"))
}

impl Inner {
    /// Refuses a snapshot of another history than the one shown before. Cost: a row of the log, if there was a commit.
    ///
    /// # Errors
    ///
    /// [`Kind::StoreReplaced`](crate::Kind::StoreReplaced).
    pub(crate) fn check_lineage(&self, snapshot: &cohab_engine::Snapshot, root: &Root) -> Result<()> {
        let chain = Chain::from_bytes(root.chain);
        let mut last = self.lineage.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((version, before)) = *last {
            let next = version.next();
            let found = if root.version <= version {
                (root.version == version).then_some(chain)
            } else if next >= root.log_oldest {
                let record = snapshot.get(LOG, &record_start(next))?;
                record.map(|record| header(&record)).transpose()?.map(|header| header.previous)
            } else {
                // Too long ago to know. What is cached may be of anything.
                self.caches.forget();
                Some(before)
            };
            if found != Some(before) {
                return Err(replaced(&self.path));
            }
        }
        *last = Some((root.version, chain));
        Ok(())
    }
}
