//! Every bound in cohab, in one place.
//!
//! A bound is inclusive: a key of exactly [`KEY_BYTES_MAX`] bytes is accepted, one byte more is refused with an
//! error that names the bound.

use std::time::Duration;

/// The longest namespace name, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;

/// The longest key, in bytes. The empty key is a key.
///
/// Keys are copied into the branches of the B-tree, so long ones cost more than their bytes.
pub const KEY_BYTES_MAX: usize = 2048;

/// The longest value, in bytes. The empty value is a value, and different from an absent one.
pub const VALUE_BYTES_MAX: usize = 64 << 20;

/// The longest title of a namespace, in bytes of UTF-8.
pub const TITLE_BYTES_MAX: usize = 1024;

/// The longest description of a namespace, in bytes of UTF-8.
pub const DESCRIPTION_BYTES_MAX: usize = 64 << 10;

/// The most labels that one namespace may carry.
pub const LABELS_MAX: usize = 64;

/// The longest label key, in bytes of UTF-8.
pub const LABEL_KEY_BYTES_MAX: usize = 63;

/// The longest label value, in bytes of UTF-8.
pub const LABEL_VALUE_BYTES_MAX: usize = 255;

/// The longest catalogue record of a namespace, with all that people may say about it, in bytes.
pub const RECORD_BYTES_MAX: usize = 128 << 10;

/// The longest name of an application's lock, in bytes of UTF-8.
pub const LOCK_NAME_BYTES_MAX: usize = 255;

/// The longest record of a lock's holder that is read, in bytes.
pub const HOLDER_BYTES_MAX: usize = 8 << 10;

/// How many characters of a text that a lock's holder says about itself are shown.
pub const HOLDER_TEXT_SHOWN_MAX: usize = 64;

/// The longest label of a transaction in the log, in bytes of UTF-8.
pub const TRANSACTION_LABEL_BYTES_MAX: usize = 255;

/// The most operations and preconditions together that one submitted batch may hold. Larger work belongs into
/// `write`, which streams.
pub const BATCH_OPERATIONS_MAX: usize = 100_000;

/// The most keys and values, in bytes, that one submitted batch may hold.
pub const BATCH_BYTES_MAX: usize = 64 << 20;

/// The most batches that one commit of the engine takes along.
pub const GROUP_BATCHES_MAX: usize = 1024;

/// The most bytes of batches that one commit of the engine takes along; the first batch always is.
pub const GROUP_BYTES_MAX: usize = 64 << 20;

/// How many bytes of a transaction's log record are collected before they are handed to the engine.
///
/// Under a power of two by more than a usual change, because the engine rounds a large value up to whole pages in
/// powers of two.
pub const LOG_CHUNK_BYTES: usize = 120 << 10;

/// How many bytes a delta may have uncompressed, unless whoever makes or reads it allows another number.
pub const DELTA_BYTES_MAX: u64 = 1 << 30;

/// How many log records one commit may trim on the side.
pub const TRIM_RECORDS_MAX: usize = 256;

/// How much memory the changes of several versions may take that are taken together: to show an earlier version, to go
/// back, to make a delta.
pub const NET_BYTES_MAX: u64 = 1 << 30;

/// How many keys one step of purging a dropped namespace removes.
pub const PURGE_STEP_KEYS: usize = 10_000;

/// How many past transactions the log keeps, unless the store is opened with another retention.
pub const RETAIN_VERSIONS: u64 = 100_000;

/// How many bytes of log are kept, unless the store is opened with another retention.
pub const RETAIN_BYTES: u64 = 1 << 30;

/// How long the log is kept, unless the store is opened with another retention.
pub const RETAIN_AGE: Duration = Duration::from_hours(24 * 30);

/// How many bytes the log may grow beyond what is retained, for the sake of named snapshots and followers, unless the store is
/// opened with another retention. Past it the oldest of them lapse.
pub const PINNED_BYTES_MAX: u64 = 1 << 30;

/// The most snapshots that may be kept under names.
pub const SNAPSHOTS_MAX: usize = 256;

/// The longest note of a named snapshot, in bytes of UTF-8.
pub const SNAPSHOT_NOTE_BYTES_MAX: usize = 1024;

/// How many of the snapshots are kept that are taken before something is destroyed; the oldest lapse first.
pub const SAFETY_SNAPSHOTS_MAX: usize = 32;

/// How long such a snapshot is kept.
pub const SAFETY_AGE_MAX: Duration = Duration::from_hours(24 * 7);

/// How long the log is kept for a follower that has not been heard of.
pub const FOLLOWER_AGE_MAX: Duration = Duration::from_hours(24 * 7);

/// How often a follower leaves word of where it is, at the most.
pub const FOLLOWER_NOTE: Duration = Duration::from_secs(1);

/// How often a follower compares what both sides say their namespaces hold; and leaves word at the least.
pub const FOLLOWER_AUDIT: Duration = Duration::from_mins(1);

/// How many keys, or records of the log, a verification reads from one snapshot, unless it is told otherwise.
pub const VERIFY_SLICE_KEYS: u64 = 20_000;

/// How many bytes a verification reads from one snapshot, unless it is told otherwise.
pub const VERIFY_SLICE_BYTES: u64 = 8 << 20;

/// How often a verification begins a namespace again, because the log does not tell what has changed in it meanwhile,
/// before it keeps one snapshot until it is through with it.
pub const VERIFY_RESTARTS_MAX: u32 = 3;

/// How many damaged places of a namespace, or of the log, a verification goes on behind.
pub const VERIFY_PLACES_MAX: u32 = 16;

/// How many bytes of keys a verification takes from the log to find which keys are wrong.
pub const VERIFY_EXPECTED_BYTES_MAX: usize = 64 << 20;

/// The longest time that one step of a verification waits for its rate.
pub const VERIFY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How much memory the engine may use for pages, unless the store is opened with another budget.
pub const CACHE_BYTES: usize = 64 << 20;

/// How much memory the cache of values may use, unless the store is opened with another.
pub const VALUE_CACHE_BYTES: usize = 64 << 20;

/// How many versions a cache that has fallen behind goes through to learn which keys were written. After more it
/// forgets the namespace's values instead.
pub const CATCH_UP_VERSIONS_MAX: u64 = 4096;

/// How many bytes of the log's records it reads for that, at the most.
pub const CATCH_UP_BYTES_MAX: usize = 4 << 20;

/// How many bytes of changes a view takes together before it is folded anew instead, at the least. Where the namespaces
/// that it is made of are larger than a third of that, it is three times what they hold.
pub const VIEW_CHANGES_BYTES_MIN: u64 = 1 << 20;

/// How many keys a prefetch reads from one snapshot.
pub const PREFETCH_STEP_KEYS: usize = 1000;

/// How many bytes of keys a commit notes for the writer's own cache. After more the cache forgets the namespace's values.
pub const WRITTEN_BYTES_MAX: usize = 1 << 20;

/// How often a handle looks after what nobody calls it for: idle snapshots, its entry among the instances, requests
/// to hand over.
pub const KEEPER_TICK: Duration = Duration::from_millis(250);

/// How often an instance tells of its cache's numbers, at the most: in its record, and to whoever collects metrics.
pub const NUMBERS_TICK: Duration = Duration::from_secs(1);

/// How many namespaces an instance's record tells the cache's numbers of, those with the most bytes.
pub const RECORD_NAMESPACES_MAX: usize = 16;

/// How often a stand-by tries to become the writer, and thereby about how long a take-over takes.
pub const STANDBY_TICK: Duration = Duration::from_millis(20);

/// How often the writer removes what instances that died have left behind.
pub const REAP_TICK: Duration = Duration::from_secs(5);

/// How long a reader believes the coordination page before it looks into the store itself, and how often it looks whether
/// the page is still the one that others see: so a page that lies costs a second at the most.
pub const PAGE_TRUST: Duration = Duration::from_millis(500);

/// The least time between two looks of a process into the store: readers that look without a pause hold its writer up.
pub const LOOK_SPACING: Duration = Duration::from_micros(100);

/// How long a reader without a coordination page waits between two looks into the store.
pub const PAGELESS_POLL: Duration = Duration::from_millis(10);

/// How long a reader leaves a commit that it can see, and that nobody was told of, to its writer to publish.
pub const DEFERRAL_MAX: Duration = Duration::from_secs(1);

/// How long a reader waits for a commit it can see to be published, before it makes it durable itself.
pub const PUBLICATION_WAIT: Duration = Duration::from_millis(100);

/// After which time a commit that still waits is reported with those who may hold it up.
pub const STALL_AFTER: Duration = Duration::from_secs(2);

/// The longest line that a text format (jsonl, dump, deb822) may hold, in bytes.
///
/// Base64 makes four bytes of three, so the largest value fits with room to spare.
pub const LINE_BYTES_MAX: usize = VALUE_BYTES_MAX / 3 * 4 + (1 << 20);
