//! Whose turn it is to commit.

use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError, ThreadId, thread};

/// The turn of one thread after the other.
#[derive(Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    /// Where those wait who want a turn.
    free: Condvar,
    /// Where those wait who want the last one.
    last: Condvar,
}

#[derive(Default)]
struct State {
    /// Who is committing.
    owner: Option<ThreadId>,
    /// How many want the last turn, or have it. Nobody else gets one meanwhile: those who write in a loop would take it
    /// again and again.
    ending: usize,
}

/// The thread has the turn already and would wait for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reentrant;

impl Turns {
    /// Waits until nobody else has the turn, or is waiting for the last one.
    pub(crate) fn next(&self) -> Result<Turn<'_>, Reentrant> {
        let mut state = self.not_ours()?;
        while state.owner.is_some() || state.ending > 0 {
            state = wait(&self.free, state);
        }
        Ok(self.begin(state))
    }

    /// Waits until nobody else has the turn, and has those wait that would follow.
    pub(crate) fn last(&self) -> Result<LastTurn<'_>, Reentrant> {
        let mut state = self.not_ours()?;
        state.ending += 1;
        while state.owner.is_some() {
            state = wait(&self.last, state);
        }
        Ok(LastTurn { turn: self.begin(state) })
    }

    /// Refuses what would wait for the turn where this thread has it.
    pub(crate) fn check(&self) -> Result<(), Reentrant> {
        self.not_ours().map(drop)
    }

    fn not_ours(&self) -> Result<MutexGuard<'_, State>, Reentrant> {
        let state = self.state();
        if state.owner == Some(thread::current().id()) { Err(Reentrant) } else { Ok(state) }
    }

    fn begin<'t>(&'t self, mut state: MutexGuard<'t, State>) -> Turn<'t> {
        state.owner = Some(thread::current().id());
        Turn { turns: self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'t>(condition: &Condvar, state: MutexGuard<'t, State>) -> MutexGuard<'t, State> {
    condition.wait(state).unwrap_or_else(PoisonError::into_inner)
}

/// The turn to commit, which ends when this is dropped.
#[must_use = "dropping the turn lets another thread commit"]
pub(crate) struct Turn<'t> {
    turns: &'t Turns,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        state.owner = None;
        // One of those who can go on with it; each wakes the next.
        let next = if state.ending > 0 { &self.turns.last } else { &self.turns.free };
        drop(state);
        next.notify_one();
    }
}

/// A turn that nobody follows until it is over.
#[must_use = "dropping the turn lets another thread commit"]
pub(crate) struct LastTurn<'t> {
    turn: Turn<'t>,
}

impl Drop for LastTurn<'_> {
    fn drop(&mut self) {
        // The turn itself, which is a field, ends after this.
        self.turn.turns.state().ending -= 1;
    }
}
