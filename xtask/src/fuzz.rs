//! The fuzz targets, built and run with nothing but the toolchain that builds everything else.
//!
//! `cargo fuzz` does the same and more, but wants a nightly toolchain and to be installed. The layout is the one it
//! expects, so `cargo +nightly fuzz run TARGET` works as well.

mod build;
mod execute;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use self::build::Built;
use self::execute::{Corpus, Run};
use crate::workspace::Workspace;

/// The manifest of the fuzz targets, which are a workspace of their own because they are compiled unlike all else.
pub(crate) const MANIFEST: &str = "fuzz/Cargo.toml";

/// How long a target runs in the gate.
const SMOKE_SECONDS: u64 = 5;

/// What the gate begins with, so that it meets the same inputs each time as far as its time allows.
const SMOKE_SEED: u32 = 1;

/// Which targets to run, and how.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Runs each target over its committed corpus and five seconds on, from a fixed seed, as the gate does.
    #[arg(long, conflicts_with_all = ["seconds", "seed", "inputs"])]
    smoke: bool,
    /// Runs this target only; may be given more than once.
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// Runs each target for so long.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Begins with this seed instead of a random one.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u32>,
    /// Runs a target over these inputs only, such as one that it failed on.
    #[arg(value_name = "INPUT", requires = "target")]
    inputs: Vec<PathBuf>,
}

/// Builds the targets and runs those that were asked for.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if arguments.smoke {
        return run_all(workspace, &arguments.target, |_, _| Ok(smoke_run()));
    }
    let inputs =
        arguments.inputs.iter().map(|path| path.canonicalize().with_context(|| path.display().to_string()));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    run_all(workspace, &arguments.target, |built, target| {
        let corpus = match &inputs[..] {
            [] => Corpus::Grow(built.corpora.join(target)),
            inputs => Corpus::Only(inputs.to_vec()),
        };
        Ok(Run { seconds: arguments.seconds, seed: arguments.seed, corpus, is_quiet: false })
    })
}

/// Builds the targets and runs all of them as the gate does.
pub(crate) fn smoke(workspace: &Workspace) -> Result<()> {
    run_all(workspace, &[], |_, _| Ok(smoke_run()))
}

fn smoke_run() -> Run {
    Run { seconds: SMOKE_SECONDS, seed: Some(SMOKE_SEED), corpus: Corpus::Committed, is_quiet: true }
}

fn run_all(
    workspace: &Workspace,
    wanted: &[String],
    how: impl Fn(&Built, &str) -> Result<Run>,
) -> Result<()> {
    let built = build::build(workspace, wanted)?;
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for target in &built.targets {
        match execute::execute(workspace, &built, target, &how(&built, target)?) {
            Ok(executions) => done.push((target, executions)),
            Err(error) => {
                eprintln!("{error:#}");
                failed.push(target.as_str());
            }
        }
    }
    println!("fuzzed {}:", built.sanitizer);
    for (target, executions) in done {
        println!("  {target:12} {executions:>10} executions");
    }
    ensure!(failed.is_empty(), "fuzz targets failed: {}", failed.join(", "));
    Ok(())
}
