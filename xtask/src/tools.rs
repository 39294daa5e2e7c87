//! Programs of others: the user's, or what is installed where there is none.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::workspace::{self, Workspace};

/// A subcommand of cargo.
pub(crate) struct Tool {
    /// The package, which is also the program.
    pub(crate) name: &'static str,
    /// The version that is installed where there is none, so that a new one cannot turn the gate red by itself.
    pub(crate) version: &'static str,
}

impl Tool {
    /// Returns the program to call: the user's own, or one that was installed into the cache, now or earlier.
    pub(crate) fn find_or_install(&self, workspace: &Workspace) -> Result<PathBuf> {
        let tools = cache()?.join("tools");
        let ours = tools.join("bin").join(self.name);
        for program in [PathBuf::from(self.name), ours.clone()] {
            // A program that is meant to be called by cargo wants the subcommand's name as its first argument.
            let subcommand = self.name.trim_start_matches("cargo-");
            let version =
                Command::new(&program).args([subcommand, "--version"]).stdout(Stdio::null()).status();
            if version.is_ok_and(|status| status.success()) {
                return Ok(program);
            }
        }
        let mut command = workspace.cargo("install");
        command.args(["--locked", "--quiet", self.name, "--version", self.version, "--root"]).arg(&tools);
        // It runs for seconds and compiles for minutes, so optimising it would only cost time.
        for (setting, value) in [("OPT_LEVEL", "0"), ("LTO", "off"), ("CODEGEN_UNITS", "256"), ("DEBUG", "0")]
        {
            command.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
        }
        // Without this, its hundreds of crates would stay in our target directory.
        command.env_remove("CARGO_TARGET_DIR");
        workspace::run(&mut command)?;
        Ok(ours)
    }
}

/// Returns the directory for what outlives a checkout.
fn cache() -> Result<PathBuf> {
    let given = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = given.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME says where tools may be kept")?.join("cohab-ci"))
}

/// Returns where a program is.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_file())
}

/// Runs a program and returns what it prints, if it is there and succeeds.
pub(crate) fn printed(program: &Path, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns whether packages of a Debian system may be installed.
pub(crate) fn may_install() -> bool {
    let is_root = printed(Path::new("id"), &["-u"]).is_some_and(|user| user.trim() == "0");
    is_root && Path::new("/etc/debian_version").exists() && on_path("apt-get").is_some()
}

/// Installs packages of a Debian system.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).arg("-qq");
        command
    };
    workspace::run(apt_get().arg("update"))?;
    workspace::run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

/// Returns the compiler that cargo calls.
pub(crate) fn compiler() -> PathBuf {
    env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from)
}
