//! Going back to an earlier version, beside the time that the way there took.

use anyhow::{Result, ensure};

use super::{Source, Stage, held, millis};
use crate::engine::Adapter as _;
use crate::measure::{Done, Round, Series, Stopwatch, interleaved};
use crate::name::Name;
use crate::reading::Reader as _;

/// Writes rows in so many commits, and rolls them back.
pub fn roll_back(stage: Stage<'_>, commits: usize) -> Result<Series> {
    let Stage { place, sizes, .. } = stage;
    if !stage.has(Name::Cohab) {
        return Ok(Series::new());
    }
    let source = Source::make(place, "rolled-back", sizes.keys)?;
    let series = interleaved(
        &[(Name::Cohab, ())],
        sizes.rounds,
        |_| source.workload.borrow_mut().trial_overwrites(sizes.rolled_back()),
        |_, (), rows| {
            let before = source.store().snapshot()?;
            let (to, was) = (before.version(), held(&before)?);
            drop(before);
            place.sync()?;
            let watch = Stopwatch::start();
            for rows in rows.chunks(rows.len().div_ceil(commits)) {
                source.engine.write(rows, &|| ())?;
            }
            let written = watch.stop_now(Done::operations(rows.len()));
            ensure!(held(&source.store().snapshot()?)? != was, "nothing was written");
            place.sync()?;
            let watch = Stopwatch::start();
            let rolled = source.store().write(|tx| tx.rollback(to))?.value;
            let round = watch.stop_now(Done::operations(1));
            ensure!(rolled.changes == rows.len() as u64, "not all was rolled back: {rolled:?}");
            ensure!(held(&source.store().snapshot()?)? == was, "it is not what it was");
            let ratio = round.cpu.as_secs_f64() / written.cpu.as_secs_f64();
            let figures = vec![
                ("rolled back", millis(round.cpu)),
                ("written", millis(written.cpu)),
                ("to written", ratio),
                ("wall", millis(round.wall)),
                ("written, wall", millis(written.wall)),
                ("to written, wall", round.wall.as_secs_f64() / written.wall.as_secs_f64()),
            ];
            Ok(Round { figures, ..round })
        },
    )?;
    let contents = source.workload.borrow().contents();
    source.engine.check(contents)?;
    source.end()?;
    Ok(series)
}
