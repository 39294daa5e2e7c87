//! The writer's side of a handle: the file, the lock, and the fence around them.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cohab_core::{Epoch, InstanceId, planted};
use cohab_engine::Engine;
use cohab_lock::{Held, OpenCounter};
use cohab_namespace::catalog::Root;

use crate::directory::{Card, Directory, missing};
use crate::latest::replaced;
use crate::lineage::check_end;
use crate::open::{check_identity, create_root};
use crate::store::read_root;
use crate::telemetry;
use crate::{Error, Kind, Options, Result};

/// What a handle has while it is the writer.
pub(crate) struct Writing {
    pub(crate) engine: Engine,
    pub(crate) epoch: Epoch,
    fence: OpenCounter,
    directory: Directory,
    /// Why this is the writer no longer, once that was found out.
    lost: OnceLock<(Kind, String)>,
    /// After the engine, because fields are dropped in order: nobody gets the lock while the file is being closed.
    lock: Mutex<Option<Held>>,
}

impl Writing {
    /// Takes the writer's lock, opens the file, recovering it if need be, and begins a new epoch.
    pub(crate) fn begin(
        directory: &Directory,
        options: &Options,
        instance: InstanceId,
        wait: Duration,
    ) -> Result<(Self, Root)> {
        if directory.card()?.is_none() && !options.create {
            return Err(missing(directory.root()));
        }
        let holder = options.identity.holder("writer", instance);
        let lock = directory.lock_for_writing(&holder, wait)?;
        let _beginning = telemetry::beginning_to_write(directory.root());
        // Somebody may have made the store while we waited.
        let card = directory.card()?;
        let engine = Engine::open(&directory.data(), options.engine.clone().create(card.is_none()))?;
        let snapshot = engine.snapshot()?;
        let root = match read_root(&snapshot)? {
            Some(root) => {
                check_end(&snapshot, &root)?;
                root
            }
            None if card.is_none() => create_root(&engine, options)?,
            None => return Err(Error::corrupt(format!("{} holds no store", directory.data().display()))),
        };
        drop(snapshot);
        if let Some(card) = card {
            check_identity(directory, card, &root)?;
        } else {
            // The card says that there is a store, so it must not outlast a name of the data that a power cut took back.
            cohab_fs::sync_dir(directory.root())?;
            directory.write_card(Card::new(root.store))?;
        }
        // What the last writer left behind may be visible without being durable.
        engine.sync()?;
        let fence = directory.fence();
        let (last, kept) = (root.epoch.get(), planted!(EpochKept) && fence.current()? > 0);
        let epoch = Epoch::new(if kept { fence.current()? } else { fence.advance(last)? });
        let fence = fence.open()?;
        let directory = directory.clone();
        let lock = Mutex::new(Some(lock));
        Ok((Self { engine, epoch, fence, directory, lost: OnceLock::new(), lock }, root))
    }

    /// Checks that this is still the writer, of the file that the store's name stands for.
    ///
    /// The lock alone says so, as long as the file system keeps its word and nobody moves files about. A commit to a
    /// file that was renamed over would return as if nothing had happened, and be lost.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_known()?;
        let lost = if self.engine.is_in_place()? {
            let (found, epoch) = (self.fence.current()?, self.epoch);
            let overtaken = || format!("a writer of epoch {found} has taken over from epoch {epoch}");
            (found > epoch.get() && !planted!(FenceUnchecked)).then(|| (Kind::Fenced, overtaken()))
        } else {
            Some((Kind::StoreReplaced, replaced(self.directory.root()).to_string()))
        };
        match lost {
            Some(lost) => {
                self.lost.get_or_init(|| lost);
                self.check_known()
            }
            None => Ok(()),
        }
    }

    /// Fails if it was found out before that this is the writer no longer.
    pub(crate) fn check_known(&self) -> Result<()> {
        let Some((kind, message)) = self.lost.get() else { return Ok(()) };
        Err(Error::new(*kind, message.clone()).hint("close the store and open it again"))
    }

    /// Reports a commit as one of unknown outcome, after which nothing more is committed until the file was reopened.
    pub(crate) fn unknown(&self, cause: Error) -> Error {
        self.engine.poison();
        Error::new(Kind::CommitUnknown, "it cannot be told whether the commit went to the store's own file")
            .hint("call `Store::reopen` and look")
            .source(cause)
    }

    /// Closes the file and lets others have the lock.
    pub(crate) fn end(&self) -> Result<()> {
        let closed = self.engine.close();
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(closed?)
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing")
            .field("epoch", &self.epoch)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}
