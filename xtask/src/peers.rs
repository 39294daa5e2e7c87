//! The benchmark next to other engines, which is a workspace of its own so that nobody else compiles them.

use std::env;
use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::{self, Workspace};

/// The manifest of the benchmark.
pub(crate) const MANIFEST: &str = "benches/peers/Cargo.toml";

/// Builds the benchmark in release and runs it with these arguments.
pub(crate) fn run<S: AsRef<OsStr>>(workspace: &Workspace, arguments: &[S]) -> Result<()> {
    workspace::run(command(workspace)?.args(["--release", "--"]).args(arguments))
}

/// What is measured where it counts for nothing: plugins as scripts alone, because the compiler of WebAssembly takes longer to
/// build than all the rest.
const CHECKED_WITH: [&str; 3] = ["--no-default-features", "--features", "with-cohab"];

/// Runs every case once, at its smallest. What that measures counts for nothing, so it is built as the tests are,
/// with much that they have built.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    workspace::run(command(workspace)?.args(CHECKED_WITH).args(["--", "--check"]))
}

fn command(workspace: &Workspace) -> Result<Command> {
    let mut command = workspace.cargo("run");
    // Files among the arguments are meant from where the user stands.
    command.current_dir(env::current_dir().context("the current directory is gone")?);
    command.args(["--quiet", "--manifest-path"]).arg(workspace.path(MANIFEST));
    Ok(command)
}
