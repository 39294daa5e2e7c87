//! Warming the cache up, beside whoever reads.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use cohab_cache::{At, Space};
use cohab_core::limits::PREFETCH_STEP_KEYS;

use crate::entries::EntryRef;
use crate::layout::prefix_end;
use crate::view::Direction;
use crate::{Cached, Error, Kind, Result};

/// A prefetch under way; see [`Cached::prefetch`]. Dropping it ends it.
#[derive(Debug)]
#[must_use = "dropping it ends the prefetch"]
pub struct Prefetch {
    thread: Option<JoinHandle<Result<()>>>,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    is_over: AtomicBool,
    kept: AtomicU64,
}

impl Cached {
    /// Reads the keys that begin with a prefix into the cache, in order, on a thread of its own; an empty prefix stands for
    /// the whole namespace. It ends when the cache has no more room: nothing has to go for it.
    ///
    /// No snapshot is kept for long. What is written meanwhile is read as it is when its turn comes, or dropped as ever.
    ///
    /// # Errors
    ///
    /// [`Kind::Io`](crate::Kind::Io) if there is no thread to be had.
    pub fn prefetch(&self, prefix: impl AsRef<[u8]>) -> Result<Prefetch> {
        self.prefetch_with(prefix.as_ref(), |space, at, entry| {
            Ok(space.fill(entry.key(), Some((entry.version(), entry.value())), at))
        })
    }

    pub(crate) fn prefetch_with(
        &self,
        prefix: &[u8],
        keep: impl Fn(&Space, At, EntryRef<'_>) -> Result<bool> + Send + 'static,
    ) -> Result<Prefetch> {
        let progress = Arc::<Progress>::default();
        let (cached, prefix, shared) = (self.clone(), prefix.to_vec(), progress.clone());
        let work = move || {
            let mut from = Bound::Included(prefix.clone());
            while let Some(last) = step(&cached, &prefix, &from, &shared, &keep)? {
                from = Bound::Excluded(last);
            }
            Ok(())
        };
        let thread = thread::Builder::new().name("cohab-prefetch".into()).spawn(work);
        let thread = thread.map_err(|error| {
            Error::new(Kind::Io, "no thread could be started to prefetch with").source(error)
        })?;
        Ok(Prefetch { thread: Some(thread), progress })
    }
}

/// Reads a bounded number of keys, and returns the last of them if there may be more.
fn step(
    cached: &Cached,
    prefix: &[u8],
    from: &Bound<Vec<u8>>,
    progress: &Progress,
    keep: &impl Fn(&Space, At, EntryRef<'_>) -> Result<bool>,
) -> Result<Option<Vec<u8>>> {
    cached.read(false, |namespace| {
        let (space, at) = namespace.cached()?;
        let end = prefix_end(prefix);
        let bounds = (from.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
        let mut range = namespace.scan(bounds, Direction::Forward)?;
        for keys in 1.. {
            let is_over = progress.is_over.load(Ordering::Relaxed) || !space.has_room();
            let Some(entry) = range.step()?.filter(|_| !is_over) else { break };
            progress.kept.fetch_add(u64::from(keep(space, at, entry)?), Ordering::Relaxed);
            if keys == PREFETCH_STEP_KEYS {
                return Ok(Some(entry.key().to_vec()));
            }
        }
        Ok(None)
    })
}

impl Prefetch {
    /// Returns how many values are in the cache because of it so far, unless they had to go again.
    pub fn kept(&self) -> u64 {
        self.progress.kept.load(Ordering::Relaxed)
    }

    /// Returns whether it is done.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it is done, and returns how many values it has put into the cache.
    ///
    /// # Errors
    ///
    /// As for reading the range.
    pub fn wait(mut self) -> Result<u64> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(done)) => done?,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => {}
        }
        Ok(self.kept())
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.progress.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
