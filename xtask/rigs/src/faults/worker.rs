//! Runs cases in a process of its own: there is one seam in a process, and what hangs or aborts has to be survived.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::case::{Outcome, Prepared, note_panics};
use super::fault::Point;
use super::scenarios;

/// How long a run may take. None takes a hundredth of that.
const HANGS_AFTER: Duration = Duration::from_mins(1);

/// A run that somebody else is to make.
#[derive(Serialize, Deserialize)]
struct Job {
    scenario: String,
    points: Vec<Point>,
    seed: u64,
    keep: bool,
}

/// A process that makes runs.
pub(crate) struct Worker {
    child: Child,
    jobs: ChildStdin,
    outcomes: mpsc::Receiver<String>,
    place: tempfile::TempDir,
}

impl Worker {
    /// Starts one, which works in a place of its own.
    pub(crate) fn start(place: tempfile::TempDir) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("faults")
            .arg("--worker")
            .arg(place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a worker")?;
        let jobs = child.stdin.take().context("a worker's input is piped")?;
        let output: ChildStdout = child.stdout.take().context("a worker's output is piped")?;
        let (sender, outcomes) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, jobs, outcomes, place })
    }

    /// Has a run made. One that hangs, or ends the process, is a finding, and this worker is replaced.
    pub(crate) fn run(
        &mut self,
        scenario: &str,
        points: &[Point],
        seed: u64,
        keep: bool,
    ) -> anyhow::Result<Outcome> {
        let job = Job { scenario: scenario.to_owned(), points: points.to_vec(), seed, keep };
        let sent = writeln!(self.jobs, "{}", serde_json::to_string(&job)?).and_then(|()| self.jobs.flush());
        let answer = if sent.is_ok() {
            self.outcomes.recv_timeout(HANGS_AFTER)
        } else {
            Err(mpsc::RecvTimeoutError::Disconnected)
        };
        let problem = match answer {
            Ok(line) => {
                return serde_json::from_str(&line).with_context(|| format!("a worker said {line:?}"));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => format!("hangs for {} s", HANGS_AFTER.as_secs()),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                format!("ends the process: {}", self.child.wait().context("waiting for a worker")?)
            }
        };
        let _ = self.child.kill();
        let _ = self.child.wait();
        let place = tempfile::Builder::new()
            .prefix("cohab-faults-")
            .tempdir_in(self.place.path().parent().context("is somewhere")?)?;
        let old = std::mem::replace(self, Self::start(place)?);
        let kept = keep.then(|| old.place.path().to_owned());
        if keep {
            let old = std::mem::ManuallyDrop::new(old);
            let _ = &old.place;
        }
        Ok(Outcome { is_met: true, findings: vec![problem], kept, ..Outcome::default() })
    }

    /// Leaves what was kept where it is, and removes the rest.
    pub(crate) fn end(mut self, keeps: bool) -> anyhow::Result<()> {
        drop(self.jobs);
        if !self.child.wait()?.success() {
            bail!("a worker failed");
        }
        if keeps {
            let _ = self.place.keep();
        }
        Ok(())
    }
}

/// What such a process does.
pub(crate) fn work(place: &std::path::Path) -> anyhow::Result<()> {
    note_panics();
    let mut prepared: HashMap<String, Prepared> = HashMap::new();
    for line in std::io::stdin().lines() {
        let job: Job = serde_json::from_str(&line?)?;
        if !prepared.contains_key(&job.scenario) {
            let scenario = scenarios::ALL.iter().find(|scenario| scenario.name == job.scenario);
            let scenario = scenario.context("there is no such scenario")?;
            prepared.insert(job.scenario.clone(), Prepared::new(scenario, place)?);
        }
        let outcome = prepared[&job.scenario].run(&job.points, job.seed, job.keep)?;
        println!("{}", serde_json::to_string(&outcome)?);
    }
    Ok(())
}
