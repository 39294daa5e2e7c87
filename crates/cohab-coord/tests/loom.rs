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

use std::iter::empty;

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use seal::Seal;

/// Two copies and two slots where a page has more of each; more than two have nothing to add.
type Shared = shared::Shared<2, 2>;

/// The least there can be, for three threads have too many orders otherwise.
type Small = shared::Shared<1, 1>;

fn seal() -> Seal {
    Seal::of_store([0x0123_4567_89AB_CDEF, 42])
}

/// Runs threads in every order.
///
/// Those who look on come last: loom tries another order where a load follows another thread's store, but overlooks
/// a load before it if the other thread loads that word, too, before it stores.
fn explore<const COPIES: usize, const SLOTS: usize, const THREADS: usize>(
    new: fn() -> shared::Shared<COPIES, SLOTS>,
    threads: [fn(&shared::Shared<COPIES, SLOTS>); THREADS],
    finally: fn(&shared::Shared<COPIES, SLOTS>),
) {
    let mut builder = loom::model::Builder::new();
    // One more takes many times as long and has found nothing else.
    builder.preemption_bound = Some(if THREADS > 2 { 2 } else { 3 });
    builder.check(move || {
        let page = Arc::new(new());
        let threads = threads.map(|run| {
            let page = page.clone();
            thread::spawn(move || run(&page))
        });
        for thread in threads {
            thread.join().expect("does not panic");
        }
        finally(&page);
    });
}

/// A page on which version 1 is published.
fn used<const COPIES: usize, const SLOTS: usize>() -> shared::Shared<COPIES, SLOTS> {
    let page = shared::Shared::default();
    page.raise(seal(), (1, 1));
    page
}

/// Reads what is published, and checks that it covers the changes up to it.
fn look<const COPIES: usize, const SLOTS: usize>(page: &shared::Shared<COPIES, SLOTS>) -> (u64, u64) {
    let published = page.published(seal()).expect("no publisher ever leaves an invalid word");
    for (slot, version) in CHANGES.into_iter().filter(|(_, version)| *version <= published.0) {
        let changed = page.changed(seal(), slot).expect("no publisher ever leaves an invalid word");
        assert!(changed >= version, "sees version {} and not that {version} changed {slot}", published.0);
    }
    assert!(published.0 < 3 || published.1 >= 2, "sees version 3 and not the writer that it is by");
    published
}

/// Looks twice, and checks that nothing has gone back.
fn look_twice<const COPIES: usize, const SLOTS: usize>(page: &shared::Shared<COPIES, SLOTS>) {
    let first = look(page);
    let second = look(page);
    assert!(second.0 >= first.0 && second.1 >= first.1, "it went back from {first:?} to {second:?}");
}

/// What changes in these models: slot 0 in version 2, and slot 1 in version 3, which is by the next writer.
const CHANGES: [(usize, u64); 2] = [(0, 2), (1, 3)];

fn publish_2<const COPIES: usize, const SLOTS: usize>(page: &shared::Shared<COPIES, SLOTS>) {
    page.publish(seal(), 1, (2, 1), [0].into_iter());
}

fn publish_both(page: &Shared) {
    publish_2(page);
    page.publish(seal(), 2, (3, 2), [1].into_iter());
}

#[test]
fn who_sees_a_version_sees_what_changed_up_to_it() {
    explore(used, [publish_both, look_twice], |page| {
        assert_eq!(look(page), (3, 2));
        assert_eq!(page.changed(seal(), 0), Some(2), "what is published is no more than what happened");
    });
}

#[test]
fn who_sees_the_mark_move_sees_what_moved_it() {
    let reader = |page: &Shared| {
        // Version 1 was the mark's first move, and each after it is one more.
        let mark = page.mark();
        let (version, _) = look(page);
        assert!(version >= mark, "moved {mark} times for version {version}");
    };
    explore(used, [publish_both, reader], |page| assert_eq!((page.mark(), look(page)), (3, (3, 2))));
}

#[test]
fn of_two_who_publish_the_greater_counts() {
    // The writer is slow. Somebody else has found its commit, and one by the next writer, to be durable.
    let reader = |page: &Shared| assert!(page.raise(seal(), (3, 2)));
    let finally = |page: &Shared| assert_eq!(look(page), (3, 2));
    explore(used, [publish_2, reader], finally);
    explore(used, [reader, publish_2], finally);
}

#[test]
fn of_two_who_publish_neither_is_lost_nor_does_anything_go_back() {
    let [writer, reader]: [fn(&Small); 2] = [
        |page| {
            publish_2(page);
            assert!(look(page).0 >= 2, "lost");
        },
        |page| {
            page.raise(seal(), (3, 2));
            assert_eq!(look(page), (3, 2), "lost");
        },
    ];
    explore(used, [writer, reader, look_twice], |page| assert_eq!(look(page), (3, 2)));
}

#[test]
fn a_new_page_has_everything_published_or_nothing() {
    let writer = |page: &Shared| page.publish(seal(), 3, (3, 2), empty());
    let reader = |page: &Shared| {
        if page.published(seal()).is_some() {
            assert_eq!(look(page), (3, 2));
        }
    };
    explore(Shared::default, [writer, reader], |page| assert_eq!(look(page), (3, 2)));

    let other = |page: &Shared| _ = page.raise(seal(), (2, 1));
    explore(Shared::default, [writer, other], |page| assert_eq!(look(page), (3, 2)));
}

/// What the kernel does for a futex: it compares and goes to sleep in one step, as seen by whoever wakes.
#[derive(Default)]
struct Futex {
    lock: Mutex<()>,
    woken: Condvar,
}

#[test]
fn no_wake_up_is_lost() {
    loom::model(|| {
        let page = Arc::new(Shared::default());
        let futex = Arc::new(Futex::default());
        let mark = page.mark();
        let publisher = {
            let (page, futex) = (page.clone(), futex.clone());
            thread::spawn(move || {
                page.announce();
                drop(futex.lock.lock().expect("nobody panics"));
                futex.woken.notify_all();
            })
        };
        let waiter = thread::spawn(move || {
            while let Some(word) = page.sleep_on(mark) {
                let lock = futex.lock.lock().expect("nobody panics");
                if page.wake_word().load(sync::Ordering::SeqCst) == word {
                    // Should nobody wake it, loom reports that all threads are stuck.
                    drop(futex.woken.wait(lock).expect("nobody panics"));
                }
            }
        });
        publisher.join().expect("does not panic");
        waiter.join().expect("does not panic");
    });
}
