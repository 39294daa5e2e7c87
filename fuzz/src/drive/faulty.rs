//! Doing something while the disk fails, or is looked at as a crash would leave it.

use std::fs;

use cohab::{Batch, Error, Kind, Role, Store};

use super::{Driver, act, open, update_of};
use crate::Model;
use crate::compare::verify;
use crate::faults::{Fault, Faults};
use crate::files::{make_dir, remove_dir, write_file};
use crate::plan::{Change, Work};

impl Driver {
    /// Does something under a fault. Whatever becomes of it, the store is as it was before or as it should be after.
    pub(super) fn under(&mut self, fault: Fault, work: &Work) {
        let before = self.model.clone();
        let after = match work {
            Work::Write(actions) => {
                let mut trial = before.begin();
                for action in actions {
                    let _ = trial.act(action);
                }
                finished(&before, trial)
            }
            Work::Submit(changes) => {
                let mut trial = before.begin();
                let is_done = trial.submit(changes).is_ok();
                if is_done { finished(&before, trial) } else { before.clone() }
            }
            _ => before.clone(),
        };
        self.faults.plan(fault);
        let outcome = self.work(work, &before);
        // Until it is known what became of it, what is read is what was acknowledged, or nothing.
        if outcome.is_err()
            && let Ok(snapshot) = self.store.snapshot()
        {
            before.compare(&snapshot);
        }
        if let Some(picture) = self.faults.heal() {
            self.open_picture(&picture, &before, &after);
        }
        if outcome.is_ok() {
            self.model = after;
        } else {
            let version = self.store.reopen().expect("everything works again");
            assert!(version == before.version || version == after.version, "it is at {version}");
            self.model = if version == before.version { before } else { after };
            self.forget_held();
        }
        if let Work::Keep { name } = work {
            // It is there or not.
            let found = self.snapshot().named_snapshots().expect("the store is sound");
            let name = name % super::past::NAMES;
            let kept = found.iter().find(|known| known.name.as_str() == super::past::name(name));
            match kept {
                Some(known) => _ = self.kept.insert(name, known.kept.version),
                None => _ = self.kept.remove(&name),
            }
        }
    }

    /// Returns an error if the store has to be opened again.
    fn work(&mut self, work: &Work, before: &Model) -> Result<(), Error> {
        match work {
            Work::Write(actions) => {
                let mut trial = before.begin();
                let written = self.store.write(|tx| {
                    for action in actions {
                        let update = update_of(&trial, action);
                        // One that is refused changes nothing; one that the disk fails ends it all.
                        if let Err(error) = act(tx, action, &update)
                            && trial.act(action).map(drop) != Err(error.kind())
                        {
                            return Err(error);
                        }
                        let _ = trial.act(action);
                    }
                    Ok(())
                });
                written.map(drop)
            }
            Work::Submit(changes) => match self.store.submit(batch(changes)) {
                Err(error) if before.begin().submit(changes) == Err(error.kind()) => Ok(()),
                other => other.map(drop),
            },
            Work::Maintain => self.store.maintain().map(drop),
            Work::Compact => match self.store.compact() {
                Err(error) if error.kind() == Kind::InUse => Ok(()),
                other => other.map(drop),
            },
            Work::Check => match self.store.check() {
                Err(error) if error.kind() == Kind::InUse => Ok(()),
                other => other.map(drop),
            },
            Work::Keep { name } => {
                match self.store.create_snapshot(super::past::name(*name), None, "under a fault") {
                    Err(error) if error.kind() == Kind::Exists => Ok(()),
                    other => other.map(drop),
                }
            }
            Work::Reopen => {
                let reopened = self.store.reopen().map(drop);
                self.forget_held();
                reopened
            }
            Work::Restart => {
                let path = self.store.path().to_owned();
                let nowhere = Store::options().role(Role::Reader).open(&path)?;
                drop(std::mem::replace(&mut self.store, nowhere));
                // What closing met is over; opening is to work.
                if let Some(picture) = self.faults.heal() {
                    self.open_picture(&picture, before, before);
                }
                self.store = open(&path, self.retention, &self.faults);
                self.forget_held();
                Ok(())
            }
        }
    }

    /// Opens what a crash would have left.
    fn open_picture(&self, picture: &[u8], before: &Model, after: &Model) {
        let path = self.path("crashed");
        make_dir(&path);
        let card = fs::read(self.store.path().join("store.json")).expect("there is a card");
        write_file(&path.join("store.json"), &card);
        write_file(&path.join("store.redb"), picture);
        let store = open(&path, self.retention, &Faults::default());
        let snapshot = store.snapshot().expect("a snapshot can be taken");
        let version = snapshot.version();
        let expected = if version == before.version { before } else { after };
        expected.compare(&snapshot);
        verify(&snapshot);
        drop((snapshot, store));
        remove_dir(&path);
    }
}

/// What is there after a transaction that may have changed nothing.
fn finished(before: &Model, trial: Model) -> Model {
    let mut after = before.clone();
    after.commit(trial);
    after
}

fn batch(changes: &[Change]) -> Batch {
    changes.iter().fold(Batch::new(), |batch, change| change.add_to(batch))
}
