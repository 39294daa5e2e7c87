//! Through which version a namespace's entries are right, and who may add to them meanwhile.
//!
//! An entry says since which version it is valid. That it still is, the namespace says for all of its entries at once:
//! whatever changed up to the *horizon* has been dropped. So the horizon moves last, after the entries that the change
//! touched are gone; and before the first of them goes, fills that do not know of the change are refused, or one of
//! them could put an entry back behind the mover's back.

use cohab_core::{Version, planted};

use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, PoisonError};

/// Where in a store's history a read takes place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct At {
    /// The version that the read claims.
    pub version: Version,
    /// The last version up to it that changed the namespace's data, or one in between. Nothing changed since, so an
    /// entry that is right there is right at `version`, too.
    pub changed: Version,
}

/// What is known of a namespace's history.
#[derive(Debug)]
pub(crate) struct Intervals {
    /// The last version that is known to have changed the namespace. Fills that were read before it are refused.
    changed: AtomicU64,
    /// The entries are right through this version.
    horizon: AtomicU64,
    /// Entries of other generations count no more.
    generation: AtomicU32,
    /// Held by the one who moves the horizon past a change.
    moving: Mutex<()>,
}

/// What became of a namespace's entries when its horizon moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Advance {
    /// Nothing had changed, or nothing that was not known already.
    Unchanged,
    /// Those that were touched are gone.
    Dropped,
    /// All are gone, because it was not known which were touched.
    Raised,
}

impl Intervals {
    pub(crate) fn new() -> Self {
        let (changed, horizon) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { changed, horizon, generation: AtomicU32::new(0), moving: Mutex::new(()) }
    }

    pub(crate) fn horizon(&self) -> Version {
        Version::new(self.horizon.load(Ordering::Acquire))
    }

    /// Returns the generation that entries are added to.
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns the generation whose entries may answer a read, or `None` if what changed up to it is not dropped yet.
    ///
    /// The horizon is read first: whoever sees it moved sees the generation that was current by then.
    #[inline]
    pub(crate) fn answering(&self, at: At) -> Option<u32> {
        if at.changed > self.horizon() {
            return None;
        }
        Some(self.generation.load(Ordering::Acquire))
    }

    /// Returns the generation to which a value may be added that was read from a snapshot, or `None` if the namespace
    /// has changed since.
    ///
    /// To be called, and the value added, under the lock that whoever drops the key takes. The generation is read
    /// first: whoever sees a new one sees the change that it began with.
    pub(crate) fn filling(&self, at: At) -> Option<u32> {
        let generation = self.generation.load(Ordering::Acquire);
        let is_current = self.changed.load(Ordering::Acquire) <= at.changed.get();
        (is_current || planted!(StaleFillAccepted)).then_some(generation)
    }

    /// Moves the horizon to a snapshot's version. What changed on the way is dropped by `touched`, which gets the
    /// horizon to begin after and returns whether it knew of everything.
    pub(crate) fn advance(&self, to: At, touched: impl FnOnce(Version) -> bool) -> Advance {
        if to.changed <= self.horizon() {
            self.horizon.fetch_max(to.version.get(), Ordering::AcqRel);
            return Advance::Unchanged;
        }
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let since = self.horizon();
        let mut advance = Advance::Unchanged;
        if to.changed > since {
            self.changed.fetch_max(to.changed.get(), Ordering::AcqRel);
            advance = Advance::Dropped;
            if planted!(HorizonMovesFirst) {
                self.horizon.fetch_max(to.version.get(), Ordering::AcqRel);
            }
            if !touched(since) {
                self.generation.fetch_add(1, Ordering::AcqRel);
                advance = Advance::Raised;
            }
        }
        self.horizon.fetch_max(to.version.get(), Ordering::AcqRel);
        advance
    }

    /// Lets no entry there is at present answer any more.
    pub(crate) fn forget(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}
