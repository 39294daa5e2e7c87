//! The protocol on the shared words, in every order in which its steps can happen and become visible.
//!
//! A process that is killed leaves its steps up to some point. Since the others look on between any two steps of a
//! publisher, each of these states is among those that they see here.

#![cfg_attr(test, expect(dead_code, reason = "headers and ages are not modelled"))]

#[path = "../src/seal.rs"]
mod seal;
#[path = "../src/shared.rs"]
mod shared;

/// Stands in for the module of that name, so that the same source runs on loom's atomics.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
}

use std::collections::BTreeSet;
use std::iter::empty;

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use seal::Seal;

/// Fewer copies and slots than a page has. Two of each show whatever more would.
type Shared = shared::Shared<2, 2>;

fn seal() -> Seal {
    Seal::of_store([0x0123_4567_89AB_CDEF, 42])
}

/// A page on which version 1 is published.
fn page() -> Arc<Shared> {
    let page = Shared::default();
    page.raise(seal(), (1, 1));
    Arc::new(page)
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // With more switches between the threads the runs take minutes and have found nothing else.
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Reads what is published, and checks that it covers these changes: slots, and the version that changed them.
fn look(page: &Shared, changes: &[(usize, u64)]) -> (u64, u64) {
    let published = page.published(seal()).expect("no publisher ever leaves an invalid word");
    for &(slot, version) in changes.iter().filter(|(_, version)| *version <= published.0) {
        let changed = page.changed(seal(), slot).expect("no publisher ever leaves an invalid word");
        assert!(changed >= version, "sees version {} and not that {version} changed {slot}", published.0);
    }
    published
}

#[test]
fn who_sees_a_version_sees_what_changed_up_to_it() {
    explore(|| {
        let page = page();
        let writer = page.clone();
        let writer = thread::spawn(move || {
            writer.publish(seal(), 1, (2, 1), [0].into_iter());
            writer.publish(seal(), 2, (3, 1), [1].into_iter());
        });
        let changes = [(0, 2), (1, 3)];
        let first = look(&page, &changes);
        let second = look(&page, &changes);
        assert!(second >= first, "it went back from {first:?} to {second:?}");
        writer.join().expect("does not panic");
        assert_eq!(look(&page, &changes), (3, 1));
        assert_eq!(page.changed(seal(), 0), Some(2), "what is published is no more than what happened");
    });
}

#[test]
fn of_two_who_publish_the_greater_counts() {
    explore(|| {
        let page = page();
        let [writer, reader] = [(); 2].map(|()| page.clone());
        // The writer is slow, and a reader has found its commit, and the next writer's, to be durable.
        let writer = thread::spawn(move || writer.publish(seal(), 1, (2, 1), [0].into_iter()));
        let reader = thread::spawn(move || reader.raise(seal(), (3, 2)));
        let changes = [(0, 2), (1, 3)];
        let first = look(&page, &changes);
        let second = look(&page, &changes);
        assert!(second >= first, "it went back from {first:?} to {second:?}");
        for publisher in [writer.join().map(|()| true), reader.join()] {
            assert!(publisher.expect("does not panic"));
        }
        assert_eq!(look(&page, &changes), (3, 2));
    });
}

#[test]
fn a_publication_is_there_when_it_was_made() {
    explore(|| {
        let page = page();
        let [low, high] = [2, 3].map(|version| {
            let page = page.clone();
            thread::spawn(move || {
                page.raise(seal(), (version, 1));
                let (published, _) = look(&page, &[(0, version)]);
                assert!(published >= version, "{version} was lost: {published} is published");
            })
        });
        low.join().expect("does not panic");
        high.join().expect("does not panic");
    });
}

#[test]
fn a_new_page_has_everything_or_nothing_published() {
    explore(|| {
        let page = Arc::new(Shared::default());
        let publishers = [2, 3].map(|version| {
            let page = page.clone();
            thread::spawn(move || page.publish(seal(), version, (version, 1), empty()))
        });
        if let Some((version, epoch)) = page.published(seal()) {
            assert!([2, 3].contains(&version) && epoch == 1);
            look(&page, &[(0, version), (1, version)]);
        }
        for publisher in publishers {
            publisher.join().expect("does not panic");
        }
        assert_eq!(look(&page, &[(0, 3), (1, 3)]), (3, 1));
    });
}

#[test]
fn as_long_as_the_mark_stays_nothing_was_published() {
    explore(|| {
        let page = page();
        let writer = page.clone();
        let writer = thread::spawn(move || writer.publish(seal(), 1, (2, 1), [0].into_iter()));
        let mark = page.mark();
        let seen = look(&page, &[(0, 2)]);
        writer.join().expect("does not panic");
        if page.mark() == mark {
            assert_eq!(page.published(seal()), Some(seen));
        } else {
            assert_eq!(look(&page, &[(0, 2)]), (2, 1));
        }
    });
}

#[test]
fn who_sees_the_mark_move_sees_what_moved_it() {
    explore(|| {
        let page = page();
        let mark = page.mark();
        let writer = page.clone();
        let writer = thread::spawn(move || writer.publish(seal(), 1, (2, 1), [0].into_iter()));
        if page.mark() != mark {
            assert_eq!(look(&page, &[(0, 2)]), (2, 1));
        }
        writer.join().expect("does not panic");
    });
}

/// What the kernel does for a futex: it compares and goes to sleep in one step, as seen by whoever wakes.
#[derive(Default)]
struct Futex {
    sleepers: Mutex<BTreeSet<u8>>,
    woken: Condvar,
}

#[test]
fn no_wake_up_is_lost() {
    explore(|| {
        let page = page();
        let futex = Arc::new(Futex::default());
        let mark = page.mark();
        let waiter = {
            let (page, futex) = (page.clone(), futex.clone());
            thread::spawn(move || {
                while let Some(word) = page.sleep_on(mark) {
                    let sleepers = futex.sleepers.lock().expect("nobody panics");
                    if page.wake_word().load(sync::Ordering::SeqCst) == word {
                        // Should nobody wake it, loom reports that all threads are stuck.
                        drop(futex.woken.wait(sleepers).expect("nobody panics"));
                    }
                }
                assert_eq!(look(&page, &[(0, 2)]), (2, 1));
            })
        };
        page.publish(seal(), 1, (2, 1), [0].into_iter());
        drop(futex.sleepers.lock().expect("nobody panics"));
        futex.woken.notify_all();
        waiter.join().expect("does not panic");
    });
}
