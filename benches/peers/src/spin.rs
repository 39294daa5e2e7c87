//! What a process goes on with until it is told to stop.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, anyhow, ensure};

use crate::reading::{Reader, Seen};
use crate::workload::Key;

/// How many look-ups there are between two looks at whether to stop.
const STRIDE: usize = 256;

/// Looks the keys up over and over, in so many threads, each of which begins somewhere else.
pub fn look_up(reader: &dyn Reader, keys: &[Key], threads: usize, is_to_stop: &AtomicBool) -> Result<Seen> {
    let run = |thread| {
        let (before, after) = keys.split_at(keys.len() / threads * thread);
        let mut all = Seen::default();
        for keys in after.chunks(STRIDE).chain(before.chunks(STRIDE)).cycle() {
            if is_to_stop.load(Ordering::Relaxed) {
                break;
            }
            let seen = reader.get_fresh(keys)?;
            ensure!(seen.rows == keys.len() as u64, "found {} of {} keys", seen.rows, keys.len());
            all = all.and(seen.count_only());
        }
        Ok(all)
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        others.into_iter().try_fold(run(0)?, |all, other| {
            let seen = other.join().map_err(|_| anyhow!("a thread panicked"))?;
            Ok(all.and(seen?))
        })
    })
}

/// Computes, without a look at a store.
pub fn compute(keys: &[Key], is_to_stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    while !is_to_stop.load(Ordering::Relaxed) {
        for key in keys {
            seen.value(Some(black_box(key)));
        }
    }
    seen
}
