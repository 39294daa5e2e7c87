//! `cohab reap`

use clap::Args;
use cohab::Registry;

use super::{Exit, Outcome};
use crate::instances::{Running, record};
use crate::session::Session;

/// Remove what instances that died have left behind, and list them
///
/// That is their entries, and their temporary directories. Nothing of an instance that lives is touched, stopped
/// or not, and nothing breaks if this is never run.
#[derive(Debug, Args)]
pub(crate) struct Reap {}

impl Reap {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let Self {} = self;
        let reaped = Registry::in_dir(session.directory()?).reap().map_err(cohab::Error::from)?;
        let format = session.out.format();
        let mut list = session.out.list(Running::default().columns(), &["id", "role", "pid", "version"])?;
        for instance in &reaped.instances {
            list.push(&record(instance, &Running::default(), format))?;
        }
        list.finish()?;
        match reaped.failures.into_iter().next() {
            Some(failure) => Err(cohab::Error::from(failure).into()),
            None => Ok(Exit::Done),
        }
    }
}
