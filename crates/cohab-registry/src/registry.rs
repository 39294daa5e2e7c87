//! The instances that use a directory.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use cohab_core::InstanceId;

use crate::lock::{self, Life};
use crate::places::Places;
use crate::{Description, Error, Instance, Record, Registration, Result, Watch};

/// How often, and how far apart, to look for the record of a live instance that has none. One that has only just
/// locked is about to write it.
const RECORD_AWAITED: (u32, Duration) = (5, Duration::from_millis(1));

/// Who uses a directory: a store's, or an application's home.
///
/// Making one does nothing; looking creates nothing and works on a read-only place.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(crate) places: Places,
}

impl Registry {
    /// Names the registry in a directory.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self { places: Places { dir: dir.into() } }
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.places.dir
    }

    /// Makes the present process known until the registration is dropped or the process ends, however it ends.
    ///
    /// The directory must exist. Costs a few small files; nothing waits for the disk.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if the id that was asked for is registered already, [`Error::Name`] for a label that is none.
    pub fn register(&self, description: Description) -> Result<Registration> {
        Registration::new(&self.places, description)
    }

    /// Returns the live instances, oldest first.
    ///
    /// The answer may be out of date when it arrives. A record that is none is shown as an empty one.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::File`] if the system does not let locks and records be read.
    pub fn list(&self) -> Result<Vec<Instance>> {
        self.live()?.into_iter().filter_map(|id| self.instance(id).transpose()).collect()
    }

    /// Returns the instances that died and left something behind, for [`reap`](Self::reap) to remove.
    pub fn dead(&self) -> Result<Vec<Instance>> {
        let mut ids = self.places.with_file()?;
        ids.extend(self.places.with_temp()?);
        let mut dead = Vec::new();
        for id in ids {
            if self.look(id)? == Some(Life::Dead) {
                dead.push(self.dead_instance(id));
            }
        }
        Ok(dead)
    }

    /// Follows the coming and going of instances.
    ///
    /// The first events are those that are there already.
    pub fn watch(&self) -> Watch {
        Watch::new(self.clone())
    }

    /// Returns the live instance that says to listen on a port.
    pub(crate) fn holder_of(&self, port: u16) -> Option<Instance> {
        let has_it = |instance: &Instance| instance.record.ports.iter().any(|held| held.port == port);
        self.list().ok()?.into_iter().find(has_it)
    }

    /// Returns the ids of live instances.
    pub(crate) fn live(&self) -> Result<Vec<InstanceId>> {
        let mut live = Vec::new();
        for id in self.places.with_lock()? {
            if self.look(id)? == Some(Life::Live) {
                live.push(id);
            }
        }
        Ok(live)
    }

    /// Reads what a live instance says about itself; `None` if it has gone by now.
    pub(crate) fn instance(&self, id: InstanceId) -> Result<Option<Instance>> {
        let path = self.places.record(id);
        for _ in 0..RECORD_AWAITED.0 {
            if let Some(record) = Record::read(&path)? {
                return Ok(Some(Instance::new(id, record)));
            }
            if self.look(id)? != Some(Life::Live) {
                return Ok(None);
            }
            thread::sleep(RECORD_AWAITED.1);
        }
        Ok(Some(Instance::new(id, Record::default())))
    }

    /// Shows a dead instance as it was, as far as that can be read; its process id may be another's by now.
    pub(crate) fn dead_instance(&self, id: InstanceId) -> Instance {
        let record = Record::read(&self.places.record(id)).ok().flatten().unwrap_or_default();
        Instance { id, record, is_stopped: false }
    }

    /// Looks whether an instance lives. What is not a file of ours is no lock, and so tells of no instance.
    fn look(&self, id: InstanceId) -> Result<Option<Life>> {
        match lock::look(&self.places.lock(id)) {
            Err(Error::File(cohab_fs::Error::Untrusted { .. })) => Ok(None),
            looked => looked.map(Some),
        }
    }
}
