//! Where a registry keeps what.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cohab_core::InstanceId;

use crate::{Error, Result};

/// The directory of a registry, and the names in it.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) dir: PathBuf,
}

impl Places {
    pub(crate) fn instances(&self) -> PathBuf {
        self.dir.join("instances")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    pub(crate) fn ports(&self) -> PathBuf {
        self.dir.join("ports")
    }

    pub(crate) fn lock(&self, id: InstanceId) -> PathBuf {
        self.instances().join(format!("{id}.lock"))
    }

    pub(crate) fn record(&self, id: InstanceId) -> PathBuf {
        self.instances().join(format!("{id}.json"))
    }

    /// What is being written. Named after its writer, unlike a random name, so that a reaper knows whose it is.
    pub(crate) fn unfinished(&self, id: InstanceId) -> PathBuf {
        self.instances().join(format!("{id}.new"))
    }

    pub(crate) fn temp(&self, id: InstanceId) -> PathBuf {
        self.tmp().join(id.to_string())
    }

    /// Returns the instances that have a lock, live or dead, in the order of their ids.
    pub(crate) fn with_lock(&self) -> Result<BTreeSet<InstanceId>> {
        ids(&self.instances(), &[".lock"])
    }

    /// Returns the instances that have any file besides a temporary directory.
    pub(crate) fn with_file(&self) -> Result<BTreeSet<InstanceId>> {
        ids(&self.instances(), &[".lock", ".json", ".new"])
    }

    /// Returns the instances that have a temporary directory, or whatever else goes by its name.
    pub(crate) fn with_temp(&self) -> Result<BTreeSet<InstanceId>> {
        ids(&self.tmp(), &[""])
    }
}

/// Returns the ids that a directory has names of. A directory that is not there has none.
fn ids(dir: &Path, endings: &[&str]) -> Result<BTreeSet<InstanceId>> {
    match cohab_fs::check_dir(dir) {
        Ok(()) => {}
        Err(cohab_fs::Error::NotFound(_)) => return Ok(BTreeSet::new()),
        Err(error) => return Err(error.into()),
    }
    let failed = |error| Error::io("listing", dir, error);
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(name) = name.to_str() else { continue };
        ids.extend(endings.iter().find_map(|ending| id(name.strip_suffix(ending)?)));
    }
    Ok(ids)
}

/// Takes only the spelling that we write: what is called otherwise is not ours.
fn id(text: &str) -> Option<InstanceId> {
    text.parse().ok().filter(|id: &InstanceId| id.to_string() == text)
}
