//! What an instance says about its cache of values.

use cohab_core::Version;
use serde::{Deserialize, Serialize};

/// What an instance caches, in total and namespace by namespace. Numbers for people; nothing is decided by them.
///
/// The totals are of all namespaces that it caches, each counted since it was first read; [`namespaces`](Self::namespaces)
/// lists some of them. What is not said is zero.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CacheRecord {
    /// How many bytes the cache may occupy.
    pub budget: u64,
    /// How many it occupies, bookkeeping included. A cache that several handles share is told whole by each of them.
    pub bytes: u64,
    /// Reads that an entry answered.
    pub hits: u64,
    /// Reads that none did.
    pub misses: u64,
    /// Entries that were refused because they would have been stale.
    pub refusals: u64,
    /// Entries that went for others' sake.
    pub evictions: u64,
    /// Entries that went because their key was written.
    pub invalidations: u64,
    /// How often all entries of a namespace went at once, because it was not known which keys were written.
    pub floors: u64,
    /// How many entries there are.
    pub entries: u64,
    /// The namespaces whose entries occupy the most, those with the most first;
    /// [`RECORD_NAMESPACES_MAX`](cohab_core::limits::RECORD_NAMESPACES_MAX) of them at the most.
    pub namespaces: Vec<NamespaceCacheRecord>,
}

/// What an instance caches of one namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NamespaceCacheRecord {
    /// The number of the namespace, which no renaming changes.
    pub id: u32,
    /// What it was called when the instance first read it through the cache.
    pub name: String,
    /// Reads that an entry answered.
    pub hits: u64,
    /// Reads that none did.
    pub misses: u64,
    /// Entries that were refused because they would have been stale.
    pub refusals: u64,
    /// Entries that went for others' sake.
    pub evictions: u64,
    /// Entries that went because their key was written.
    pub invalidations: u64,
    /// How often all entries went at once, because it was not known which keys were written.
    pub floors: u64,
    /// How many entries there are.
    pub entries: u64,
    /// What they occupy, in bytes, without the cache's bookkeeping.
    pub bytes: u64,
    /// The version through which the entries are right.
    pub horizon: Version,
    /// By how many versions that was behind the namespace's last change.
    pub lag: u64,
}

impl CacheRecord {
    /// Returns the part of the reads that an entry answered, 0 to 1; `None` if there were none.
    pub fn hit_rate(&self) -> Option<f64> {
        hit_rate(self.hits, self.misses)
    }
}

impl NamespaceCacheRecord {
    /// Returns the part of the reads that an entry answered, 0 to 1; `None` if there were none.
    pub fn hit_rate(&self) -> Option<f64> {
        hit_rate(self.hits, self.misses)
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody reads sixteen digits of it")]
fn hit_rate(hits: u64, misses: u64) -> Option<f64> {
    let reads = hits.saturating_add(misses);
    (reads > 0).then(|| hits as f64 / reads as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_rate_is_of_all_reads() {
        let rate = |hits, misses| CacheRecord { hits, misses, ..CacheRecord::default() }.hit_rate();
        assert_eq!(rate(0, 0), None);
        assert_eq!((rate(0, 3), rate(3, 1), rate(7, 0)), (Some(0.0), Some(0.75), Some(1.0)));
        assert_eq!(rate(u64::MAX, u64::MAX), Some(1.0), "no counter gets there, and none breaks it");
    }
}
