//! Where the workspace is, what cargo knows of it, and how a command is run in it.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The checkout that the task works on.
pub(crate) struct Workspace {
    root: PathBuf,
    cargo: OsString,
}

impl Workspace {
    /// Finds the checkout that the task was started from.
    ///
    /// It is asked of cargo when the task runs and not when it is compiled, because checkouts may share a target
    /// directory.
    pub(crate) fn find() -> Result<Self> {
        let variable =
            |name: &str| env::var_os(name).with_context(|| format!("{name} is not set: run `cargo xtask`"));
        let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
        let root = package.parent().context("the package xtask lies in no workspace")?;
        Ok(Self { root: root.to_owned(), cargo: variable("CARGO")? })
    }

    /// Returns a path within the checkout.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Begins a cargo command that runs in the checkout and reads nothing from the terminal.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(&self.root).stdin(Stdio::null()).arg(subcommand);
        command
    }

    /// Asks cargo what a manifest's workspace consists of.
    pub(crate) fn metadata(&self, manifest: &Path) -> Result<Metadata> {
        let mut command = self.cargo("metadata");
        command.args(["--no-deps", "--format-version=1", "--manifest-path"]).arg(manifest);
        serde_json::from_str(&output(&mut command)?).context("cargo's metadata has changed its form")
    }
}

/// What cargo says of a workspace, as far as it is needed here.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

/// A package of the workspace.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) targets: Vec<Target>,
    /// The registries it may go to: none is `publish = false`, nothing is all of them.
    publish: Option<Vec<String>>,
}

impl Package {
    /// Returns whether the package is meant for a registry.
    pub(crate) fn is_published(&self) -> bool {
        self.publish.as_ref().is_none_or(|registries| !registries.is_empty())
    }

    /// Returns the names of the package's targets of a kind.
    pub(crate) fn targets_of<'p>(&'p self, kind: &'p str) -> impl Iterator<Item = &'p Target> {
        self.targets.iter().filter(move |target| target.kind.iter().any(|of| of == kind))
    }
}

/// Something that a package builds.
#[derive(Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    kind: Vec<String>,
    #[serde(default, rename = "required-features")]
    pub(crate) required_features: Vec<String>,
}

/// How well a program is compiled that is run for as long as somebody asks, or briefly by the gate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As what is released is.
    Release,
    /// As the tests are. What they depend on is there by then, and a run of seconds ends no sooner for more than that.
    Dev,
}

impl Profile {
    /// Has cargo compile like this.
    pub(crate) fn apply(self, cargo: &mut Command) -> &mut Command {
        match self {
            Self::Release => cargo.arg("--release"),
            Self::Dev => cargo,
        }
    }

    /// Where in the target directory the programs are then.
    pub(crate) fn directory(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "debug",
        }
    }
}

/// Runs a command and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    announce(command);
    let status = command.status().with_context(|| format!("cannot run {}", name(command)))?;
    ensure!(status.success(), "{} ended with {status}", name(command));
    Ok(())
}

/// Runs a command quietly and returns what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {}", name(command)))?;
    ensure!(output.status.success(), "{} ended with {}", name(command), output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Shows a command as one would type it.
pub(crate) fn announce(command: &Command) {
    let set = command.get_envs().filter_map(|(name, value)| {
        Some(format!("{}={:?} ", name.to_string_lossy(), value?.to_string_lossy()))
    });
    let arguments = command.get_args().map(|argument| format!(" {}", argument.to_string_lossy()));
    eprintln!("$ {}{}{}", set.collect::<String>(), name(command), arguments.collect::<String>());
}

/// Names a command's program.
pub(crate) fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}
