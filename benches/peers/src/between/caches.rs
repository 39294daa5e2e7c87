//! What a cache of values takes: the memory of a process that has filled one, less that of a process that has done the
//! same without.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::Stage;
use super::memory::anonymous_bytes;
use crate::child::Child;
use crate::data::Data;
use crate::engine::{Engine, History};
use crate::measure::{Done, Round, Series, interleaved};
use crate::name::{Kind, Memory, Name};
use crate::order::Order;
use crate::reading::Counts;
use crate::workload::{Contents, KEY_BYTES, VALUE_BYTES};

/// Few, and the same whether values are kept or not.
const PAGES: usize = 16 << 20;

/// The budget for each of the rows that have to fit, about three times what they are: a cache that is near its end may
/// refuse them.
const PER_ROW: usize = 512;

/// How many times its budget a cache is offered, and how often.
const TIMES_BUDGET: usize = 3;
const PASSES: usize = 3;

/// Whose cache is filled with what.
struct Filling<'a> {
    name: Name,
    dir: &'a Path,
    data: Data,
    contents: Contents,
    passes: usize,
}

/// What an entry takes beside its key and value, where all rows fit.
pub fn memory(stage: &mut Stage<'_>) -> Result<Series> {
    let (rows, none) = (stage.sizes.keys, stage.place.path(""));
    let data = Data::Even(rows);
    // What everybody has in any case.
    let bare = i64::try_from(rows * (KEY_BYTES + VALUE_BYTES))?;
    let dir = |name: Name| {
        let of = |store| stage.stores.iter().find(|(name, _)| *name == store);
        name.store().and_then(of).map_or(none.as_path(), |(_, store)| &store.dir)
    };
    let contents = stage.workload.contents();
    interleaved(
        &entrants(stage),
        stage.sizes.long_rounds,
        |_| (),
        |name, (), ()| {
            let filling = Filling { name, dir: dir(name), data, contents, passes: 1 };
            let (growth, counts) = filling.growth(rows * PER_ROW)?;
            ensure!(counts.entries == rows as u64, "{} of {rows} rows are kept", counts.entries);
            let done = Done::operations(rows);
            let counts = Counts { bytes: counts.bytes.saturating_sub(bare.unsigned_abs()), ..counts };
            Ok(Round { done, counts: Some(counts), ..Round::of_samples(vec![growth - bare]) })
        },
    )
}

/// What a full cache takes of its budget, of which it was offered several times as much.
pub fn budget(stage: &mut Stage<'_>) -> Result<Series> {
    let budget = stage.sizes.budget;
    let data = Data::mixed(budget * TIMES_BUDGET);
    let contents = data.contents();
    let entrants = entrants(stage);
    let mut stores: Vec<(Name, PathBuf, Box<dyn Engine>)> = Vec::new();
    for store in entrants.iter().filter_map(|(name, ())| name.store()) {
        let dir = stage.place.fresh(&format!("{store}-mixed"))?;
        let engine = store.open(&dir, History::Off)?;
        engine.any_size().context("it has rows of one size")?.load(&mut data.rows())?;
        stores.push((store, dir, engine));
    }
    let none = stage.place.path("");
    let series = interleaved(
        &entrants,
        stage.sizes.long_rounds,
        |_| (),
        |name, (), ()| {
            let dir =
                stores.iter().find(|(store, ..)| name.store() == Some(*store)).map_or(&none, |it| &it.1);
            let (growth, counts) = Filling { name, dir, data, contents, passes: PASSES }.growth(budget)?;
            let done = Done::operations(budget);
            Ok(Round { done, counts: Some(counts), ..Round::of_samples(vec![growth]) })
        },
    )?;
    for (_, dir, engine) in stores {
        drop(engine);
        fs::remove_dir_all(dir)?;
    }
    Ok(series)
}

/// Who has a cache to measure.
fn entrants(stage: &Stage<'_>) -> Vec<(Name, ())> {
    let names = stage.names.iter().filter(|name| matches!(name.kind(), Kind::Caching | Kind::Plain));
    names.map(|&name| (name, ())).collect()
}

impl Filling<'_> {
    /// How much more memory a process has that keeps values than one that doesn't, and what its cache counts.
    fn growth(&self, values: usize) -> Result<(i64, Counts)> {
        let (with, counts) = self.bytes(values)?;
        let (without, _) = self.bytes(0)?;
        Ok((with - without, counts.context("the reader counts nothing")?))
    }

    fn bytes(&self, values: usize) -> Result<(i64, Option<Counts>)> {
        let (first, _) = self.data.rows().next().context("there are no rows")?;
        let reader = Child::reader(self.name, self.dir, Memory { pages: PAGES, values }, first)?;
        if self.name.store().is_some() {
            reader.check(self.contents)?;
        }
        let mut counts = None;
        for _ in 0..self.passes {
            counts = reader.round(Order::Warm(self.data), &[])?.counts;
        }
        let bytes = anonymous_bytes(reader.id())?;
        reader.end()?;
        Ok((bytes, counts))
    }
}
