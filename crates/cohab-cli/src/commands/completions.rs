//! `cohab completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Exit, Outcome};
use crate::arguments::{Arguments, Global};
use crate::session::Session;

/// Print a script that teaches a shell to complete cohab's arguments
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut shown(), "cohab", &mut script);
        session.out.bytes(&script)?;
        Ok(Exit::Done)
    }
}

/// The commands that are for people; the generator would offer the hidden ones as well.
fn shown() -> clap::Command {
    let all = Arguments::command();
    let shown = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Global::augment_args(clap::Command::new("cohab").version(env!("CARGO_PKG_VERSION"))).subcommands(shown)
}
