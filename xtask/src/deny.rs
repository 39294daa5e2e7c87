//! The check of what we depend on: licences, bans and sources, by cargo-deny.
//!
//! Advisories are not part of it. Their database has to be fetched from GitHub, which not every place that runs the
//! gate can reach, and an advisory turns up without a change of ours: `cargo deny check advisories` belongs into a
//! scheduled job.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::workspace::{self, Workspace};

/// The version that is installed where there is none, so that a new one cannot turn the gate red by itself.
const VERSION: &str = "0.20.2";

/// Checks every workspace of the repository.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let program = find_or_install(workspace)?;
    for manifest in ["Cargo.toml", crate::fuzz::MANIFEST, crate::peers::MANIFEST, crate::rigs::MANIFEST] {
        let mut command = Command::new(&program);
        command.stdin(Stdio::null()).arg("--manifest-path").arg(workspace.path(manifest));
        command.arg("--config").arg(workspace.path("deny.toml"));
        command.args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
        workspace::run(&mut command)?;
    }
    Ok(())
}

/// Returns the program to call: the user's own, or one that was installed into the cache, now or earlier.
fn find_or_install(workspace: &Workspace) -> Result<PathBuf> {
    let tools = cache()?.join("tools");
    let ours = tools.join("bin/cargo-deny");
    for program in [PathBuf::from("cargo-deny"), ours.clone()] {
        let version = Command::new(&program).arg("--version").stdout(Stdio::null()).status();
        if version.is_ok_and(|status| status.success()) {
            return Ok(program);
        }
    }
    let mut command = workspace.cargo("install");
    command.args(["--locked", "--quiet", "cargo-deny", "--version", VERSION, "--root"]).arg(&tools);
    // It runs for seconds and compiles for minutes, so optimising it would only cost time.
    for (setting, value) in [("OPT_LEVEL", "0"), ("LTO", "off"), ("CODEGEN_UNITS", "256"), ("DEBUG", "0")] {
        command.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    // Without this, its three hundred crates would stay in our target directory.
    command.env_remove("CARGO_TARGET_DIR");
    workspace::run(&mut command)?;
    Ok(ours)
}

/// Returns the directory for what outlives a checkout.
fn cache() -> Result<PathBuf> {
    let given = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = given.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME says where tools may be kept")?.join("cohab-ci"))
}
