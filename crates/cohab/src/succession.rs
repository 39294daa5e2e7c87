//! Who writes next: standing by, taking over, handing over.
//!
//! A stand-by reads like any reader and tries the writer's lock, which the kernel releases when the writer ends,
//! however it ends. A stand-by that does not want to wait holds the *hand-over lock*: the writer looks at that now
//! and then, finishes what it is at, and steps down; other stand-bys do not compete while it is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cohab_coord::Publication;
use cohab_core::limits::STANDBY_TICK;
use cohab_core::{Epoch, Version};
use cohab_engine::Engine;

use crate::directory::Directory;
use crate::guard;
use crate::role::RoleChange;
use crate::store::{Inner, Store};
use crate::telemetry;
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
        if inner.writing.load().is_some() {
            return Ok(());
        }
        let deadline = Instant::now().checked_add(wait);
        let holder = inner.options.identity.holder("successor", inner.instance);
        // So that this handle, once it writes, does not take its own request for another's.
        let _asking = Asking::begin(&inner.asking);
        let _taking_over = telemetry::taking_over(inner);
        let asked = directory.handover_lock().acquire(&holder, wait)?;
        let epoch = loop {
            match inner.begin_writing() {
                Ok(epoch) => break epoch,
                Err(error) if error.kind() == Kind::Busy => {
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
            std::thread::sleep(STANDBY_TICK / 4);
        };
        drop(asked);
        inner.promoted(epoch);
        Ok(())
    }

    /// Stops being the writer, after the transaction at work, and goes on as a reader. A handle that was opened as a
    /// stand-by stands by again, and leaves precedence to others for a moment.
    ///
    /// Snapshots that the handle took as the writer may report [`Kind::Closed`] from then on.
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
    fn take_over(&self) -> Result<()> {
        let _taking_over = telemetry::taking_over(self);
        let epoch = self.begin_writing()?;
        self.promoted(epoch);
        Ok(())
    }

    /// Tells that the handle is the writer now, outside the turn, so that whoever hears of it can write.
    fn promoted(&self, epoch: Option<Epoch>) {
        if let Some(epoch) = epoch {
            self.update_record();
            self.tell(&RoleChange::Promoted { epoch });
        }
    }

    /// Returns the new epoch, or `None` if the handle was the writer already.
    fn begin_writing(&self) -> Result<Option<Epoch>> {
        let _turn = self.queue.turn()?;
        if self.writing.load().is_some() {
            return Ok(None);
        }
        let _watched = self.commits.wait();
        let directory = self.directory.as_ref().ok_or(cohab_engine::Error::ReadOnly)?;
        let mut options = self.options.clone();
        options.create = false;
        let (writing, root) = Writing::begin(directory, &options, self.instance, Duration::ZERO)?;
        let epoch = writing.epoch;
        // While nobody takes a snapshot: one that was taken just before, and is compared with what was shown just after, would be
        // older than that and look like a store that was put back from a copy.
        let writing = Arc::new(writing);
        let begun = self.change_source(|| {
            if root.store != self.id || root.version < self.seen() {
                return Err(crate::latest::replaced(&self.path));
            }
            self.check_lineage(&writing.engine.snapshot()?, &root)?;
            self.set_durable(root.version);
            self.writing.store(Some(writing.clone()));
            Ok(())
        });
        if let Err(error) = begun {
            writing.end()?;
            return Err(error);
        }
        self.announce(root.version);
        if let Err(error) = guard::begin_writing(self) {
            self.end_writing()??;
            return Err(error);
        }
        Ok(Some(epoch))
    }

    pub(crate) fn step_down(&self) -> Result<()> {
        self.step_down_if(|| true)
    }

    /// Steps down because somebody asked for it, if he still does once the transaction at work is over.
    pub(crate) fn hand_over(&self) {
        // A failure is the application's to find, with its next write; there is nobody here to tell.
        let _ = self.step_down_if(|| self.is_asked_to_hand_over());
    }

    fn step_down_if(&self, is_wanted: impl FnOnce() -> bool) -> Result<()> {
        self.check_process()?;
        let ended = {
            let _turn = self.queue.last_turn()?;
            if !is_wanted() {
                return Ok(());
            }
            self.end_writing()?
        };
        self.update_record();
        self.tell(&RoleChange::SteppedDown { role: self.role() });
        ended
    }

    /// Returns how closing the file went, once the handle is no longer the writer.
    fn end_writing(&self) -> Result<Result<()>> {
        let Some(writing) = self.writing.load_full() else {
            return Err(cohab_engine::Error::ReadOnly.into());
        };
        let _watched = self.commits.wait();
        // First the way to read on, so that there is no moment without one.
        let directory = self.directory.as_ref().ok_or(cohab_engine::Error::ReadOnly)?;
        if self.reading.load().is_none() {
            let engine = Engine::open_reader(&directory.data(), self.options.engine.clone())?;
            self.reading.store(Some(Arc::new(engine)));
        }
        self.rest();
        Ok(self.change_source(|| {
            self.writing.store(None);
            writing.end()
        }))
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
            && !self.options.is_exclusive
            && self.asking.load(Ordering::Acquire) == 0
            && self.writing.load().is_some()
            && self.directory.as_ref().is_some_and(is_asked)
    }

    fn tell(&self, change: &RoleChange) {
        telemetry::role_changed(self, change);
        if let Some(on_role) = &self.options.on_role {
            on_role(change);
        }
    }
}

/// A request for the writer's role, for as long as this lives.
struct Asking<'a>(&'a AtomicUsize);

impl<'a> Asking<'a> {
    fn begin(asking: &'a AtomicUsize) -> Self {
        asking.fetch_add(1, Ordering::AcqRel);
        Self(asking)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
