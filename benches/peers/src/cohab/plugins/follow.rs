//! How far a plugin lags behind a writer, and what the writer notices of it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cohab::Store;

use super::{Home, PLUGIN, Tier, batch, namespace, open};
use crate::cohab::history::Stage;
use crate::measure::{Round, Series, interleaved, quantile};
use crate::name::Name;

/// In how many turns the commits of each come that are compared.
const TURNS: usize = 10;

/// How often it is looked whether a plugin has come up.
const LOOK: Duration = Duration::from_millis(1);

/// How long a plugin may take to come up before something is wrong with it.
const PATIENCE: Duration = Duration::from_mins(5);

/// A writer, with or without a plugin.
struct Writer<'h> {
    store: &'h Store,
    namespace: cohab::Name,
    /// How many commits it has made.
    commits: u64,
}

/// Commits of one key each from one thread.
pub fn run(stage: Stage<'_>) -> Result<Series> {
    let Stage { place, sizes, .. } = stage;
    if !stage.has(Name::Cohab) {
        return Ok(Series::new());
    }
    let alone_dir = place.fresh("alone")?;
    let alone = open(&alone_dir)?;
    let homes: Vec<Home> = Tier::ALL
        .iter()
        .map(|tier| Home::make(place, "followed", *tier, &tier.code(0)?))
        .collect::<Result<_>>()?;
    let stores = [&alone].into_iter().chain(homes.iter().map(|home| &home.store));
    let writer = |store| Ok(Writer { store, namespace: namespace()?, commits: 0 });
    let mut writers: Vec<Writer<'_>> = stores.map(writer).collect::<Result<_>>()?;
    let series = interleaved(
        &[(Name::Cohab, ())],
        sizes.long_rounds,
        |_| (),
        |_, (), ()| {
            let count = writers.len();
            let mut took = vec![Vec::new(); count];
            for turn in 0..TURNS {
                for at in (0..count).map(|at| (at + turn) % count) {
                    place.sync()?;
                    took[at].extend(writers[at].commit(sizes.commits_1 / TURNS)?);
                    if at > 0 {
                        await_followed(writers[at].store)?;
                    }
                }
            }
            let micros: Vec<f64> = took.iter().map(|took| quantile(took, 0.5) / 1e3).collect();
            let mut figures = vec![("alone", micros[0])];
            for ((tier, writer), beside) in Tier::ALL.iter().zip(&mut writers[1..]).zip(&micros[1..]) {
                let [title, ratio, behind, in_all] = match tier {
                    Tier::Wasm => ["beside wasm", "wasm to alone", "wasm", "wasm in all"],
                    Tier::Script => ["beside script", "script to alone", "script", "script in all"],
                };
                figures.extend([(title, *beside), (ratio, beside / micros[0])]);
                place.sync()?;
                let begin = Instant::now();
                writer.commit(sizes.plugins.followed)?;
                let returned = Instant::now();
                await_followed(writer.store)?;
                figures.push((behind, returned.elapsed().as_secs_f64()));
                figures.push((in_all, begin.elapsed().as_secs_f64()));
            }
            Ok(Round { figures, ..Round::of_samples(Vec::new()) })
        },
    )?;
    for (writer, home) in writers[1..].iter().zip(&homes) {
        let (sum, expected) = (home.sum()?, (0..writer.commits).sum::<u64>());
        ensure!(sum == expected, "the sum is {sum}, and not {expected}");
    }
    homes.into_iter().try_for_each(Home::end)?;
    drop(alone);
    std::fs::remove_dir_all(alone_dir)?;
    Ok(series)
}

impl Writer<'_> {
    /// Makes so many commits, and returns what each took.
    fn commit(&mut self, count: usize) -> Result<Vec<i64>> {
        (0..count)
            .map(|_| {
                let batch = batch(&self.namespace, self.commits);
                self.commits += 1;
                let begin = Instant::now();
                self.store.submit(batch)?;
                Ok(i64::try_from(begin.elapsed().as_nanos())?)
            })
            .collect()
    }
}

/// Waits until the plugin has been called for every commit.
pub fn await_followed(store: &Store) -> Result<()> {
    let begin = Instant::now();
    while store.plugins().show(PLUGIN)?.lag != Some(0) {
        ensure!(
            begin.elapsed() < PATIENCE,
            "the plugin does not come up: {:?}",
            store.plugins().show(PLUGIN)?
        );
        thread::sleep(LOOK);
    }
    Ok(())
}
