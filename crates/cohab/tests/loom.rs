//! Group commit, in every order in which threads can submit, lead, hand over, wait for a turn and panic.
//!
//! A batch here is the number of its thread, and to commit it is to note that number. Whoever commits looks whether
//! somebody else does so at the same time, whether it leads a group of its own, and whether it was done before.

#[path = "../src/group/queue.rs"]
mod queue;
#[path = "../src/group/turn.rs"]
mod turn;

/// Stands in for the module of that name, so that the same source runs on loom's locks.
mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::atomic::{AtomicUsize, Ordering};
    pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(crate) use loom::thread::ThreadId;

    pub(crate) use loom::thread;

    /// Time does not pass here: it looks again once.
    pub(crate) struct Patience(std::cell::Cell<bool>);

    impl Patience {
        pub(crate) fn new(_: std::time::Duration) -> Self {
            Self(std::cell::Cell::new(true))
        }

        pub(crate) fn lasts(&self) -> bool {
            self.0.replace(false)
        }
    }
}

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use cohab_core::limits::GROUP_BYTES_MAX;
use loom::sync::atomic::AtomicBool;
use queue::{Failure, Queue};
use sync::{Arc, AtomicUsize, Mutex, Ordering, thread};
use turn::Reentrant;

/// A batch, which says who submits it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Batch {
    by: usize,
    bytes: usize,
}

impl queue::Batch for Batch {
    /// The version that it was committed at.
    type Outcome = usize;

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Nobody's number, for writes that are no batch.
const WRITE: usize = usize::MAX;

/// A store: a version, which only the turn protects, and who made each one.
#[derive(Default)]
struct Model {
    queue: Queue<Batch>,
    is_written: AtomicBool,
    version: AtomicUsize,
    made_by: Mutex<Vec<usize>>,
}

impl Model {
    /// Makes a version for each of these, as a commit of the engine does.
    fn commit(&self, by: &[usize]) -> Vec<usize> {
        assert!(!self.is_written.swap(true, Ordering::Relaxed), "two commit at the same time");
        assert_eq!(self.queue.check_reentry(), Err(Reentrant), "it has the turn");
        let before = self.version.load(Ordering::Relaxed);
        // Should somebody else commit, this is where one of the two is lost.
        self.version.store(before + by.len(), Ordering::Relaxed);
        self.made_by.lock().expect("nobody panics with it").extend(by);
        self.is_written.store(false, Ordering::Relaxed);
        (before + 1..=before + by.len()).collect()
    }

    /// Submits a batch, and checks that it was committed once, at the version that it got.
    fn submit(&self, batch: Batch) {
        let version = self.queue.submit(batch, |group| self.commit_group(batch, group));
        self.check(batch.by, version.expect("nobody panics"));
    }

    fn commit_group(&self, own: Batch, group: &[Batch]) -> Vec<usize> {
        assert_eq!(group.first(), Some(&own), "who leads is the first of its group");
        let bytes: usize = group.iter().map(|batch| batch.bytes).sum();
        assert!(group.len() == 1 || bytes <= GROUP_BYTES_MAX, "a group of {bytes} bytes");
        self.commit(&group.iter().map(|batch| batch.by).collect::<Vec<_>>())
    }

    fn write(&self) {
        let _turn = self.queue.turn().expect("the thread has no turn yet");
        self.commit(&[WRITE]);
    }

    fn check(&self, by: usize, version: usize) {
        let made_by = self.made_by.lock().expect("nobody panics with it");
        assert_eq!(made_by.get(version - 1), Some(&by), "version {version} is not its own");
    }
}

fn small(by: usize) -> Batch {
    Batch { by, bytes: 1 }
}

/// A batch that leaves no room for a second one in its group.
fn large(by: usize) -> Batch {
    Batch { by, bytes: GROUP_BYTES_MAX }
}

/// Runs threads in every order, and checks that the store has these versions then, and takes another batch.
fn explore<const THREADS: usize>(threads: [fn(&Model); THREADS], versions: &'static [usize]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(if THREADS > 2 { 2 } else { 3 });
    builder.check(move || {
        let model = Arc::new(Model::default());
        let threads = threads.map(|run| {
            let model = model.clone();
            thread::spawn(move || run(&model))
        });
        for thread in threads {
            thread.join().expect("does not panic");
        }
        // Somebody who leads for ever would be waited for here, and loom would say that all threads are stuck.
        model.submit(small(0));
        let mut made_by = std::mem::take(&mut *model.made_by.lock().expect("nobody panics with it"));
        assert_eq!(made_by.pop(), Some(0), "the last");
        made_by.sort_unstable();
        assert_eq!(made_by, versions, "something was lost, or committed twice");
    });
}

#[test]
fn each_of_two_threads_gets_its_own_outcome() {
    explore([|model| model.submit(small(1)), |model| model.submit(small(2))], &[1, 2]);
}

#[test]
fn each_of_three_threads_gets_its_own_outcome() {
    let threads: [fn(&Model); 3] =
        [|model| model.submit(small(1)), |model| model.submit(small(2)), |model| model.submit(small(3))];
    explore(threads, &[1, 2, 3]);
}

#[test]
fn a_leader_waits_for_as_many_as_the_last_group_had() {
    let twice: [fn(&Model); 2] = [
        |model| {
            model.submit(small(1));
            model.submit(small(1));
        },
        |model| {
            model.submit(small(2));
            model.submit(small(2));
        },
    ];
    explore(twice, &[1, 1, 2, 2]);
}

#[test]
fn what_does_not_fit_into_a_group_is_committed_by_the_next_leader() {
    let threads: [fn(&Model); 3] =
        [|model| model.submit(large(1)), |model| model.submit(large(2)), |model| model.submit(large(3))];
    explore(threads, &[1, 2, 3]);
}

#[test]
fn a_write_excludes_groups() {
    let threads: [fn(&Model); 3] =
        [|model| model.submit(small(1)), Model::write, |model| model.submit(small(2))];
    explore(threads, &[1, 2, WRITE]);
}

#[test]
fn a_last_turn_excludes_both_and_lets_them_go_on_afterwards() {
    let last = |model: &Model| {
        let _turn = model.queue.last_turn().expect("the thread has no turn yet");
        model.commit(&[WRITE]);
    };
    explore([|model| model.submit(small(1)), last], &[1, WRITE]);
    explore([Model::write, last], &[WRITE, WRITE]);
    explore([|model| model.submit(small(1)), Model::write, last], &[1, WRITE, WRITE]);
}

#[test]
fn a_thread_that_has_no_turn_is_not_taken_for_the_one_that_has() {
    let look = |model: &Model| assert_eq!(model.queue.check_reentry(), Ok(()));
    explore([|model| model.submit(small(1)), look], &[1]);
    explore([Model::write, look], &[WRITE]);
}

/// Submits a batch whose commit panics if this thread leads, before or after the versions are made.
fn submit_and_panic(model: &Model, batch: Batch, commits: bool) {
    let submit = || {
        model.queue.submit(batch, |group| {
            if commits {
                model.commit_group(batch, group);
            }
            // As `panic!` does, without telling the terminal.
            resume_unwind(Box::new("the commit panics"))
        })
    };
    // Who was led by another has an outcome, whatever its own commit would have done.
    if let Ok(outcome) = catch_unwind(AssertUnwindSafe(submit)) {
        model.check(batch.by, outcome.expect("the others do not panic"));
    }
}

/// Submits a batch that may get into the group of a leader that panics.
fn submit_beside_panic(model: &Model, batch: Batch) {
    match model.queue.submit(batch, |group| model.commit_group(batch, group)) {
        Ok(version) => model.check(batch.by, version),
        Err(failure) => assert_eq!(failure, Failure::LeaderPanicked),
    }
}

/// As `explore`, where it depends on the order what is committed.
fn explore_panics(threads: [fn(&Model); 2]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let model = Arc::new(Model::default());
        let threads = threads.map(|run| {
            let model = model.clone();
            thread::spawn(move || run(&model))
        });
        for thread in threads {
            thread.join().expect("does not panic");
        }
        model.submit(small(0));
        let mut made_by = std::mem::take(&mut *model.made_by.lock().expect("nobody panics with it"));
        let versions = made_by.len();
        made_by.sort_unstable();
        made_by.dedup();
        assert_eq!(made_by.len(), versions, "something was committed twice");
    });
}

#[test]
fn a_leader_that_panics_before_its_commit_leaves_nobody_waiting() {
    explore_panics([
        |model| submit_and_panic(model, small(1), false),
        |model| submit_beside_panic(model, small(2)),
    ]);
    explore_panics([
        |model| submit_and_panic(model, large(1), false),
        |model| submit_beside_panic(model, large(2)),
    ]);
}

#[test]
fn a_leader_that_panics_after_its_commit_has_nothing_committed_twice() {
    explore_panics([
        |model| submit_and_panic(model, small(1), true),
        |model| submit_beside_panic(model, small(2)),
    ]);
}

#[test]
fn a_leader_that_panics_lets_go_of_the_turn() {
    explore_panics([|model| submit_and_panic(model, small(1), false), Model::write]);
}
