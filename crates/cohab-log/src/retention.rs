//! How much of the past the log keeps.

use std::time::Duration;

use cohab_core::limits::{PINNED_BYTES_MAX, RETAIN_AGE, RETAIN_BYTES, RETAIN_VERSIONS, TRIM_RECORDS_MAX};
use cohab_core::{Timestamp, Version};

/// How much of the past is kept at least: a record goes once *any* of the three bounds is passed.
///
/// Records are trimmed a few hundred at a time, so somewhat more than this is there at most times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Retention {
    /// The most recent versions to keep.
    pub versions: u64,
    /// The bytes of records to keep.
    pub bytes: u64,
    /// The age up to which records are kept.
    pub age: Duration,
    /// How many bytes of records more than `bytes` are kept at most for named snapshots and followers.
    pub pinned_bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            versions: RETAIN_VERSIONS,
            bytes: RETAIN_BYTES,
            age: RETAIN_AGE,
            pinned_bytes: PINNED_BYTES_MAX,
        }
    }
}

impl Retention {
    /// Keeps everything, for ever.
    pub const UNBOUNDED: Self =
        Self { versions: u64::MAX, bytes: u64::MAX, age: Duration::MAX, pinned_bytes: u64::MAX };

    /// Keeps at least this many versions.
    #[must_use]
    pub const fn versions(mut self, versions: u64) -> Self {
        self.versions = versions;
        self
    }

    /// Keeps at least this many bytes of records.
    #[must_use]
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// Keeps this many bytes of records more, but no longer, for named snapshots and followers. Past it the oldest of them
    /// lapse.
    #[must_use]
    pub const fn pinned_bytes(mut self, bytes: u64) -> Self {
        self.pinned_bytes = bytes;
        self
    }

    /// Keeps records at least up to this age.
    #[must_use]
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }
}

/// What the log holds: from its oldest record to its newest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogExtent {
    /// The oldest version that has a record.
    pub oldest: Version,
    /// When it was committed.
    pub oldest_time: Timestamp,
    /// The newest version.
    pub newest: Version,
    /// The bytes of all records.
    pub bytes: u64,
}

impl LogExtent {
    fn versions(&self) -> u64 {
        (self.newest.get() + 1).saturating_sub(self.oldest.get())
    }

    /// Returns whether the oldest record may go. The newest never does: it anchors the chain.
    pub fn oldest_is_expired(&self, retention: &Retention, now: Timestamp) -> bool {
        self.oldest < self.newest
            && (self.versions() > retention.versions
                || self.bytes > retention.bytes
                || now.since(self.oldest_time) > retention.age)
    }

    /// Returns whether so much is expired that a commit should trim on the side.
    ///
    /// Trimming touches the far end of the log, so it waits until there is enough to make that worth its while.
    pub fn is_trim_due(&self, retention: &Retention, now: Timestamp) -> bool {
        let slack = TRIM_RECORDS_MAX as u64;
        let overdue = Retention {
            versions: retention.versions.saturating_add(slack.min(retention.versions)),
            bytes: retention.bytes.saturating_add(retention.bytes / 8),
            age: retention.age.saturating_add(retention.age / 8),
            ..*retention
        };
        self.oldest_is_expired(&overdue, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trimming waits for 256 records too many, or as many as are kept, or for an eighth of the bytes or of the age.
    #[test]
    fn a_commit_trims_once_it_is_worth_while() {
        let slack = TRIM_RECORDS_MAX as u64;
        let at = |versions: u64, bytes: u64, seconds: u64| {
            let extent = LogExtent {
                oldest: Version::new(1),
                oldest_time: Timestamp::from_micros(0),
                newest: Version::new(versions),
                bytes,
            };
            (extent, Timestamp::from_micros(seconds * 1_000_000))
        };
        let check = |retention: Retention, (extent, now): (LogExtent, Timestamp), is_due| {
            assert_eq!(extent.is_trim_due(&retention, now), is_due, "{retention:?}: {extent:?} at {now}");
        };
        let all = Retention::UNBOUNDED;
        check(all, at(u64::MAX - 1, u64::MAX, u64::MAX / 1_000_000), false);
        check(all.versions(1000), at(1000 + slack, 0, 0), false);
        check(all.versions(1000), at(1001 + slack, 0, 0), true);
        check(all.versions(10), at(20, 0, 0), false);
        check(all.versions(10), at(21, 0, 0), true);
        check(all.bytes(800), at(2, 900, 0), false);
        check(all.bytes(800), at(2, 901, 0), true);
        check(all.age(Duration::from_secs(80)), at(2, 0, 90), false);
        check(all.age(Duration::from_secs(80)), at(2, 0, 91), true);
    }

    #[test]
    fn bounds_are_set_one_by_one() {
        let retention = Retention::UNBOUNDED.versions(1).bytes(2).age(Duration::from_secs(3)).pinned_bytes(4);
        let Retention { versions, bytes, age, pinned_bytes } = retention;
        assert_eq!((versions, bytes, age.as_secs(), pinned_bytes), (1, 2, 3, 4));
        let usual = Retention::default();
        assert_eq!((usual.versions, usual.bytes), (RETAIN_VERSIONS, RETAIN_BYTES));
        assert_eq!((usual.age, usual.pinned_bytes), (RETAIN_AGE, PINNED_BYTES_MAX));
    }

    #[test]
    fn each_bound_expires_the_oldest_record_but_never_the_last() {
        let extent = LogExtent {
            oldest: Version::new(11),
            oldest_time: Timestamp::from_micros(1_000_000),
            newest: Version::new(20),
            bytes: 1000,
        };
        let now = Timestamp::from_micros(11_000_000);
        let check = |retention: Retention, expired: bool| {
            assert_eq!(extent.oldest_is_expired(&retention, now), expired, "{retention:?}");
        };
        let all = Retention::UNBOUNDED;
        check(all, false);
        check(all.versions(10), false);
        check(all.versions(9), true);
        check(all.bytes(1000), false);
        check(all.bytes(999), true);
        check(all.age(Duration::from_secs(10)), false);
        check(all.age(Duration::from_secs(9)), true);
        let last = LogExtent { oldest: extent.newest, ..extent };
        assert!(!last.oldest_is_expired(&all.versions(0), now), "the newest anchors the chain");
        let earlier = Timestamp::from_micros(0);
        assert!(
            !extent.oldest_is_expired(&all.age(Duration::ZERO), earlier),
            "a clock set back expires nothing"
        );
    }
}
