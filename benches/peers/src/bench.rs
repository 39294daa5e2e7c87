//! Running the cases.

use std::fs;
use std::thread;

#[cfg(feature = "with-cohab")]
use anyhow::bail;
use anyhow::{Context as _, Result, anyhow, ensure};

use crate::between::{Stage, beside, caches, commits, gets, opening, scaling, takeover, wake};
use crate::case::Case;
#[cfg(feature = "with-cohab")]
use crate::cohab::history::{self, back, earlier, lag, replicas, views};
#[cfg(feature = "with-cohab")]
use crate::cohab::plugins::{self, Tier};
use crate::crash;
use crate::engine::{Engine, History};
use crate::measure::{Done, Series, Stopwatch, interleaved, measure};
use crate::name::Name;
use crate::place::{Place, disk_bytes};
use crate::reading::Seen;
use crate::sizes::Sizes;
use crate::workload::{FIRST_KEY, Key, Row, Workload};

/// How many threads commit at a time in [`Case::Commit1x16`].
const THREADS: usize = 16;

/// How many rows are in one transaction of [`Case::Commit1000`].
const ROWS_PER_COMMIT: usize = 1_000;

/// How many processes read in [`Case::CommitBeside8Readers`].
const READERS: usize = 8;

/// In how many commits the rows are written that [`Case::Rollback10k`] takes back.
#[cfg(feature = "with-cohab")]
const COMMITS_ROLLED_BACK: usize = 100;

/// How many rows the namespace of [`Case::RenameSmall`] has, and a commit of those that are of a few rows.
const ROWS_FEW: usize = 10;

/// A benchmark under way.
pub struct Bench {
    /// The stores that most cases share. Before the place, which is removed when it is dropped.
    loaded: Vec<(Name, Box<dyn Engine>)>,
    place: Place,
    /// Who takes part.
    names: Vec<Name>,
    /// Those of them that have stores, and those whose stores others read.
    engines: Vec<Name>,
    sizes: Sizes,
    workload: Workload,
}

impl Bench {
    /// Prepares to measure whoever takes part.
    pub fn new(place: Place, names: Vec<Name>, sizes: Sizes) -> Self {
        let mut engines: Vec<Name> = names.iter().filter_map(|name| name.store()).collect();
        engines.dedup();
        Self { loaded: Vec::new(), place, names, engines, sizes, workload: Workload::new(sizes.keys) }
    }

    /// Runs a case with the engines that can do it.
    pub fn run(&mut self, case: Case) -> Result<Series> {
        let sizes = self.sizes;
        match case {
            Case::BulkLoad => self.bulk_load(History::Full),
            Case::BulkLoadNohistory => self.bulk_load(History::Off),
            Case::GetHeld => self.get(sizes.gets_held, |engine, keys| engine.get_held(keys)),
            Case::GetFresh => self.get(sizes.gets_fresh, |engine, keys| engine.get_fresh(keys)),
            Case::Scan10 => self.scan(sizes.scans_10, 10),
            Case::Scan1000 => self.scan(sizes.scans_1000, 1_000),
            Case::ScanAll => self.scan_all(sizes.scans_all),
            Case::ReaderGetHeld => gets::held(&mut self.stage()?),
            Case::ReaderGetQuiet => gets::quiet(&mut self.stage()?),
            Case::ReaderGetUncached => gets::uncached(&mut self.stage()?),
            Case::GetUniformWarm => gets::warm(&mut self.stage()?),
            Case::GetMiss => gets::missing(&mut self.stage()?),
            Case::ReaderGet2Threads => scaling::threads(&mut self.stage()?),
            Case::ReaderGet2Processes => scaling::processes(&mut self.stage()?),
            Case::CacheMemory => caches::memory(&mut self.stage()?),
            Case::CacheBudget => caches::budget(&mut self.stage()?),
            Case::OpenReader => opening::open(&mut self.stage()?),
            Case::ReaderMemory => opening::memory(&mut self.stage()?),
            Case::Commit1 => self.commit_1(sizes.commits_1),
            Case::Commit1x16 => self.commit_1x16(sizes.commits_1x16),
            Case::Commit1000 => self.commit_1000(sizes.commits_1000),
            Case::Commit1Nohistory => self.nohistory(sizes.commits_1, 1),
            Case::Commit1000Nohistory => self.nohistory(sizes.commits_1000, ROWS_PER_COMMIT),
            Case::ReaderGetOtherNs => beside::other_namespace(&mut self.stage()?),
            Case::ReaderGetSameNs => beside::same_namespace(&mut self.stage()?),
            Case::CommitBeside8Readers => commits::beside(&mut self.stage()?, READERS),
            Case::Wake => wake::run(&mut self.stage()?),
            Case::OpenAfterKill10k => self.open_after_kill(sizes.keys_small),
            Case::OpenAfterKill => self.open_after_kill(sizes.keys),
            Case::Takeover => takeover::run(&self.place, &self.engines, sizes),
            Case::RenameSmall => self.rename(sizes.renames, ROWS_FEW),
            Case::RenameLarge => self.rename(sizes.renames, sizes.keys),
            Case::RestoreFull => self.restore(),
            #[cfg(feature = "with-cohab")]
            of_cohab => self.cohab(of_cohab),
            #[cfg(not(feature = "with-cohab"))]
            _ => Ok(Series::new()),
        }
    }

    fn bulk_load(&self, history: History) -> Result<Series> {
        let (place, workload) = (&self.place, &self.workload);
        let engines: Vec<(Name, ())> = self.engines.iter().map(|&name| (name, ())).collect();
        interleaved(
            &engines,
            self.sizes.load_rounds,
            |_| (),
            |name, (), ()| {
                let dir = place.fresh(&format!("{name}-load"))?;
                let engine = name.open(&dir, history)?;
                place.sync()?;
                let round = measure(&*engine, || {
                    engine.commit(workload.rows())?;
                    Ok(Done::operations(workload.rows().len()))
                })?;
                engine.check(workload.contents())?;
                drop(engine);
                fs::remove_dir_all(dir)?;
                Ok(round)
            },
        )
    }

    fn get(&mut self, count: usize, get: impl Fn(&dyn Engine, &[Key]) -> Result<Seen>) -> Result<Series> {
        self.on_loaded(
            |workload| workload.lookups(count),
            |engine, keys| {
                let seen = get(engine, keys)?;
                ensure!(seen.rows == keys.len() as u64, "found {} of {} keys", seen.rows, keys.len());
                Ok(seen.into())
            },
        )
    }

    fn scan(&mut self, count: usize, limit: usize) -> Result<Series> {
        self.on_loaded(
            |workload| workload.lookups(count),
            |engine, starts| Ok(engine.scan(starts, limit)?.into()),
        )
    }

    fn scan_all(&mut self, count: usize) -> Result<Series> {
        self.on_loaded(
            |_| vec![FIRST_KEY; count],
            |engine, starts| Ok(engine.scan(starts, usize::MAX)?.into()),
        )
    }

    fn commit_1(&mut self, count: usize) -> Result<Series> {
        self.on_loaded(
            |workload| workload.overwrites(count),
            |engine, rows| {
                rows.iter().try_for_each(|row| engine.put(row))?;
                Ok(Done::operations(rows.len()))
            },
        )
    }

    fn commit_1x16(&mut self, count_each: usize) -> Result<Series> {
        self.on_loaded(
            |workload| workload.overwrites_apart(THREADS, count_each),
            |engine, parts| {
                thread::scope(|scope| {
                    let commit = |rows: &Vec<Row>| rows.iter().try_for_each(|row| engine.put(row));
                    let threads: Vec<_> =
                        parts.iter().map(|rows| scope.spawn(move || commit(rows))).collect();
                    let done = |thread: thread::ScopedJoinHandle<'_, Result<()>>| {
                        thread.join().map_err(|_| anyhow!("a thread panicked"))?
                    };
                    threads.into_iter().try_for_each(done)
                })?;
                Ok(Done::operations(parts.iter().map(Vec::len).sum()))
            },
        )
    }

    fn commit_1000(&mut self, count: usize) -> Result<Series> {
        self.on_loaded(
            |workload| workload.overwrites(count * ROWS_PER_COMMIT),
            |engine, rows| {
                rows.chunks(ROWS_PER_COMMIT).try_for_each(|rows| engine.commit(rows))?;
                Ok(Done::operations(rows.len() / ROWS_PER_COMMIT))
            },
        )
    }

    /// Commits to a store that keeps its history and to one that does not, both fresh.
    fn nohistory(&self, count: usize, rows_per_commit: usize) -> Result<Series> {
        let Self { place, sizes, names, .. } = self;
        let mut workload = Workload::new(sizes.keys);
        let mut engines: Vec<(Name, Box<dyn Engine>)> = Vec::new();
        for &name in names.iter().filter(|name| name.is_about_history()) {
            let engine = name.open(&place.fresh(&format!("{name}-commits"))?, History::Full)?;
            engine.commit(workload.rows())?;
            engines.push((name, engine));
        }
        let series = interleaved(
            &engines,
            sizes.rounds,
            |_| workload.overwrites(count * rows_per_commit),
            |_, engine, rows| {
                place.sync()?;
                measure(&**engine, || {
                    match rows_per_commit {
                        1 => rows.iter().try_for_each(|row| engine.put(row))?,
                        rows_each => rows.chunks(rows_each).try_for_each(|rows| engine.commit(rows))?,
                    }
                    Ok(Done::operations(count))
                })
            },
        )?;
        for (name, engine) in engines {
            engine.check(workload.contents())?;
            drop(engine);
            fs::remove_dir_all(place.path(&format!("{name}-commits")))?;
        }
        Ok(series)
    }

    /// Copies the loaded stores, each the ways it can be copied.
    fn restore(&mut self) -> Result<Series> {
        self.load()?;
        let Self { place, sizes, names, loaded, workload, .. } = self;
        let store = |name: Name| loaded.iter().find(|(store, _)| name.store() == Some(*store));
        let copying = names.iter().copied().filter(|name| name.copies());
        let ways: Vec<_> = copying.filter_map(|name| Some((name, store(name)?))).collect();
        interleaved(
            &ways,
            sizes.load_rounds,
            |_| (),
            |name, (store, engine), ()| {
                let dir = place.fresh(&format!("{name}-copy"))?;
                place.sync()?;
                let watch = Stopwatch::start();
                ensure!(engine.copy(name, &place.path(store.as_str()), &dir)?, "{name} cannot be copied");
                let round = watch.stop_now(Done::operations(1));
                let copy = store.open(&dir, History::Full)?;
                copy.check(workload.contents()).context("of the copy")?;
                drop(copy);
                fs::remove_dir_all(dir)?;
                Ok(round)
            },
        )
    }

    #[cfg(feature = "with-cohab")]
    fn cohab(&self, case: Case) -> Result<Series> {
        let Self { place, sizes, names, .. } = self;
        let stage = history::Stage { place, sizes, names };
        match case {
            Case::Refresh1000 => replicas::refresh(stage, sizes.keys),
            Case::Refresh1000Small => replicas::refresh(stage, sizes.keys_small),
            Case::RefreshView1000 => views::refresh(stage, sizes.keys),
            Case::RefreshView1000Small => views::refresh(stage, sizes.keys_small),
            Case::DeltaBytes => replicas::weigh(stage),
            Case::Apply100k => replicas::apply(stage),
            Case::At1000 => earlier::at(stage, 1),
            Case::At1000x10 => earlier::at(stage, ROWS_FEW),
            Case::AtGet => earlier::get(stage),
            Case::AtScan1000 => earlier::scan(stage),
            Case::Rollback10k => back::roll_back(stage, COMMITS_ROLLED_BACK),
            Case::Rollback10kSingle => back::roll_back(stage, 1),
            Case::FollowLag => lag::run(stage, 1),
            Case::FollowLag10 => lag::run(stage, ROWS_FEW),
            Case::PluginCheck => plugins::check::run(stage),
            Case::PluginCall => plugins::call::run(stage),
            Case::PluginFollow => plugins::follow::run(stage),
            Case::PluginReload => plugins::reload::latency(stage),
            Case::PluginReloadScript => plugins::reload::many(stage, Tier::Script),
            Case::PluginReloadModule => plugins::reload::many(stage, Tier::Wasm),
            other => bail!("{} is no case of the log, and none of plugins", other.name()),
        }
    }

    fn open_after_kill(&self, rows: usize) -> Result<Series> {
        crash::run(&self.place, &self.engines, rows, self.sizes.rounds)
    }

    /// Renames a namespace of some rows there and back, in the stores that have namespaces.
    fn rename(&mut self, count: usize, rows: usize) -> Result<Series> {
        self.load()?;
        let (here, there) = (format!("of-{rows}"), format!("once-of-{rows}"));
        let mut engines = Vec::new();
        for (name, engine) in &self.loaded {
            if let Some(namespaces) = engine.namespaces() {
                namespaces.create(&here, &self.workload.rows()[..rows])?;
                engines.push((*name, (engine, namespaces)));
            }
        }
        interleaved(
            &engines,
            self.sizes.rounds,
            |_| (),
            |_, (engine, namespaces), ()| {
                self.place.sync()?;
                measure(&***engine, || {
                    for _ in 0..count {
                        namespaces.rename(&here, &there)?;
                        namespaces.rename(&there, &here)?;
                    }
                    Ok(Done::operations(2 * count))
                })
            },
        )
    }

    /// Measures work on the stores that are loaded, and checks afterwards that they hold what they should.
    fn on_loaded<I>(
        &mut self,
        mut input: impl FnMut(&mut Workload) -> I,
        work: impl Fn(&dyn Engine, &I) -> Result<Done>,
    ) -> Result<Series> {
        self.load()?;
        let Self { place, sizes, workload, loaded, .. } = self;
        let series = interleaved(
            loaded,
            sizes.rounds,
            |_| input(workload),
            |_, engine, input| {
                place.sync()?;
                measure(&**engine, || work(&**engine, input))
            },
        )?;
        for (name, engine) in loaded {
            engine
                .check(workload.contents())
                .with_context(|| format!("looking through {name} afterwards"))?;
        }
        Ok(series)
    }

    /// The loaded stores, for the cases that involve other processes.
    fn stage(&mut self) -> Result<Stage<'_>> {
        self.load()?;
        let Self { place, names, sizes, workload, loaded, .. } = self;
        Ok(Stage::new(place, *sizes, workload, names, loaded))
    }

    fn load(&mut self) -> Result<()> {
        if !self.loaded.is_empty() {
            return Ok(());
        }
        for &name in &self.engines {
            let dir = self.place.fresh(name.as_str())?;
            let engine = name.open(&dir, History::Full)?;
            engine.commit(self.workload.rows())?;
            engine.settle();
            engine.check(self.workload.contents()).with_context(|| format!("loading {name}"))?;
            println!("{name:>8}: {} MiB on disk", disk_bytes(&dir)? >> 20);
            self.loaded.push((name, engine));
        }
        Ok(())
    }
}
