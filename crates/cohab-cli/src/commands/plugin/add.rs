//! `cohab plugin add`

use std::path::PathBuf;

use clap::Args;
use cohab::{AddPlugin, PluginGrants};

use super::Mode;
use super::status::changed;
use crate::commands::Outcome;
use crate::session::Session;

/// Add the plugin in a directory and take it into service
///
/// What it may touch is what its manifest asks for, unless --grant-… is given: then it is what those say, and a plugin that
/// asks for more is not added. Exit code 2, with the file and line, if the plugin is not fit for service; 8 if there is one of
/// its name.
#[derive(Debug, Args)]
pub(super) struct Add {
    /// The directory, which has a `plugin.toml`
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// What becomes of files that change
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    mode: Mode,
    /// A namespace that it may read: a name, `name/*` or `*`; may be given several times
    #[arg(long, value_name = "NS")]
    grant_read: Vec<String>,
    /// A namespace that it may write, and read; may be given several times
    #[arg(long, value_name = "NS")]
    grant_write: Vec<String>,
    /// Let it log
    #[arg(long)]
    grant_log: bool,
    /// Let it know what time it is
    #[arg(long)]
    grant_clock: bool,
}

impl Add {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let mut options = AddPlugin::new().mode(self.mode.into());
        let (read, write) = (self.grant_read, self.grant_write);
        let grants = PluginGrants { read, write, log: self.grant_log, clock: self.grant_clock };
        if grants != PluginGrants::default() {
            options = options.grants(grants);
        }
        let plugins = session.writer()?.plugins();
        let done = plugins.add(&self.directory, options)?;
        changed(session, &plugins, done.version, &done.value)
    }
}
