//! What a plugin may ask of the host.

use std::convert::TryFrom;

use crate::imports::{self, fetch};
use crate::scan::Scan;

/// A namespace of the store, or the plugin's own state: what is done in it, without naming it again.
///
/// To make one costs nothing and asks nothing of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Namespace<'n>(pub(crate) &'n str);

/// How much a line of the log matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// For whoever looks for a mistake.
    Debug = 0,
    /// For whoever wants to see it work.
    Info = 1,
    /// Something that somebody should look at.
    Warn = 2,
    /// Something that went wrong.
    Error = 3,
}

/// Returns a namespace of the store, which the manifest has to grant.
pub const fn namespace(name: &str) -> Namespace<'_> {
    Namespace(name)
}

/// Returns the plugin's own state: keys and values that only this plugin has, kept in the store, which need no grant.
pub const fn state() -> Namespace<'static> {
    Namespace("")
}

impl<'n> Namespace<'n> {
    /// Returns the value of a key, with what this call has written before.
    pub fn get(self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        self.get_into(key, &mut value).then_some(value)
    }

    /// Puts the value of a key in place of what `value` holds, and returns whether there is one; otherwise `value` is empty.
    ///
    /// With one `value` for many keys, memory is allocated once.
    pub fn get_into(self, key: impl AsRef<[u8]>, value: &mut Vec<u8>) -> bool {
        let (name, key) = (self.0, key.as_ref());
        // SAFETY: both are of this memory, and the host only reads them.
        let len = unsafe { imports::get(name.as_ptr(), name.len(), key.as_ptr(), key.len()) };
        found(len, value)
    }

    /// Sets the value of a key. It is committed with everything else that the call writes once the handler has succeeded.
    pub fn put(self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (name, key, value) = (self.0, key.as_ref(), value.as_ref());
        // SAFETY: all three are of this memory, and the host only reads them.
        unsafe {
            imports::put(name.as_ptr(), name.len(), key.as_ptr(), key.len(), value.as_ptr(), value.len());
        }
    }

    /// Removes a key, as [`put`](Self::put) sets one, and returns whether it was there.
    pub fn delete(self, key: impl AsRef<[u8]>) -> bool {
        let (name, key) = (self.0, key.as_ref());
        // SAFETY: both are of this memory, and the host only reads them.
        unsafe { imports::delete(name.as_ptr(), name.len(), key.as_ptr(), key.len()) != 0 }
    }

    /// Returns the entries whose keys begin with `prefix`, in the order of the keys. See [`Scan`].
    pub fn scan(self, prefix: impl AsRef<[u8]>) -> Scan<'n> {
        Scan::new(self, prefix.as_ref())
    }
}

/// Returns the value of a key in a namespace: [`Namespace::get`].
pub fn get(name: &str, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    namespace(name).get(key)
}

/// Sets the value of a key in a namespace: [`Namespace::put`].
pub fn put(name: &str, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
    namespace(name).put(key, value);
}

/// Removes a key from a namespace: [`Namespace::delete`].
pub fn delete(name: &str, key: impl AsRef<[u8]>) -> bool {
    namespace(name).delete(key)
}

/// Returns the entries of a namespace whose keys begin with `prefix`: [`Namespace::scan`].
pub fn scan(name: &str, prefix: impl AsRef<[u8]>) -> Scan<'_> {
    namespace(name).scan(prefix)
}

/// Returns what [`cache_put`] kept under a key, if it is still there.
pub fn cache_get(key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    let key = key.as_ref();
    let mut value = Vec::new();
    // SAFETY: the key is of this memory, and the host only reads it.
    let len = unsafe { imports::cache_get(key.as_ptr(), key.len()) };
    found(len, &mut value).then_some(value)
}

/// Keeps a value in memory for `ttl_ms` milliseconds; 0 is as long as there is room.
///
/// All instances of the plugin share the cache. It is as large as the manifest's `[limits] cache`, what was not used for long
/// makes room, and all of it is gone when the plugin is reloaded or the process ends.
pub fn cache_put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, ttl_ms: u64) {
    let (key, value) = (key.as_ref(), value.as_ref());
    let ttl_ms = i64::try_from(ttl_ms).unwrap_or(i64::MAX);
    // SAFETY: both are of this memory, and the host only reads them.
    unsafe { imports::cache_put(key.as_ptr(), key.len(), value.as_ptr(), value.len(), ttl_ms) }
}

/// Logs a line. Needs `log = true` among the grants. Long lines are cut, and so is the log of a call with very many.
pub fn log(level: Level, text: &str) {
    // SAFETY: the text is of this memory, and the host only reads it.
    unsafe { imports::log(level as i32, text.as_ptr(), text.len()) }
}

/// Logs a line for whoever looks for a mistake: [`log`].
pub fn debug(text: &str) {
    log(Level::Debug, text);
}

/// Logs a line for whoever wants to see it work: [`log`].
pub fn info(text: &str) {
    log(Level::Info, text);
}

/// Logs something that somebody should look at: [`log`].
pub fn warn(text: &str) {
    log(Level::Warn, text);
}

/// Logs something that went wrong: [`log`].
pub fn error(text: &str) {
    log(Level::Error, text);
}

/// Returns the time in microseconds since 1970, by the clock of the host. Needs `clock = true` among the grants.
pub fn now() -> u64 {
    // SAFETY: nothing is passed.
    let now = unsafe { imports::now() };
    u64::try_from(now).unwrap_or(0)
}

/// Answers the request that is being handled. The last answer counts; without any, it is empty.
pub fn reply(bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    // SAFETY: the bytes are of this memory, and the host only reads them.
    unsafe { imports::reply(bytes.as_ptr(), bytes.len()) }
}

/// Fetches what was found, of which the host returned the length, or -1.
fn found(len: i64, value: &mut Vec<u8>) -> bool {
    value.clear();
    let len = match usize::try_from(len) {
        Ok(len) => len,
        Err(_) => return false,
    };
    if len > 0 {
        fetch(len, value);
    }
    true
}
