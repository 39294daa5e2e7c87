//! `cohab plugin reload`

use clap::Args;
use cohab::ReloadPlugin;

use crate::commands::{Exit, Outcome};
use crate::session::Session;
use crate::terminal::Record;

/// Load a plugin's files as they are now, in either mode, and take them into service if they differ
///
/// `new` tells whether they did. If they are not fit for service, exit code 2, and what was in service is so still.
#[derive(Debug, Args)]
pub(super) struct Reload {
    /// The plugin
    name: String,
    /// Grant what the files ask for beyond what was granted before
    #[arg(long)]
    grant: bool,
    /// Show the plugin everything that is there, as when it was added
    #[arg(long)]
    rescan: bool,
}

impl Reload {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let mut options = ReloadPlugin::new();
        if self.grant {
            options = options.grant();
        }
        if self.rescan {
            options = options.rescan();
        }
        let done = session.writer()?.plugins().reload(&self.name, options)?;
        let (generation, is_new) = done.value;
        let record = Record::new()
            .with("version", done.version)
            .with("plugin", self.name)
            .with("generation", generation)
            .with("new", is_new);
        session.out.record(&record)?;
        Ok(Exit::Done)
    }
}
