//! A thread that looks after what nobody calls the handle for.

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cohab_coord::Publication;
use cohab_core::limits::{KEEPER_TICK, REAP_TICK, STANDBY_TICK};
use cohab_fs::fork::{self, Generation};

use crate::background::Background;
use crate::store::Inner;
use crate::telemetry;
use crate::{CatchUp, Freshness, Role, Stall};

/// The thread, which ends before this is gone.
#[derive(Debug)]
pub(crate) struct Keeper {
    is_over: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
    _background: Option<Background>,
    #[cfg(feature = "scripts")]
    _crew: crate::plugins::Crew,
    process: Generation,
}

impl Keeper {
    /// Begins to look after a handle. Where no thread can be had, nothing is looked after, and nothing breaks.
    pub(crate) fn start(inner: &Arc<Inner>) -> Self {
        let (weak, is_over) = (Arc::downgrade(inner), Arc::<(Mutex<bool>, Condvar)>::default());
        let shared = is_over.clone();
        let thread = thread::Builder::new().name("cohab-keeper".into()).spawn(move || keep(&weak, &shared));
        // A handle whose snapshot is pinned has nothing to follow.
        let is_followed =
            inner.options.catch_up == CatchUp::Background && inner.options.freshness != Freshness::Pinned;
        let background = is_followed.then(|| Background::start(inner));
        Self {
            is_over,
            thread: thread.ok(),
            _background: background,
            #[cfg(feature = "scripts")]
            _crew: crate::plugins::Crew::start(inner),
            process: fork::generation(),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // A forked child has no such thread; and the last to let go may be the keeper itself, calling the application.
        if !self.process.is_current() || thread.thread().id() == thread::current().id() {
            return;
        }
        *self.is_over.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.is_over.1.notify_all();
        let _ = thread.join();
    }
}

fn keep(inner: &Weak<Inner>, is_over: &(Mutex<bool>, Condvar)) {
    let (mut since_upkeep, mut since_reaping) = (KEEPER_TICK, REAP_TICK);
    let mut handing_over: Option<JoinHandle<()>> = None;
    loop {
        let Some(handle) = inner.upgrade() else { break };
        let tick = if handle.role() == Role::Standby { STANDBY_TICK } else { KEEPER_TICK };
        if tick == STANDBY_TICK {
            handle.try_to_succeed();
        }
        if since_upkeep >= KEEPER_TICK {
            handle.upkeep();
            since_upkeep = Duration::ZERO;
            if handle.is_asked_to_hand_over() && handing_over.as_ref().is_none_or(JoinHandle::is_finished) {
                let handle = handle.clone();
                // Beside this thread: a commit may take long, and has to be watched.
                handing_over = thread::Builder::new().spawn(move || handle.hand_over()).ok();
            }
        }
        if since_reaping >= REAP_TICK {
            handle.reap();
            if handle.role() == Role::Writer {
                handle.followers.look(&handle);
            }
            since_reaping = Duration::ZERO;
        }
        drop(handle);
        since_upkeep += tick;
        since_reaping += tick;
        let over = is_over.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (over, _) =
            is_over.1.wait_timeout_while(over, tick, |over| !*over).unwrap_or_else(PoisonError::into_inner);
        if *over {
            drop(over);
            if let Some(handle) = inner.upgrade() {
                telemetry::publish_last(&handle);
            }
            break;
        }
    }
    // It has the handle as well, and is to have let go of it when the keeper has.
    if let Some(thread) = handing_over {
        let _ = thread.join();
    }
}

impl Inner {
    fn upkeep(&self) {
        self.forget_idle_latest();
        self.report_stalls();
        if let Some(coordination) = &self.coordination {
            match self.writing.load_full() {
                Some(writing) => {
                    let publication = Publication { version: self.durable(), epoch: writing.epoch };
                    coordination.mend(publication, self.options.snapshot_age_max);
                }
                None => self.ages.set_max(coordination.snapshot_age_max()),
            }
        }
        self.update_record();
        #[cfg(feature = "scripts")]
        self.plugins.look_after(self);
        telemetry::publish(self);
    }

    /// As the writer, removes what instances that died have left behind.
    fn reap(&self) {
        if let (Role::Writer, Some(directory)) = (self.role(), &self.directory) {
            // What cannot be removed now is found the next time.
            let _ = directory.registry().reap();
        }
    }

    /// Tells the application of operations that wait for too long.
    fn report_stalls(&self) {
        let after = self.options.stall_after;
        for watchdog in [&self.commits, &self.looks] {
            let Some((operation, waited)) = watchdog.stalled(after) else { continue };
            telemetry::stalled(self, operation, waited);
            if let Some(on_stall) = &self.options.on_stall {
                on_stall(&Stall { operation, waited, suspects: self.suspects() });
            }
        }
    }
}
