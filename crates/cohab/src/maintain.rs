//! Work that follows commits in bounded steps: trimming the log, removing the keys of purged namespaces.

use std::ops::Bound;

use cohab_core::limits::{PURGE_STEP_KEYS, TRIM_RECORDS_MAX};
use cohab_core::{NamespaceId, Timestamp, Version, planted};
use cohab_log::{Retention, record_start};
use cohab_namespace::catalog::{RECLAIM, Root, parse_reclaim_key, reclaim_key};

use crate::commit::{self, Commit, extent};
use crate::layout::{CATALOG, DATA, DataRange, LOG};
use crate::snapshot::catalog_range;
use crate::store::Inner;
use crate::view::Direction;
use crate::{Committed, Error, Result, Store, kept, telemetry, walk};

/// What one step of maintenance did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Maintenance {
    /// How many records the log lost.
    pub trimmed: u64,
    /// How many named snapshots lapsed, because they held more of the log, or for longer, than they may.
    pub lapsed: u64,
    /// How many keys of purged namespaces were removed.
    pub reclaimed: u64,
    /// Whether there is more to do.
    pub more: bool,
}

impl Store {
    /// Does one bounded step of the work that is left over from commits: trims the log to the store's retention, and
    /// removes keys of purged namespaces.
    ///
    /// Commits do the first on the side, once enough has come together; this does it at once.
    pub fn maintain(&self) -> Result<Maintenance> {
        self.inner.check_process()?;
        let _turn = self.inner.queue.turn()?;
        commit::run(&self.inner, |mut commit| {
            let retention = &commit.inner.options.retention;
            self.inner.followers.look(&self.inner);
            let pins = Pins { followers: pinned(&self.inner), may_lapse: true };
            let Trimmed { records, lapsed } =
                trim_step(commit.tx, &mut commit.root, retention, commit.now, pins)?;
            let (reclaimed, more) = reclaim_step(&mut commit)?;
            // A snapshot that is in the way may lapse with the next step.
            let more = more
                || records == TRIM_RECORDS_MAX as u64
                || may_trim(&commit.root, retention, commit.now, pins.followers);
            commit.changed = records > 0 || lapsed > 0 || reclaimed.is_some();
            Ok((commit, Maintenance { trimmed: records, lapsed, reclaimed: reclaimed.unwrap_or(0), more }))
        })
    }

    /// Gives up, for good, the namespace of that name that was dropped last, and removes its keys in bounded steps,
    /// between which other transactions get their turn.
    ///
    /// `progress` is told after each step how many keys are gone so far. Should the process die in between, the
    /// namespace is gone and the rest of its keys is removed by the next [`maintain`](Self::maintain).
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::Kind::NotFound) if the trash has none of that name.
    pub fn purge(&self, name: impl AsRef<str>, mut progress: impl FnMut(u64)) -> Result<Committed<u64>> {
        let version = self.write(|tx| tx.purge_namespace(name))?.version;
        let mut keys = 0;
        loop {
            let step = self.maintain()?;
            keys += step.reclaimed;
            progress(keys);
            if !step.more {
                return Ok(Committed { version, value: keys });
            }
        }
    }
}

/// Returns the oldest version that a follower or a plugin stands at.
pub(crate) fn pinned(inner: &Inner) -> Option<Version> {
    let followers = inner.followers.pinned(inner);
    #[cfg(feature = "scripts")]
    let followers = followers.into_iter().chain(inner.plugins.pinned()).min();
    followers
}

/// Who needs records of the log beyond its retention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pins {
    /// The oldest version that a follower or a plugin stands at.
    pub(crate) followers: Option<Version>,
    /// Whether to look for named snapshots that have been kept for long enough.
    pub(crate) may_lapse: bool,
}

/// What one step of trimming did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Trimmed {
    pub(crate) records: u64,
    pub(crate) lapsed: u64,
}

/// Whether the log's oldest record is expired, and nobody needs it.
fn may_trim(root: &Root, retention: &Retention, now: Timestamp, followers: Option<Version>) -> bool {
    // Beyond the bound a follower has to do without.
    let followers = followers.filter(|_| !kept::is_over_bound(root, retention));
    let is_needed = root.kept.into_iter().chain(followers).any(|version| version <= root.log_oldest);
    (!is_needed || planted!(TrimIgnoresPins)) && extent(root).oldest_is_expired(retention, now)
}

/// Removes the log's oldest records while they are expired and not needed, a bounded number of them.
pub(crate) fn trim_step(
    tx: &mut cohab_engine::Transaction<'_>,
    root: &mut Root,
    retention: &Retention,
    now: Timestamp,
    pins: Pins,
) -> Result<Trimmed> {
    let mut trimmed = Trimmed::default();
    while trimmed.records < TRIM_RECORDS_MAX as u64 {
        let is_kept = root.kept.is_some_and(|kept| kept <= root.log_oldest);
        if is_kept && pins.may_lapse && extent(root).oldest_is_expired(retention, now) {
            let lapsed = kept::lapse_step(tx, root, retention, now)?;
            telemetry::lapsed(&lapsed);
            trimmed.lapsed += lapsed.len() as u64;
        }
        if !may_trim(root, retention, now, pins.followers) {
            break;
        }
        let next = root.log_oldest.next();
        let (from, to) = (record_start(root.log_oldest), record_start(next));
        let mut bytes = 0;
        let range = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        tx.remove_first(LOG, range, usize::MAX, |_, chunk| bytes += chunk.len() as u64)?;
        root.log_bytes = root.log_bytes.saturating_sub(bytes);
        root.log_oldest = next;
        root.log_oldest_time = record_time(tx, next)?;
        trimmed.records += 1;
    }
    Ok(trimmed)
}

fn record_time(tx: &mut cohab_engine::Transaction<'_>, version: Version) -> Result<Timestamp> {
    Ok(walk::header(version, tx.get(LOG, &record_start(version))?.as_deref())?.time)
}

/// Removes some keys of a purged namespace. Returns how many, or `None` if there is none, and whether more are left.
fn reclaim_step(commit: &mut Commit<'_, '_>) -> Result<(Option<u64>, bool)> {
    let range = catalog_range(&[RECLAIM]);
    let mut rows = commit.tx.range(CATALOG, range.as_bounds(), Direction::Forward)?;
    let Some(row) = rows.next().transpose()? else { return Ok((None, false)) };
    let id = purged_id(row.key())?;
    let another = rows.next().is_some();
    drop((row, rows));
    let removed = commit.tx.remove_first(DATA, DataRange::all(id).bounds(), PURGE_STEP_KEYS, |_, _| {})?;
    let finished = removed < PURGE_STEP_KEYS;
    if finished {
        commit.tx.remove(CATALOG, &reclaim_key(id))?;
    }
    Ok((Some(removed as u64), !finished || another))
}

/// Names the purged namespaces whose keys are not all removed yet.
pub(crate) fn reclaiming(snapshot: &cohab_engine::Snapshot) -> Result<Vec<NamespaceId>> {
    let rows = snapshot.range(CATALOG, catalog_range(&[RECLAIM]).as_bounds(), Direction::Forward)?;
    rows.map(|row| purged_id(row?.key())).collect()
}

fn purged_id(key: &[u8]) -> Result<NamespaceId> {
    parse_reclaim_key(key).ok_or_else(|| Error::corrupt("a row of purged namespaces has no id"))
}
