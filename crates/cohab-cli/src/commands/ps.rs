//! `cohab ps`

use clap::Args;
use cohab::Registry;

use super::{Exit, Outcome};
use crate::instances::{COLUMNS, record};
use crate::session::Session;

/// List the instances that have the store open, the oldest first
///
/// An instance is listed for as long as its process lives, whatever it says about itself. Commands that are gone in
/// a moment are not listed. `snapshot_age_ms`, in a table `snapshot`, tells for how long the oldest snapshot that an
/// instance holds has kept the store's file from reusing space. `cache` is what it caches of values: its bytes, and how
/// its reads went, up to a second ago; in a table, `hits` is the part of the reads that the cache answered. `cohab ns stat`
/// tells it namespace by namespace.
#[derive(Debug, Args)]
pub(crate) struct Ps {}

impl Ps {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let Self {} = self;
        let instances = Registry::in_dir(session.directory()?).list().map_err(cohab::Error::from)?;
        let format = session.out.format();
        let mut list = session.out.list(COLUMNS, &["id", "role", "pid", "version"])?;
        for instance in &instances {
            list.push(&record(instance, format))?;
        }
        list.finish()?;
        Ok(Exit::Done)
    }
}
