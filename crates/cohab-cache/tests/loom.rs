//! Fills, invalidations and reads beside each other, in every order in which their steps can become visible.
//!
//! One key stands for all. Its history is fixed: version 1 sets it, version 2 writes another key, version 3 sets it anew.
//! Whatever the order, no read at a version may get a value that another version set.

#![cfg_attr(test, expect(dead_code, unreachable_pub, reason = "the source is another crate's"))]

#[path = "../src/intervals.rs"]
mod intervals;

/// Stands in for the module of that name, so that the same source runs on loom's atomics.
mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::Mutex;
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

use cohab_core::Version;
use intervals::{At, Intervals};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// The shelf: one place, with its lock. An entry is the version it is valid from, and its generation.
struct Model {
    intervals: Intervals,
    place: Mutex<Option<(u64, u32)>>,
}

/// The version that set what is there at a version.
fn truth(version: u64) -> u64 {
    if version < 3 { 1 } else { 3 }
}

/// A read at a version. All of them change the namespace.
fn at(version: u64) -> At {
    At { version: Version::new(version), changed: Version::new(version) }
}

impl Model {
    fn new() -> Self {
        let intervals = Intervals::new();
        intervals.advance(at(1), |_| true);
        Self { intervals, place: Mutex::new(None) }
    }

    fn fill(&self, version: u64) {
        let mut place = self.place.lock().expect("nobody panics");
        if let Some(generation) = self.intervals.filling(at(version)) {
            *place = Some((truth(version), generation));
        }
    }

    /// Learns of the versions up to one. If it is not known what they wrote, everything goes.
    fn advance(&self, version: u64, is_known: bool) {
        self.intervals.advance(at(version), |since| {
            assert!(since.get() < version, "what is known is not asked for again");
            if is_known && since.get() < 3 && version >= 3 {
                self.place.lock().expect("nobody panics").take_if(|(valid_from, _)| *valid_from < 3);
            }
            is_known
        });
    }

    fn read(&self, version: u64) {
        let Some(generation) = self.intervals.answering(at(version)) else { return };
        let found = *self.place.lock().expect("nobody panics");
        if let Some((valid_from, of)) = found
            && of == generation
            && valid_from <= version
        {
            assert_eq!(valid_from, truth(version), "read at {version}");
        }
    }

    fn read_all(&self) {
        for version in [3, 2, 1] {
            self.read(version);
        }
    }
}

fn explore<const THREADS: usize>(threads: [fn(&Model); THREADS]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let model = Arc::new(Model::new());
        let threads = threads.map(|run| {
            let model = model.clone();
            thread::spawn(move || run(&model))
        });
        for thread in threads {
            thread.join().expect("no read gets what is stale");
        }
        model.read_all();
    });
}

#[test]
fn a_fill_that_raced_a_commit_is_refused() {
    explore([|model| model.fill(1), |model| model.advance(3, true), Model::read_all]);
}

#[test]
fn a_fill_that_raced_a_raised_floor_is_refused() {
    explore([|model| model.fill(1), |model| model.advance(3, false), Model::read_all]);
}

#[test]
fn fills_of_two_ages_beside_a_commit() {
    explore([|model| model.fill(2), |model| model.fill(3), |model| model.advance(3, true)]);
}

#[test]
fn what_is_there_is_dropped_before_the_horizon_moves() {
    explore([
        |model| {
            model.fill(1);
            model.advance(3, true);
        },
        Model::read_all,
    ]);
}

#[test]
fn what_is_there_is_forgotten_before_the_horizon_moves() {
    explore([
        |model| {
            model.fill(1);
            model.advance(3, false);
        },
        Model::read_all,
    ]);
}

#[test]
fn two_who_learn_of_the_same() {
    explore([|model| model.advance(3, true), |model| model.advance(3, true)]);
}

#[test]
fn two_who_advance() {
    explore([
        |model| {
            model.fill(2);
            model.advance(2, true);
        },
        |model| model.advance(3, true),
        Model::read_all,
    ]);
}
