//! Running one fuzz target.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::bounds::Bounds;
use super::build::{Built, Sanitizer};
use crate::workspace::{self, Workspace};

/// How many lines of a target's output tell what it failed on.
const LINES_SHOWN: usize = 80;

/// How a target is run.
pub(super) struct Run {
    /// How long; until it has done what it should if nothing is said.
    pub(super) seconds: Option<u64>,
    /// After how many executions it ends.
    pub(super) executions: Option<u64>,
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

/// What came of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Done {
    pub(super) executions: u64,
    pub(super) took: Duration,
    /// How many places of the program were reached ("cov").
    pub(super) places: u64,
    /// How many of them, each as often as it was passed through, by magnitude ("ft").
    pub(super) features: u64,
    /// How many inputs the corpus has in the end, each of which reaches what others do not.
    pub(super) inputs: u64,
}

/// Returns where a target's committed corpus is.
pub(super) fn committed(workspace: &Workspace, target: &str) -> PathBuf {
    workspace.path("fuzz/corpus").join(target)
}

/// Begins a command that runs a target under its bounds.
pub(super) fn command(workspace: &Workspace, built: &Built, target: &str) -> Result<Command> {
    let bounds = Bounds::of(target);
    // What is committed is never cut off.
    let longest = longest(&committed(workspace, target))?.max(bounds.input_bytes);
    let mut command = Command::new(built.programs.join(target));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.arg(format!("-max_len={longest}"));
    command.arg(format!("-timeout={}", bounds.seconds));
    command.arg(format!("-malloc_limit_mb={}", bounds.piece_mib));
    command.arg(format!("-rss_limit_mb={}", bounds.process_mib));
    command.arg(format!("-detect_leaks={}", u8::from(bounds.finds_leaks)));
    Ok(command)
}

fn longest(dir: &Path) -> Result<u64> {
    fs::create_dir_all(dir)?;
    let mut longest = 0;
    for entry in fs::read_dir(dir)? {
        longest = longest.max(entry?.metadata()?.len());
    }
    Ok(longest)
}

/// Runs a target.
pub(super) fn execute(workspace: &Workspace, built: &Built, target: &str, run: &Run) -> Result<Done> {
    let committed = committed(workspace, target);
    let artifacts = workspace.path("fuzz/artifacts").join(target);
    fs::create_dir_all(&artifacts)?;
    let forgotten = tempfile::tempdir()?;
    let mut command = command(workspace, built, target)?;
    command.arg(format!("-artifact_prefix={}/", artifacts.display())).arg("-print_final_stats=1");
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
        command.args(run.seconds.map(|seconds| format!("-max_total_time={seconds}")));
        command.args(run.executions.map(|executions| format!("-runs={executions}")));
    }
    listen(&mut command, built.sanitizer, target, run.is_quiet)
}

fn listen(command: &mut Command, sanitizer: Sanitizer, target: &str, is_quiet: bool) -> Result<Done> {
    workspace::announce(command);
    let begin = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run the fuzz target `{target}`"))?;
    let output = BufReader::new(child.stderr.take().context("the output was piped")?);
    let (mut last, mut done, mut failing) = (VecDeque::new(), Done::default(), None);
    for line in output.split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if !is_quiet {
            eprintln!("{line}");
        }
        done.read(&line);
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            failing = Some(path.to_owned());
        }
        last.push_back(line);
        if last.len() > LINES_SHOWN {
            last.pop_front();
        }
    }
    let status = child.wait()?;
    done.took = begin.elapsed();
    if status.success() {
        return Ok(done);
    }
    if is_quiet {
        for line in &last {
            eprintln!("{line}");
        }
    }
    let flag = if sanitizer == Sanitizer::NotWanted { "--no-sanitizer " } else { "" };
    let input = failing.as_deref().unwrap_or("INPUT");
    bail!(
        "the fuzz target `{target}` failed ({status}); `cargo xtask fuzz {flag}--target {target} {input}` repeats it"
    )
}

impl Done {
    /// Takes what a line of libFuzzer's says, such as `#4096 pulse  cov: 251 ft: 702 corp: 118/4321b exec/s: 2048`.
    fn read(&mut self, line: &str) {
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = count.trim().parse().unwrap_or_default();
        }
        if !line.starts_with('#') {
            return;
        }
        let mut words = line.split_ascii_whitespace();
        while let Some(word) = words.next() {
            let number = match word {
                "cov:" => &mut self.places,
                "ft:" => &mut self.features,
                "corp:" => &mut self.inputs,
                _ => continue,
            };
            let digits = words.next().and_then(|text| text.split('/').next());
            *number = digits.and_then(|digits| digits.parse().ok()).unwrap_or(*number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_libfuzzer_is_read() {
        let mut done = Done::default();
        done.read("#4096\tpulse  cov: 251 ft: 702 corp: 118/4321b lim: 128 exec/s: 2048 rss: 44Mb");
        done.read("#5000\tDONE   cov: 252 ft: 703 corp: 119/4Kb lim: 128 exec/s: 2500 rss: 44Mb");
        done.read("stat::number_of_executed_units: 5000");
        done.read("INFO: -max_len is not provided; cov: 7");
        let expected = Done { executions: 5000, places: 252, features: 703, inputs: 119, ..Done::default() };
        assert_eq!(done, expected);
    }
}
