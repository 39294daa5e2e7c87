//! The rigs that attack a whole store, which are a workspace of their own.

use std::env;
use std::ffi::OsString;

use anyhow::{Context, Result};

use crate::workspace::{self, Workspace};

/// The manifest of the rigs.
pub(crate) const MANIFEST: &str = "xtask/rigs/Cargo.toml";

/// What the rig is told.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// The rig's own; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

/// Builds the rigs and runs one.
pub(crate) fn run(workspace: &Workspace, rig: &str, arguments: &Arguments) -> Result<()> {
    let mut command = workspace.cargo("run");
    // Files among the arguments are meant from where the user stands.
    command.current_dir(env::current_dir().context("the current directory is gone")?);
    command.args(["--release", "--quiet", "--manifest-path"]).arg(workspace.path(MANIFEST));
    workspace::run(command.arg("--").arg(rig).args(&arguments.arguments))
}
