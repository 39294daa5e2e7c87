//! cohab's cache of values, in front of its pages.

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Result;
use cohab::{Cache, Cached, Role, Store};

use super::{Cohab, NAMESPACE, open};
use crate::name::Memory;
use crate::reading::{Counts, Reads};
use crate::workload::Key;

/// A reader that looks up the latest through the cache, and does the rest without.
pub struct Front<W> {
    store: Cohab,
    cached: Cached,
    way: PhantomData<W>,
}

/// How the cache is asked.
pub trait Way: Sync {
    /// Looks a key up.
    fn get(cached: &Cached, key: &Key, see: impl FnMut(Option<&[u8]>)) -> Result<()>;
}

/// It returns values that live on.
pub struct Shared;

/// It shows values in place.
pub struct InPlace;

impl<W: Way> Front<W> {
    /// Opens a store beside its writer.
    pub fn open(dir: &Path, memory: Memory) -> Result<Self> {
        let options = Store::options().role(Role::Reader).cache_bytes(memory.pages);
        let store = Cohab::of(open(dir, options.cache(Cache::new(memory.values)))?)?;
        let cached = store.store.cached(NAMESPACE)?;
        Ok(Self { store, cached, way: PhantomData })
    }
}

impl Way for Shared {
    #[inline]
    fn get(cached: &Cached, key: &Key, mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        see(cached.get(key)?.as_deref());
        Ok(())
    }
}

impl Way for InPlace {
    #[inline]
    fn get(cached: &Cached, key: &Key, see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        Ok(cached.get_with(key, see)?)
    }
}

impl<W: Way> Reads for Front<W> {
    fn get_held(&self, keys: &[Key], see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        self.store.get_held(keys, see)
    }

    fn get_fresh(&self, keys: &[Key], mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        keys.iter().try_for_each(|key| W::get(&self.cached, key, &mut see))
    }

    fn scan(&self, starts: &[Key], limit: usize, see: impl FnMut(&[u8], &[u8])) -> Result<()> {
        self.store.scan(starts, limit, see)
    }

    fn follow(&self, key: &Key, see: impl FnMut(Option<&[u8]>) -> ControlFlow<()>) -> Result<()> {
        self.store.follow(key, see)
    }

    fn counts(&self) -> Option<Counts> {
        let stats = self.cached.stats();
        Some(Counts { hits: stats.hits, misses: stats.misses, entries: stats.entries, bytes: stats.bytes })
    }
}
