//! Numbers for `metrics`, in the units that its conventions ask for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use cohab_cache::Stats;
use cohab_core::NamespaceId;
use cohab_core::limits::{NUMBERS_TICK, REAP_TICK};
use metrics::{Label, SharedString, Unit, counter, describe_counter, describe_gauge, gauge};

use super::Beat;
use crate::NamespaceCache;
use crate::store::Inner;

const HITS: &str = "cohab_cache_hits_total";
const MISSES: &str = "cohab_cache_misses_total";
const REFUSALS: &str = "cohab_cache_refusals_total";
const EVICTIONS: &str = "cohab_cache_evictions_total";
const INVALIDATIONS: &str = "cohab_cache_invalidations_total";
const FLOORS: &str = "cohab_cache_floors_total";
const ENTRIES: &str = "cohab_cache_entries";
const ENTRY_BYTES: &str = "cohab_cache_entry_bytes";
const HORIZON: &str = "cohab_cache_horizon";
const LAG: &str = "cohab_cache_lag_versions";
const BYTES: &str = "cohab_cache_bytes";
const BUDGET: &str = "cohab_cache_budget_bytes";
const VERSION: &str = "cohab_store_version";
const SNAPSHOT_AGE: &str = "cohab_snapshot_age_seconds";
const INSTANCES: &str = "cohab_instances";

/// What was handed over, and when.
#[derive(Debug, Default)]
pub(crate) struct Published {
    beat: Beat,
    /// Instances are counted by looking at the lock of each, so not as often.
    instances: Beat,
    /// How far the counters of each namespace were counted. Only what was added since is handed over, so that several
    /// handles of one store add up.
    counted: Mutex<Option<HashMap<NamespaceId, Stats>>>,
}

impl Published {
    pub(crate) fn publish_if_due(&self, inner: &Inner) {
        if self.beat.is_due(NUMBERS_TICK) {
            self.publish(inner);
        }
    }

    pub(crate) fn publish(&self, inner: &Inner) {
        let store = SharedString::from(inner.path.to_string_lossy().into_owned());
        let labels = vec![Label::new("store", store.clone())];
        let caches = inner.cache_stats();
        {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            let counted = counted.get_or_insert_with(|| {
                describe();
                HashMap::new()
            });
            for cache in &caches {
                let before = counted.insert(cache.id, cache.stats).unwrap_or_default();
                publish_namespace(cache, &before, &store);
            }
            counted.retain(|id, _| caches.iter().any(|cache| cache.id == *id));
        }
        gauge!(BUDGET, labels.clone()).set(float(inner.cache().budget() as u64));
        gauge!(BYTES, labels.clone()).set(float(inner.cache_occupied(&caches)));
        gauge!(VERSION, labels.clone()).set(float(inner.seen().max(inner.durable()).get()));
        let now = inner.options.clock.now();
        let age = inner.oldest_snapshot().map_or(0.0, |(_, since)| now.since(since).as_secs_f64());
        gauge!(SNAPSHOT_AGE, labels.clone()).set(age);
        if let Some(directory) = inner.directory.as_ref().filter(|_| self.instances.is_due(REAP_TICK))
            && let Ok(instances) = directory.registry().list()
        {
            gauge!(INSTANCES, labels).set(float(instances.len() as u64));
        }
    }
}

fn publish_namespace(cache: &NamespaceCache, before: &Stats, store: &SharedString) {
    let labels = vec![Label::new("store", store.clone()), Label::new("namespace", cache.name.clone())];
    let stats = &cache.stats;
    for (name, now, before) in [
        (HITS, stats.hits, before.hits),
        (MISSES, stats.misses, before.misses),
        (REFUSALS, stats.refusals, before.refusals),
        (EVICTIONS, stats.evictions, before.evictions),
        (INVALIDATIONS, stats.invalidations, before.invalidations),
        (FLOORS, stats.floors, before.floors),
    ] {
        // One that went back began anew.
        counter!(name, labels.clone()).increment(now.checked_sub(before).unwrap_or(now));
    }
    for (name, now) in [
        (ENTRIES, stats.entries),
        (ENTRY_BYTES, stats.bytes),
        (HORIZON, stats.horizon.get()),
        (LAG, cache.lag),
    ] {
        gauge!(name, labels.clone()).set(float(now));
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
fn float(number: u64) -> f64 {
    number as f64
}

fn describe() {
    describe_counter!(HITS, "Reads that an entry of the cache answered.");
    describe_counter!(MISSES, "Reads that no entry of the cache answered.");
    describe_counter!(REFUSALS, "Entries that were refused because they would have been stale.");
    describe_counter!(EVICTIONS, "Entries that went for others' sake.");
    describe_counter!(INVALIDATIONS, "Entries that went because their key was written.");
    describe_counter!(FLOORS, "How often all entries of a namespace went at once.");
    describe_gauge!(ENTRIES, "Entries of a namespace.");
    describe_gauge!(ENTRY_BYTES, Unit::Bytes, "What the entries of a namespace occupy.");
    describe_gauge!(HORIZON, "The version through which the entries of a namespace are right.");
    describe_gauge!(LAG, "By how many versions that is behind the namespace's last change.");
    describe_gauge!(BYTES, Unit::Bytes, "What the cache occupies, bookkeeping included.");
    describe_gauge!(BUDGET, Unit::Bytes, "What the cache may occupy.");
    describe_gauge!(VERSION, "The version of the store that the process has seen last.");
    describe_gauge!(
        SNAPSHOT_AGE,
        Unit::Seconds,
        "The age of the oldest snapshot that is in use; 0 if none is."
    );
    describe_gauge!(INSTANCES, "The instances that have the store open.");
}
