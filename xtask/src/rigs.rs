//! The rigs that attack a whole store, which are a workspace of their own.

use std::env;
use std::ffi::OsString;
use std::process::Command;

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

/// Those that the gate runs, with a fixed seed and briefly.
const SMOKED: [&str; 1] = ["crash"];

/// Builds the rigs and runs one.
pub(crate) fn run(workspace: &Workspace, rig: &str, arguments: &Arguments) -> Result<()> {
    let mut command = command(workspace, "run")?;
    workspace::run(command.args(["--quiet", "--"]).arg(rig).args(&arguments.arguments))
}

/// Tests the rigs themselves, and runs each of them briefly.
pub(crate) fn smoke(workspace: &Workspace) -> Result<()> {
    workspace::run(&mut command(workspace, "test")?)?;
    for rig in SMOKED {
        run(workspace, rig, &Arguments { arguments: vec!["--smoke".into()] })?;
    }
    Ok(())
}

fn command(workspace: &Workspace, subcommand: &str) -> Result<Command> {
    let mut command = workspace.cargo(subcommand);
    // Files among the arguments are meant from where the user stands.
    command.current_dir(env::current_dir().context("the current directory is gone")?);
    command.args(["--release", "--manifest-path"]).arg(workspace.path(MANIFEST));
    Ok(command)
}
