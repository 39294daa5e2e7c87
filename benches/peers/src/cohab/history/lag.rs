//! How far a replica lags behind a writer, and what the writer notices of whoever keeps it.

use std::fs;
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
    let mut mark = 0;
    let series = interleaved(
        &[(Name::Cohab, ())],
        sizes.long_rounds,
        |round| round,
        |_, (), round| {
            let mut commits = |beside: bool| -> Result<(Vec<i64>, Vec<i64>)> {
                place.sync()?;
                let first = mark + 2;
                let last = mark + 1 + sizes.lags as u64;
                source.put_marked(mark + 1, rows_each)?;
                if beside {
                    start(&follower)?;
                    reader.order(Order::Follow { first, last }, &[key])?;
                    reader.await_ready()?;
                }
                let (mut took, mut returned) = (Vec::new(), Vec::new());
                let mut next = Instant::now();
                for mark in first..=last {
                    next += INTERVAL;
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    took.push(source.put_marked(mark, rows_each)?);
                    returned.push(shared_ns());
                }
                mark = last;
                if !beside {
                    return Ok((took, Vec::new()));
                }
                let seen = reader.times()?;
                ensure!(seen.len() == returned.len(), "{} of {} were seen", seen.len(), returned.len());
                stop(&follower)?;
                Ok((took, seen.iter().zip(&returned).map(|(seen, returned)| seen - returned).collect()))
            };
            let ((alone, _), (beside, lags)) = if round % 2 == 0 {
                (commits(false)?, commits(true)?)
            } else {
                let beside = commits(true)?;
                (commits(false)?, beside)
            };
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
