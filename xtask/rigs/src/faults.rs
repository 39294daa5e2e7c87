//! Fails every operation of the system, once and for ever, in everything that an application does with a store.
//!
//! A scenario is a list of steps. It is run again and again from copies of the same files: with the first call failed
//! that can fail in some way, then with the second, until it ends without meeting the fault, as SQLite tests itself. After
//! each run everything is looked at: the error, the handle, and, without faults, what another process finds.

mod case;
mod fault;
mod injector;
mod ledger;
mod report;
mod scenarios;
mod session;
mod worker;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use self::fault::{Fault, Point};
use self::report::Report;
use self::scenarios::Scenario;
use self::worker::Worker;
use crate::random::Random;

/// How to run it.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fails calls in these ways alone
    #[arg(long = "kind", value_delimiter = ',')]
    kinds: Vec<Fault>,
    /// Runs these scenarios alone
    #[arg(long = "scenario", value_delimiter = ',')]
    scenarios: Vec<String>,
    /// Fails the call behind so many that go well, once and for ever, and no other
    #[arg(long)]
    k: Option<u64>,
    /// Makes one run with faults here, such as `eio@12` for once and `enospc@3+` for ever; the second one counts from the first
    #[arg(long = "point")]
    points: Vec<Point>,
    /// Makes so many runs with two faults each, in place of all with one
    #[arg(long)]
    pairs: Option<u64>,
    /// Determines what is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Begins nothing new after so many seconds
    #[arg(long = "for")]
    seconds: Option<u64>,
    /// Fails every call of some, and a few of the rest
    #[arg(long)]
    smoke: bool,
    /// How many processes work at the same time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Where the stores lie; in memory if not said
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Works for another process, here
    #[arg(long, hide = true)]
    worker: Option<PathBuf>,
}

/// How many points of a kind a scenario has at the most; one that has more does not end.
const POINTS_MAX: u64 = 20_000;

/// How many points of each kind and scenario are tried by `--smoke`.
const SMOKE_POINTS: u64 = 3;

/// How far behind the first fault the second one of a pair is.
const PAIR_DISTANCE: u64 = 40;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(place) = &arguments.worker {
        return worker::work(place);
    }
    let began = Instant::now();
    let chosen = chosen(arguments)?;
    let kinds = if arguments.kinds.is_empty() { Fault::ALL.to_vec() } else { arguments.kinds.clone() };
    let mut tasks: Vec<Task> = Vec::new();
    for &scenario in &chosen {
        if !arguments.points.is_empty() {
            tasks.push(Task { scenario, what: What::One(arguments.points.clone()) });
        } else if arguments.pairs.is_none() {
            for &fault in &kinds {
                for for_ever in [false, true] {
                    tasks.push(Task { scenario, what: What::Each { fault, for_ever } });
                }
            }
        }
    }
    if let Some(pairs) = arguments.pairs {
        let mut random = Random::new(arguments.seed);
        for _ in 0..pairs {
            let scenario = chosen[random.index(chosen.len())];
            tasks.push(Task { scenario, what: What::Pair(random.fork()) });
        }
    }
    let deadline = arguments.seconds.map(|seconds| began + Duration::from_secs(seconds));
    let (report, skipped) = work_off(arguments, &kinds, &tasks, deadline)?;
    report.print();
    if skipped > 0 {
        let all = report.points() + skipped;
        println!(
            "fraction  {} of {all} points, by the way in which each scenario met the fault",
            report.points()
        );
    }
    println!("took      {} s, with seed {}", began.elapsed().as_secs(), arguments.seed);
    if report.has_findings() {
        bail!("something is not as it should be when the system fails");
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Chosen(usize, &'static Scenario);

struct Task {
    scenario: Chosen,
    what: What,
}

enum What {
    /// All points of a kind.
    Each {
        fault: Fault,
        for_ever: bool,
    },
    One(Vec<Point>),
    Pair(Random),
}

fn chosen(arguments: &Arguments) -> anyhow::Result<Vec<Chosen>> {
    let all = scenarios::ALL.iter().enumerate().map(|(index, scenario)| Chosen(index, scenario));
    if arguments.scenarios.is_empty() {
        return Ok(all.collect());
    }
    let all: Vec<Chosen> = all.collect();
    arguments
        .scenarios
        .iter()
        .map(|name| {
            let found = all.iter().find(|chosen| chosen.1.name == name).copied();
            let names: Vec<&str> = all.iter().map(|chosen| chosen.1.name).collect();
            found.with_context(|| format!("there is no scenario `{name}`, but {}", names.join(", ")))
        })
        .collect()
}

/// Has workers do all tasks, and returns how many points were passed over as well.
fn work_off(
    arguments: &Arguments,
    kinds: &[Fault],
    tasks: &[Task],
    deadline: Option<Instant>,
) -> anyhow::Result<(Report, u64)> {
    let (report, next) = (Mutex::new((Report::default(), 0)), AtomicUsize::new(0));
    let memory = std::path::Path::new("/dev/shm");
    let chosen = arguments.dir.clone();
    let place =
        chosen.unwrap_or_else(|| if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() });
    let one = || -> anyhow::Result<()> {
        let made = tempfile::Builder::new().prefix("cohab-faults-").tempdir_in(&place)?;
        let mut worker = Worker::start(made)?;
        while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            let skipped = do_task(arguments, kinds, task, &mut worker, &report, deadline)?;
            report.lock().unwrap_or_else(PoisonError::into_inner).1 += skipped;
        }
        let keeps = report.lock().unwrap_or_else(PoisonError::into_inner).0.has_findings();
        worker.end(keeps)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..arguments.jobs.max(1).min(tasks.len().max(1))).map(|_| scope.spawn(one)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("does not panic"))
    })?;
    Ok(report.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Does one task, and returns how many points it passed over.
fn do_task(
    arguments: &Arguments,
    kinds: &[Fault],
    task: &Task,
    worker: &mut Worker,
    report: &Mutex<(Report, u64)>,
    deadline: Option<Instant>,
) -> anyhow::Result<u64> {
    let (index, scenario, seed) = (task.scenario.0, task.scenario.1.name, arguments.seed);
    let mut run = |points: &[Point]| -> anyhow::Result<case::Outcome> {
        let outcome = worker.run(scenario, points, seed, true)?;
        report.lock().unwrap_or_else(PoisonError::into_inner).0.note(
            (index, scenario),
            points,
            seed,
            &outcome,
        );
        Ok(outcome)
    };
    match &task.what {
        What::One(points) => {
            let outcome = run(points)?;
            println!("{}: {}", if outcome.is_met { "met" } else { "not met" }, outcome.hit);
        }
        What::Each { fault, for_ever } => {
            let point = |k| Point { fault: *fault, k, for_ever: *for_ever };
            if let Some(k) = arguments.k {
                return run(&[point(k)]).map(|_| 0);
            }
            if arguments.smoke {
                let calls = run(&[point(POINTS_MAX)])?.calls;
                let step = calls.div_ceil(SMOKE_POINTS).max(1);
                let first = seed % step;
                let mut made = 0;
                for k in (first..calls).step_by(usize::try_from(step)?) {
                    made += u64::from(run(&[point(k)])?.is_met);
                }
                return Ok(calls - made.min(calls));
            }
            for k in 0.. {
                if !run(&[point(k)])?.is_met {
                    break;
                }
                if k == POINTS_MAX {
                    bail!("`{scenario}` does not end");
                }
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    println!("{scenario} {fault}: broken off behind {k}, for want of time");
                    break;
                }
            }
        }
        What::Pair(random) => {
            let mut random = random.clone();
            let mut any = || (kinds[random.index(kinds.len())], random.one_in(2));
            let ((first, first_lasts), (second, second_lasts)) = (any(), any());
            let calls = worker
                .run(scenario, &[Point { fault: first, k: POINTS_MAX, for_ever: false }], seed, false)?
                .calls;
            if calls == 0 {
                return Ok(0);
            }
            let points = [
                Point { fault: first, k: random.below(calls), for_ever: first_lasts },
                Point { fault: second, k: random.below(PAIR_DISTANCE), for_ever: second_lasts },
            ];
            let outcome = worker.run(scenario, &points, seed, true)?;
            report.lock().unwrap_or_else(PoisonError::into_inner).0.note(
                (index, scenario),
                &points,
                seed,
                &outcome,
            );
        }
    }
    Ok(0)
}
