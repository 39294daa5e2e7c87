//! `cohab plugin list` and `cohab plugin show`

use clap::Args;

use super::status::{described, told};
use crate::commands::{Exit, Outcome};
use crate::session::Session;
use crate::terminal::Format;

/// List the plugins by name
///
/// `lag` is how many versions a plugin that follows commits has not looked at yet. `calls` and `failures` are those of the
/// process that runs it, `pid`, since it opened the store; they are up to a second old. `source_state` says how its files are:
/// `in_service`, `changed` (the plugin is in production), `refused` (see `last_error`), `missing` or `unreadable`.
#[derive(Debug, Args)]
pub(super) struct List {}

impl List {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let Self {} = self;
        let all = session.reader()?.plugins().list()?;
        let format = session.out.format();
        let columns = &[
            "name",
            "generation",
            "hash",
            "mode",
            "enabled",
            "triggers",
            "lag",
            "calls",
            "failures",
            "source_state",
            "last_error",
        ];
        let mut list = session.out.list(columns, &["name", "generation", "hash", "enabled"])?;
        for plugin in &all {
            list.push(&if format == Format::Table { told(plugin) } else { described(plugin) })?;
        }
        list.finish()?;
        Ok(Exit::Done)
    }
}

/// Show everything that is known of a plugin
///
/// `failure` says why the present content of its files is not in service, with the file, line and column where that is known.
/// `time_us` is how long its calls took together, in microseconds.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The plugin
    name: String,
}

impl Show {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let plugin = session.reader()?.plugins().show(&self.name)?;
        let format = session.out.format();
        session.out.record(&if format == Format::Table { told(&plugin) } else { described(&plugin) })?;
        Ok(Exit::Done)
    }
}
