//! The fuzz targets, built and run with nothing but the toolchain that builds everything else.
//!
//! `cargo fuzz` does the same and more, but wants a nightly toolchain and to be installed. The layout is the one it
//! expects, so `cargo +nightly fuzz run TARGET` works as well.

mod bounds;
mod build;
mod execute;
mod minimize;
mod report;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};

use self::bounds::Bounds;
use self::build::Built;
use self::execute::{Corpus, Run};
use self::report::Report;
use crate::workspace::{Profile, Workspace};

/// The manifest of the fuzz targets, which are a workspace of their own because they are compiled unlike all else.
pub(crate) const MANIFEST: &str = "fuzz/Cargo.toml";

/// How long a target runs in the gate.
const SMOKE_SECONDS: u64 = 3;

/// How long a target runs if nothing is said.
const SECONDS: u64 = 60;

/// What the gate begins with, so that it meets the same inputs each time as far as its time allows.
const SMOKE_SEED: u32 = 1;

/// Which targets to run, and how.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Runs each target over its committed corpus and for three seconds, from a fixed seed, as the gate does.
    #[arg(long, conflicts_with_all = ["seconds", "executions", "seed", "minimize", "inputs"])]
    smoke: bool,
    /// Runs this target only; may be given more than once.
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// Runs each target for so long; a minute if nothing else ends it.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Ends each target after so many executions.
    #[arg(long, value_name = "NUMBER")]
    executions: Option<u64>,
    /// Begins with this seed instead of a random one.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u32>,
    /// How many targets run at a time; as many as there are processors if nothing is said.
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<NonZero<usize>>,
    /// Builds without AddressSanitizer, which is several times as fast. What is safe Rust throughout loses nothing by it.
    #[arg(long)]
    no_sanitizer: bool,
    /// Runs nothing, and makes of the committed corpora and what was found the smallest ones that reach as far.
    #[arg(long, conflicts_with_all = ["seconds", "executions", "inputs"])]
    minimize: bool,
    /// Runs a target over these inputs only, such as one that it failed on.
    #[arg(value_name = "INPUT", requires = "target")]
    inputs: Vec<PathBuf>,
}

/// Builds the targets and does with them what was asked for.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let built = build::build(workspace, &arguments.target, arguments.no_sanitizer, Profile::Release)?;
    let jobs = arguments.jobs.map_or_else(processors, NonZero::get);
    if arguments.smoke {
        return run_all(workspace, &built, jobs, |_| smoke_run());
    }
    if arguments.minimize {
        return built.targets.iter().try_for_each(|target| minimize::minimize(workspace, &built, target));
    }
    let inputs =
        arguments.inputs.iter().map(|path| path.canonicalize().with_context(|| path.display().to_string()));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let executions = arguments.executions;
    let seconds = arguments.seconds.or(executions.is_none().then_some(SECONDS));
    run_all(workspace, &built, jobs, |target| {
        let corpus = match &inputs[..] {
            [] => Corpus::Grow(built.corpora.join(target)),
            inputs => Corpus::Only(inputs.to_vec()),
        };
        Run {
            seconds,
            executions,
            seed: arguments.seed,
            corpus,
            is_quiet: jobs > 1 && built.targets.len() > 1,
        }
    })
}

/// Builds the targets and runs all of them as the gate does.
pub(crate) fn smoke(workspace: &Workspace) -> Result<()> {
    let built = build::build(workspace, &[], false, Profile::Dev)?;
    run_all(workspace, &built, processors(), |_| smoke_run())
}

fn smoke_run() -> Run {
    let (seconds, seed) = (Some(SMOKE_SECONDS), Some(SMOKE_SEED));
    Run { seconds, executions: None, seed, corpus: Corpus::Committed, is_quiet: true }
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Runs the targets, several at a time, and reports on all of them when the last has ended.
fn run_all(
    workspace: &Workspace,
    built: &Built,
    jobs: usize,
    how: impl Fn(&str) -> Run + Sync,
) -> Result<()> {
    let mut targets: Vec<&str> = built.targets.iter().map(String::as_str).collect();
    // What takes longest first, so that it does not go on alone in the end.
    targets.sort_by_key(|target| Reverse(Bounds::of(target).seconds));
    let queue = Mutex::new(VecDeque::from(targets));
    let report = Mutex::new(Report::new(built.sanitizer));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || {
        while let Some(target) = next() {
            let outcome = execute::execute(workspace, built, target, &how(target));
            if let Err(error) = &outcome {
                eprintln!("{error:#}");
            }
            report.lock().unwrap_or_else(PoisonError::into_inner).note(target, outcome);
        }
    };
    thread::scope(|scope| (0..jobs).for_each(|_| _ = scope.spawn(work)));
    let report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{report}");
    let failed = report.failed();
    ensure!(failed.is_empty(), "fuzz targets failed: {}", failed.join(", "));
    Ok(())
}
