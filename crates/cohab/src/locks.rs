//! Named locks for the application's own jobs, and the fences that make them safe to write behind.

use std::fmt;

use cohab_lock::{Cancel, Guard, LockState, Mode, Request, Wait};
use cohab_namespace::catalog::{Stored, fence_key};

use crate::directory::Directory;
use crate::layout::CATALOG;
use crate::store::Inner;
use crate::{Error, Freshness, Result, Store};

/// A named lock of the store that is held until this is dropped or the process dies.
#[derive(Debug)]
#[must_use = "dropping it lets another process have the lock"]
pub struct Lock(Guard);

/// A fencing token, to be shown to the store with what is written behind the lock; see
/// [`Transaction::fence`](crate::Transaction::fence).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fence {
    pub(crate) lock: String,
    pub(crate) token: u64,
    pub(crate) is_shared: bool,
}

impl Fence {
    /// Makes the fence of a lock that is held exclusively, such as by the process that started this one.
    pub fn new(lock: impl Into<String>, token: u64) -> Self {
        Self { lock: lock.into(), token, is_shared: false }
    }

    /// Makes it that of a lock that is held shared, whose holders do not overtake one another.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.is_shared = true;
        self
    }
}

impl Lock {
    /// Returns the lock's name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Returns how it is held.
    pub fn mode(&self) -> Mode {
        self.0.mode()
    }

    /// Returns the fencing token: larger than that of every holder before, whatever crashed in between.
    pub fn token(&self) -> u64 {
        self.0.token()
    }

    /// Returns the fence that a transaction checks.
    pub fn fence(&self) -> Fence {
        Fence { lock: self.name().to_owned(), token: self.token(), is_shared: self.mode() == Mode::Shared }
    }
}

impl Store {
    /// Acquires a lock by name, for a job that one process at a time should do, or that some may share.
    ///
    /// The kernel releases it when the process dies. It keeps no other handle from writing: what is written behind it
    /// shows its [`fence`](Lock::fence) to the store, which refuses a holder that was overtaken.
    ///
    /// ```
    /// use cohab::{LockMode, Store, Wait};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = Store::open(dir.path().join("store"))?;
    /// # store.write(|tx| tx.create_namespace("reports"))?;
    /// let lock = store.lock("nightly report", LockMode::Exclusive, Wait::Try)?;
    /// store.write(|tx| {
    ///     tx.fence(&lock.fence())?;
    ///     tx.put("reports", "today", "…")
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Kind::Busy`](crate::Kind::Busy) with the holder once the time is over;
    /// [`Kind::Reentrant`](crate::Kind::Reentrant) if this thread would wait for itself.
    pub fn lock(&self, name: &str, mode: Mode, wait: Wait) -> Result<Lock> {
        self.lock_unless(name, mode, wait, &Cancel::new())
    }

    /// Acquires a lock as [`lock`](Self::lock) does, until somebody cancels the wait.
    ///
    /// # Errors
    ///
    /// As for [`lock`](Self::lock), and [`Kind::Cancelled`](crate::Kind::Cancelled).
    pub fn lock_unless(&self, name: &str, mode: Mode, wait: Wait, cancel: &Cancel) -> Result<Lock> {
        let directory = self.inner.lockable()?;
        let holder = self.inner.identity("lock");
        let request = Request::new(&holder).wait(wait).cancel(cancel).floor(self.inner.highest_token(name)?);
        Ok(Lock(directory.locks().acquire(name, mode, &request)?))
    }

    /// Acquires several locks, all or none, in an order that is the same for everybody: two processes that ask for the
    /// same ones never wait for each other. Returns them in the order they were asked for.
    ///
    /// # Errors
    ///
    /// As for [`lock`](Self::lock); [`Kind::InvalidInput`](crate::Kind::InvalidInput) if a name comes twice.
    pub fn lock_many(&self, locks: &[(&str, Mode)], wait: Wait) -> Result<Vec<Lock>> {
        let directory = self.inner.lockable()?;
        let holder = self.inner.identity("lock");
        let mut floor = 0;
        for (name, _) in locks {
            floor = floor.max(self.inner.highest_token(name)?);
        }
        let request = Request::new(&holder).wait(wait).floor(floor);
        Ok(directory.locks().acquire_many(locks, &request)?.into_iter().map(Lock).collect())
    }

    /// Lists the named locks that were ever acquired, and who holds them.
    pub fn locks(&self) -> Result<Vec<LockState>> {
        match &self.inner.directory {
            Some(directory) => Ok(directory.locks().list()?),
            None => Ok(Vec::new()),
        }
    }
}

impl Inner {
    fn lockable(&self) -> Result<&Directory> {
        self.check_process()?;
        self.directory.as_ref().ok_or_else(|| Error::from(cohab_engine::Error::ReadOnly))
    }

    fn identity(&self, role: &str) -> cohab_lock::Holder {
        self.options.identity.holder(role, self.instance)
    }

    /// Returns the highest token of a lock that was shown to the store. The lock's own count may be behind, as after the
    /// store was put back from a backup.
    fn highest_token(&self, lock: &str) -> Result<u64> {
        let snapshot = self.snapshot(Freshness::Latest)?;
        let row = snapshot.state().engine()?.get(CATALOG, &fence_key(lock))?;
        Ok(row.map(|row| u64::decode(&row)).transpose()?.unwrap_or(0))
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lock `{}`, token {}", self.lock, self.token)
    }
}
