//! Backups, and stores made from them.

use std::path::Path;
use std::time::Duration;

use cohab_core::StoreId;
use cohab_core::limits::CACHE_BYTES;
use cohab_engine::CopyProgress;
use cohab_lock::Holder;
use cohab_namespace::catalog::{ROOT_KEY, Root, Stored, Upstream};

use crate::directory::{Card, Directory};
use crate::layout::{CATALOG, TABLES};
use crate::verify::Progress;
use crate::{Error, Kind, Options, Result, Role, Snapshot, Store, Version};

impl Store {
    /// Writes the store as it is after the last commit into one file, while the writer goes on.
    ///
    /// The file holds everything: namespaces, data, log. It is verified entry by entry as it is written, appears
    /// under its name once it is complete and durable, and opens for reading as a store does. Returns the version it
    /// holds. If the role changes hands meanwhile, it begins again.
    ///
    /// # Errors
    ///
    /// [`Kind::Exists`] if there is a file of that name; [`Kind::Corrupt`] if an entry is damaged.
    pub fn backup(&self, file: impl AsRef<Path>, mut progress: impl FnMut(Progress)) -> Result<Version> {
        loop {
            // A handle that becomes a writer or a reader opens the file anew, and its snapshots are gone. One that was
            // closed has no other to offer.
            match self.snapshot()?.backup(&file, &mut progress) {
                Err(error) if error.kind() == Kind::Closed => {}
                done => return done,
            }
        }
    }

    /// Makes a new store from a backup, with an identity of its own, and opens it for writing.
    ///
    /// Versions go on from where the backup was taken; [`Snapshot::origin`] says from where that is.
    ///
    /// # Errors
    ///
    /// [`Kind::Exists`] if there is a store at `path`; [`Kind::InvalidInput`] if the file is no backup.
    pub fn restore(
        backup: impl AsRef<Path>,
        path: impl AsRef<Path>,
        progress: impl FnMut(Progress),
    ) -> Result<Self> {
        let source = Self::options().role(Role::Reader).open(backup)?.snapshot()?;
        source.make_store(path.as_ref(), progress, |root| root.upstream = None)?;
        Options::default().create(false).open(path)
    }
}

impl Snapshot {
    /// Writes this very snapshot into one file; see [`Store::backup`].
    pub fn backup(&self, file: impl AsRef<Path>, progress: impl FnMut(Progress)) -> Result<Version> {
        if self.state().past.is_some() {
            let message =
                format!("version {} is not the present one, and only that can be copied", self.version());
            return Err(
                Error::invalid(message).hint("back the present up: its log leads back to this version")
            );
        }
        let path = file.as_ref();
        if path.symlink_metadata().is_ok() {
            let message = format!("{} exists already", path.display());
            return Err(Error::new(Kind::Exists, message).hint("name a file that does not exist yet"));
        }
        self.copy(path, None, progress)?;
        Ok(self.version())
    }

    /// Makes a store of the snapshot that follows the one it is of.
    pub(crate) fn replicate(&self, path: &Path, progress: impl FnMut(Progress)) -> Result<()> {
        self.make_store(path, progress, |root| {
            let (store, version, chain) = (self.store(), root.version, root.chain);
            root.upstream = Some(Upstream { store, version, chain, local: version, promoted: false });
        })
    }

    /// Makes a store of the snapshot, with an identity of its own.
    fn make_store(
        &self,
        path: &Path,
        progress: impl FnMut(Progress),
        describe: impl FnOnce(&mut Root),
    ) -> Result<()> {
        let directory = Directory::create(path)?;
        let lock = directory.lock_for_writing(&Holder::this_process("restore"), Duration::ZERO)?;
        if directory.is_store()? || directory.has_data()? {
            let message = format!("there is a store at {} already", path.display());
            return Err(
                Error::new(Kind::Exists, message).hint("restore into a directory that does not exist yet")
            );
        }
        let mut root = self.state().root.clone();
        root.origin = Some(self.token());
        root.store = StoreId::generate();
        describe(&mut root);
        self.copy(&directory.data(), Some(&root), progress)?;
        directory.write_card(Card::new(root.store))?;
        drop(lock);
        Ok(())
    }

    /// Copies the snapshot into a file that appears when it is complete, with another root row if one is given.
    fn copy(&self, path: &Path, root: Option<&Root>, mut progress: impl FnMut(Progress)) -> Result<()> {
        let dir = cohab_fs::parent(path);
        let failed = |error: std::io::Error| {
            Error::new(Kind::Io, format!("writing {} failed", path.display())).source(error)
        };
        let unfinished = cohab_fs::temp_dir(dir)?;
        let copy = unfinished.path().join("copy");
        let options = cohab_engine::Options::new(TABLES).cache_bytes(CACHE_BYTES);
        self.state().engine()?.copy_to(
            &copy,
            options,
            TABLES,
            |CopyProgress { entries, bytes, .. }| progress(Progress { entries, bytes, total: None }),
            |tx| match root {
                Some(root) => tx.insert(CATALOG, ROOT_KEY, &[&root.encode()]).map(drop),
                None => Ok(()),
            },
        )?;
        // Never over a file that somebody made meanwhile.
        std::fs::hard_link(&copy, path).map_err(failed)?;
        drop(unfinished);
        Ok(cohab_fs::sync_dir(dir)?)
    }
}
