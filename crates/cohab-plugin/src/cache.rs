//! What a plugin remembers between calls, beside the store.

/// A bounded cache of bytes, which a generation keeps for as long as it is in service.
#[derive(Debug)]
pub struct GuestCache;

impl GuestCache {
    /// A cache of at most so many bytes.
    pub fn new(_bytes: u64) -> Self {
        Self
    }

    pub(crate) fn get(&self, _key: &[u8], _found: &mut dyn FnMut(&[u8])) -> bool {
        false
    }

    pub(crate) fn put(&self, _key: &[u8], _value: &[u8], _ttl_ms: u64) {}
}
