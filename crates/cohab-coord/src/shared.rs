//! The words that processes share, and the protocol on them.
//!
//! Every word is changed by single atomic operations that leave it valid, and what matters only grows. So nobody
//! waits for anybody, and it makes no difference at which instruction a process is killed.
//!
//! Loads are relaxed, with a fence behind them where order matters: a map may be read-only, and there only relaxed
//! loads are promised to work.

use crate::seal::{NUMBER_MAX, Seal};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// Where the registers are, as far as their seals are concerned.
mod place {
    pub(super) const VERSION: u64 = 0x100;
    pub(super) const EPOCH: u64 = 0x200;
    pub(super) const AGE: u64 = 0x300;
    pub(super) const SLOTS: u64 = 0x1000;
}

/// A number that processes raise, in several words of which each is sealed and only grows.
///
/// The number is the least of the copies. Each copy of itself never goes back, so neither does the least of them;
/// a process that is killed between two copies leaves the number before, and so do two that race. One copy could
/// be guessed by garbage in one of 65,536 cases; four agree on being valid by accident in one of 2⁶⁴.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Register<const COPIES: usize>([AtomicU64; COPIES]);

impl<const COPIES: usize> Default for Register<COPIES> {
    fn default() -> Self {
        Self([(); COPIES].map(|()| AtomicU64::new(0)))
    }
}

impl<const COPIES: usize> Register<COPIES> {
    fn copies(&self, seal: Seal) -> impl Iterator<Item = (Seal, &AtomicU64)> {
        (0..).map(move |copy| seal.at(copy)).zip(&self.0)
    }

    /// Returns the number, or `None` if a copy is not valid. What was done before the number was raised to this is
    /// visible afterwards.
    fn get(&self, seal: Seal) -> Option<u64> {
        let mut least = NUMBER_MAX;
        for (seal, word) in self.copies(seal) {
            least = least.min(seal.open(word.load(Ordering::Relaxed))?);
        }
        fence(Ordering::Acquire);
        Some(least)
    }

    /// Raises the number to at least this, and heals copies that are not valid.
    fn raise(&self, seal: Seal, number: u64) {
        for (seal, word) in self.copies(seal) {
            let raised = |old| seal.open(old).is_none_or(|old| old < number).then(|| seal.close(number));
            // It fails if there is nothing to raise.
            let _ = word.fetch_update(Ordering::Release, Ordering::Relaxed, raised);
        }
    }

    fn set(&self, seal: Seal, number: u64) {
        for (seal, word) in self.copies(seal) {
            word.store(seal.close(number), Ordering::Release);
        }
    }
}

/// Words on cache lines of their own; two lines, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Apart<T>(T);

/// What tells that there is something to look at.
#[derive(Debug, Default)]
#[repr(C)]
struct Signals {
    /// How often something was announced: the one word that a reader's every read looks at.
    mark: AtomicU64,
    /// As `mark`, in the size that a futex has.
    wake: AtomicU32,
}

/// What is durable.
#[derive(Debug, Default)]
#[repr(C)]
struct Published<const COPIES: usize> {
    version: Register<COPIES>,
    epoch: Register<COPIES>,
}

/// All of a page.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shared<const COPIES: usize, const SLOTS: usize> {
    header: Apart<[AtomicU64; 5]>,
    signals: Apart<Signals>,
    published: Apart<Published<COPIES>>,
    /// In milliseconds; 0 for none.
    snapshot_age_max: Apart<Register<1>>,
    slots: Apart<[Register<1>; SLOTS]>,
}

/// A new page: nothing is published, and anything may have changed.
impl<const COPIES: usize, const SLOTS: usize> Default for Shared<COPIES, SLOTS> {
    fn default() -> Self {
        Self {
            header: Apart::default(),
            signals: Apart::default(),
            published: Apart::default(),
            snapshot_age_max: Apart::default(),
            slots: Apart([(); SLOTS].map(|()| Register::default())),
        }
    }
}

impl<const COPIES: usize, const SLOTS: usize> Shared<COPIES, SLOTS> {
    /// The five words that say what this is.
    pub(crate) fn header(&self) -> [u64; 5] {
        self.header.0.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn mark(&self) -> u64 {
        // Whoever finds it changed goes on to `published`, which has a fence.
        self.signals.0.mark.load(Ordering::Relaxed)
    }

    /// Changes the mark and the word that waiters sleep on, in this order.
    pub(crate) fn announce(&self) {
        self.signals.0.mark.fetch_add(1, Ordering::Release);
        self.signals.0.wake.fetch_add(1, Ordering::Release);
    }

    /// Returns the value of the wake word to sleep on, or `None` if the mark is no longer what was seen.
    ///
    /// Whoever announces something after this has looked also changes the wake word, so the sleep does not begin.
    pub(crate) fn sleep_on(&self, seen: u64) -> Option<u32> {
        let word = self.signals.0.wake.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        (self.mark() == seen).then_some(word)
    }

    pub(crate) fn wake_word(&self) -> &AtomicU32 {
        &self.signals.0.wake
    }

    /// Returns version and epoch. Slots that are read afterwards cover every change up to this version.
    pub(crate) fn published(&self, seal: Seal) -> Option<(u64, u64)> {
        // For whoever comes here because of the mark.
        fence(Ordering::Acquire);
        let version = self.published.0.version.get(seal.at(place::VERSION))?;
        let epoch = self.published.0.epoch.get(seal.at(place::EPOCH))?;
        Some((version, epoch))
    }

    /// Publishes, given the slots of all that changed after `since`.
    pub(crate) fn publish(
        &self,
        seal: Seal,
        since: u64,
        (version, epoch): (u64, u64),
        changed: impl Iterator<Item = usize>,
    ) {
        // If the page does not cover what was before `since`, because it is new, was damaged, or its last writer
        // was killed before it could publish, then anything may have changed.
        let covered = self.published(seal).is_some_and(|(known, _)| known >= since);
        if covered {
            changed.for_each(|slot| self.raise_slot(seal, slot, version));
        } else {
            (0..SLOTS).for_each(|slot| self.raise_slot(seal, slot, version));
        }
        // The version comes last: who sees it sees all that belongs to it.
        self.published.0.epoch.raise(seal.at(place::EPOCH), epoch);
        self.published.0.version.raise(seal.at(place::VERSION), version);
        self.announce();
    }

    /// Publishes what somebody else has committed; returns whether there was anything to say.
    pub(crate) fn raise(&self, seal: Seal, (version, epoch): (u64, u64)) -> bool {
        let known = self.published(seal);
        let news = known.is_none_or(|known| known.0 < version || known.1 < epoch);
        if news {
            self.publish(seal, version, (version, epoch), std::iter::empty());
        }
        news
    }

    fn raise_slot(&self, seal: Seal, slot: usize, version: u64) {
        let slot = slot % SLOTS;
        self.slots.0[slot].raise(seal.at(place::SLOTS + slot as u64), version);
    }

    /// Returns the last version that may have changed what belongs to a slot, or `None` if it may be any.
    pub(crate) fn changed(&self, seal: Seal, slot: usize) -> Option<u64> {
        let slot = slot % SLOTS;
        self.slots.0[slot].get(seal.at(place::SLOTS + slot as u64))
    }

    pub(crate) fn snapshot_age_max_ms(&self, seal: Seal) -> u64 {
        self.snapshot_age_max.0.get(seal.at(place::AGE)).unwrap_or(0)
    }

    pub(crate) fn set_snapshot_age_max_ms(&self, seal: Seal, age: u64) {
        self.snapshot_age_max.0.set(seal.at(place::AGE), age.min(NUMBER_MAX));
    }
}
