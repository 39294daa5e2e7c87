//! `cohab ns rename` and `cohab ns copy`

use std::ffi::OsString;

use clap::Args;

use super::committed;
use crate::arguments::name;
use crate::commands::Outcome;
use crate::session::{Session, write};

/// Give a namespace another name
///
/// Its identity, data and past stay. Takes the same time at any size.
#[derive(Debug, Args)]
pub(super) struct Rename {
    /// The name it has
    from: OsString,
    /// The name it gets, which must be free
    to: OsString,
}

impl Rename {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let (from, to) = (name(&self.from)?, name(&self.to)?);
        let done = write(&session.writer()?, "cohab ns rename", |tx| Ok(tx.rename_namespace(&from, &to)?))?;
        committed(session, done.version)
    }
}

/// Copy a namespace with its data and description into a new one, atomically
///
/// Protection is not copied.
#[derive(Debug, Args)]
pub(super) struct Copy {
    /// The namespace to copy
    from: OsString,
    /// The name of the copy, which must be free
    to: OsString,
}

impl Copy {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let (from, to) = (name(&self.from)?, name(&self.to)?);
        let done = write(&session.writer()?, "cohab ns copy", |tx| Ok(tx.copy_namespace(&from, &to)?))?;
        committed(session, done.version)
    }
}
