//! A thread that brings the cache up to date as soon as there is a commit, so that reads find it done.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use cohab_core::limits::{KEEPER_TICK, PAGELESS_POLL};
use cohab_fs::fork::{self, Generation};

use crate::Freshness;
use crate::store::Inner;

/// The thread, which touches the handle no more once this is gone.
#[derive(Debug)]
pub(crate) struct Background {
    /// Whether it is to end. Held while the thread has the handle.
    is_over: Arc<Mutex<bool>>,
    process: Generation,
}

impl Background {
    /// Begins to follow the commits. Where no thread can be had, whoever reads catches up.
    pub(crate) fn start(inner: &Arc<Inner>) -> Self {
        let (weak, is_over) = (Arc::downgrade(inner), Arc::<Mutex<bool>>::default());
        let shared = is_over.clone();
        let _ = thread::Builder::new().name("cohab-cache".into()).spawn(move || follow(&weak, &shared));
        Self { is_over, process: fork::generation() }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A forked child has no such thread, and may have a lock of it.
        if self.process.is_current() {
            // The thread may be asleep on the page, where it holds nothing; it ends when it wakes up.
            *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
    }
}

fn follow(inner: &Weak<Inner>, is_over: &Mutex<bool>) {
    loop {
        let vantage = {
            let is_over = is_over.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(inner) = inner.upgrade().filter(|_| !*is_over) else { return };
            match inner.snapshot(Freshness::Latest) {
                Ok(snapshot) => {
                    inner.caches.catch_up_all(&snapshot);
                    Some(inner.vantage(snapshot.version().next()))
                }
                // Whoever reads is told.
                Err(_) => None,
            }
        };
        match vantage {
            Some(vantage) => vantage.wait(KEEPER_TICK),
            None => thread::sleep(PAGELESS_POLL),
        }
    }
}
