//! The check of what we depend on: licences, bans and sources, by cargo-deny.
//!
//! Advisories are not part of it. Their database has to be fetched from GitHub, which not every place that runs the
//! gate can reach, and an advisory turns up without a change of ours: `cargo deny check advisories` belongs into a
//! scheduled job.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::tools::Tool;
use crate::workspace::{self, Workspace};

const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

/// Checks every workspace of the repository.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let program = DENY.find_or_install(workspace)?;
    for manifest in ["Cargo.toml", crate::fuzz::MANIFEST, crate::peers::MANIFEST, crate::rigs::MANIFEST] {
        let mut command = Command::new(&program);
        command.stdin(Stdio::null()).arg("--manifest-path").arg(workspace.path(manifest));
        command.arg("--config").arg(workspace.path("deny.toml"));
        command.args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
        workspace::run(&mut command)?;
    }
    Ok(())
}
