//! Running one fuzz target.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::build::Built;
use crate::workspace::{self, Workspace};

/// How many lines of a target's output tell what it failed on.
const LINES_SHOWN: usize = 80;

/// How long one input may take. The slowest ones take a few hundred milliseconds on a busy machine.
const INPUT_SECONDS_MAX: u64 = 60;

/// How a target is run.
pub(super) struct Run {
    pub(super) seconds: u64,
    pub(super) seed: Option<u32>,
    pub(super) corpus: Corpus,
    /// Whether its output is shown only if it fails.
    pub(super) is_quiet: bool,
}

/// Which inputs a target begins with.
pub(super) enum Corpus {
    /// The committed ones. What it finds on top is forgotten.
    Committed,
    /// The committed ones, and what earlier runs have found and put into this directory.
    Grow(PathBuf),
    /// These files and nothing else.
    Only(Vec<PathBuf>),
}

/// Runs a target and returns how many inputs it executed.
pub(super) fn execute(workspace: &Workspace, built: &Built, target: &str, run: &Run) -> Result<u64> {
    let committed = workspace.path("fuzz/corpus").join(target);
    let artifacts = workspace.path("fuzz/artifacts").join(target);
    fs::create_dir_all(&artifacts)?;
    let forgotten = tempfile::tempdir()?;
    let mut command = Command::new(built.programs.join(target));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.args(["-print_final_stats=1", "-rss_limit_mb=4096", &format!("-timeout={INPUT_SECONDS_MAX}")]);
    if let Some(seed) = run.seed {
        command.arg(format!("-seed={seed}"));
    }
    // New inputs go into the first directory.
    match &run.corpus {
        Corpus::Committed => _ = command.arg(forgotten.path()).arg(&committed),
        Corpus::Grow(found) => {
            fs::create_dir_all(found)?;
            command.arg(found).arg(&committed);
        }
        Corpus::Only(inputs) => _ = command.args(inputs),
    }
    if !matches!(run.corpus, Corpus::Only(_)) {
        fs::create_dir_all(&committed)?;
        command.arg(format!("-max_total_time={}", run.seconds));
    }
    listen(&mut command, target, run)
}

fn listen(command: &mut Command, target: &str, run: &Run) -> Result<u64> {
    workspace::announce(command);
    let mut child = command.spawn().with_context(|| format!("cannot run the fuzz target `{target}`"))?;
    let output = BufReader::new(child.stderr.take().context("the output was piped")?);
    let mut last = VecDeque::new();
    let mut executions = 0;
    for line in output.split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if !run.is_quiet {
            eprintln!("{line}");
        }
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            executions = count.trim().parse()?;
        }
        last.push_back(line);
        if last.len() > LINES_SHOWN {
            last.pop_front();
        }
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(executions);
    }
    if run.is_quiet {
        for line in &last {
            eprintln!("{line}");
        }
    }
    bail!(
        "the fuzz target `{target}` failed ({status}); `cargo xtask fuzz --target {target} FILE` repeats it"
    )
}
