//! `cohab rollback` and `cohab ns rollback`

use std::ffi::OsString;

use clap::Args;
use cohab::{Committed, RolledBack};

use super::{Exit, Outcome};
use crate::arguments::name;
use crate::moment::Moment;
use crate::session::Session;
use crate::terminal::Record;

/// Bring the whole store back to what it was: data, names, and what is said of namespaces
///
/// This is a new version, which has the old ones before it and can itself be undone with `cohab undo`. Namespaces that
/// were made since are dropped into the trash; those that were dropped come back. Refused with exit code 8 if a
/// namespace would go that is protected, and with 7 if the log does not know any more what there was.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The version to go back to: a number, a snapshot `@NAME`, or a time
    #[arg(long, value_name = "VERSION", allow_negative_numbers = true)]
    to: Moment,
}

impl Rollback {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let store = session.writer()?;
        let to = self.to.version(&store.snapshot()?)?;
        let done = store.write(|tx| tx.rollback(to))?;
        rolled_back(session, &done)
    }
}

/// Bring the data of a namespace back to what it was
///
/// This is a new version, which has the old ones before it and can itself be undone with `cohab undo`. What is said of
/// the namespace stays as it is, its name included. Refused with exit code 7 if the log does not know any more what
/// there was.
#[derive(Debug, Args)]
pub(super) struct RollbackOne {
    /// The namespace
    name: OsString,
    /// The version to go back to: a number, a snapshot `@NAME`, or a time
    #[arg(long, value_name = "VERSION", allow_negative_numbers = true)]
    to: Moment,
}

impl RollbackOne {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let name = name(&self.name)?;
        let store = session.writer()?;
        let to = self.to.version(&store.snapshot()?)?;
        let done = store.write(|tx| tx.rollback_namespace(&name, to))?;
        rolled_back(session, &done)
    }
}

fn rolled_back(session: &mut Session, done: &Committed<RolledBack>) -> Outcome {
    let RolledBack { changes, namespaces, snapshot, .. } = &done.value;
    let record = Record::new()
        .with("version", done.version)
        .with("changes", *changes)
        .with("namespaces", *namespaces)
        .with("snapshot", snapshot.as_str());
    session.out.record(&record)?;
    Ok(Exit::Done)
}
