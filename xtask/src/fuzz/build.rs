//! Building the fuzz targets as `cargo fuzz` builds them, on the toolchain at hand.

use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::MANIFEST;
use crate::workspace::{self, Profile, Workspace};

/// Counts what is executed, which is how libFuzzer finds its way. Comparisons are not shown to it as `cargo fuzz` has
/// them: the corpora know the words of each format, and without it a store does half as much again in the same time.
const COVERAGE: &str = "--cfg fuzzing -Cdebug-assertions -Cpasses=sancov-module \
     -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table";

/// What runs for long is compiled for longer.
const IN_ONE_PIECE: &str = "-Ccodegen-units=1";

const ADDRESS_SANITIZER: &str = "-Zsanitizer=address";

/// What watches over memory while the targets run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sanitizer {
    Address,
    /// It was to be done without.
    NotWanted,
    /// It was wanted and does not work.
    Missing,
}

impl fmt::Display for Sanitizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "with AddressSanitizer",
            Self::NotWanted => "without AddressSanitizer",
            Self::Missing => "WITHOUT AddressSanitizer, which does not work here",
        })
    }
}

/// The targets that were built.
pub(super) struct Built {
    pub(super) targets: Vec<String>,
    pub(super) sanitizer: Sanitizer,
    /// Where their programs are.
    pub(super) programs: PathBuf,
    /// Where corpora grow that are not committed.
    pub(super) corpora: PathBuf,
}

/// Builds these targets, or all if none is named.
pub(super) fn build(
    workspace: &Workspace,
    wanted: &[String],
    is_plain: bool,
    profile: Profile,
) -> Result<Built> {
    let metadata = workspace.metadata(&workspace.path(MANIFEST))?;
    let all = || metadata.packages.iter().flat_map(|package| package.targets_of("bin"));
    if let Some(unknown) = wanted.iter().find(|name| all().all(|target| target.name != **name)) {
        let names: Vec<_> = all().map(|target| &*target.name).collect();
        bail!("there is no fuzz target `{unknown}`; there are {}", names.join(", "));
    }
    let targets: Vec<String> = all()
        .map(|target| target.name.clone())
        .filter(|name| wanted.is_empty() || wanted.contains(name))
        .collect();
    let host = host(workspace)?;
    let sanitizer = match () {
        () if is_plain => Sanitizer::NotWanted,
        () if address_sanitizer_works() => Sanitizer::Address,
        () => Sanitizer::Missing,
    };
    // Beside each other and beside all else, so that nothing has to be built anew after the other: build scripts look whether
    // the compiler is to act as nightly, and what they belong to is part of nearly everything.
    let beside = if sanitizer == Sanitizer::Address { "sanitized" } else { "plain" };
    let target_directory = metadata.target_directory.join(beside);
    let mut flags = COVERAGE.to_owned();
    if profile == Profile::Release {
        flags = format!("{flags} {IN_ONE_PIECE}");
    }
    if sanitizer == Sanitizer::Address {
        flags = format!("{flags} {ADDRESS_SANITIZER}");
    }
    let mut command = workspace.cargo("build");
    // A target that is named keeps the flags away from build scripts and procedural macros.
    profile.apply(&mut command).args(["--manifest-path", MANIFEST, "--target", &host]);
    command.arg("--target-dir").arg(&target_directory);
    for target in &targets {
        command.args(["--bin", target]);
    }
    // The flags that begin with -Z are the nightly compiler's; this lets the stable one take them. Fuzzing wants
    // just what nightly had six weeks before, and nothing that is shipped is built like this.
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", flags);
    workspace::run(&mut command)?;
    Ok(Built {
        targets,
        sanitizer,
        programs: target_directory.join(&host).join(profile.directory()),
        corpora: metadata.target_directory.join("corpus"),
    })
}

fn host(workspace: &Workspace) -> Result<String> {
    let version = workspace::output(workspace.cargo("version").arg("--verbose"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("cargo does not say what its host is")?.to_owned())
}

/// Tries AddressSanitizer on a program that does nothing: it may lack its runtime, or the memory layout it needs.
fn address_sanitizer_works() -> bool {
    let works = || -> Result<bool> {
        let dir = tempfile::tempdir()?;
        let (source, program) = (dir.path().join("nothing.rs"), dir.path().join("nothing"));
        std::fs::write(&source, "fn main() {}")?;
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut compile = std::process::Command::new(rustc);
        compile.arg(ADDRESS_SANITIZER).arg(&source).arg("-o").arg(&program).env("RUSTC_BOOTSTRAP", "1");
        let mut execute = std::process::Command::new(program);
        for command in [&mut compile, &mut execute] {
            if !command.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
                return Ok(false);
            }
        }
        Ok(true)
    };
    works().unwrap_or(false)
}
