//! Other handles of the store, and another store that follows it.

use std::time::Duration;

use cohab::{DeltaKind, Kind, Role, Store, Version};

use super::{Driver, options};
use crate::compare::verify;
use crate::faults::Faults;
use crate::files::remove_dir;

impl Driver {
    /// Looks at the store through a reader that stays open: it sees what was committed when it looks.
    pub(super) fn read(&mut self) {
        let path = self.store.path().to_owned();
        let reader = self.reader.get_or_insert_with(|| {
            let options = Store::options().role(Role::Reader).cache_bytes(1 << 20);
            options.open(path).expect("the store can be read beside its writer")
        });
        self.model.compare(&reader.snapshot().expect("a snapshot can be taken"));
    }

    /// Has another handle become the writer, which goes on from where this one stood.
    pub(super) fn succeed(&mut self) {
        let options = options(self.retention, &self.faults).role(Role::Standby);
        let standby = options.open(self.store.path()).expect("a stand-by can be opened");
        self.model.compare(&standby.snapshot().expect("a snapshot can be taken"));
        let refused = standby.write(|tx| tx.put("a", "k", "v")).map_err(|error| error.kind());
        assert_eq!(refused.map(drop), Err(Kind::Busy), "there is a writer");
        let epoch = self.store.epoch().expect("it is the writer");
        self.store.step_down().expect("it is the writer");
        standby.promote(Duration::from_secs(10)).expect("nobody else is there");
        assert!(standby.epoch() > Some(epoch), "the next writer has a later epoch");
        let stepped_down = std::mem::replace(&mut self.store, standby);
        self.model.compare(&stepped_down.snapshot().expect("it reads on"));
        let refused = stepped_down.write(|tx| tx.put("a", "k", "v")).map_err(|error| error.kind());
        // One that was a stand-by once stands by again.
        assert!(
            matches!(refused, Err(Kind::ReadOnly | Kind::Busy)),
            "it is the writer no longer: {refused:?}"
        );
        self.forget_held();
    }

    /// Leads the replica to where the store is, from where it is.
    pub(super) fn replicate(&mut self, is_complete: bool) {
        if self.replica.is_none() {
            let path = self.path("replica");
            if path.exists() {
                // Of a store that was.
                remove_dir(&path);
            }
            let options = options(self.retention, &Faults::default());
            self.replica = Some(options.open(path).expect("a store can be made"));
        }
        let replica = self.replica.as_ref().expect("was just made");
        let at = replica.snapshot().expect("a snapshot can be taken");
        let from = at.upstream().map_or(Version::ZERO, |upstream| upstream.version);
        let kind = if is_complete { DeltaKind::Complete } else { DeltaKind::Coalesced };
        let snapshot = self.snapshot();
        let applied = match snapshot.delta(from, kind) {
            Ok(delta) => replica.apply(&delta),
            Err(error) => {
                let is_known = matches!(error.kind(), Kind::TooOld | Kind::NoHistory);
                assert!(is_known, "{:?}: {error}", error.kind());
                assert!(error.kind() == Kind::TooOld || is_complete, "a coalesced delta takes all along");
                let whole = snapshot.delta(Version::ZERO, DeltaKind::Coalesced);
                replica.reset(&whole.expect("what is there can be told"))
            }
        };
        let is_there = from == snapshot.version() && at.upstream().is_some();
        match applied {
            Ok(_) => {}
            Err(error) => assert!(is_there && error.kind() == Kind::AlreadyApplied, "{error}"),
        }
        let replicated = replica.snapshot().expect("a snapshot can be taken");
        self.model.compare_values(&replicated);
        verify(&replicated);
    }
}
