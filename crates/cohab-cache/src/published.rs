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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::thread;

    use super::*;

    /// A value that says when it is gone, and that is damaged if it is read afterwards.
    struct Value {
        number: usize,
        same: Box<usize>,
        gone: Arc<AtomicUsize>,
    }

    impl Drop for Value {
        fn drop(&mut self) {
            self.gone.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn value(number: usize, gone: &Arc<AtomicUsize>) -> Value {
        Value { number, same: Box::new(number), gone: gone.clone() }
    }

    /// Lets the epochs pass that what was deferred waits for, and returns how many values are gone then.
    fn gone_in_time(gone: &AtomicUsize, expected: usize) -> usize {
        for _ in 0..10_000 {
            if gone.load(Ordering::SeqCst) == expected {
                break;
            }
            crossbeam::epoch::pin().flush();
            thread::yield_now();
        }
        gone.load(Ordering::SeqCst)
    }

    #[test]
    fn what_was_replaced_is_there_for_those_who_read_it_and_gone_afterwards() {
        let (place, gone) = (Published::<Value>::default(), Arc::new(AtomicUsize::new(0)));
        let guard = crossbeam::epoch::pin();
        assert!(place.load(&guard).is_none());
        place.store(value(1, &gone));
        let first = place.load(&guard).expect("was stored");
        place.store(value(2, &gone));
        assert_eq!(place.load(&guard).map(|value| value.number), Some(2));
        for _ in 0..100 {
            crossbeam::epoch::pin().flush();
        }
        assert_eq!((first.number, *first.same, gone.load(Ordering::SeqCst)), (1, 1, 0), "is being read");
        drop(guard);
        assert_eq!(gone_in_time(&gone, 1), 1, "nobody reads it any more");
        assert_eq!(format!("{place:?}"), "Published { .. }");
        drop(place);
        assert_eq!(gone.load(Ordering::SeqCst), 2, "the last one goes with its place");
        drop(Published::<Value>::default());
    }

    #[test]
    fn readers_beside_those_who_replace_see_whole_values_that_do_not_go_back() {
        const VALUES: usize = 20_000;
        let (place, gone) = (Published::<Value>::default(), Arc::new(AtomicUsize::new(0)));
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut seen = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        let guard = crossbeam::epoch::pin();
                        let Some(value) = place.load(&guard) else { continue };
                        assert_eq!(value.number, *value.same);
                        assert!(value.number >= seen, "went back from {seen} to {}", value.number);
                        seen = value.number;
                    }
                });
            }
            (0..VALUES).for_each(|number| place.store(value(number, &gone)));
            is_over.store(true, Ordering::Relaxed);
        });
        assert_eq!(gone_in_time(&gone, VALUES - 1), VALUES - 1, "all but the last");
    }
}
