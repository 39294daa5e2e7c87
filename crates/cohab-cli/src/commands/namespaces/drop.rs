//! `cohab ns drop`, `cohab ns undrop` and `cohab ns purge`

use std::ffi::OsString;

use clap::Args;
use cohab::{DropMode, Kind, NamedSnapshot, Operation};

use super::committed;
use crate::arguments::name;
use crate::commands::{Exit, Outcome};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::{Session, write};
use crate::terminal::Record;

/// Drop a namespace into the trash, from where `undrop` brings it back
///
/// Refused for one that is protected, and without --force for one that holds keys. `cohab undo` brings it back, too, for
/// as long as this is the last thing to be undone; `snapshot` is what it goes back to.
#[derive(Debug, Args)]
pub(super) struct Drop {
    /// The namespace
    name: OsString,
    /// Also if it holds keys, with all of them
    #[arg(long)]
    force: bool,
}

impl Drop {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let name = name(&self.name)?;
        let mode = if self.force { DropMode::WithContents } else { DropMode::IfEmpty };
        let store = session.writer()?;
        let done = write(&store, "cohab ns drop", |tx| {
            let is_protected = tx.namespace_info(&name)?.protected;
            tx.drop_namespace(&name, mode).map_err(|error| match error.kind() {
                Kind::Conflict if is_protected => Failure::from(error)
                    .hint(format!("`cohab ns set {name} --unprotect` removes the protection")),
                Kind::Conflict => Failure::from(error).hint(format!(
                    "`--force` drops it with its keys; `cohab undo`, or `cohab ns undrop {name}`, brings it back"
                )),
                _ => error.into(),
            })
        })?;
        let all = store.snapshot()?.named_snapshots()?;
        let is_it = |known: &&NamedSnapshot| {
            let safety = known.kept.as_safety().filter(|safety| safety.operation == Operation::Drop);
            safety.is_some() && known.kept.version.next() == done.version
        };
        let snapshot = all.iter().find(is_it).map(|known| known.name.as_str());
        session.out.record(&Record::new().with("version", done.version).with("snapshot", snapshot))?;
        Ok(Exit::Done)
    }
}

/// Bring back the namespace of that name that was dropped last, as it was
#[derive(Debug, Args)]
pub(super) struct Undrop {
    /// The name it had
    name: OsString,
}

impl Undrop {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let name = name(&self.name)?;
        let done = write(&session.writer()?, "cohab ns undrop", |tx| Ok(tx.undrop_namespace(&name)?))?;
        committed(session, done.version)
    }
}

/// Give up, for good, the namespace of that name that was dropped last
///
/// Its keys are removed in bounded steps. Should this be interrupted, the namespace is gone and the rest is removed
/// later, by `cohab doctor --repair` at the latest.
#[derive(Debug, Args)]
pub(super) struct Purge {
    /// The name it had
    name: OsString,
}

impl Purge {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let name = name(&self.name)?;
        let done = session.writer()?.purge(&name, |_| interrupt::check_in_callback())?;
        session.out.record(&Record::new().with("version", done.version).with("keys", done.value))?;
        Ok(Exit::Done)
    }
}
