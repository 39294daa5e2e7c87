//! What somebody was told during a session, and what therefore has to hold after a power cut.

use std::collections::{BTreeMap, HashMap};

use super::trace::Op;

/// Which store of a session is meant: its directory's name.
pub(super) type Which = &'static str;

/// Something that was told while the session ran.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Promise {
    /// A commit returned `Ok`, or a reader has shown the version.
    Version(Which, u64),
    /// The store was opened for writing in this epoch.
    Epoch(Which, u64),
    /// A named lock was handed out with this token.
    Token(Which, &'static str, u64),
    /// The replica was said to hold this version of its source.
    Position(Which, u64),
    /// A copy of the store was made, in a file of this name, at this version.
    Backup(&'static str, u64),
    /// A step of the session is over, and no commit is under way. The store is at this version.
    Rest(Which, u64),
}

/// All that was promised up to a point.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub(super) struct Promises {
    pub(super) versions: BTreeMap<Which, u64>,
    pub(super) epochs: BTreeMap<Which, u64>,
    pub(super) tokens: BTreeMap<(Which, &'static str), u64>,
    pub(super) positions: BTreeMap<Which, u64>,
    pub(super) backups: BTreeMap<&'static str, u64>,
}

impl Promises {
    /// Adds one; versions and the like only grow.
    pub(super) fn add(&mut self, promise: &Promise) {
        fn raise<K: Ord>(map: &mut BTreeMap<K, u64>, key: K, to: u64) {
            let number = map.entry(key).or_default();
            *number = (*number).max(to);
        }
        match *promise {
            Promise::Version(which, version) => raise(&mut self.versions, which, version),
            Promise::Epoch(which, epoch) => raise(&mut self.epochs, which, epoch),
            Promise::Token(which, lock, token) => raise(&mut self.tokens, (which, lock), token),
            Promise::Position(which, version) => raise(&mut self.positions, which, version),
            Promise::Backup(name, version) => _ = self.backups.insert(name, version),
            Promise::Rest(..) => {}
        }
    }
}

/// For each operation and store, the last version that may be there if the world stops then: the one at the end of the step.
pub(super) fn ceilings(ops: &[Op]) -> Vec<HashMap<Which, u64>> {
    let mut all = vec![HashMap::new(); ops.len()];
    let mut ceiling: HashMap<Which, u64> = HashMap::new();
    for (index, op) in ops.iter().enumerate().rev() {
        if let &Op::Promise(Promise::Rest(which, version)) = op {
            ceiling.insert(which, version);
        }
        all[index].clone_from(&ceiling);
    }
    all
}
