//! Caches without a store: what a look-up takes at the least. Values are in there from the start, and nobody tells a
//! cache when one is no longer the latest.
//!
//! They have their default settings but for their weight, which is the bytes of keys and values. Keys are of a fixed
//! length, inside of the entries, and values are shared; a cache of keys of any length has one more place to look at.

use std::hash::RandomState;
use std::sync::Arc;

use anyhow::{Result, bail};

use crate::data::Data;
use crate::reading::{Counts, Reads};
use crate::workload::{KEY_BYTES, Key, VALUE_BYTES};

type Value = Arc<[u8]>;

/// Makes a cache of moka's.
pub fn moka(bytes: usize) -> Plain<moka::sync::Cache<Key, Value>> {
    let weigh = |_: &Key, value: &Value| u32::try_from(KEY_BYTES + value.len()).unwrap_or(u32::MAX);
    Plain(moka::sync::Cache::builder().max_capacity(bytes as u64).weigher(weigh).build())
}

/// Makes a cache of quick_cache's.
pub fn quick_cache(bytes: usize) -> Plain<QuickCache> {
    let items = bytes / (KEY_BYTES + VALUE_BYTES);
    Plain(QuickCache::with_weighter(items, bytes as u64, Weighter))
}

/// A cache of quick_cache's.
pub type QuickCache = quick_cache::sync::Cache<Key, Value, Weighter>;

/// Weighs entries by the bytes of key and value.
#[derive(Clone)]
pub struct Weighter;

impl quick_cache::Weighter<Key, Value> for Weighter {
    fn weight(&self, _: &Key, value: &Value) -> u64 {
        (KEY_BYTES + value.len()) as u64
    }
}

/// A cache that stands for a store.
pub struct Plain<C>(C);

/// What a cache has to do for that.
pub trait Keeps: Sync {
    /// Has it keep a value.
    fn insert(&self, key: Key, value: Value);

    /// Returns a value that it has.
    fn get(&self, key: &Key) -> Option<Value>;

    /// Has it end what it has put off.
    fn settle(&self) {}

    /// How many entries there are, and how many bytes it takes them for.
    fn size(&self) -> (u64, u64);
}

impl Keeps for moka::sync::Cache<Key, Value, RandomState> {
    fn insert(&self, key: Key, value: Value) {
        self.insert(key, value);
    }

    fn get(&self, key: &Key) -> Option<Value> {
        self.get(key)
    }

    fn settle(&self) {
        self.run_pending_tasks();
    }

    fn size(&self) -> (u64, u64) {
        (self.entry_count(), self.weighted_size())
    }
}

impl Keeps for QuickCache {
    fn insert(&self, key: Key, value: Value) {
        self.insert(key, value);
    }

    fn get(&self, key: &Key) -> Option<Value> {
        self.get(key)
    }

    fn size(&self) -> (u64, u64) {
        (self.len() as u64, self.weight())
    }
}

impl<C: Keeps> Reads for Plain<C> {
    fn get_held(&self, keys: &[Key], see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        self.get_fresh(keys, see)
    }

    fn get_fresh(&self, keys: &[Key], mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        for key in keys {
            see(self.0.get(key).as_deref());
        }
        Ok(())
    }

    fn scan(&self, _: &[Key], _: usize, _: impl FnMut(&[u8], &[u8])) -> Result<()> {
        bail!("a cache has no order")
    }

    fn warm(&self, data: Data) -> Result<()> {
        for (key, value) in data.rows() {
            // Whoever asks first has it read, and keeps it.
            if self.0.get(&key).is_none() {
                self.0.insert(key, value.into());
            }
        }
        self.0.settle();
        Ok(())
    }

    fn counts(&self) -> Option<Counts> {
        let (entries, bytes) = self.0.size();
        Some(Counts { entries, bytes, ..Counts::default() })
    }
}
