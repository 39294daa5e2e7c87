//! The versioned cache: values with the versions that they are valid at.
//!
//! A [`Cache`] is a budget in bytes that any number of [`Space`]s share, one for each namespace of a store. An entry is a
//! key with its value, or with the proof that it has none, and the version *since* which that holds. *Until* when, the
//! space says for all of its entries at once: they are right through its [`horizon`](Space::horizon). An entry
//! answers a read [at](At) a version if it is valid since then or longer, and if the namespace has not changed between the
//! horizon and there. So one entry serves snapshots of any age, a commit drops the entries of the keys that it wrote
//! and no others, and a commit to another namespace does not even move anything.
//!
//! Whoever reads from a snapshot [fills](Space::fill) the cache with what was found, unless a commit was faster; whoever
//! learns of a commit [advances](Space::advance) the horizon, telling which keys were written. Nothing here opens a file
//! or fails, and an entry is never served outside of its interval.
//!
//! ```
//! use cohab_cache::{At, Cache, Lookup, Policy};
//! use cohab_core::Version;
//!
//! let at = |version, changed| At { version: Version::new(version), changed: Version::new(changed) };
//! let cache = Cache::new(64 << 20);
//! let flags = cache.space(Policy::Shared);
//!
//! // A snapshot of version 7, whose namespace last changed at version 5.
//! flags.advance(at(7, 5), |_, _| true);
//! flags.fill(b"dark-mode", Some((Version::new(2), b"on")), at(7, 5));
//! assert_eq!(flags.get(b"dark-mode", at(7, 5)), Lookup::Value("on".into()));
//! // It serves an older snapshot as well, but not one from before the value was set.
//! assert_eq!(flags.get(b"dark-mode", at(3, 2)), Lookup::Value("on".into()));
//! assert_eq!(flags.get(b"dark-mode", at(1, 1)), Lookup::Unknown);
//!
//! // Version 8 writes another key, and version 9 this one.
//! flags.advance(at(8, 8), |_, written| {
//!     written(b"new-editor", Version::new(8));
//!     true
//! });
//! assert_eq!(flags.get(b"dark-mode", at(8, 8)), Lookup::Value("on".into()));
//! assert!(flags.is_behind(at(9, 9)));
//! flags.advance(at(9, 9), |_, written| {
//!     written(b"dark-mode", Version::new(9));
//!     true
//! });
//! assert_eq!(flags.get(b"dark-mode", at(9, 9)), Lookup::Unknown);
//! // What was read before is refused.
//! assert!(!flags.fill(b"dark-mode", Some((Version::new(2), b"on")), at(8, 8)));
//! ```
//!
//! # How it is put together
//!
//! Reads find entries by an index of addresses, without a lock, and [pinned](pin) to an epoch: what is dropped is freed
//! when nobody is left who may be looking at it. Which entries go when there is no room is decided by `quick_cache` (a
//! CLOCK-Pro much like S3-FIFO), with weights in bytes; a doorkeeper in front of it keeps keys that are read once out of
//! a full cache. The intervals, and who may fill beside whom, are in `intervals.rs`, which the tests run through loom.
//!
//! # Limitations
//!
//! - Ranges are not cached: to know that nothing is missing between two keys takes more than entries.
//! - A value that takes more than half of a shard's budget (a 64th of the whole, 4 MiB for small ones) is not kept.
//! - What entries occupy is computed from the usual allocators' rounding, not asked for.

mod block;
mod cache;
mod counts;
mod doorkeeper;
mod index;
mod intervals;
mod published;
mod shelf;
mod space;
mod sync;

pub use block::Lookup;
pub use cache::{Cache, Policy};
pub use crossbeam::epoch::{Guard, pin};
pub use intervals::At;
pub use published::Published;
pub use space::{Space, Stats};
