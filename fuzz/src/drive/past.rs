//! Reading the past, and going back to it.

use cohab::{Kind, Version};

use super::Driver;
use crate::compare::{compare_values, verify};
use crate::material::Namespace;

/// How many names there are for snapshots.
pub(super) const NAMES: u8 = 4;

pub(super) fn name(number: u8) -> String {
    format!("kept-{}", number % NAMES)
}

impl Driver {
    fn before(&self, back: u8) -> Version {
        Version::new(self.model.version.get().saturating_sub(back.into()))
    }

    pub(super) fn keep(&mut self, number: u8, back: u8) {
        let version = self.before(back);
        let oldest = self.snapshot().oldest_readable();
        let kept = self.store.create_snapshot(name(number), Some(version), "a note");
        match kept.map_err(|error| error.kind()) {
            Ok(kept) => {
                assert_eq!(kept, version);
                assert_eq!(self.kept.insert(number % NAMES, version), None, "the name was taken");
            }
            Err(Kind::Exists) => assert!(self.kept.contains_key(&(number % NAMES))),
            Err(kind) => assert!(kind == Kind::TooOld && version < oldest, "{kind:?}"),
        }
    }

    pub(super) fn forget(&mut self, number: u8) {
        let dropped = self.store.drop_snapshot(name(number)).map_err(|error| error.kind());
        let expected = self.kept.remove(&(number % NAMES));
        assert_eq!(dropped, expected.ok_or(Kind::NotFound));
    }

    pub(super) fn read_kept(&mut self, number: u8) {
        let snapshot = self.snapshot();
        let found = snapshot.at_named(name(number));
        let Some(version) = self.kept.get(&(number % NAMES)) else {
            return assert_eq!(found.map(drop).map_err(|error| error.kind()), Err(Kind::NotFound));
        };
        // Nothing lapses by itself here: the log is far from its bound.
        self.past[version].compare_past(&found.expect("it is kept"), &self.model);
    }

    pub(super) fn read_past(&mut self, back: u8) {
        let (snapshot, version) = (self.snapshot(), self.before(back));
        match snapshot.at(version) {
            Ok(past) => {
                assert!(version >= snapshot.oldest_readable());
                self.past[&version].compare_past(&past, &self.model);
                verify(&past);
            }
            Err(error) => {
                assert!(error.kind() == Kind::TooOld && version < snapshot.oldest_readable(), "{error}");
            }
        }
    }

    pub(super) fn roll_back(&mut self, back: u8, namespace: Option<Namespace>) {
        let to = self.before(back);
        let rolled_back = self.store.write(|tx| match namespace {
            Some(namespace) => tx.rollback_namespace(namespace.name(), to).map(drop),
            None => tx.rollback(to).map(drop),
        });
        if let Err(error) = rolled_back {
            let kinds = [Kind::NotFound, Kind::TooOld, Kind::NoHistory, Kind::Conflict, Kind::Exists];
            return assert!(kinds.contains(&error.kind()), "{:?}: {error}", error.kind());
        }
        let snapshot = self.snapshot();
        match namespace {
            Some(namespace) => {
                let id = self.model.live[&namespace.name()].id;
                let spaces =
                    self.past[&to].live.values().chain(self.past[&to].trash.iter().map(|(_, it)| it));
                let space = spaces.into_iter().find(|space| space.id == id).expect("it was there");
                compare_values(&snapshot, space);
            }
            None => self.past[&to].compare_values(&snapshot),
        }
        self.adopt();
    }

    pub(super) fn undo(&mut self) {
        match self.store.write(|tx| tx.undo().map(drop)) {
            Ok(_) => self.adopt(),
            Err(error) => {
                let kinds = [Kind::NotFound, Kind::TooOld, Kind::NoHistory, Kind::Conflict, Kind::Exists];
                assert!(kinds.contains(&error.kind()), "{:?}: {error}", error.kind());
            }
        }
    }

    /// Goes on with what the store holds now. That the log says the same is looked at after the step.
    fn adopt(&mut self) {
        let snapshot = self.snapshot();
        verify(&snapshot);
        assert!(snapshot.version() <= self.model.version.next());
        self.model = self.model.adopt(&snapshot);
    }
}
