//! `cohab plugin …`

mod add;
mod call;
mod change;
mod list;
mod log;
mod reload;
mod status;

use clap::{Args, Subcommand, ValueEnum};
use cohab::PluginMode;

use super::Outcome;
use crate::session::Session;

/// Work with plugins: code beside the data that is called for what happens to it
///
/// A plugin is a directory with a `plugin.toml` and a script or a WebAssembly module. What is in service is kept in the store.
/// The process that writes calls the plugins for what was committed and when they are due, and takes up files that have
/// changed; a command that writes calls them before it ends. What is not fit for service leaves in service what was.
#[derive(Debug, Args)]
pub(crate) struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::List),
    Add(add::Add),
    Remove(change::Remove),
    Reload(reload::Reload),
    Show(list::Show),
    Enable(change::Enable),
    Disable(change::Disable),
    Mode(change::SetMode),
    Call(call::Call),
    Log(log::Log),
}

impl Plugin {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        match self.command {
            Command::List(command) => command.run(session),
            Command::Add(command) => command.run(session),
            Command::Remove(command) => command.run(session),
            Command::Reload(command) => command.run(session),
            Command::Show(command) => command.run(session),
            Command::Enable(command) => command.run(session),
            Command::Disable(command) => command.run(session),
            Command::Mode(command) => command.run(session),
            Command::Call(command) => command.run(session),
            Command::Log(command) => command.run(session),
        }
    }
}

/// Modes, as arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum Mode {
    /// Files that have changed are taken up as soon as they are saved
    #[default]
    Development,
    /// Files that have changed are reported, and taken up by `cohab plugin reload`
    Production,
}

impl From<Mode> for PluginMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Development => Self::Development,
            Mode::Production => Self::Production,
        }
    }
}
