//! What happens while an instance is open, without being asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cohab::{RoleChange, Stall, Store, Version};

use super::voice::Voice;
use crate::failure::Failure;
use crate::instances::{self, Running};
use crate::report;
use crate::terminal::Record;

/// Tells that the instance has become the writer, or no longer is.
pub(super) fn role(voice: &Voice, change: &RoleChange) {
    match change {
        RoleChange::Promoted { epoch } => voice.tell("promoted", Record::new().with("epoch", epoch.get())),
        RoleChange::SteppedDown { role } => {
            voice.tell("stepped_down", Record::new().with("role", role.as_str()));
        }
        RoleChange::TakeOverFailed(error) => {
            let fields = Record::new().with("kind", error.kind().as_str()).with("message", error.to_string());
            voice.tell("take_over_failed", fields);
        }
        _ => {}
    }
}

/// Tells that an operation waits for long, and who may be holding it up.
pub(super) fn stall(voice: &Voice, stall: &Stall) {
    let waited = u64::try_from(stall.waited.as_millis()).unwrap_or(u64::MAX);
    let fields = Record::new()
        .with("operation", stall.operation)
        .with("waited_ms", waited)
        .with("suspects", instances::json(&stall.suspects, &Running::default()));
    voice.tell("stalled", fields);
}

/// How long the follower waits at a time, and the hold for its end.
const TICK: Duration = Duration::from_millis(100);

/// How long it leaves the store alone after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// A thread that tells of versions as they come, whoever commits them, until this is dropped.
pub(super) struct Follower {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Begins after a version that was told already.
    pub(super) fn start(store: &Store, after: Version, voice: &Arc<Voice>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (store, voice, ending) = (store.clone(), voice.clone(), is_over.clone());
        let named = thread::Builder::new().name("cohab-follower".to_owned());
        // Without a thread there are no events of versions, and everything else goes on.
        let thread = named.spawn(move || follow(&store, after, &voice, &ending)).ok();
        Self { is_over, thread }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // It has the store open, which is closed only once the thread has let go of it.
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            _ = thread.join();
        }
    }
}

fn follow(store: &Store, mut last: Version, voice: &Voice, is_over: &AtomicBool) {
    let mut failed = String::new();
    while !is_over.load(Ordering::Relaxed) {
        // The snapshot goes at once: nobody has asked for one, and it would keep pages from being used again.
        match store.wait_past(last, TICK).map(|past| past.map(|snapshot| snapshot.version())) {
            Ok(Some(version)) => {
                voice.tell("version", Record::new().with("version", version));
                (last, failed) = (version, String::new());
            }
            Ok(None) => {}
            Err(error) => {
                let failure = Failure::from(error);
                if failure.summary() != failed {
                    failed = failure.summary();
                    voice.tell("failed", Record::new().with("error", report::brief(&failure)));
                }
                thread::park_timeout(PAUSE);
            }
        }
    }
}
