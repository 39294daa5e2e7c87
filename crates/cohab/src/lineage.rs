//! Whether what the store shows now continues what it showed before.
//!
//! A store that was put back from a copy and written again has other versions under the same numbers. What this process
//! remembers – the last version it has shown, and what it has cached – is of another history then.

use std::sync::{Mutex, PoisonError};

use cohab_core::Version;
use cohab_log::{Chain, header, record_start};
use cohab_namespace::catalog::Root;

use crate::Result;
use crate::latest::replaced;
use crate::layout::LOG;
use crate::store::Inner;

/// The last version that was shown, and the hash of the log up to it.
#[derive(Debug, Default)]
pub(crate) struct Lineage(Mutex<Option<(Version, Chain)>>);

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
