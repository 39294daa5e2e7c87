//! What is to be done to a store.

use std::ops::Bound;

use arbitrary::{Arbitrary, Result, Unstructured};

use crate::faults::Fault;
use crate::material::{Key, Namespace, Value};

/// How many actions one transaction has at most, and changes one batch.
const ACTIONS_MAX: usize = 12;

/// How many steps one run has at most, so that it ends in a fraction of a second.
const STEPS_MAX: usize = 64;

/// The input of one run.
#[derive(Clone, Debug, Arbitrary)]
pub struct Plan {
    /// How many versions the log keeps; all of them if nothing is said.
    pub(crate) retention: Option<u8>,
    /// What is done, in order.
    #[arbitrary(with = all)]
    pub(crate) steps: Vec<Step>,
}

/// One thing that is done to a store.
#[derive(Clone, Debug, Arbitrary)]
pub(crate) enum Step {
    /// A transaction of actions.
    Write {
        #[arbitrary(with = few)]
        actions: Vec<Action>,
        /// Whether the closure goes on after an action that failed, as if nothing had been.
        is_stubborn: bool,
        /// Whether the closure gives up at its end.
        gives_up: bool,
    },
    /// A batch with preconditions.
    Submit {
        #[arbitrary(with = few)]
        expectations: Vec<Expectation>,
        #[arbitrary(with = few)]
        changes: Vec<Change>,
    },
    /// Take a snapshot and keep it.
    Hold,
    /// Compare the oldest snapshot that is kept with the model of its time, and let go of it.
    Release,
    /// One step of maintenance.
    Maintain,
    /// Close the file and open it again under the same handle.
    Reopen,
    /// Drop the handle and open the store anew.
    Restart,
    /// Back the store up, make a store of the backup, and go on with that.
    Restore,
    /// Verify every page of the file.
    Check,
    /// Move the file's pages together.
    Compact,
    /// Look at the store through a reader's handle.
    ReadBeside,
    /// Look at it through a reader's handle that stays open.
    Read,
    /// Have a stand-by take the writer's role over.
    Succeed,
    /// Keep a version under a name, so many before the last.
    Keep { name: u8, back: u8 },
    /// Give a name up.
    Forget(u8),
    /// Read what was kept under a name.
    ReadKept(u8),
    /// Read a version that is so many before the last.
    Past(u8),
    /// Go back to a version that is so many before the last, as a whole or with one namespace.
    RollBack { back: u8, namespace: Option<Namespace> },
    /// Undo the last thing that destroyed something.
    Undo,
    /// Lead a replica to the last version by a delta.
    Replicate { is_complete: bool },
    /// Do something while the disk fails, or is looked at as it would be left by a crash.
    Under(Fault, Work),
}

/// What is done while something fails.
#[derive(Clone, Debug, Arbitrary)]
pub(crate) enum Work {
    Write(#[arbitrary(with = few)] Vec<Action>),
    Submit(#[arbitrary(with = few)] Vec<Change>),
    Maintain,
    Compact,
    Check,
    Keep { name: u8 },
    Reopen,
    Restart,
}

/// One thing that a transaction does.
#[derive(Clone, Debug, Arbitrary)]
pub(crate) enum Action {
    Put(Namespace, Key, Value),
    Delete(Namespace, Key),
    Create(Namespace),
    Ensure(Namespace),
    Update { namespace: Namespace, update: Update },
    Rename(Namespace, Namespace),
    Copy(Namespace, Namespace),
    Drop { namespace: Namespace, with_contents: bool },
    Undrop(Namespace),
    Purge(Namespace),
    Get(Namespace, Key),
    Range(Namespace, Bound<Key>, Bound<Key>),
    Prefix(Namespace, Key),
    Count(Namespace),
    Names,
}

/// A change of metadata.
#[derive(Clone, Debug, Arbitrary)]
pub(crate) struct Update {
    pub(crate) title: Option<u8>,
    pub(crate) label: Option<u8>,
    pub(crate) protected: Option<bool>,
    pub(crate) keeps_history: Option<bool>,
    /// How far from the true `meta_version` the one is that the update expects.
    pub(crate) expected: Option<Off>,
}

/// How far beside the truth an expectation lies; most often it does not.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(crate) struct Off(u8);

impl Off {
    pub(crate) fn by(self) -> u64 {
        u64::from(self.0.saturating_sub(0xF0))
    }
}

/// What a batch expects.
#[derive(Clone, Debug, Arbitrary)]
pub(crate) enum Expectation {
    Value(Namespace, Key, Value),
    /// The key has the value that it has; the empty one if it is not there.
    Unchanged(Namespace, Key),
    KeyVersion(Namespace, Key, Off),
    Absent(Namespace, Key),
    Present(Namespace, Key),
    DataVersion(Namespace, Off),
    MetaVersion(Namespace, Off),
    StoreVersion(Off),
}

impl Expectation {
    /// Returns the key that it is about.
    pub(crate) fn key(&self) -> Option<&Key> {
        match self {
            Self::Value(_, key, _)
            | Self::Unchanged(_, key)
            | Self::KeyVersion(_, key, _)
            | Self::Absent(_, key)
            | Self::Present(_, key) => Some(key),
            Self::DataVersion(..) | Self::MetaVersion(..) | Self::StoreVersion(_) => None,
        }
    }
}

/// What a batch does.
#[derive(Clone, Debug, Arbitrary)]
pub(crate) enum Change {
    Put(Namespace, Key, Value),
    PutCreating(Namespace, Key, Value),
    Delete(Namespace, Key),
}

/// Takes as many as the input has left. A list as it is usually made ends after every other element.
fn all<'a, T: Arbitrary<'a>>(input: &mut Unstructured<'a>) -> Result<Vec<T>> {
    let mut all = Vec::new();
    while !input.is_empty() && all.len() < STEPS_MAX {
        all.push(input.arbitrary()?);
    }
    Ok(all)
}

fn few<'a, T: Arbitrary<'a>>(input: &mut Unstructured<'a>) -> Result<Vec<T>> {
    let count = input.int_in_range(0..=ACTIONS_MAX)?;
    (0..count).map(|_| input.arbitrary()).collect()
}
