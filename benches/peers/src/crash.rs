//! Opening a store whose process was killed in the middle of a transaction.
//!
//! The program runs itself once more as the process to be killed. That one loads the store, or opens what the round
//! before has left, commits a number of rows one by one, writes a large transaction, says on stdout that it is about
//! to commit it, and waits. After the kill, the rows that were committed must be there and the transaction must not.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, process};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::engine::History;
use crate::measure::{Series, Stopwatch, interleaved};
use crate::name::Name;
use crate::place::Place;
use crate::workload::{Contents, Row, Workload};

/// How many rows are committed one by one before the kill.
const COMMITS: usize = 100;

/// How many rows are in the transaction that the kill interrupts.
const INTERRUPTED_ROWS: usize = 1_000;

/// What the process says when it can be killed.
const READY: &str = "ready";

/// The orders of the process that will be killed.
#[derive(Args)]
pub struct Victim {
    #[arg(long)]
    engine: Name,
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    rows: usize,
    #[arg(long)]
    round: usize,
}

impl Victim {
    /// Works until it is killed.
    pub fn run(&self) -> Result<()> {
        let engine = self.engine.open(&self.dir, History::Full)?;
        let mut workload = Workload::new(self.rows);
        if self.round == 0 {
            engine.commit(workload.rows())?;
            engine.settle();
        }
        for row in acknowledged(&mut workload, self.round) {
            engine.put(&row)?;
        }
        let interrupted = workload.overwrites(INTERRUPTED_ROWS);
        engine.write(&interrupted, &|| {
            // Stdin ends, or stdout breaks, if the benchmark has ended without killing this process.
            let _ = say_ready().and_then(|()| io::copy(&mut io::stdin(), &mut io::sink()));
            process::exit(1);
        })
    }
}

fn say_ready() -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{READY}")?;
    out.flush()
}

/// What is committed one by one in a round. Every engine's process and the benchmark itself agree on it.
fn acknowledged(workload: &mut Workload, round: usize) -> Vec<Row> {
    workload.turn_to(round as u64);
    workload.overwrites(COMMITS)
}

/// What has to be found after a kill.
pub struct Expected {
    /// The round.
    pub round: usize,
    /// The last row that was committed.
    pub last: Row,
    /// All of them.
    pub contents: Contents,
}

impl Expected {
    /// What the process that is killed in a round leaves behind.
    pub fn after(workload: &mut Workload, round: usize) -> Self {
        let acknowledged = acknowledged(workload, round);
        let last = *acknowledged.last().expect("there is at least one");
        Self { round, last, contents: workload.contents() }
    }
}

/// Measures how long it takes to open a store for writing and to read one row, each time after a kill.
pub fn run(place: &Place, engines: &[Name], rows: usize, rounds: usize) -> Result<Series> {
    let dir = |name: &Name| Ok((*name, place.fresh(&format!("{name}-killed-{rows}"))?));
    let dirs: Vec<(Name, PathBuf)> = engines.iter().map(dir).collect::<Result<_>>()?;
    let mut workload = Workload::new(rows);
    let input = |round| Expected::after(&mut workload, round);
    let series = interleaved(&dirs, rounds, input, |name, dir, expected| {
        Interrupted::start(name, dir, rows, expected.round)?.kill()?;
        place.sync()?;
        let watch = Stopwatch::start();
        let engine = name.open(dir, History::Full)?;
        let seen = engine.get_fresh(&[expected.last.key])?;
        let round = watch.stop(&*engine, seen.into());
        engine.check(expected.contents).context("after the kill")?;
        Ok(round)
    })?;
    dirs.into_iter().try_for_each(|(_, dir)| fs::remove_dir_all(dir))?;
    Ok(series)
}

/// A process that is in the middle of a transaction.
pub struct Interrupted {
    process: Child,
}

impl Interrupted {
    /// Starts one, and returns when it is that far.
    pub fn start(name: Name, dir: &Path, rows: usize, round: usize) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("victim").args(["--engine", name.as_str()]).arg("--dir").arg(dir);
        command.args(["--rows", &rows.to_string(), "--round", &round.to_string()]);
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut interrupted = Self { process };
        let output = interrupted.process.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line.trim_end() == READY, "it ended before it could be killed");
        Ok(interrupted)
    }

    /// Kills it.
    pub fn kill(mut self) -> Result<()> {
        // SIGKILL, on Unix.
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Interrupted {
    fn drop(&mut self) {
        // Where something else went wrong before the kill. After it, there is nothing left to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
