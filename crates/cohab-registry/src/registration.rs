//! One's own registration.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cohab_core::{Clock, InstanceId, SystemClock};
use cohab_fs::Access;
use cohab_fs::fork::{self, Generation};

use crate::lock::Claim;
use crate::places::Places;
use crate::{Description, Error, Record, Registry, Result, component, reap};

/// How many fresh ids to try. One is enough unless somebody is stopped while looking at the file just created.
const FRESH_IDS_MAX: u32 = 8;

/// The present process as an instance, until this is dropped.
///
/// Dropping it removes the record, the temporary directory and the lock. In a forked child it does nothing: the
/// registration is the parent's.
#[derive(Debug)]
#[must_use = "dropping it ends the registration"]
pub struct Registration {
    pub(crate) registered: Arc<Registered>,
}

/// What a registration shares with its leases, which may outlive it.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) places: Places,
    pub(crate) id: InstanceId,
    /// As it was registered, and checked to be fit for a path.
    pub(crate) label: Option<String>,
    record: Mutex<Record>,
    temp: Mutex<bool>,
    generation: Generation,
    claim: Claim,
}

impl Registration {
    pub(crate) fn new(places: &Places, description: Description) -> Result<Self> {
        if let Some(label) = &description.label {
            component::check("label", label)?;
        }
        cohab_fs::check_dir(&places.dir)?;
        cohab_fs::create_dir(&places.instances())?;
        let (id, claim) = match description.id {
            Some(id) => (id, Claim::take(&places.lock(id))?.ok_or(Error::InUse(id))?),
            None => claim_fresh(places)?,
        };
        let record = Record {
            role: description.role,
            pid: std::process::id(),
            started: SystemClock.now(),
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            boot: boot().map(str::to_owned),
            app: description.app,
            channel: description.channel,
            app_version: description.app_version,
            label: description.label.clone(),
            ..Record::default()
        };
        let registered = Arc::new(Registered {
            places: places.clone(),
            id,
            label: description.label,
            record: Mutex::new(record),
            temp: Mutex::new(false),
            generation: fork::generation(),
            claim,
        });
        // From here on, dropping it removes what there is.
        registered.claim.unmark()?;
        registered.write_record(&mut *registered.record()?)?;
        Ok(Self { registered })
    }

    /// Returns the id that others know this instance by.
    pub fn id(&self) -> InstanceId {
        self.registered.id
    }

    /// Returns the registry that this is in.
    pub fn registry(&self) -> Registry {
        Registry { places: self.registered.places.clone() }
    }

    /// Returns what others read about this instance.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a forked child.
    pub fn record(&self) -> Result<Record> {
        Ok(self.registered.record()?.clone())
    }

    /// Changes what others read about this instance. Its id and the schema stay what they are.
    ///
    /// A record that is equal to the one before is not written again. Nothing waits for the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a forked child.
    pub fn update(&self, change: impl FnOnce(&mut Record)) -> Result<()> {
        self.registered.update(change)
    }

    /// Returns a directory of this instance's own, empty at first and removed with the registration or, after a
    /// crash, by a reaper. It is made when it is first asked for.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a forked child.
    pub fn temp_dir(&self) -> Result<PathBuf> {
        let Registered { places, id, temp, .. } = self.registered.here()?;
        let path = places.temp(*id);
        let mut is_made = temp.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_made {
            cohab_fs::create_dir(&places.tmp())?;
            if !cohab_fs::create_dir(&path)? {
                // An earlier instance of the same id has left it.
                fs::remove_dir_all(&path).map_err(|error| Error::io("removing", &path, error))?;
                cohab_fs::create_dir(&path)?;
            }
            *is_made = true;
        }
        Ok(path)
    }
}

impl Registered {
    /// Returns this in the process that registered. Comes before any lock, which a fork may have left locked.
    fn here(&self) -> Result<&Self> {
        if self.generation.is_current() { Ok(self) } else { Err(Error::Forked(self.id)) }
    }

    fn record(&self) -> Result<MutexGuard<'_, Record>> {
        Ok(self.here()?.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Record)) -> Result<()> {
        let mut record = self.record()?;
        let before = record.clone();
        change(&mut record);
        if *record == before {
            return Ok(());
        }
        let written = self.write_record(&mut record);
        if written.is_err() {
            // Else the same update, tried again, would be taken for none.
            *record = before;
        }
        written
    }

    fn write_record(&self, record: &mut Record) -> Result<()> {
        self.replace(&self.places.record(self.id), &record.encode(self.id))
    }

    /// Replaces a file as a whole, without waiting for the disk. The caller holds the record, and with it the right
    /// to the one file that is being written.
    ///
    /// Not `cohab_fs::replace_hint`: should we be killed here, nobody could tell whose its temporary file is, and
    /// whether it may be removed.
    fn replace(&self, path: &Path, content: &[u8]) -> Result<()> {
        let unfinished = self.places.unfinished(self.id);
        let file = cohab_fs::open(&unfinished, Access::Create)?;
        let write = |mut file: File| -> io::Result<()> {
            file.set_len(0)?;
            file.write_all(content)
        };
        write(file).map_err(|error| Error::io("writing", path, error))?;
        Ok(cohab_fs::put_in_place(&unfinished, path)?)
    }

    /// Replaces a file that is not only ours.
    pub(crate) fn replace_shared(&self, path: &Path, content: &[u8]) -> Result<()> {
        let _record = self.record()?;
        self.replace(path, content)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if self.generation.is_current() {
            // What cannot be removed now, a reaper will find.
            let _ = reap::remove(&self.places, self.id, &self.claim);
        }
    }
}

fn claim_fresh(places: &Places) -> Result<(InstanceId, Claim)> {
    let mut id = InstanceId::generate();
    for _ in 0..FRESH_IDS_MAX {
        if let Some(claim) = Claim::take(&places.lock(id))? {
            return Ok((id, claim));
        }
        id = InstanceId::generate();
    }
    Err(Error::InUse(id))
}

/// Returns which start of the machine this is. Only Linux says so.
fn boot() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let read = || Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned());
    BOOT.get_or_init(read).as_deref()
}
