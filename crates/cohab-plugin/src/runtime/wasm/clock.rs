//! The clock by which calls of WebAssembly are interrupted.
//!
//! Compiled code compares the engine's epoch at every loop and at every function's beginning with the epoch until which it may
//! run; that costs next to nothing. A thread makes the epoch go on every millisecond while calls are under way. When there was
//! none for some milliseconds, it sleeps, and an idle process wakes for nothing.

use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

use crate::{CallError, CallErrorKind};

/// How often a call looks whether it has to end.
const TICK: Duration = Duration::from_millis(1);

/// How many ticks the thread goes on after the last call, so that calls in quick succession need not wake it each time.
const IDLE_TICKS_MAX: u32 = 20;

/// The clock of this process.
///
/// A child of a fork has its parent's memory but not its threads, so it is told by the process's number whether the thread is
/// this process's own; if not, the child starts one for itself. The lock is held for moments, and never by the clock's thread:
/// like every lock, it stays locked in a child that is forked by another thread in just such a moment.
static CLOCK: Mutex<Option<Clock>> = Mutex::new(None);

struct Clock {
    process: u32,
    thread: Thread,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    calls: AtomicUsize,
    /// Whether the thread sleeps until it is woken.
    is_asleep: AtomicBool,
}

/// Makes the clock go, until it is dropped.
pub(super) struct Ticking(Arc<Shared>);

impl Ticking {
    pub(super) fn begin(engine: &Engine) -> Result<Self, CallError> {
        let mut clock = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let process = process::id();
        let clock = match &mut *clock {
            Some(clock) if clock.process == process => clock,
            none => none.insert(Clock::start(process, engine.clone())?),
        };
        // In this order, while the thread says first that it sleeps and looks then whether there are calls: so at least one of
        // them sees the other.
        clock.shared.calls.fetch_add(1, Ordering::SeqCst);
        if clock.shared.is_asleep.swap(false, Ordering::SeqCst) {
            clock.thread.unpark();
        }
        Ok(Self(clock.shared.clone()))
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Clock {
    fn start(process: u32, engine: Engine) -> Result<Self, CallError> {
        let shared = Arc::new(Shared::default());
        let ticked = shared.clone();
        let thread = thread::Builder::new()
            .name("cohab-plugin-clock".into())
            .stack_size(64 << 10)
            .spawn(move || ticked.tick(&engine))
            .map_err(|error| {
                let message = format!("the thread that limits the time of calls does not start: {error}");
                CallError { kind: CallErrorKind::Host, message, source: Some(error.into()) }
            })?;
        Ok(Self { process, thread: thread.thread().clone(), shared })
    }
}

impl Shared {
    fn tick(&self, engine: &Engine) {
        let mut idle = 0;
        loop {
            thread::sleep(TICK);
            engine.increment_epoch();
            if self.calls.load(Ordering::SeqCst) > 0 {
                idle = 0;
                continue;
            }
            idle += 1;
            if idle < IDLE_TICKS_MAX {
                continue;
            }
            self.is_asleep.store(true, Ordering::SeqCst);
            while self.is_asleep.load(Ordering::SeqCst) {
                if self.calls.load(Ordering::SeqCst) > 0 {
                    self.is_asleep.store(false, Ordering::SeqCst);
                } else {
                    thread::park();
                }
            }
            idle = 0;
        }
    }
}
