//! `cohab ps`

use clap::Args;
use cohab::{Instance, Registry};

use super::{Exit, Outcome};
use crate::instances::{Running, record};
use crate::session::Session;

/// List the instances that have the store open, the oldest first
///
/// An instance is listed for as long as its process lives, whatever it says about itself. Commands that are gone in
/// a moment are not listed. `snapshot_age_ms`, in a table `snapshot`, tells for how long the oldest snapshot that an
/// instance holds has kept the store's file from reusing space. `cache` is what it caches of values: its bytes, and how
/// its reads went, up to a second ago; in a table, `hits` is the part of the reads that the cache answered. `cohab ns stat`
/// tells it namespace by namespace. `plugins` are those that an instance runs, with the error of each that failed last.
#[derive(Debug, Args)]
pub(crate) struct Ps {}

impl Ps {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let Self {} = self;
        let instances = Registry::in_dir(session.directory()?).list().map_err(cohab::Error::from)?;
        let format = session.out.format();
        let running = running(session, &instances);
        let mut list = session.out.list(running.columns(), &["id", "role", "pid", "version"])?;
        for instance in &instances {
            list.push(&record(instance, &running, format))?;
        }
        list.finish()?;
        Ok(Exit::Done)
    }
}

/// Asks the store which plugins its writer runs. Not if it is stopped: that might take until it goes on, and whoever asks
/// wants to know just that.
#[cfg(feature = "scripts")]
fn running(session: &Session, instances: &[Instance]) -> Running {
    let is_running = instances.iter().any(|it| it.record.role == "writer" && !it.is_stopped);
    // Without plugins there is no such directory, and no need to open anything.
    if !is_running || !session.directory().is_ok_and(|path| path.join("plugins").is_dir()) {
        return Running::default();
    }
    let plugins = session.reader().and_then(|store| Ok(store.plugins().list()?));
    Running::new(plugins.unwrap_or_default())
}

#[cfg(not(feature = "scripts"))]
fn running(_session: &Session, _instances: &[Instance]) -> Running {
    Running::default()
}
