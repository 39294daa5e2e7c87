//! A generation: code in service, with its instances.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cohab_core::{Timestamp, Version};
use cohab_plugin::{Call, Code, ContentHash, Grants, GuestCache, Host, Instance, Outcome, Stop};

use super::records::state_name;

/// How many instances are kept for the next calls.
const IDLE_MAX: usize = 8;

/// One loaded version of a plugin's code.
///
/// Calls hold it by reference count, so those in flight finish on the generation that they began on, and its memory goes
/// with the last of them.
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(crate) hash: ContentHash,
    pub(crate) code: Code,
    pub(crate) grants: Grants,
    /// The namespace that is the plugin's own.
    pub(crate) state: String,
    /// Ends calls that are still under way when it has long been replaced.
    pub(crate) stop: Stop,
    cache: GuestCache,
    idle: Mutex<Vec<Instance>>,
    meter: Arc<Meter>,
}

impl Generation {
    pub(crate) fn new(number: u64, hash: ContentHash, code: Code, grants: Grants, meter: Arc<Meter>) -> Self {
        let (state, cache) =
            (state_name(&code.manifest().name), GuestCache::new(code.manifest().limits.cache));
        let (stop, idle) = (Stop::new(), Mutex::default());
        meter.alive.fetch_add(1, Ordering::Relaxed);
        Self { number, hash, code, grants, state, stop, cache, idle, meter }
    }

    /// Calls a handler on an instance that is free, or a new one.
    pub(crate) fn call(&self, call: Call<'_>, host: &mut dyn Host) -> Outcome {
        let free = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let instance = free.map_or_else(|| self.code.instantiate(), Ok);
        let outcome = match instance {
            Ok(mut instance) => {
                let outcome = instance.call(call, host, &self.grants, &self.cache, &self.stop);
                self.meter.memory.store(instance.memory_bytes() + self.cache.bytes(), Ordering::Relaxed);
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                if !instance.is_spent() && idle.len() < IDLE_MAX {
                    idle.push(instance);
                }
                outcome
            }
            Err(error) => Outcome::failed(error),
        };
        self.meter.note(&outcome);
        outcome
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.meter.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation")
            .field("number", &self.number)
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

/// What is counted of a plugin in this process, over its generations.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) calls: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) micros: AtomicU64,
    pub(crate) memory: AtomicU64,
    /// How many generations have not been dropped yet.
    pub(crate) alive: AtomicUsize,
    /// The version that it is through with, as far as it is known here; `u64::MAX` while it is not.
    pub(crate) position: AtomicU64,
    /// The version from which on it needs the log; `u64::MAX` for nothing.
    pub(crate) pinned: AtomicU64,
    last_error: Mutex<Option<(Timestamp, String)>>,
    /// Why it does not go on by itself.
    pub(crate) stalled: Mutex<Option<String>>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        let meter = Self::default();
        meter.position.store(u64::MAX, Ordering::Relaxed);
        meter.pinned.store(u64::MAX, Ordering::Relaxed);
        meter
    }

    fn note(&self, outcome: &Outcome) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let micros = outcome.took.min(Duration::from_hours(24)).as_micros();
        self.micros.fetch_add(u64::try_from(micros).unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, at: Timestamp, message: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, message));
    }

    pub(crate) fn last_error(&self) -> Option<(Timestamp, String)> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn position(&self) -> Option<Version> {
        known(&self.position)
    }

    pub(crate) fn pinned(&self) -> Option<Version> {
        known(&self.pinned)
    }

    pub(crate) fn stall(&self, why: Option<String>) {
        *self.stalled.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    pub(crate) fn stalled(&self) -> Option<String> {
        self.stalled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn known(version: &AtomicU64) -> Option<Version> {
    Some(version.load(Ordering::Relaxed)).filter(|version| *version != u64::MAX).map(Version::new)
}
