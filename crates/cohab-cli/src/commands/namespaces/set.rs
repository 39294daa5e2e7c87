//! `cohab ns set`

use std::ffi::OsString;

use clap::Args;
use cohab::{History, Update, Version};

use super::{committed, label};
use crate::arguments::name;
use crate::commands::Outcome;
use crate::failure::Failure;
use crate::session::{Session, write};

/// Change what is said about a namespace
///
/// Its data cannot be touched by this. Everything that is not named stays.
#[derive(Debug, Args)]
pub(super) struct Set {
    /// The namespace
    name: OsString,
    /// What it is called for readers
    #[arg(long)]
    title: Option<String>,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// A label to set; may be given several times
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    labels: Vec<(String, String)>,
    /// A label to remove; may be given several times
    #[arg(long = "unlabel", value_name = "K")]
    unlabels: Vec<String>,
    /// Refuse to drop it
    #[arg(long, conflicts_with = "unprotect")]
    protect: bool,
    /// Allow to drop it
    #[arg(long)]
    unprotect: bool,
    /// How much of its past the log keeps from now on
    #[arg(long, value_name = "full|off")]
    history: Option<History>,
    /// Only if nobody has changed it since this meta_version
    #[arg(long, value_name = "V")]
    if_meta_version: Option<u64>,
}

impl Set {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let name = name(&self.name)?;
        let nothing = Update::new();
        let mut update = nothing.clone();
        if let Some(title) = self.title {
            update = update.title(title);
        }
        if let Some(description) = self.description {
            update = update.description(description);
        }
        for key in self.unlabels {
            update = update.unlabel(key);
        }
        for (key, value) in self.labels {
            update = update.label(key, value);
        }
        if self.protect || self.unprotect {
            update = update.protected(self.protect);
        }
        if let Some(history) = self.history {
            update = update.history(history);
        }
        if update == nothing {
            return Err(Failure::usage("nothing to change").hint("`cohab ns set --help` lists what can be"));
        }
        if let Some(version) = self.if_meta_version {
            update = update.if_meta_version(Version::new(version));
        }
        let done = write(&session.writer()?, "cohab ns set", |tx| Ok(tx.update_namespace(&name, &update)?))?;
        committed(session, done.version)
    }
}
