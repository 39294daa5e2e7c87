//! The atomics and locks that the protocol runs on. The model in `tests/loom.rs` puts loom's in their place.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub(crate) use std::sync::{Mutex, PoisonError};
