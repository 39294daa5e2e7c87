//! The queue of group commit: who leads, who is told what, and who is committing.
//!
//! The first thread that finds nobody leading becomes the leader. It takes everything that has queued up, commits it
//! in one transaction, hands out the results, and passes the lead to the first thread that queued up meanwhile. So
//! nobody waits for a thread of our own to be scheduled, one thread alone pays for no hand-over, and n threads pay for
//! one wait for the disk instead of n (DeWitt et al., "Implementation Techniques for Main Memory Database Systems",
//! SIGMOD 1984).
//!
//! What is queued and what becomes of it is the caller's, and the locks are those of `sync.rs`, so that `tests/loom.rs`
//! goes through all orders of the steps.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use cohab_core::limits::{GROUP_BATCHES_MAX, GROUP_BYTES_MAX};

use super::turn::{LastTurn, Reentrant, Turn, Turns};
use crate::sync::{Arc, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, Patience, PoisonError, thread};

/// How long a leader waits for the threads that were in the last group to submit again. They have just been woken,
/// so without this the groups would fall into two halves that take turns.
const GATHER: Duration = Duration::from_micros(100);

/// What can be committed together with others of its kind.
pub(crate) trait Batch {
    /// What its commit returns.
    type Outcome;

    /// Returns its size.
    fn bytes(&self) -> usize;
}

/// Why a batch has no outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// The thread that submits it is committing, and would wait for itself. It was not queued.
    Reentrant,
    /// The leader that took the batch panicked: it may have been committed, or not.
    LeaderPanicked,
}

/// Where batches wait for their commit, and where transactions wait for their turn.
pub(crate) struct Queue<B: Batch> {
    state: Mutex<State<B>>,
    /// How many batches the last group had.
    last_group: AtomicUsize,
    turns: Turns,
}

struct State<B: Batch> {
    pending: VecDeque<Request<B>>,
    led: bool,
}

struct Request<B: Batch> {
    batch: B,
    caller: Arc<Caller<B::Outcome>>,
}

/// A thread that waits for the outcome of its batch, or for the lead.
struct Caller<O> {
    news: Mutex<Option<News<O>>>,
    told: Condvar,
}

enum News<O> {
    Committed(Result<O, Failure>),
    Lead,
}

impl From<Reentrant> for Failure {
    fn from(Reentrant: Reentrant) -> Self {
        Self::Reentrant
    }
}

impl<O> Caller<O> {
    fn new() -> Self {
        Self { news: Mutex::new(None), told: Condvar::new() }
    }

    fn tell(&self, news: News<O>) {
        *self.news() = Some(news);
        self.told.notify_one();
    }

    fn wait(&self) -> News<O> {
        let mut news = self.news();
        loop {
            if let Some(news) = news.take() {
                return news;
            }
            news = self.told.wait(news).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn news(&self) -> MutexGuard<'_, Option<News<O>>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Batch> Default for Queue<B> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State { pending: VecDeque::new(), led: false }),
            last_group: AtomicUsize::new(0),
            turns: Turns::default(),
        }
    }
}

impl<B: Batch> Queue<B> {
    /// Waits until nobody else is committing.
    pub(crate) fn turn(&self) -> Result<Turn<'_>, Reentrant> {
        self.turns.next()
    }

    /// Waits for the transaction at work, and has those wait that would follow it.
    pub(crate) fn last_turn(&self) -> Result<LastTurn<'_>, Reentrant> {
        self.turns.last()
    }

    /// Refuses what would wait for the turn where this thread has it.
    pub(crate) fn check_reentry(&self) -> Result<(), Reentrant> {
        self.turns.check()
    }

    fn state(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits a batch through `commit`, together with others if there are any, and returns its own outcome.
    ///
    /// # Errors
    ///
    /// [`Failure::Reentrant`]; [`Failure::LeaderPanicked`] if it was another's `commit` that did.
    pub(crate) fn submit(
        &self,
        batch: B,
        commit: impl FnOnce(&[B]) -> Vec<B::Outcome>,
    ) -> Result<B::Outcome, Failure> {
        // Before it is queued: somebody else might lead.
        self.check_reentry()?;
        let caller = Arc::new(Caller::new());
        let leads = {
            let mut state = self.state();
            state.pending.push_back(Request { batch, caller: caller.clone() });
            !mem::replace(&mut state.led, true)
        };
        if !leads && let News::Committed(outcome) = caller.wait() {
            return outcome;
        }
        self.lead(commit);
        match caller.wait() {
            News::Committed(outcome) => outcome,
            News::Lead => unreachable!("a leader's own batch is the first of its group"),
        }
    }

    fn lead(&self, commit: impl FnOnce(&[B]) -> Vec<B::Outcome>) {
        let mut lead = Lead { queue: self, callers: Vec::new() };
        let turn = self.turn().expect("was refused before it was queued");
        self.gather();
        let batches = self.take_group(&mut lead.callers);
        self.last_group.store(batches.len(), Ordering::Relaxed);
        let outcomes = commit(&batches);
        drop(turn);
        debug_assert_eq!(outcomes.len(), lead.callers.len(), "every batch has an outcome");
        for (caller, outcome) in lead.callers.drain(..).zip(outcomes) {
            caller.tell(News::Committed(Ok(outcome)));
        }
    }

    /// Waits a moment for as many batches as the last group had.
    fn gather(&self) {
        let expected = self.last_group.load(Ordering::Relaxed);
        if expected < 2 {
            return;
        }
        let patience = Patience::new(GATHER);
        while self.state().pending.len() < expected && patience.lasts() {
            thread::yield_now();
        }
    }

    fn take_group(&self, callers: &mut Vec<Arc<Caller<B::Outcome>>>) -> Vec<B> {
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

/// The lead, which is passed on however leading ends.
struct Lead<'q, B: Batch> {
    queue: &'q Queue<B>,
    /// Those of the present group that have not been told their outcome.
    callers: Vec<Arc<Caller<B::Outcome>>>,
}

impl<B: Batch> Drop for Lead<'_, B> {
    fn drop(&mut self) {
        for caller in self.callers.drain(..) {
            caller.tell(News::Committed(Err(Failure::LeaderPanicked)));
        }
        let mut state = self.queue.state();
        match state.pending.front() {
            Some(next) => next.caller.tell(News::Lead),
            None => state.led = false,
        }
    }
}
