//! What a plugin remembers between calls, beside the store.

use std::time::{Duration, Instant};

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

/// What an entry occupies beside its key and value, in bytes: about what the cache keeps to find it.
const ENTRY_BYTES: u64 = 128;

/// How large a usual entry is taken to be.
const ENTRY_BYTES_USUAL: u64 = 256;

/// A bounded cache of bytes, which a generation keeps for as long as it is in service.
#[derive(Debug)]
pub struct GuestCache {
    entries: Cache<Box<[u8]>, Entry, Bulk>,
    entry_max: u64,
}

#[derive(Clone)]
struct Entry {
    value: Bytes,
    expires: Option<Instant>,
}

/// Weighs entries by what they occupy.
#[derive(Clone)]
struct Bulk;

impl Weighter<Box<[u8]>, Entry> for Bulk {
    fn weight(&self, key: &Box<[u8]>, entry: &Entry) -> u64 {
        weight(key, &entry.value)
    }
}

fn weight(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + ENTRY_BYTES
}

impl Entry {
    fn is_expired(&self) -> bool {
        self.expires.is_some_and(|at| Instant::now() >= at)
    }
}

impl GuestCache {
    /// A cache of at most so many bytes of keys and values, and of what it takes to find them. One of none keeps nothing.
    pub fn new(bytes: u64) -> Self {
        let items = usize::try_from(bytes / ENTRY_BYTES_USUAL).unwrap_or(usize::MAX);
        // One shard: each would have a part of the bytes, and an entry has to fit into its shard.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(items)
            .weight_capacity(bytes)
            .build()
            .expect("everything that has to be given is");
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { entries: Cache::with_options(options, Bulk, hasher, lifecycle), entry_max: bytes / 4 }
    }

    /// Shows a key's value to `found`, and returns whether there is one.
    pub fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> bool {
        let Some(entry) = self.entries.get(key) else {
            return false;
        };
        if entry.is_expired() {
            // Unless another has just taken its place.
            self.entries.remove_if(key, Entry::is_expired);
            return false;
        }
        found(&entry.value);
        true
    }

    /// Keeps a value under a key, for so many milliseconds or, if that is zero, until there is no room for it. One that would
    /// take more than a quarter of the whole is not kept, nor what was under its key before.
    pub fn put(&self, key: &[u8], value: &[u8], ttl_ms: u64) {
        if weight(key, value) > self.entry_max {
            self.entries.remove(key);
            return;
        }
        let expires = match ttl_ms {
            0 => None,
            // Later than there are instants is never.
            _ => Instant::now().checked_add(Duration::from_millis(ttl_ms)),
        };
        self.entries.insert(key.into(), Entry { value: Bytes::copy_from_slice(value), expires });
    }

    /// Returns how many bytes the entries occupy, expired ones included that nobody has asked for since.
    pub fn bytes(&self) -> u64 {
        self.entries.weight()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn get(cache: &GuestCache, key: &str) -> Option<String> {
        let mut value = None;
        let found =
            cache.get(key.as_bytes(), &mut |bytes| value = Some(String::from_utf8(bytes.to_vec()).unwrap()));
        assert_eq!(found, value.is_some());
        value
    }

    #[test]
    fn values_are_kept_until_they_expire() {
        let cache = GuestCache::new(1 << 20);
        assert_eq!((get(&cache, "a"), cache.bytes()), (None, 0));
        cache.put(b"a", b"1", 0);
        cache.put(b"b", b"", 20);
        cache.put(b"c", b"3", u64::MAX);
        assert_eq!(get(&cache, "a").as_deref(), Some("1"));
        cache.put(b"a", b"2", 0);
        thread::sleep(Duration::from_millis(25));
        assert_eq!(get(&cache, "a").as_deref(), Some("2"));
        assert_eq!(get(&cache, "b"), None);
        assert_eq!(get(&cache, "c").as_deref(), Some("3"));
        assert_eq!(cache.bytes(), 2 * (ENTRY_BYTES + 2), "what has expired is gone");
        cache.put(b"b", b"4", 60_000);
        assert_eq!(get(&cache, "b").as_deref(), Some("4"));
    }

    #[test]
    fn it_stays_within_its_bytes() {
        let budget = 64 << 10;
        let cache = GuestCache::new(budget);
        for number in 0..10_000_u32 {
            cache.put(&number.to_le_bytes(), &[7; 100], 0);
            assert!(cache.bytes() <= budget);
        }
        assert!(cache.bytes() > budget / 2, "it makes use of them: {}", cache.bytes());

        let largest = usize::try_from(budget / 4 - ENTRY_BYTES - 1).unwrap();
        let value = vec![b'v'; largest + 1];
        cache.put(b"k", &value[..largest], 0);
        assert_eq!(get(&cache, "k").map(|value| value.len()), Some(largest));
        cache.put(b"k", &value, 0);
        assert_eq!(get(&cache, "k"), None, "the value before is not the right one any more");
    }

    #[test]
    fn without_bytes_it_keeps_nothing() {
        for bytes in [0, 1, 4 * ENTRY_BYTES - 1] {
            let cache = GuestCache::new(bytes);
            cache.put(b"", b"", 0);
            assert_eq!((get(&cache, ""), cache.bytes()), (None, 0));
        }
    }

    #[test]
    fn threads_share_it() {
        let cache = GuestCache::new(1 << 20);
        thread::scope(|scope| {
            for thread in 0..4_u8 {
                let cache = &cache;
                scope.spawn(move || {
                    for number in 0..1000_u16 {
                        let key = (number % 16).to_le_bytes();
                        cache.put(&key, &[thread; 64], u64::from(number % 3));
                        cache.get(&key, &mut |value| assert!(value.iter().all(|byte| *byte == value[0])));
                    }
                });
            }
        });
    }
}
