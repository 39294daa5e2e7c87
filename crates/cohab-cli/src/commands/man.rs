//! `cohab man`

use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;

use super::{Exit, Outcome};
use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::session::Session;

/// Print a manual page: `cohab man | man -l -`
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The command to print the page of, such as `ns create`; without one, that of cohab itself
    command: Vec<String>,
}

impl Man {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let mut page = Arguments::command();
        page.build();
        for name in &self.command {
            let found = page.find_subcommand(name).filter(|found| !found.is_hide_set()).cloned();
            page = found.ok_or_else(|| {
                let message = format!("there is no command `{}`", self.command.join(" "));
                Failure::usage(message).hint("`cohab help` lists the commands")
            })?;
        }
        let title = page.get_display_name().unwrap_or("cohab").to_owned();
        Page::new(page).title(title).render(session.out.writer()).map_err(|error| Failure::output(&error))?;
        Ok(Exit::Done)
    }
}
