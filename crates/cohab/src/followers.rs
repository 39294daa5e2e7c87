//! Who follows a store, and from where: each follower leaves word beside the store, so that the log is kept for it.
//!
//! A hint, like everything but the store's own file: a follower that is not noticed in time, or stays away for too long,
//! costs a comparison with the whole store, never data.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cohab_core::limits::FOLLOWER_AGE_MAX;
use cohab_core::{StoreId, Timestamp, Version};
use serde::{Deserialize, Serialize};

use crate::store::Inner;
use crate::{Error, Result};

/// The most files that are looked at.
const FILES_MAX: usize = 256;

/// The longest of them, in bytes.
const FILE_BYTES_MAX: usize = 16 << 10;

/// What a follower says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FollowerRecord {
    /// The replica that it keeps.
    pub replica: StoreId,
    /// The version that the replica has.
    pub version: Version,
    /// When that was last said.
    pub at: Timestamp,
    /// Where the replica is.
    pub path: PathBuf,
}

/// What the writer knows of followers.
#[derive(Debug)]
pub(crate) struct Followers {
    /// The oldest version that one stands at, [`NOBODY`] or [`UNKNOWN`].
    oldest: AtomicU64,
}

const NOBODY: u64 = u64::MAX;
const UNKNOWN: u64 = u64::MAX - 1;

impl Default for Followers {
    fn default() -> Self {
        Self { oldest: AtomicU64::new(UNKNOWN) }
    }
}

impl Followers {
    /// Returns the oldest version that a follower stands at, as of the last look.
    pub(crate) fn pinned(&self, inner: &Inner) -> Option<Version> {
        match self.oldest.load(Ordering::Relaxed) {
            UNKNOWN => self.look(inner),
            NOBODY => None,
            version => Some(Version::new(version)),
        }
    }

    /// Looks who there is.
    pub(crate) fn look(&self, inner: &Inner) -> Option<Version> {
        let now = inner.options.clock.now();
        let all = inner.directory.iter().flat_map(|directory| list(&directory.followers()));
        // One from the future is as old as it is far off.
        let age = |record: &FollowerRecord| now.since(record.at).max(record.at.since(now));
        let recent = all.filter(|record| age(record) <= FOLLOWER_AGE_MAX);
        let oldest = recent.map(|record| record.version).min();
        self.oldest.store(oldest.map_or(NOBODY, Version::get), Ordering::Relaxed);
        oldest
    }
}

/// Lists what followers have said. What cannot be read is left out.
pub(crate) fn list(dir: &Path) -> Vec<FollowerRecord> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let files = entries.flatten().map(|entry| entry.path());
    let records = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let read =
        |path: PathBuf| serde_json::from_slice(&cohab_fs::read_small(&path, FILE_BYTES_MAX).ok()?).ok();
    records.take(FILES_MAX).filter_map(read).collect()
}

/// Says where a follower stands.
pub(crate) fn note(dir: &Path, record: &FollowerRecord) -> Result<()> {
    cohab_fs::create_dir(dir)?;
    let text = serde_json::to_vec(record).map_err(|error| {
        Error::invalid(format!("the path {} cannot be noted: {error}", record.path.display()))
    })?;
    Ok(cohab_fs::replace_hint(&file(dir, record.replica), &text)?)
}

/// Takes back what a follower has said.
pub(crate) fn forget(dir: &Path, replica: StoreId) {
    let _ = fs::remove_file(file(dir, replica));
}

fn file(dir: &Path, replica: StoreId) -> PathBuf {
    dir.join(format!("{replica}.json"))
}
