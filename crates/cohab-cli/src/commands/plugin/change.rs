//! `cohab plugin remove`, `enable`, `disable` and `mode`

use clap::Args;

use super::Mode;
use super::status::changed;
use crate::commands::{Exit, Outcome};
use crate::session::Session;
use crate::terminal::Record;

/// Remove a plugin, with its state
#[derive(Debug, Args)]
pub(super) struct Remove {
    /// The plugin
    name: String,
    /// Keep its state for when it is added again
    #[arg(long)]
    keep_state: bool,
}

impl Remove {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let version = session.writer()?.plugins().remove(&self.name, self.keep_state)?;
        session.out.record(&Record::new().with("version", version).with("plugin", self.name))?;
        Ok(Exit::Done)
    }
}

/// Have a plugin called again; it goes on where it was
#[derive(Debug, Args)]
pub(super) struct Enable {
    /// The plugin
    name: String,
}

impl Enable {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let plugins = session.writer()?.plugins();
        let version = plugins.enable(&self.name)?;
        changed(session, &plugins, version, &self.name)
    }
}

/// Have a plugin called no more, until it is enabled again
#[derive(Debug, Args)]
pub(super) struct Disable {
    /// The plugin
    name: String,
}

impl Disable {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let plugins = session.writer()?.plugins();
        let version = plugins.disable(&self.name)?;
        changed(session, &plugins, version, &self.name)
    }
}

/// Say what becomes of a plugin's files that change
#[derive(Debug, Args)]
pub(super) struct SetMode {
    /// The plugin
    name: String,
    /// What becomes of them
    #[arg(value_enum)]
    mode: Mode,
}

impl SetMode {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let plugins = session.writer()?.plugins();
        let version = plugins.set_mode(&self.name, self.mode.into())?;
        changed(session, &plugins, version, &self.name)
    }
}
