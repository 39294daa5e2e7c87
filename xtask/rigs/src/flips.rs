//! Damages every file that there is, one bit, sector or page at a time, and looks at the store in every way.
//!
//! Whatever is read must be what was written, or an error that says that there is damage; whatever cannot be read, or is
//! not as it was, a verification has to find.

mod bench;
mod beside;
mod damage;
mod data;
mod fixture;
mod outcome;
mod truth;
mod worker;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::fixture::Fixture;
use self::outcome::Tally;
use self::worker::{HUNG, Orders, Word, case_at};

/// How to run it.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// How much damage to do
    #[arg(long, default_value_t = 20_000)]
    flips: u64,
    /// For how many seconds to go on, at the most
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Which damage
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only one file, by the name that the report has for it
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    /// One case alone, and everything that came of it
    #[arg(long, value_name = "NUMBER")]
    case: Option<u64>,
    /// How many processes work at it
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Where to work
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// A prepared store that an earlier run has kept
    #[arg(long, value_name = "DIR")]
    fixture: Option<PathBuf>,
    /// Briefly: 3,000 cases, half a minute at the most
    #[arg(long)]
    smoke: bool,
    /// Is one of the processes that do the work
    #[arg(long, hide = true, value_name = "FIRST")]
    worker: Option<u64>,
    #[arg(long, hide = true, default_value_t = 1)]
    step: u64,
    #[arg(long, hide = true, value_name = "DIR")]
    work: Option<PathBuf>,
}

/// How many violations are printed.
const SHOWN_MAX: usize = 30;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let (Some(first), Some(work), Some(fixture)) = (arguments.worker, &arguments.work, &arguments.fixture)
    {
        return worker::work(&Orders {
            fixture: fixture.clone(),
            work: work.clone(),
            seed: arguments.seed,
            first,
            step: arguments.step,
            end: arguments.case.map_or(arguments.flips, |case| case + 1),
            only: arguments.file.clone(),
            until: arguments.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
            tells_all: arguments.case.is_some(),
        });
    }
    if let Some(file) = &arguments.file {
        let known: Vec<&str> = worker::files().collect();
        ensure!(known.contains(&&**file), "there is no file `{file}`; there are: {}", known.join("; "));
    }
    let scratch = tempfile::Builder::new().prefix("cohab-flips-").tempdir_in(&arguments.dir)?;
    let mut rig = Rig::new(arguments, scratch.path())?;
    let begin = Instant::now();
    rig.run_all()?;
    rig.report(begin.elapsed());
    if rig.violations.is_empty() {
        return Ok(());
    }
    rig.tell_violations(&match &arguments.fixture {
        Some(fixture) => fixture.clone(),
        None => scratch.keep().join("fixture"),
    });
    bail!("{} of {} cases broke a promise", rig.violations.len(), rig.cases())
}

struct Rig<'a> {
    arguments: &'a Arguments,
    scratch: PathBuf,
    fixture: Fixture,
    flips: u64,
    seconds: Option<u64>,
    about: String,
    tallies: BTreeMap<String, Tally>,
    violations: Vec<String>,
    /// Cases that the process did not survive.
    deadly: u64,
    hung: u64,
}

impl<'a> Rig<'a> {
    fn new(arguments: &'a Arguments, scratch: &Path) -> Result<Self> {
        let fixture = match &arguments.fixture {
            Some(dir) => Fixture::at(dir),
            None => Fixture::make(&scratch.join("fixture")).context("preparing a store")?,
        };
        let (flips, seconds) = match (arguments.smoke, arguments.case) {
            (_, Some(case)) => (case + 1, None),
            (true, None) => (3000, Some(25)),
            (false, None) => (arguments.flips, arguments.seconds),
        };
        Ok(Self {
            arguments,
            scratch: scratch.to_owned(),
            fixture,
            flips,
            seconds,
            about: String::new(),
            tallies: BTreeMap::new(),
            violations: Vec::new(),
            deadly: 0,
            hung: 0,
        })
    }

    fn cases(&self) -> u64 {
        self.tallies.values().map(|tally| tally.cases).sum::<u64>() + self.deadly + self.hung
    }

    fn work_of(&self, job: u64) -> PathBuf {
        self.scratch.join(format!("work-{job}"))
    }

    fn spawn(&self, job: u64, first: u64) -> Result<Child> {
        let work = self.work_of(job);
        let _ = std::fs::remove_dir_all(&work);
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("flips").args(["--seed", &self.arguments.seed.to_string()]);
        command.args(["--flips", &self.flips.to_string(), "--worker", &first.to_string()]);
        command.args(["--step", &self.arguments.jobs.max(1).to_string()]);
        command.arg("--work").arg(work).arg("--fixture").arg(&self.fixture.dir);
        if let Some(file) = &self.arguments.file {
            command.args(["--file", file]);
        }
        if let Some(seconds) = self.seconds {
            command.args(["--for", &seconds.to_string()]);
        }
        if let Some(case) = self.arguments.case {
            command.args(["--case", &case.to_string()]);
        }
        Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?)
    }

    fn run_all(&mut self) -> Result<()> {
        let jobs = if self.arguments.case.is_some() { 1 } else { self.arguments.jobs.max(1) };
        let first = self.arguments.case.unwrap_or_default();
        let mut running: Vec<(u64, Child)> =
            (0..jobs).map(|job| Ok((job, self.spawn(job, first + job)?))).collect::<Result<_>>()?;
        while let Some((job, child)) = running.pop() {
            if let Some(next) = self.hear(job, child)? {
                running.push((job, self.spawn(job, next)?));
            }
        }
        Ok(())
    }

    /// Takes down what a worker says until it ends, and returns where the next has to begin if it died.
    fn hear(&mut self, job: u64, mut child: Child) -> Result<Option<u64>> {
        let output = child.stdout.take().context("is piped")?;
        for line in BufReader::new(output).lines() {
            match serde_json::from_str(&line?)? {
                Word::About(about) => self.about = about,
                Word::Tallies(tallies) => {
                    for (file, tally) in tallies {
                        self.tallies.entry(file).or_default().add(&tally);
                    }
                }
                Word::Violation { case, file, damage, what } => {
                    self.violations.push(format!("case {case}: {damage} in {file}: {what}"));
                }
                Word::Told { case, file, damage, outcome } => {
                    println!("case {case}: {damage} in {file}: {outcome:#?}");
                }
            }
        }
        let status = child.wait()?;
        if status.success() {
            return Ok(None);
        }
        let case = case_at(&self.work_of(job));
        let Some(case) = case.filter(|_| status.code() != Some(1)) else {
            bail!("a worker failed: {status}")
        };
        if status.code() == Some(HUNG) {
            self.hung += 1;
            self.violations.push(format!("case {case}: nothing came of it for {:?}", worker::HANGS_AFTER));
        } else {
            self.deadly += 1;
            self.violations.push(format!("case {case}: the process did not survive it: {status}"));
        }
        let next = case + self.arguments.jobs.max(1);
        Ok((next < self.flips && self.arguments.case.is_none()).then_some(next))
    }

    fn report(&self, took: Duration) {
        println!("flips, seed {}: {}", self.arguments.seed, self.about);
        println!("{}", Tally::head());
        let mut all = Tally::default();
        for file in worker::files() {
            if let Some(tally) = self.tallies.get(file) {
                println!("{}", tally.row(file));
                all.add(tally);
            }
        }
        let sum = Tally { errors: BTreeMap::new(), ..all };
        println!("{}", sum.row("all"));
        let each = self.cases() / took.as_secs().max(1);
        println!(
            "{} processes died, {} hung; {} s, {each} cases a second in {} processes",
            self.deadly,
            self.hung,
            took.as_secs(),
            self.arguments.jobs
        );
    }

    fn tell_violations(&self, fixture: &Path) {
        for violation in self.violations.iter().take(SHOWN_MAX) {
            eprintln!("{violation}");
        }
        let more = self.violations.len().saturating_sub(SHOWN_MAX);
        if more > 0 {
            eprintln!("and {more} more");
        }
        let file = self.arguments.file.as_ref().map_or_else(String::new, |file| format!(" --file '{file}'"));
        eprintln!(
            "to repeat one, with what came of it: cargo xtask flips --seed {}{file} --fixture {} --case NUMBER",
            self.arguments.seed,
            fixture.display()
        );
    }
}
