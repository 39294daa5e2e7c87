//! Group commit: batches submitted at the same time share one commit of the engine.

mod queue;
mod turn;

use cohab_core::Version;

use crate::{Batch, Error, Kind, Result};
use queue::Failure;
use turn::Reentrant;

/// Where batches wait for their commit, and where transactions wait for their turn.
pub(crate) type Queue = queue::Queue<Batch>;

impl queue::Batch for Batch {
    type Outcome = Result<Version>;

    fn bytes(&self) -> usize {
        self.bytes()
    }
}

impl From<Reentrant> for Error {
    fn from(Reentrant: Reentrant) -> Self {
        let message = "the thread is in a transaction of this store already and would wait for itself";
        Self::new(Kind::Reentrant, message).hint("do it in the same transaction, or after it")
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Reentrant => Reentrant.into(),
            Failure::LeaderPanicked => {
                Self::new(Kind::CommitUnknown, "the thread that committed the batch panicked")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::Duration;

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
                            .map(|_| {
                                queue
                                    .submit(Batch::new(), commit)
                                    .expect("nobody panics")
                                    .expect("cannot fail")
                                    .get()
                            })
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
        assert_eq!(next.expect("the next leader commits").expect("cannot fail"), Version::new(1));
    }

    /// Stepping down waited for as long as somebody submitted: a thread that has just committed has the turn again before
    /// one that waits for it is awake. Transactions let it go first, leaders of groups did not.
    #[test]
    fn who_submits_in_a_loop_lets_the_last_turn_go_first() {
        let is_first = || {
            let (queue, ended) = (Queue::default(), AtomicBool::new(false));
            let is_waiting = Barrier::new(2);
            let turn = queue.turn().expect("the thread has no turn");
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    is_waiting.wait();
                    let _turn = queue.last_turn().expect("the thread has no turn");
                    ended.store(true, Ordering::Relaxed);
                });
                is_waiting.wait();
                // It is, almost. On a busy machine it may not be yet.
                std::thread::sleep(Duration::from_millis(10));
                drop(turn);
                let commit = |_: &[Batch]| vec![Ok(Version::new(u64::from(ended.load(Ordering::Relaxed))))];
                let version = queue.submit(Batch::new(), commit).expect("nobody panics");
                version.expect("cannot fail") == Version::new(1)
            })
        };
        let times = (0..11).filter(|_| is_first()).count();
        assert!(times > 5, "it went first {times} times of 11");
    }
}
