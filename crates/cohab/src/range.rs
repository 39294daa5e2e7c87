//! Ranges of keys.

use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// A range of keys: any of Rust's range types over anything that is bytes, or a pair of [`Bound`]s.
///
/// Unlike [`RangeBounds`](std::ops::RangeBounds), `"a".."b"`, `&key..` and `..` name their key type without help.
pub trait KeyRange: sealed::Sealed {
    /// Returns the bounds.
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>);
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! key_range {
    ($type:ty, |$range:ident| $start:expr, $end:expr) => {
        impl<K: AsRef<[u8]>> sealed::Sealed for $type {}

        impl<K: AsRef<[u8]>> KeyRange for $type {
            fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
                let $range = self;
                ($start, $end)
            }
        }
    };
}

key_range!(Range<K>, |r| Bound::Included(r.start.as_ref()), Bound::Excluded(r.end.as_ref()));
key_range!(RangeInclusive<K>, |r| Bound::Included(r.start().as_ref()), Bound::Included(r.end().as_ref()));
key_range!(RangeFrom<K>, |r| Bound::Included(r.start.as_ref()), Bound::Unbounded);
key_range!(RangeTo<K>, |r| Bound::Unbounded, Bound::Excluded(r.end.as_ref()));
key_range!(RangeToInclusive<K>, |r| Bound::Unbounded, Bound::Included(r.end.as_ref()));
key_range!((Bound<K>, Bound<K>), |r| r.0.as_ref().map(AsRef::as_ref), r.1.as_ref().map(AsRef::as_ref));

impl sealed::Sealed for RangeFull {}

impl KeyRange for RangeFull {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Unbounded, Bound::Unbounded)
    }
}
