//! How far a replica lags behind a writer, and what the writer notices of whoever keeps it.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use cohab::Followed;

use super::{Source, Stage, follow};
use crate::child::Child;
use crate::engine::Adapter as _;
use crate::measure::{Round, Series, interleaved, quantile, shared_ns};
use crate::name::{Memory, Name};
use crate::order::{Answer, Order};
use crate::workload::Row;

/// Where the replica is, within the directory of the source.
const REPLICA: &str = "replica";

/// How far apart commits are.
const INTERVAL: Duration = Duration::from_millis(10);

/// How many turns of each there are in a round.
const TURNS: usize = 5;

/// How long a follower waits before it looks whether it is to stop.
const WAIT: Duration = Duration::from_millis(20);

/// Commits a hundred times a second, so many rows each, with nobody there and with a process that keeps a replica. A
/// third process reads from the replica as any reader does.
pub fn run(stage: Stage<'_>, rows_each: usize) -> Result<Series> {
    let Stage { place, sizes, .. } = stage;
    if !stage.has(Name::Cohab) {
        return Ok(Series::new());
    }
    let source = Source::make(place, "followed", sizes.keys)?;
    let replica = source.dir.join(REPLICA);
    fs::create_dir(&replica)?;
    let follower = Child::start(Name::Cohab, &source.dir)?;
    start(&follower)?;
    let key = source.workload.borrow().marked_key();
    let reader = Child::reader(Name::Cohab, &replica, Memory::PAGES, key)?;
    stop(&follower)?;
    let mut mark = 0_u64;
    let series = interleaved(
        &[(Name::Cohab, ())],
        sizes.long_rounds,
        |round| round,
        |_, (), round| {
            let (mut alone, mut beside, mut lags) = (Vec::new(), Vec::new(), Vec::new());
            // The machine is never the same for long: they take short turns, and each begins as often as the other.
            for turn in 0..2 * TURNS {
                place.sync()?;
                let commits = sizes.lags.div_ceil(TURNS);
                let marks = mark + 2..=mark + 1 + commits as u64;
                mark += 1 + commits as u64;
                if (turn + turn / 2 + round) % 2 == 0 {
                    source.put_marked(marks.start() - 1, rows_each)?;
                    alone.extend(commit_marked(&source, marks, rows_each)?.into_iter().map(|it| it.took));
                } else {
                    let done = followed(&source, &follower, &reader, marks, rows_each)?;
                    beside.extend(done.iter().map(|(commit, _)| commit.took));
                    lags.extend(done.iter().map(|(commit, seen)| seen - commit.returned));
                }
            }
            // Where the writer ran behind, its commits came without a pause, which says something, too.
            let (alone, beside) = (quantile(&alone, 0.5), quantile(&beside, 0.5));
            let figures = vec![
                ("commit alone", alone / 1e3),
                ("commit beside", beside / 1e3),
                ("commit to alone", beside / alone),
            ];
            Ok(Round { figures, ..Round::of_samples(lags) })
        },
    )?;
    start(&follower)?;
    stop(&follower)?;
    let contents = source.workload.borrow().contents();
    crate::reading::Reader::check(&source.engine, contents)?;
    reader.check(contents)?;
    reader.end()?;
    follower.end()?;
    source.end()?;
    Ok(series)
}

/// A commit: what it took, and when it returned.
struct Commit {
    took: i64,
    returned: i64,
}

/// Makes commits, one each interval.
fn commit_marked(source: &Source, marks: RangeInclusive<u64>, rows_each: usize) -> Result<Vec<Commit>> {
    let mut next = Instant::now();
    let commit = |mark| {
        next += INTERVAL;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let took = source.put_marked(mark, rows_each)?;
        Ok(Commit { took, returned: shared_ns() })
    };
    marks.map(commit).collect()
}

/// Makes commits beside a follower, and says when a reader of the replica has seen each.
fn followed(
    source: &Source,
    follower: &Child,
    reader: &Child,
    marks: RangeInclusive<u64>,
    rows_each: usize,
) -> Result<Vec<(Commit, i64)>> {
    let (first, last) = (*marks.start(), *marks.end());
    source.put_marked(first - 1, rows_each)?;
    start(follower)?;
    reader.order(Order::Follow { first, last }, &[source.workload.borrow().marked_key()])?;
    reader.await_ready()?;
    let commits = commit_marked(source, marks, rows_each)?;
    let seen = reader.times()?;
    stop(follower)?;
    ensure!(seen.len() == commits.len(), "{} of {} were seen", seen.len(), commits.len());
    Ok(commits.into_iter().zip(seen).collect())
}

impl Source {
    /// Commits a marked row and others, and returns what that took.
    fn put_marked(&self, mark: u64, rows: usize) -> Result<i64> {
        let mut workload = self.workload.borrow_mut();
        // The marked one last: another may be of the same row.
        let mut rows: Vec<Row> = (1..rows).flat_map(|_| workload.overwrites(1)).collect();
        rows.push(workload.mark(mark));
        let begin = Instant::now();
        match &rows[..] {
            [row] => self.engine.put(row)?,
            rows => self.engine.write(rows, &|| ())?,
        }
        Ok(i64::try_from(begin.elapsed().as_nanos())?)
    }
}

fn start(follower: &Child) -> Result<()> {
    follower.order(Order::Mirror, &[])?;
    follower.await_ready()
}

fn stop(follower: &Child) -> Result<()> {
    follower.order(Order::Stop, &[])?;
    match follower.answer()? {
        Answer::Ready => Ok(()),
        other => bail!("the follower answered {other:?}"),
    }
}

/// Keeps a replica of the store in a directory, within it, until it is to stop. Says when it has come up to the source.
pub fn mirror(dir: &Path, is_to_stop: &AtomicBool, ready: &dyn Fn() -> Result<()>) -> Result<()> {
    let mut follower = follow(dir, &dir.join(REPLICA))?;
    follower.catch_up()?;
    ready()?;
    loop {
        follower.wait(WAIT)?;
        let is_last = is_to_stop.load(Ordering::Relaxed);
        match follower.catch_up()? {
            Followed::Whole { because, .. } => bail!("the whole store was gone through: {because}"),
            _ if is_last => return Ok(()),
            _ => {}
        }
    }
}
