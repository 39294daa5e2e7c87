//! The WebAssembly plugins of the repository, built from their sources, and the host's suite run against them.
//!
//! They are built here and not by cargo or a build script, because they are in three languages: with clang, with a Rust compiler
//! that has the target, and with npm.

mod build;
mod tools;

use std::env;

use anyhow::{Context, Result};

use self::build::{Language, Source, WorkDirs};
use self::tools::Tools;
use crate::workspace::{self, Workspace};

/// The manifests of what plugins in Rust are made of, each a workspace of its own: they are compiled by older compilers.
pub(crate) const MANIFESTS: [&str; 3] = [
    "crates/cohab-plugin/sdk/rust/Cargo.toml",
    "crates/cohab-plugin/tests/guests/rust/Cargo.toml",
    "examples/plugins/template-rust/Cargo.toml",
];

/// The package with the host's suite.
pub(crate) const HOST: &str = "cohab-plugin";

/// The contract plugin, which the host's suite runs against, in each language.
const GUESTS: [Source; 3] = [
    Source { name: "c", directory: "crates/cohab-plugin/tests/guests/c", language: Language::C },
    Source { name: "rust", directory: "crates/cohab-plugin/tests/guests/rust", language: Language::Rust },
    Source {
        name: "assemblyscript",
        directory: "crates/cohab-plugin/tests/guests/assemblyscript",
        language: Language::AssemblyScript,
    },
];

/// What authors begin with.
const TEMPLATES: [Source; 2] = [
    Source { name: "template-c", directory: "examples/plugins/template-c", language: Language::C },
    Source { name: "template-rust", directory: "examples/plugins/template-rust", language: Language::Rust },
];

/// Whether to run the suite as well.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Builds the plugins into `guests` of the target directory, and runs nothing.
    #[arg(long)]
    only_build: bool,
}

/// Builds the plugins and runs what was asked for.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if arguments.only_build { build(workspace).map(drop) } else { check(workspace) }
}

/// Builds the plugins and runs the host's suite against them.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let dirs = build(workspace)?;
    let built = |sources: &[Source]| {
        let paths = sources.iter().map(|source| dirs.built(source.name));
        env::join_paths(paths).context("the target directory cannot be part of a list of paths")
    };
    let metadata = workspace.metadata(&workspace.path("Cargo.toml"))?;
    let host = metadata.packages.iter().find(|package| package.name == HOST);
    let host = host.with_context(|| format!("there is no package {HOST}"))?;
    // Both with the same packages and features, or the engine of WebAssembly would be compiled twice.
    let test = || {
        let mut command = workspace.cargo("test");
        command.args(["--package", HOST, "--package", "cohab", "--features", "cohab/plugins"]);
        command
    };
    let mut suite = test();
    suite.arg("--lib").args(host.targets_of("test").flat_map(|target| ["--test", &target.name]));
    suite.env("COHAB_GUESTS", built(&GUESTS)?).env("COHAB_TEMPLATES", built(&TEMPLATES)?);
    workspace::run(&mut suite)?;
    // Modules beside the data; what scripts do there is tested with everything else.
    workspace::run(test().args(["--test", "it", "plugins_wasm"]))
}

/// Builds all plugins, each into a directory that can be loaded.
fn build(workspace: &Workspace) -> Result<WorkDirs> {
    let tools = Tools::find_or_install()?;
    let target = workspace.metadata(&workspace.path("Cargo.toml"))?.target_directory;
    let dirs = WorkDirs::new(&target);
    for source in GUESTS.iter().chain(&TEMPLATES) {
        let size = build::build(workspace, &tools, &dirs, source)
            .with_context(|| format!("the plugin in {} does not build", source.directory))?;
        println!("{}: {size} bytes", dirs.built(source.name).display());
    }
    Ok(dirs)
}
