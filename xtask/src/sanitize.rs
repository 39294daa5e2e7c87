//! Tests with something that watches over memory: AddressSanitizer, ThreadSanitizer and Miri.
//!
//! The first works with the stable toolchain. The second has to see all of a program and therefore wants the sources of
//! the standard library, and the third is an interpreter that comes with the nightly toolchain; both are left out, and
//! the report says so, where there is no such thing.
//!
//! Models for loom are left out: they change stacks in a way that a sanitizer does not follow, and run no code that other
//! tests do not. So is what measures memory, of which a sanitizer takes a multiple.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::tools::{compiler, printed};
use crate::workspace::{self, Workspace};

/// The caches and the page, which find things by address and share memory, and the codecs, which read what others wrote.
const IN_MEMORY: [&str; 5] = ["cohab-core", "cohab-namespace", "cohab-log", "cohab-cache", "cohab-coord"];

/// Those that open files, fork, start processes and kill them.
const WITH_FILES: [&str; 5] = ["cohab-fs", "cohab-engine", "cohab-lock", "cohab-registry", "cohab"];

/// Test programs that say nothing, or nothing true, with something watching.
const LEFT_OUT: [&str; 3] = ["loom", "memory", "metrics"];

/// What to run, and with what.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Runs what the gate does: AddressSanitizer with the crates that work in memory.
    #[arg(long, conflicts_with_all = ["crates", "threads", "miri"])]
    smoke: bool,
    /// Runs the tests of this crate only; may be given more than once.
    #[arg(long = "crate", value_name = "NAME")]
    crates: Vec<String>,
    /// Uses ThreadSanitizer instead (`rustup component add rust-src`), with the crates that share memory between threads.
    #[arg(long)]
    threads: bool,
    /// Uses Miri instead (`rustup +nightly component add miri`), with the crates that work in memory.
    #[arg(long, conflicts_with = "threads")]
    miri: bool,
}

/// What watches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watcher {
    Address,
    Threads,
    Miri,
}

/// Runs the tests and reports how many of which crates ran with what.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let (watcher, usual) = match arguments {
        Arguments { miri: true, .. } => (Watcher::Miri, IN_MEMORY.to_vec()),
        Arguments { threads: true, .. } => (Watcher::Threads, vec!["cohab-cache", "cohab-coord"]),
        Arguments { smoke: true, .. } => (Watcher::Address, IN_MEMORY.to_vec()),
        _ => (Watcher::Address, [IN_MEMORY, WITH_FILES].concat()),
    };
    let wanted: Vec<&str> = arguments.crates.iter().map(|name| &**name).collect();
    let crates = if wanted.is_empty() { usual } else { wanted };
    watcher.check()?;
    let mut outcomes = Vec::new();
    for name in crates {
        outcomes.push((name, watch(workspace, watcher, name)?));
    }
    println!("{}:", watcher.name());
    println!("{:18}{:>8}{:>8}{:>10}", "crate", "passed", "failed", "seconds");
    for (name, Outcome { passed, failed, took, .. }) in &outcomes {
        println!("{name:18}{passed:8}{failed:8}{:10.1}", took.as_secs_f64());
    }
    let failed: Vec<_> = outcomes.iter().filter(|(_, it)| !it.succeeded).map(|(name, _)| *name).collect();
    ensure!(failed.is_empty(), "{} has found something in {}", watcher.name(), failed.join(", "));
    ensure!(outcomes.iter().all(|(_, it)| it.passed > 0), "a crate ran no test");
    Ok(())
}

impl Watcher {
    fn name(self) -> &'static str {
        match self {
            Self::Address => "AddressSanitizer",
            Self::Threads => "ThreadSanitizer",
            Self::Miri => "Miri",
        }
    }

    /// Fails, with what to do about it, where the watcher is not to be had.
    fn check(self) -> Result<()> {
        match self {
            Self::Address => Ok(()),
            Self::Threads => {
                let root = printed(&compiler(), &["--print", "sysroot"]).context("no compiler to ask")?;
                let sources =
                    std::path::Path::new(root.trim()).join("lib/rustlib/src/rust/library/Cargo.lock");
                let wanted =
                    "ThreadSanitizer wants the standard library's sources: `rustup component add rust-src`";
                ensure!(sources.is_file(), "{wanted}");
                Ok(())
            }
            Self::Miri => {
                let version = printed("cargo".as_ref(), &["+nightly", "miri", "--version"]);
                ensure!(version.is_some(), "there is no Miri: `rustup +nightly component add miri`");
                Ok(())
            }
        }
    }

    fn command(self, workspace: &Workspace, host: &str) -> Command {
        let mut command = if self == Self::Miri {
            let mut command = Command::new("cargo");
            command.args(["+nightly", "miri", "test"]).current_dir(workspace.path("")).stdin(Stdio::null());
            // Addresses are kept in words of an index, and files are of this system.
            command.env("MIRIFLAGS", "-Zmiri-permissive-provenance -Zmiri-disable-isolation");
            // An interpreter takes a thousand times as long.
            command.env("PROPTEST_CASES", "4");
            command
        } else {
            // A target that is named keeps the flags away from build scripts and procedural macros.
            let mut command = workspace.cargo("test");
            command.args(["--target", host]).env("RUSTC_BOOTSTRAP", "1");
            command
        };
        match self {
            Self::Miri => {}
            Self::Address => {
                command.env("RUSTFLAGS", "-Zsanitizer=address");
                // A page whose file was cut off is read, which is a signal to be handled and nothing to report.
                command.env("ASAN_OPTIONS", "handle_sigbus=0");
                let known = workspace.path("xtask/src/sanitize/leaks.txt");
                command.env("LSAN_OPTIONS", format!("suppressions={}:print_suppressions=0", known.display()));
            }
            Self::Threads => {
                // crossbeam orders by fences, which this sanitizer does not know; it has another way for it.
                command.env("RUSTFLAGS", "-Zsanitizer=thread --cfg crossbeam_sanitize_thread");
                command.arg("-Zbuild-std");
            }
        }
        command
    }
}

/// How a crate's tests went.
struct Outcome {
    passed: usize,
    failed: usize,
    succeeded: bool,
    took: Duration,
}

fn watch(workspace: &Workspace, watcher: Watcher, name: &str) -> Result<Outcome> {
    let metadata = workspace.metadata(&workspace.path("Cargo.toml"))?;
    let package = metadata.packages.iter().find(|package| package.name == name);
    let package = package.with_context(|| format!("there is no crate `{name}`"))?;
    let version = workspace::output(workspace.cargo("version").arg("--verbose"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("cargo does not say what its host is")?;
    let mut command = watcher.command(workspace, host);
    command.args(["--package", name, "--lib", "--no-fail-fast"]);
    for test in package.targets_of("test").filter(|test| !LEFT_OUT.contains(&&*test.name)) {
        if test.required_features.is_empty() {
            command.args(["--test", &test.name]);
        }
    }
    command.arg("--target-dir").arg(metadata.target_directory.join("sanitize").join(watcher.name()));
    workspace::announce(&command);
    let begin = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let (mut passed, mut failed) = (0, 0);
    for line in BufReader::new(child.stdout.take().context("the output was piped")?).lines() {
        let line = line?;
        println!("{line}");
        if line.starts_with("test result:") {
            passed += count(&line, "passed")?;
            failed += count(&line, "failed")?;
        }
    }
    let succeeded = child.wait()?.success();
    Ok(Outcome { passed, failed, succeeded, took: begin.elapsed() })
}

/// Reads a number off a line such as `test result: ok. 12 passed; 0 failed; …`.
fn count(line: &str, what: &str) -> Result<usize> {
    let before = line.split(what).next().and_then(|before| before.split_whitespace().last());
    before
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("cargo's results have changed: {line}"))
}
