//! Real processes on one store: some write, some read, watch, follow and lock; they are killed and stopped at any moment and
//! at chosen points; each writes down what it sees, and what all of them saw is checked against what the store promises.

mod actor;
mod checker;
mod cycles;
mod ending;
mod history;
mod keys;
mod nemesis;
mod plugin;
mod points;
mod report;
mod truth;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use self::actor::{Casting, Scene};
use self::history::Part;
use self::nemesis::Nemesis;
use self::report::Totals;
use crate::random::Random;

/// How many are killed if nothing else is said.
const KILLS: u64 = 500;

/// A memory file system, if there is one: what a killed process has written is there without a disk.
const MEMORY: &str = "/dev/shm";

/// How to run it.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many processes to kill.
    #[arg(long)]
    kills: Option<u64>,
    /// How many are killed before a round ends: its store and its histories are checked, and another one begins.
    #[arg(long, default_value_t = 400, value_name = "KILLS")]
    round: u64,
    /// For how long, in seconds; ends earlier once enough were killed, if that is said as well.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// What decides who is killed when. The processes' own pace differs from run to run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A short run, for every change.
    #[arg(long)]
    smoke: bool,
    /// Where the stores lie. Default: in memory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Prints what a process has written down in the store that `--dir` names, which was kept after a failure.
    #[arg(long, value_name = "PROCESS", requires = "dir")]
    show: Option<u32>,
    /// Plays a part; the rig starts itself so.
    #[arg(long, hide = true)]
    actor: Option<Part>,
    #[command(flatten)]
    casting: Casting,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let dir = arguments.dir.clone().unwrap_or_else(|| {
        let memory = Path::new(MEMORY);
        if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
    });
    if let Some(part) = arguments.actor {
        return actor::play(&dir, part, arguments.casting.clone(), arguments.seed);
    }
    if let Some(process) = arguments.show {
        for history::Record { thread, time, event } in
            history::load(&Scene(dir).histories(), process)?.records
        {
            println!("{time} {thread} {event:?}");
        }
        return Ok(());
    }
    let (kills, seconds) = match (arguments.kills, arguments.seconds) {
        (None, None) if arguments.smoke => (600, Some(50)),
        (None, None) => (KILLS, None),
        (None, seconds) => (u64::MAX, seconds),
        (Some(kills), seconds) => (kills, seconds),
    };
    let begin = Instant::now();
    let deadline = seconds.map(|seconds| begin + Duration::from_secs(seconds));
    let mut random = Random::new(arguments.seed);
    let mut totals = Totals::default();
    while totals.deeds.kills() < kills && deadline.is_none_or(|deadline| Instant::now() < deadline) {
        let seed = if totals.rounds == 0 { arguments.seed } else { random.next() };
        let left = (kills - totals.deeds.kills()).min(arguments.round);
        let scratch = tempfile::Builder::new().prefix("cohab-kill-").tempdir_in(&dir);
        let scratch = scratch.with_context(|| format!("cannot make a directory in {}", dir.display()))?;
        let violations = round(&Scene(scratch.path().to_owned()), seed, left, deadline, &mut totals);
        let violations = match violations {
            Ok(violations) => violations,
            Err(error) => vec![format!("{error:#}")],
        };
        totals.seconds = begin.elapsed().as_secs_f64();
        if !violations.is_empty() {
            let kept = scratch.keep();
            println!("{totals}");
            for violation in &violations {
                eprintln!("{violation}");
            }
            let again = format!("cargo xtask kill --seed {seed} --kills {0} --round {0}", arguments.round);
            bail!("{} violations; the store is in {}; again: {again}", violations.len(), kept.display());
        }
        if totals.rounds.is_multiple_of(10) {
            let Totals { rounds, deeds, checked, seconds, .. } = &totals;
            eprintln!("{seconds:.0} s: {rounds} rounds, {} kills, {} reads", deeds.kills(), checked.reads);
        }
    }
    println!("{totals}");
    Ok(())
}

/// Runs one store's life and checks it. Returns what is wrong.
fn round(
    scene: &Scene,
    seed: u64,
    kills: u64,
    deadline: Option<Instant>,
    totals: &mut Totals,
) -> Result<Vec<String>> {
    let followed_from = ending::set_up(scene)?;
    let mut nemesis = Nemesis::new(scene, seed);
    nemesis.run(kills, deadline)?;
    let processes = nemesis.next;
    let mut violations = std::mem::take(&mut nemesis.violations);
    let deeds = std::mem::take(&mut nemesis.deeds);
    let histories = (0..processes).map(|process| history::load(&scene.histories(), process));
    let histories = histories.collect::<Result<Vec<_>>>()?;
    let truth = ending::look(scene, followed_from, &histories, &mut violations)?;
    let mut checked = checker::check(&histories, &truth);
    let opinion = cycles::check(&histories);
    violations.append(&mut checked.violations);
    violations.extend(opinion.violations.iter().cloned());
    totals.add(deeds, &checked, &opinion);
    totals.checked.violations.clone_from(&violations);
    Ok(violations)
}
