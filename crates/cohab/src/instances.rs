//! The instances that have the store open, this one among them.

use std::cmp::Reverse;
use std::path::PathBuf;

use cohab_core::limits::RECORD_NAMESPACES_MAX;
use cohab_registry::{Instance, Registration};

use crate::store::Inner;
use crate::{CachePolicy, CacheRecord, Error, Kind, NamespaceCache, NamespaceCacheRecord, Result, Store};

impl Store {
    /// Lists the instances that have the store open, oldest first; handles that did not register are not among them.
    pub fn instances(&self) -> Result<Vec<Instance>> {
        match &self.inner.directory {
            Some(directory) => Ok(directory.registry().list()?),
            None => Ok(Vec::new()),
        }
    }

    /// Returns this handle's entry among the instances: its private temporary directory, its ports.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] for a handle that is not registered.
    pub fn registration(&self) -> Result<&Registration> {
        self.inner.check_process()?;
        self.inner.registration.as_ref().ok_or_else(|| {
            Error::new(Kind::Unsupported, "the handle is not registered among the store's instances")
                .hint("open it with `Options::register`, in a place that can be written")
        })
    }

    /// Returns a directory for this instance alone, made when it is first asked for and removed when the handle is
    /// dropped, or by the next one that opens the store after it died.
    pub fn temp_dir(&self) -> Result<PathBuf> {
        Ok(self.registration()?.temp_dir()?)
    }
}

impl Inner {
    /// Brings up to date what others are told of this instance.
    pub(crate) fn update_record(&self) {
        let Some(registration) = &self.registration else { return };
        let version = self.seen().max(self.durable());
        let (role, oldest) = (self.role(), self.ages.kept(self.oldest_snapshot()));
        let cache = self.telemetry.is_record_due().then(|| self.cache_record());
        // What cannot be written now is written with the next change; nothing depends on it.
        let _ = registration.update(|record| {
            role.as_str().clone_into(&mut record.role);
            record.version = Some(version);
            record.snapshot_version = oldest.map(|(version, _)| version);
            record.snapshot_since = oldest.map(|(_, since)| since);
            if cache.is_some() {
                record.cache = cache;
            }
        });
    }

    /// Sums up the cache, within what a record may hold.
    fn cache_record(&self) -> CacheRecord {
        let mut all = self.cache_stats();
        let mut record = CacheRecord::default();
        record.budget = self.cache().budget() as u64;
        record.bytes = self.cache_occupied(&all);
        for NamespaceCache { stats, .. } in &all {
            record.hits += stats.hits;
            record.misses += stats.misses;
            record.refusals += stats.refusals;
            record.evictions += stats.evictions;
            record.invalidations += stats.invalidations;
            record.floors += stats.floors;
            record.entries += stats.entries;
        }
        all.sort_by_key(|cache| (Reverse(cache.stats.bytes), cache.id));
        all.truncate(RECORD_NAMESPACES_MAX);
        record.namespaces = all.into_iter().map(namespace_record).collect();
        record
    }

    /// Returns what the cache occupies of its budget: what is shared, and beside it what has a budget of its own.
    pub(crate) fn cache_occupied(&self, all: &[NamespaceCache]) -> u64 {
        let own = all.iter().filter(|cache| matches!(cache.policy, CachePolicy::Own(_)));
        self.cache().bytes() + own.map(|cache| cache.stats.bytes).sum::<u64>()
    }

    /// Names who may be holding an operation up.
    pub(crate) fn suspects(&self) -> Vec<Instance> {
        let Some(directory) = &self.directory else { return Vec::new() };
        let mut others = directory.registry().list().unwrap_or_default();
        others.retain(|instance| instance.id != self.instance);
        if others.iter().any(|instance| instance.is_stopped) {
            others.retain(|instance| instance.is_stopped);
        }
        others
    }
}

fn namespace_record(cache: NamespaceCache) -> NamespaceCacheRecord {
    let NamespaceCache { id, name, stats, lag, .. } = cache;
    let mut record = NamespaceCacheRecord::default();
    record.id = id.get();
    record.name = name;
    record.hits = stats.hits;
    record.misses = stats.misses;
    record.refusals = stats.refusals;
    record.evictions = stats.evictions;
    record.invalidations = stats.invalidations;
    record.floors = stats.floors;
    record.entries = stats.entries;
    record.bytes = stats.bytes;
    record.horizon = stats.horizon;
    record.lag = lag;
    record
}
