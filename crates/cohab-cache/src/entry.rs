//! One cached value, or the proof that there is none.
//!
//! A value and what is known of it lie in one allocation, of which readers get a reference counted slice:
//!
//! ```text
//! 0   valid from      version (8, native endian)
//! 8   tenant          whose entry it is (8, native endian)
//! 16  key length      (2, native endian)
//! 18  flags           1: there is a value; 2: pinned
//! 19  key ‖ value
//! ```

use std::any::Any;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use cohab_core::Version;

const HEADER: usize = 19;
const TENANT: usize = 8;
const KEY_LEN: usize = 16;
const FLAGS: usize = 18;
const PRESENT: u8 = 1;
const PINNED: u8 = 2;

/// What the cache knows of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup<T> {
    /// Its value.
    Value(T),
    /// That there is none.
    Absent,
    /// Nothing that holds for the read.
    Unknown,
}

/// Whose entry it is: the space, and its generation. Equal numbers mean that it is the reader's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tenant(u64);

impl Tenant {
    #[inline]
    pub(crate) fn new(space: u32, generation: u32) -> Self {
        Self(u64::from(space) << 32 | u64::from(generation))
    }

    #[inline]
    pub(crate) fn get(self) -> u64 {
        self.0
    }

    pub(crate) fn space(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What an entry is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'k> {
    pub(crate) valid_from: Version,
    pub(crate) tenant: Tenant,
    pub(crate) is_pinned: bool,
    pub(crate) key: &'k [u8],
}

#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Stored(Bytes),
    Decoded(Arc<Decoded>),
}

/// A value as the application sees it.
#[derive(Debug)]
pub(crate) struct Decoded {
    valid_from: Version,
    tenant: Tenant,
    is_pinned: bool,
    key: Box<[u8]>,
    value: Option<Arc<dyn Any + Send + Sync>>,
    /// What the value occupies beside this.
    value_bytes: usize,
}

impl Entry {
    pub(crate) fn stored(head: &Head<'_>, value: Option<&[u8]>) -> Self {
        let len = HEADER + head.key.len() + value.map_or(0, <[u8]>::len);
        Self::Stored(allocate(len, |block| {
            let (header, rest) = block.split_at_mut(HEADER);
            header[..TENANT].copy_from_slice(&head.valid_from.get().to_ne_bytes());
            header[TENANT..KEY_LEN].copy_from_slice(&head.tenant.0.to_ne_bytes());
            let key_len = u16::try_from(head.key.len()).expect("keys are at most 2048 bytes long");
            header[KEY_LEN..FLAGS].copy_from_slice(&key_len.to_ne_bytes());
            let present = if value.is_some() { PRESENT } else { 0 };
            header[FLAGS] = present | if head.is_pinned { PINNED } else { 0 };
            rest[..head.key.len()].copy_from_slice(head.key);
            rest[head.key.len()..].copy_from_slice(value.unwrap_or_default());
        }))
    }

    pub(crate) fn decoded(
        head: &Head<'_>,
        value: Option<Arc<dyn Any + Send + Sync>>,
        value_bytes: usize,
    ) -> Self {
        let Head { valid_from, tenant, is_pinned, key } = *head;
        Self::Decoded(Arc::new(Decoded {
            valid_from,
            tenant,
            is_pinned,
            key: key.into(),
            value,
            value_bytes,
        }))
    }

    #[inline]
    pub(crate) fn tenant(&self) -> Tenant {
        match self {
            Self::Stored(block) => Tenant(number(block, TENANT)),
            Self::Decoded(decoded) => decoded.tenant,
        }
    }

    #[inline]
    pub(crate) fn valid_from(&self) -> Version {
        match self {
            Self::Stored(block) => Version::new(number(block, 0)),
            Self::Decoded(decoded) => decoded.valid_from,
        }
    }

    /// Returns whether it is the tenant's entry for the key, rather than another whose hash is the same.
    #[inline]
    pub(crate) fn is_of(&self, tenant: Tenant, key: &[u8]) -> bool {
        match self {
            Self::Stored(block) => {
                let key_len = key_len(block);
                Tenant(number(block, TENANT)) == tenant
                    && key_len == key.len()
                    && block[HEADER..HEADER + key_len] == *key
            }
            Self::Decoded(decoded) => decoded.tenant == tenant && *decoded.key == *key,
        }
    }

    pub(crate) fn is_pinned(&self) -> bool {
        match self {
            Self::Stored(block) => block[FLAGS] & PINNED != 0,
            Self::Decoded(decoded) => decoded.is_pinned,
        }
    }

    /// Returns the value as it is stored.
    #[inline]
    pub(crate) fn into_value(self) -> Lookup<Bytes> {
        let Self::Stored(mut block) = self else { return Lookup::Unknown };
        if block[FLAGS] & PRESENT == 0 {
            return Lookup::Absent;
        }
        let skipped = HEADER + key_len(&block);
        block.advance(skipped);
        Lookup::Value(block)
    }

    /// Returns the value in the application's type, if it is that.
    #[inline]
    pub(crate) fn into_decoded<V: Send + Sync + 'static>(self) -> Lookup<Arc<V>> {
        let Self::Decoded(decoded) = self else { return Lookup::Unknown };
        match &decoded.value {
            Some(value) => value.clone().downcast().map_or(Lookup::Unknown, Lookup::Value),
            None => Lookup::Absent,
        }
    }

    /// Returns how much memory it occupies, allocator's bookkeeping included.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Stored(block) => block_bytes(block.len()),
            Self::Decoded(decoded) => {
                let counts = 2 * size_of::<usize>();
                chunk(size_of::<Decoded>() + counts) + chunk(decoded.key.len()) + decoded.value_bytes
            }
        }
    }
}

#[inline]
fn number(block: &[u8], at: usize) -> u64 {
    block[at..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

#[inline]
fn key_len(block: &[u8]) -> usize {
    usize::from(u16::from_ne_bytes([block[KEY_LEN], block[KEY_LEN + 1]]))
}

/// What an allocation occupies: the usual allocators round up to 16 bytes, and keep 8 for themselves.
pub(crate) fn chunk(bytes: usize) -> usize {
    (bytes + 8).next_multiple_of(16).max(32)
}

/// What `bytes` keeps in front of an owner.
const OWNED: usize = 2 * size_of::<usize>();

/// Blocks of up to this many bytes lie in one allocation with their reference count.
const INLINE_MAX: usize = 520;

/// The length to which a block is rounded up: with what is in front of it and the allocator's own, a multiple of 16.
fn inline_len(len: usize) -> usize {
    (len + 8).next_multiple_of(16) - 8
}

fn block_bytes(len: usize) -> usize {
    if len <= INLINE_MAX {
        chunk(OWNED + inline_len(len))
    } else {
        chunk(OWNED + 2 * size_of::<usize>()) + chunk(len)
    }
}

/// Bytes that lie within what owns them.
struct Inline<const LEN: usize>([u8; LEN]);

impl<const LEN: usize> AsRef<[u8]> for Inline<LEN> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn inline<const LEN: usize>(len: usize, fill: impl FnOnce(&mut [u8])) -> Bytes {
    let mut block = Inline([0; LEN]);
    fill(&mut block.0[..len]);
    let mut bytes = Bytes::from_owner(block);
    bytes.truncate(len);
    bytes
}

/// Allocates a block. `Bytes` made from a vector allocate their reference count when they are first cloned, which would
/// be in the first read; an owner that holds the bytes itself comes with it in the same allocation.
fn allocate(len: usize, fill: impl FnOnce(&mut [u8])) -> Bytes {
    macro_rules! inline {
        ($($rounded:literal)*) => {
            match inline_len(len) {
                $($rounded => inline::<$rounded>(len, fill),)*
                _ => {
                    let mut block = vec![0; len].into_boxed_slice();
                    fill(&mut block);
                    Bytes::from_owner(block)
                }
            }
        };
    }
    inline!(24 40 56 72 88 104 120 136 152 168 184 200 216 232 248 264 280 296 312 328 344 360 376 392 408 424 440 456
        472 488 504 520)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(key: &[u8]) -> Head<'_> {
        Head { valid_from: Version::new(7), tenant: Tenant::new(3, 4), is_pinned: false, key }
    }

    #[test]
    fn every_length_is_kept_as_it_is() {
        for len in (0..700_usize).chain([4096, 100_000]) {
            let value: Vec<u8> = (0..len).map(|i| (i % 251).to_le_bytes()[0]).collect();
            let entry = Entry::stored(&head(b"key"), Some(&value));
            assert!(entry.is_of(Tenant::new(3, 4), b"key"), "{len}");
            assert!(!entry.is_of(Tenant::new(3, 5), b"key") && !entry.is_of(Tenant::new(3, 4), b"kex"));
            assert_eq!(entry.valid_from(), Version::new(7));
            assert!(entry.heap_bytes() >= len + HEADER + 3 && entry.heap_bytes() < len + 128, "{len}");
            assert_eq!(entry.into_value(), Lookup::Value(value.into()));
        }
    }

    #[test]
    fn an_empty_value_is_not_an_absent_one() {
        assert_eq!(Entry::stored(&head(b""), Some(b"")).into_value(), Lookup::Value(Bytes::new()));
        assert_eq!(Entry::stored(&head(b""), None).into_value(), Lookup::Absent);
    }

    #[test]
    fn what_was_decoded_comes_back_in_its_own_type_only() {
        let entry = Entry::decoded(&head(b"k"), Some(Arc::new(5_u32)), 8);
        assert_eq!(entry.clone().into_decoded::<u32>(), Lookup::Value(Arc::new(5)));
        assert_eq!(entry.into_decoded::<u64>(), Lookup::Unknown);
        assert_eq!(Entry::decoded(&head(b"k"), None, 0).into_decoded::<u64>(), Lookup::Absent);
    }
}
