//! A value that many read and few replace, read without a lock or a reference count.

#![expect(unsafe_code, reason = "what readers hold is kept by their being pinned to an epoch")]

use std::fmt;
use std::sync::atomic::Ordering;

use crossbeam::epoch::{Atomic, Guard, Owned};

/// A place for a value. Whoever reads it is [pinned](crate::pin) meanwhile; what was replaced is dropped when nobody is
/// left who may be looking at it.
pub struct Published<T> {
    value: Atomic<T>,
}

impl<T> Default for Published<T> {
    fn default() -> Self {
        Self { value: Atomic::null() }
    }
}

impl<T: Send + Sync + 'static> Published<T> {
    /// Returns the value, if there is one. Cost: one load.
    #[inline]
    pub fn load<'g>(&self, guard: &'g Guard) -> Option<&'g T> {
        let value = self.value.load(Ordering::Acquire, guard);
        // SAFETY: a value is destroyed only when everybody who was pinned when it was replaced is pinned no more.
        unsafe { value.as_ref() }
    }

    /// Replaces the value.
    pub fn store(&self, value: T) {
        let guard = crossbeam::epoch::pin();
        let before = self.value.swap(Owned::new(value), Ordering::AcqRel, &guard);
        if !before.is_null() {
            // SAFETY: nobody finds it any more, and only who has swapped it out destroys it.
            unsafe { guard.defer_destroy(before) };
            // It may keep much else, and what is deferred alone is deferred for long.
            guard.flush();
        }
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        let value = std::mem::replace(&mut self.value, Atomic::null());
        // SAFETY: nobody else has this any more, so nobody is looking.
        drop(unsafe { value.try_into_owned() });
    }
}

impl<T> fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").finish_non_exhaustive()
    }
}
