//! Who writes next: standing by, taking over, handing over.
//!
//! A stand-by reads like any reader and tries the writer's lock, which the kernel releases when the writer ends,
//! however it ends. A stand-by that does not want to wait holds the *hand-over lock*: the writer looks at that now
//! and then, finishes what it is at, and steps down; other stand-bys do not compete while it is held.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cohab_coord::Publication;
use cohab_core::limits::STANDBY_TICK;
use cohab_core::{Epoch, Version};
use cohab_engine::Engine;

use crate::directory::Directory;
use crate::role::RoleChange;
use crate::store::{Inner, Store};
use crate::writing::Writing;
use crate::{Error, Kind, Result, Role};

impl Store {
    /// Becomes the writer: asks the present one to hand over, and waits until it has.
    ///
    /// The writer finishes the transaction it is at, closes the file and stands by or reads from then on. A writer
    /// that was opened with [`Options::hand_over`](crate::Options::hand_over) off does not listen, and a stopped one
    /// cannot: nothing is taken from it. Returns at once on a handle that is the writer.
    ///
    /// # Errors
    ///
    /// [`Kind::Busy`] with the writer if it has not handed over in time; [`Kind::ReadOnly`] for a plain reader.
    pub fn promote(&self, wait: Duration) -> Result<()> {
        let inner = &*self.inner;
        inner.check_process()?;
        let directory = match (&inner.directory, inner.options.role) {
            (Some(directory), role) if role != Role::Reader => directory,
            _ => return Err(Error::from(cohab_engine::Error::ReadOnly).hint("open it as a stand-by")),
        };
        let deadline = Instant::now().checked_add(wait);
        let holder = inner.options.identity.holder("successor", inner.instance);
        let asking = directory.handover_lock().acquire(&holder, wait)?;
        loop {
            match inner.take_over() {
                Ok(()) => break,
                Err(error) if error.kind() == Kind::Busy => {
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
            std::thread::sleep(STANDBY_TICK / 4);
        }
        drop(asking);
        Ok(())
    }

    /// Stops being the writer, after the transaction at work, and goes on as a reader. A handle that was opened as a
    /// stand-by stands by again, and leaves precedence to others for a moment.
    ///
    /// Snapshots that the handle took as the writer report [`Kind::Closed`] from then on.
    ///
    /// # Errors
    ///
    /// [`Kind::ReadOnly`] on a handle that is not the writer.
    pub fn step_down(&self) -> Result<()> {
        self.inner.step_down()
    }
}

impl Inner {
    /// Tries to become the writer.
    pub(crate) fn take_over(&self) -> Result<()> {
        // Told outside the turn, so that whoever hears of it can write.
        if let Some(epoch) = self.begin_writing()? {
            self.update_record();
            self.tell(&RoleChange::Promoted { epoch });
        }
        Ok(())
    }

    fn begin_writing(&self) -> Result<Option<Epoch>> {
        let _turn = self.queue.turn();
        if self.writing.load().is_some() {
            return Ok(None);
        }
        let directory = self.directory.as_ref().ok_or(cohab_engine::Error::ReadOnly)?;
        let mut options = self.options.clone();
        options.create = false;
        let (writing, root) = Writing::begin(directory, &options, self.instance, Duration::ZERO)?;
        let epoch = writing.epoch;
        if root.store != self.id || root.version < self.seen() {
            writing.end()?;
            return Err(crate::latest::replaced(&self.path));
        }
        self.note_durable(root.version);
        self.change_source(|| self.writing.store(Some(Arc::new(writing))));
        self.announce(root.version);
        Ok(Some(epoch))
    }

    pub(crate) fn step_down(&self) -> Result<()> {
        self.check_process()?;
        self.queue.last_turn(|| self.end_writing())?;
        self.update_record();
        self.tell(&RoleChange::SteppedDown { role: self.role() });
        Ok(())
    }

    fn end_writing(&self) -> Result<()> {
        let Some(writing) = self.writing.load_full() else {
            return Err(cohab_engine::Error::ReadOnly.into());
        };
        // First the way to read on, so that there is no moment without one.
        let directory = self.directory.as_ref().ok_or(cohab_engine::Error::ReadOnly)?;
        if self.reading.load().is_none() {
            let engine = Engine::open_reader(&directory.data(), self.options.engine.clone())?;
            self.reading.store(Some(Arc::new(engine)));
        }
        self.rest();
        self.change_source(|| {
            self.writing.store(None);
            writing.end()
        })
    }

    /// Makes known that this handle is the writer.
    pub(crate) fn announce(&self, version: Version) {
        if let (Some(coordination), Some(writing)) = (&self.coordination, self.writing.load_full()) {
            let publication = Publication { version, epoch: writing.epoch };
            coordination.begin(publication, self.options.snapshot_age_max);
        }
        self.ages.set_max(self.options.snapshot_age_max);
    }

    /// Takes over if nobody writes and nobody has precedence. Called again and again by a stand-by's keeper.
    pub(crate) fn try_to_succeed(&self) {
        let Some(directory) = &self.directory else { return };
        if self.is_resting() || directory.writer_lock().is_held() || directory.handover_lock().is_held() {
            return;
        }
        match self.take_over() {
            Ok(()) => {}
            Err(error) if error.kind() == Kind::Busy => {}
            Err(error) => {
                self.rest();
                self.tell(&RoleChange::TakeOverFailed(error));
            }
        }
    }

    /// Returns whether somebody asks the handle, which is the writer, to hand over.
    pub(crate) fn is_asked_to_hand_over(&self) -> bool {
        let is_asked = |directory: &Directory| directory.handover_lock().is_held();
        self.options.hands_over
            && self.writing.load().is_some()
            && self.directory.as_ref().is_some_and(is_asked)
    }

    fn tell(&self, change: &RoleChange) {
        if let Some(on_role) = &self.options.on_role {
            on_role(change);
        }
    }
}
