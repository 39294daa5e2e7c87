//! The rigs that attack a whole store, which are a workspace of their own.

use std::env;
use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace::{self, Profile, Workspace};

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
const SMOKED: [&str; 6] = ["crash", "faults", "flips", "kill", "power", "soak"];

/// What the gate builds them with: defects can be planted, and are by the step that follows, so that they are built once.
const SMOKED_WITH: [&str; 2] = ["--features", "planted"];

/// Builds the rigs and runs one.
pub(crate) fn run(workspace: &Workspace, rig: &str, arguments: &Arguments) -> Result<()> {
    let mut command = command(workspace, "run", Profile::Release)?;
    workspace::run(command.args(["--quiet", "--"]).arg(rig).args(&arguments.arguments))
}

/// Tests the rigs themselves, and runs each of them briefly. One that finds something does not keep the others from running.
pub(crate) fn smoke(workspace: &Workspace) -> Result<()> {
    // Their program and their tests at the same time.
    workspace::run(command(workspace, "build", Profile::Dev)?.args(SMOKED_WITH).arg("--all-targets"))?;
    workspace::run(command(workspace, "test", Profile::Dev)?.args(SMOKED_WITH))?;
    let mut failed = Vec::new();
    for rig in SMOKED {
        let mut command = command(workspace, "run", Profile::Dev)?;
        let ran = workspace::run(command.args(SMOKED_WITH).args(["--quiet", "--", rig, "--smoke"]));
        failed.extend(ran.is_err().then_some(rig));
    }
    ensure!(failed.is_empty(), "these rigs found something: {}", failed.join(", "));
    Ok(())
}

fn command(workspace: &Workspace, subcommand: &str, profile: Profile) -> Result<Command> {
    let mut command = workspace.cargo(subcommand);
    // Files among the arguments are meant from where the user stands.
    command.current_dir(env::current_dir().context("the current directory is gone")?);
    profile.apply(&mut command).arg("--manifest-path").arg(workspace.path(MANIFEST));
    Ok(command)
}
