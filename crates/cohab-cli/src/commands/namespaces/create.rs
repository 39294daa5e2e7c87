//! `cohab ns create`

use std::ffi::OsString;

use clap::Args;
use cohab::{History, Metadata};

use super::{committed, label};
use crate::arguments::name;
use crate::commands::Outcome;
use crate::session::{Session, write};

/// Create a namespace
///
/// Of two that create the same at the same time one succeeds; the other gets exit code 8.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// Its name: a path such as `team/flags`
    name: OsString,
    /// What it is called for readers
    #[arg(long, default_value = "", hide_default_value = true)]
    title: String,
    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// A label; may be given several times
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Refuse to drop it
    #[arg(long)]
    protect: bool,
    /// How much of its past the log keeps
    #[arg(long, value_name = "full|off", default_value = "full", hide_default_value = true)]
    history: History,
}

impl Create {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let mut metadata = Metadata::new(name(&self.name)?);
        (metadata.title, metadata.description) = (self.title, self.description);
        metadata.labels = self.labels.into_iter().collect();
        (metadata.protected, metadata.history) = (self.protect, self.history);
        let done =
            write(&session.writer()?, "cohab ns create", |tx| Ok(tx.create_namespace_with(metadata)?))?;
        committed(session, done.version)
    }
}
