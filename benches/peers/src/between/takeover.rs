//! A writer is killed in a transaction, and a process that stood by commits.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::child::Child;
use crate::crash::{Expected, Interrupted};
use crate::engine::History;
use crate::measure::{Done, Round, Series, interleaved, shared_ns};
use crate::name::Name;
use crate::order::Order;
use crate::place::Place;
use crate::sizes::Sizes;
use crate::workload::Workload;

/// Measures from the kill to the return of the successor's first commit.
pub fn run(place: &Place, engines: &[Name], sizes: Sizes) -> Result<Series> {
    let engines = engines.iter().filter(|name| name.stands_by());
    let dir = |name: &Name| Ok((*name, place.fresh(&format!("{name}-succession"))?));
    let dirs: Vec<_> = engines.map(dir).collect::<Result<_>>()?;
    if dirs.is_empty() {
        return Ok(Series::new());
    }
    let mut workload = Workload::new(sizes.keys);
    let input = |round| {
        let left = Expected::after(&mut workload, round);
        let mark = workload.mark(round as u64);
        (left, mark, workload.contents())
    };
    let series = interleaved(&dirs, sizes.rounds, input, |name, dir, (left, mark, contents)| {
        let writer = Interrupted::start(name, dir, sizes.keys, left.round)?;
        let successor = Child::start(name, dir)?;
        successor.order(Order::Succeed { mark: left.round as u64 }, &[mark.key])?;
        successor.await_ready()?;
        place.sync()?;
        let begin = shared_ns();
        writer.kill()?;
        let times = successor.times()?;
        let committed = times.first().context("the successor did not say when it had committed")?;
        successor.end()?;
        name.open(dir, History::Full)?.check(*contents).context("after the take-over")?;
        let wall = Duration::from_nanos(u64::try_from(committed - begin)?);
        Ok(Round::of_times(wall, Duration::ZERO, Done::operations(1)))
    })?;
    dirs.into_iter().try_for_each(|(_, dir)| fs::remove_dir_all(dir))?;
    Ok(series)
}
