//! `cohab completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Exit, Outcome};
use crate::arguments::Arguments;
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
        clap_complete::generate(self.shell, &mut Arguments::command(), "cohab", &mut script);
        session.out.bytes(&script)?;
        Ok(Exit::Done)
    }
}
