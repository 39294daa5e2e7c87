//! Removing what dead instances left behind.

use std::fs;
use std::io;
use std::path::Path;

use cohab_core::InstanceId;

use crate::lock::{self, Claim, Life};
use crate::places::Places;
use crate::{Error, Instance, Record, Registry, Result};

/// What a reaper did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Reaped {
    /// The dead instances whose record or temporary directory was removed.
    pub instances: Vec<Instance>,
    /// What could not be removed, and why. The rest was.
    pub failures: Vec<Error>,
}

impl Registry {
    /// Removes the records, locks and temporary directories of instances that are dead, and nothing else.
    ///
    /// Several may reap at a time. An instance whose lock somebody looks at for longer than 20 ms, because it was
    /// stopped in the middle, is left for the next time. Blocks for as long as removing the directories takes.
    ///
    /// # Errors
    ///
    /// If the instances cannot be listed. What goes wrong with a single one is in [`Reaped::failures`].
    pub fn reap(&self) -> Result<Reaped> {
        let mut reaped = Reaped::default();
        let mut ids = self.places.with_file()?;
        match self.places.with_temp() {
            Ok(with_temp) => ids.extend(with_temp),
            Err(error) => reaped.failures.push(error),
        }
        for id in ids {
            match self.reap_one(id) {
                Ok(instance) => reaped.instances.extend(instance),
                Err(error) => reaped.failures.push(error),
            }
        }
        Ok(reaped)
    }

    fn reap_one(&self, id: InstanceId) -> Result<Option<Instance>> {
        let path = self.places.lock(id);
        if lock::look(&path)? == Life::Live {
            return Ok(None);
        }
        // Also where there is no lock, so that a registrant of that id does not come between.
        cohab_fs::create_dir(&self.places.instances())?;
        let Some(claim) = Claim::take(&path)? else { return Ok(None) };
        // One that cannot be read goes as well.
        let record = Record::read(&self.places.record(id)).unwrap_or_else(|_| Some(Record::default()));
        let has_temp = self.places.temp(id).symlink_metadata().is_ok();
        // A lock alone was left by a registrant that did not get further, or is about to try again.
        let left = (record.is_some() || has_temp).then(|| Instance {
            id,
            record: record.unwrap_or_default(),
            is_stopped: false,
        });
        remove(&self.places, id, &claim)?;
        Ok(left)
    }
}

/// Removes all that is named after an id whose lock is held, the lock's file last.
///
/// Goes on after a failure: what then has no lock any more is still found by the next reaper.
pub(crate) fn remove(places: &Places, id: InstanceId, claim: &Claim) -> Result<()> {
    // Only so that onlookers do not take it for alive meanwhile. On a full disk there may be no room for the byte, and
    // removing is what makes some.
    let _ = claim.mark();
    let temp = remove_temp(places, id);
    let record = remove_if_there(&places.record(id), fs::remove_file);
    let unfinished = remove_if_there(&places.unfinished(id), fs::remove_file);
    claim.remove()?;
    temp.and(record).and(unfinished)
}

/// Removes a temporary directory, or whatever somebody has put in its place, and never what a link points to.
pub(crate) fn remove_temp(places: &Places, id: InstanceId) -> Result<()> {
    match cohab_fs::check_dir(&places.tmp()) {
        Ok(()) => {}
        Err(cohab_fs::Error::NotFound(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let path = places.temp(id);
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => remove_if_there(&path, fs::remove_dir_all),
        Ok(_) => remove_if_there(&path, fs::remove_file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("examining", &path, error)),
    }
}

fn remove_if_there<'p>(path: &'p Path, remove: impl FnOnce(&'p Path) -> io::Result<()>) -> Result<()> {
    match remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("removing", path, error)),
        _ => Ok(()),
    }
}
