//! Group commit: batches submitted at the same time share one commit of the engine.
//!
//! The first thread that finds nobody leading becomes the leader. It takes everything that has queued up, commits it
//! in one transaction, hands out the results, and passes the lead to the first thread that queued up meanwhile. So
//! nobody waits for a thread of our own to be scheduled, one thread alone pays for no hand-over, and n threads pay for
//! one wait for the disk instead of n (DeWitt et al., "Implementation Techniques for Main Memory Database Systems",
//! SIGMOD 1984).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use cohab_core::Version;
use cohab_core::limits::{GROUP_BATCHES_MAX, GROUP_BYTES_MAX};
use crossbeam::sync::{Parker, Unparker};

use crate::{Batch, Error, Kind, Result};

/// How long a leader waits for the threads that were in the last group to submit again. They have just been woken,
/// so without this the groups would fall into two halves that take turns.
const GATHER: Duration = Duration::from_micros(100);

/// Where batches wait for their commit, and where transactions wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// How many batches the last group had.
    last_group: AtomicUsize,
    /// Held by whoever is committing.
    turn: Mutex<()>,
    /// Who that is.
    owner: Mutex<Option<ThreadId>>,
    /// Set while the handle is about to stop writing: whoever writes in a loop lets it have its turn.
    is_ending: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    pending: VecDeque<Request>,
    led: bool,
}

#[derive(Debug)]
struct Request {
    batch: Batch,
    caller: Arc<Caller>,
}

/// A thread that waits for the result of its batch, or for the lead.
#[derive(Debug)]
struct Caller {
    news: Mutex<Option<News>>,
    unparker: Unparker,
}

#[derive(Debug)]
enum News {
    Committed(Result<Version>),
    Lead,
}

impl Caller {
    fn tell(&self, news: News) {
        *self.news.lock().unwrap_or_else(PoisonError::into_inner) = Some(news);
        self.unparker.unpark();
    }

    fn take(&self) -> Option<News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Queue {
    /// Waits until nobody else is committing.
    ///
    /// # Errors
    ///
    /// [`Kind::Reentrant`] if it is this thread that is: it would wait for itself.
    pub(crate) fn turn(&self) -> Result<Turn<'_>> {
        self.check_reentry()?;
        while self.is_ending.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(self.take_turn())
    }

    /// Waits for the transaction at work, and has those wait that would follow it.
    pub(crate) fn last_turn(&self) -> Result<LastTurn<'_>> {
        self.check_reentry()?;
        let ending = Ending::begin(&self.is_ending);
        Ok(LastTurn { _turn: self.take_turn(), _ending: ending })
    }

    fn take_turn(&self) -> Turn<'_> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        *self.owner() = Some(thread::current().id());
        Turn { queue: self, _turn: turn }
    }

    /// Refuses what would wait for the turn where this thread has it.
    pub(crate) fn check_reentry(&self) -> Result<()> {
        if *self.owner() != Some(thread::current().id()) {
            return Ok(());
        }
        let message = "the thread is in a transaction of this store already and would wait for itself";
        Err(Error::new(Kind::Reentrant, message).hint("do it in the same transaction, or after it"))
    }

    fn owner(&self) -> MutexGuard<'_, Option<ThreadId>> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits a batch through `commit`, together with others if there are any, and returns its own result.
    pub(crate) fn submit(
        &self,
        batch: Batch,
        commit: impl FnOnce(&[Batch]) -> Vec<Result<Version>>,
    ) -> Result<Version> {
        self.check_reentry()?;
        let parker = Parker::new();
        let caller = Arc::new(Caller { news: Mutex::default(), unparker: parker.unparker().clone() });
        let leads = {
            let mut state = self.state();
            state.pending.push_back(Request { batch, caller: caller.clone() });
            !std::mem::replace(&mut state.led, true)
        };
        if !leads {
            loop {
                match caller.take() {
                    Some(News::Committed(result)) => return result,
                    Some(News::Lead) => break,
                    None => parker.park(),
                }
            }
        }
        self.lead(commit);
        match caller.take() {
            Some(News::Committed(result)) => result,
            _ => unreachable!("a leader's own batch is the first of its group"),
        }
    }

    fn lead(&self, commit: impl FnOnce(&[Batch]) -> Vec<Result<Version>>) {
        let mut lead = Lead { queue: self, callers: Vec::new() };
        let turn = self.take_turn();
        self.gather();
        let batches = self.take_group(&mut lead.callers);
        self.last_group.store(batches.len(), Ordering::Relaxed);
        let results = commit(&batches);
        drop(turn);
        debug_assert_eq!(results.len(), lead.callers.len(), "every batch has a result");
        for (caller, result) in lead.callers.drain(..).zip(results) {
            caller.tell(News::Committed(result));
        }
    }

    /// Waits a moment for as many batches as the last group had.
    fn gather(&self) {
        let expected = self.last_group.load(Ordering::Relaxed);
        if expected < 2 {
            return;
        }
        let begin = Instant::now();
        while self.state().pending.len() < expected && begin.elapsed() < GATHER {
            thread::yield_now();
        }
    }

    fn take_group(&self, callers: &mut Vec<Arc<Caller>>) -> Vec<Batch> {
        let mut state = self.state();
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while let Some(request) = state.pending.pop_front() {
            bytes += request.batch.bytes();
            if !batches.is_empty() && (bytes > GROUP_BYTES_MAX || batches.len() == GROUP_BATCHES_MAX) {
                state.pending.push_front(request);
                break;
            }
            batches.push(request.batch);
            callers.push(request.caller);
        }
        batches
    }
}

/// The turn to commit, which ends when this is dropped.
pub(crate) struct Turn<'q> {
    queue: &'q Queue,
    _turn: MutexGuard<'q, ()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Before the turn itself, which is a field.
        *self.queue.owner() = None;
    }
}

/// A turn that nobody follows until it is over.
pub(crate) struct LastTurn<'q> {
    _turn: Turn<'q>,
    _ending: Ending<'q>,
}

struct Ending<'q>(&'q AtomicBool);

impl<'q> Ending<'q> {
    fn begin(is_ending: &'q AtomicBool) -> Self {
        is_ending.store(true, Ordering::Relaxed);
        Self(is_ending)
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The lead, which is passed on however leading ends.
struct Lead<'q> {
    queue: &'q Queue,
    /// Those of the present group that have not been told their result.
    callers: Vec<Arc<Caller>>,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        for caller in self.callers.drain(..) {
            let error = Error::new(Kind::CommitUnknown, "the thread that committed the batch panicked");
            caller.tell(News::Committed(Err(error)));
        }
        let mut state = self.queue.state();
        match state.pending.front() {
            Some(next) => next.caller.tell(News::Lead),
            None => state.led = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn every_batch_gets_its_own_result_however_they_group() {
        let queue = Queue::default();
        let (commits, version) = (AtomicU64::new(0), AtomicU64::new(0));
        let commit = |batches: &[Batch]| {
            commits.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_micros(200));
            batches.iter().map(|_| Ok(Version::new(version.fetch_add(1, Ordering::Relaxed) + 1))).collect()
        };
        let mut seen: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| -> Vec<u64> {
                        (0..50)
                            .map(|_| queue.submit(Batch::new(), commit).expect("cannot fail").get())
                            .collect()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("does not panic")).collect()
        });
        seen.sort_unstable();
        assert_eq!(seen, (1..=400).collect::<Vec<_>>());
        assert!(commits.load(Ordering::Relaxed) < 400, "some were committed together");
    }

    #[test]
    fn a_leader_that_panics_leaves_nobody_waiting() {
        let queue = Queue::default();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            queue.submit(Batch::new(), |_| panic!("the commit panics"))
        }));
        assert!(panicked.is_err());
        let next =
            queue.submit(Batch::new(), |batches| batches.iter().map(|_| Ok(Version::new(1))).collect());
        assert_eq!(next.expect("the next leader commits"), Version::new(1));
    }
}
