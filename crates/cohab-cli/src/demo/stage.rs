//! What the steps of the demonstration share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cohab::{Digest, NamespaceInfo, Role, Snapshot, Store};

use super::ensure;
use super::material::{Material, Model};
use crate::failure::Failure;

/// A directory with a store in it, and what is known of what the store should hold.
pub(super) struct Stage {
    dir: PathBuf,
    /// Removes the directory at the end, unless it is to be kept.
    _temporary: Option<tempfile::TempDir>,
    pub(super) material: Material,
    /// What was loaded, as the source has it.
    pub(super) model: Model,
}

/// The digests of all namespaces, by identity, which no renaming changes.
pub(super) type Digests = BTreeMap<u32, Digest>;

impl Stage {
    /// Finds data and makes a directory for everything.
    pub(super) fn set(keep: Option<&Path>) -> Result<Self, Failure> {
        let material = Material::find()?;
        let failed = |dir: &Path| {
            let message = format!("making a directory for the demonstration failed: {}", dir.display());
            move |error: std::io::Error| Failure::io(message, &error)
        };
        let (dir, temporary) = match keep {
            Some(dir) if dir.symlink_metadata().is_ok() => {
                let message = format!("{} exists already", dir.display());
                return Err(Failure::exists(message).hint("name a directory that does not exist yet"));
            }
            Some(dir) => {
                std::fs::create_dir(dir).map_err(failed(dir))?;
                (dir.to_owned(), None)
            }
            None => {
                let temporary = tempfile::Builder::new().prefix("cohab-demo-").tempdir();
                let temporary = temporary.map_err(failed(&std::env::temp_dir()))?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        Ok(Self { dir, _temporary: temporary, material, model: Model::default() })
    }

    /// Returns a path in the demonstration's directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns where the store is.
    pub(super) fn store_path(&self) -> PathBuf {
        self.path("store")
    }

    /// Opens the store for writing, creating it the first time.
    pub(super) fn writer(&self) -> Result<Store, Failure> {
        Ok(Store::open(self.store_path())?)
    }

    /// Opens the store for reading.
    pub(super) fn snapshot(&self) -> Result<Snapshot, Failure> {
        Ok(Store::options().role(Role::Reader).open(self.store_path())?.snapshot()?)
    }

    /// Returns the loaded namespace with the most keys.
    pub(super) fn largest(&self) -> Result<NamespaceInfo, Failure> {
        let snapshot = self.snapshot()?;
        let infos: Vec<NamespaceInfo> = snapshot.namespaces()?.collect::<cohab::Result<_>>()?;
        let largest = infos.into_iter().max_by_key(|info| info.keys);
        largest.ok_or_else(|| Failure::unexpected("the store has no namespaces"))
    }
}

/// The digests of all namespaces of a snapshot.
pub(super) fn digests(snapshot: &Snapshot) -> Result<Digests, Failure> {
    let digests = snapshot.namespaces()?.map(|info| info.map(|info| (info.id.get(), info.digest)));
    Ok(digests.collect::<cohab::Result<_>>()?)
}

/// Checks that no namespace's data has changed.
pub(super) fn ensure_unchanged(before: &Digests, after: &Digests) -> Result<(), Failure> {
    let changed = before.iter().find(|(id, digest)| after.get(id) != Some(digest));
    ensure(before.len() == after.len() && changed.is_none(), || {
        let which = changed.map_or_else(String::new, |(id, _)| format!(", first that of namespace #{id}"));
        format!("digests have changed{which}")
    })
}

/// The digests of all namespaces by name, to compare stores with each other.
pub(super) fn digests_by_name(snapshot: &Snapshot) -> Result<BTreeMap<String, Digest>, Failure> {
    let digests = snapshot.namespaces()?.map(|info| info.map(|info| (info.name.to_string(), info.digest)));
    Ok(digests.collect::<cohab::Result<_>>()?)
}
