//! Building one plugin, in whatever language it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::tools::{RUST_TARGET, Tools};
use crate::workspace::{self, Workspace};

const SDK: &str = "crates/cohab-plugin/sdk";

/// What compiles C for plugins; the document for their authors says the same.
const C_FLAGS: [&str; 10] = [
    "--target=wasm32",
    "-std=c99",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-O2",
    "-ffreestanding",
    "-nostdlib",
    "-mbulk-memory",
    "-Wl,--no-entry,--stack-first,--strip-all",
];

/// A plugin in the repository.
pub(super) struct Source {
    /// What the directory is called that it is built into.
    pub(super) name: &'static str,
    /// Where its manifest and its code are.
    pub(super) directory: &'static str,
    pub(super) language: Language,
}

/// What a plugin is written in.
#[derive(Clone, Copy)]
pub(super) enum Language {
    /// `plugin.c`, with the header.
    C,
    /// `src/lib.rs`, with the crate.
    Rust,
    /// `plugin.ts` and the `package.json` that builds it, with a copy of `cohab.ts`.
    AssemblyScript,
}

/// Where plugins are built.
pub(super) struct WorkDirs {
    built: PathBuf,
    work: PathBuf,
}

impl WorkDirs {
    pub(super) fn new(target: &Path) -> Self {
        Self { built: target.join("guests"), work: target.join("guests-work") }
    }

    /// Returns the directory of a plugin that was built: its manifest and its module, and nothing else.
    pub(super) fn built(&self, name: &str) -> PathBuf {
        self.built.join(name)
    }

    /// Makes the directory for what is on the way to a module.
    fn work(&self, name: &str) -> Result<PathBuf> {
        let dir = self.work.join(name);
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(dir)
    }
}

/// Builds a plugin and returns the size of its module in bytes.
pub(super) fn build(workspace: &Workspace, tools: &Tools, dirs: &WorkDirs, source: &Source) -> Result<u64> {
    let from = workspace.path(source.directory);
    let work = dirs.work(source.name)?;
    let module = work.join("plugin.wasm");
    match source.language {
        Language::C => c(workspace, tools, &from, &module)?,
        Language::Rust => rust(workspace, tools, &from, &work, &module)?,
        Language::AssemblyScript => assemblyscript(workspace, tools, &from, &work)?,
    }
    // What was built before goes first, so that nothing is left of it.
    let built = dirs.built(source.name);
    if built.exists() {
        fs::remove_dir_all(&built).with_context(|| built.display().to_string())?;
    }
    fs::create_dir_all(&built).with_context(|| built.display().to_string())?;
    copy(&from.join("plugin.toml"), &built)?;
    copy(&module, &built)
}

fn c(workspace: &Workspace, tools: &Tools, from: &Path, module: &Path) -> Result<()> {
    let mut command = Command::new(&tools.clang);
    command.args(C_FLAGS).arg(format!("-fuse-ld={}", tools.linker.display()));
    command.arg("-I").arg(workspace.path(SDK).join("c")).arg("-o").arg(module).arg(from.join("plugin.c"));
    workspace::run(&mut command)
}

fn rust(workspace: &Workspace, tools: &Tools, from: &Path, work: &Path, module: &Path) -> Result<()> {
    let rustc = |kind: &str| {
        let mut command = Command::new(&tools.rustc.program);
        // The current directory decides which toolchain `rustc` is.
        command.current_dir(workspace.path("")).stdin(Stdio::null());
        command.args(["--edition=2021", "--target", RUST_TARGET, "--crate-type", kind]);
        command.args(["-C", "opt-level=s", "-C", "panic=abort", "-D", "warnings"]);
        // Panics name the source from the checkout on, wherever that is.
        command.arg(format!("--remap-path-prefix={}=", workspace.path("").display()));
        command
    };
    let sdk = work.join("libcohab_plugin_sdk.rlib");
    let mut library = rustc("rlib");
    library.args(["--crate-name", "cohab_plugin_sdk"]).arg(workspace.path(SDK).join("rust/src/lib.rs"));
    workspace::run(library.arg("-o").arg(&sdk))?;
    let mut plugin = rustc("cdylib");
    plugin.arg("--extern").arg(format!("cohab_plugin_sdk={}", sdk.display()));
    plugin.args(["-C", "lto", "-C", "strip=symbols", "--crate-name", "plugin"]);
    if !tools.rustc.has_linker {
        plugin.arg("-C").arg(format!("linker={}", tools.linker.display()));
    }
    workspace::run(plugin.arg(from.join("src/lib.rs")).arg("-o").arg(module))
}

fn assemblyscript(workspace: &Workspace, tools: &Tools, from: &Path, work: &Path) -> Result<()> {
    let npm = || {
        let mut command = Command::new(&tools.npm);
        command.current_dir(work).stdin(Stdio::null());
        command
    };
    // The compiler is over a hundred megabytes: it is fetched again only if another one is wanted.
    let lock = "package-lock.json";
    let is_installed = work.join("node_modules/assemblyscript").exists()
        && fs::read(work.join(lock)).ok() == fs::read(from.join(lock)).ok();
    for file in ["package.json", "plugin.ts"] {
        copy(&from.join(file), work)?;
    }
    copy(&workspace.path(SDK).join("assemblyscript/cohab.ts"), work)?;
    if !is_installed {
        copy(&from.join(lock), work)?;
        workspace::run(npm().args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]))?;
    }
    workspace::run(npm().args(["run", "--silent", "build"]))
}

/// Copies a file into a directory and returns its size in bytes.
fn copy(file: &Path, into: &Path) -> Result<u64> {
    let name = file.file_name().context("a file has a name")?;
    fs::copy(file, into.join(name)).with_context(|| file.display().to_string())
}
