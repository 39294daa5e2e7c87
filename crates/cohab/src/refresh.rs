//! A snapshot that moves on.

use crate::{Error, Freshness, Kind, Result, Snapshot};

impl Snapshot {
    /// Moves on to the store's latest version, through the handle that this was taken from, and returns whether that is
    /// another one. One of the past becomes one of the present.
    ///
    /// What the cache knows stays known, but for the keys that were written: they are dropped here, so that no read that
    /// follows has to. Clones of this snapshot stay where they are.
    ///
    /// Cost: nothing more than [`Store::snapshot`](crate::Store::snapshot) if nothing was committed; otherwise what was
    /// written to the namespaces that are read through the cache, and a look at each of these. Never what the store holds.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = cohab::Store::open(dir.path().join("store"))?;
    /// store.write(|tx| tx.create_namespace("flags"))?;
    /// let mut snapshot = store.snapshot()?;
    /// store.write(|tx| tx.put("flags", "dark-mode", "on"))?;
    /// assert_eq!(snapshot.get("flags", "dark-mode")?.as_deref(), None);
    ///
    /// assert!(snapshot.refresh()?);
    /// assert_eq!(snapshot.get("flags", "dark-mode")?.as_deref(), Some(&b"on"[..]));
    /// assert!(!snapshot.refresh()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Kind::Closed`] if the handle was closed; otherwise as for [`Store::snapshot`](crate::Store::snapshot). Then it
    /// shows what it showed before.
    pub fn refresh(&mut self) -> Result<bool> {
        let closed = || {
            let hint = "open the store again, and take a snapshot of that";
            Error::new(Kind::Closed, "the handle that the snapshot was taken from was closed").hint(hint)
        };
        let handle = self.state().handle().ok_or_else(closed)?;
        let latest = handle.snapshot(Freshness::Latest)?;
        let has_moved = latest.version() != self.version();
        if has_moved {
            handle.caches.catch_up_all(&latest);
        }
        // Also where it shows the same: it may be younger, or of a file that was opened anew.
        *self = latest;
        Ok(has_moved)
    }
}
