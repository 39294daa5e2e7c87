//! Earlier versions: how soon one can be read from, and what reads cost there.

use std::collections::btree_map::Entry;
use std::hint::black_box;

use anyhow::{Result, ensure};
use cohab::{NamespaceView, Snapshot, Version};

use super::{Before, Source, Stage, back, nanos_each};
use crate::cohab::NAMESPACE;
use crate::engine::Adapter as _;
use crate::measure::{Done, Round, Series, Stopwatch, interleaved};
use crate::name::Name;
use crate::reading::Seen;
use crate::workload::{Contents, Key, Row};

/// How many rows a scan reads.
const ROWS_PER_SCAN: usize = 1_000;

/// How many rows are in a commit of the past in which reads are measured.
const ROWS_PER_COMMIT: usize = 10;

/// A store with a past.
struct Past {
    source: Source,
    /// The version from which the changes that are known lead to the present.
    version: Version,
    /// What it held then.
    contents: Contents,
    /// What is different of it now.
    before: Before,
}

impl Past {
    /// Makes a store, and then so many versions of so many rows each.
    fn make(stage: Stage<'_>, versions: usize, rows_each: usize) -> Result<Self> {
        let source = Source::make(stage.place, "earlier", stage.sizes.keys)?;
        let version = source.store().snapshot()?.version();
        let (mut before, contents) = (Before::new(), source.workload.borrow().contents());
        for _ in 0..versions {
            let changes = source.workload.borrow_mut().overwrites_with_before(rows_each);
            let rows: Vec<Row> = changes.iter().map(|(_, row)| *row).collect();
            for (old, _) in changes {
                if let Entry::Vacant(entry) = before.entry(old.key) {
                    entry.insert(old);
                }
            }
            source.engine.write(&rows, &|| ())?;
        }
        ensure!(back(source.store().snapshot()?.version(), versions) == version, "versions were left out");
        Ok(Self { source, version, contents, before })
    }

    /// Makes sure of the rows that are different, and of how many there are.
    fn check_changed(&self, past: &Snapshot) -> Result<()> {
        let namespace = past.namespace(NAMESPACE)?;
        for (key, row) in &self.before {
            ensure!(namespace.get(key)?.as_deref() == Some(&row.value[..]), "it has another value");
        }
        ensure!(
            namespace.info().keys == self.source.workload.borrow().rows().len() as u64,
            "not all is there"
        );
        Ok(())
    }

    /// Makes sure of all rows.
    fn check(&self, past: &Snapshot) -> Result<()> {
        let mut found = Contents::default();
        let namespace = past.namespace(NAMESPACE)?;
        let mut range = namespace.all()?;
        while let Some(entry) = range.step()? {
            found.add(entry.key(), entry.value());
        }
        ensure!(found == self.contents, "it shows {found:?}, and {:?} was there", self.contents);
        self.source.engine_check()
    }
}

impl Source {
    fn engine_check(&self) -> Result<()> {
        crate::reading::Reader::check(&self.engine, self.workload.borrow().contents())
    }
}

/// Has earlier versions ready to read, so many rows in each of which were changed.
pub fn at(stage: Stage<'_>, rows_each: usize) -> Result<Series> {
    let Stage { place, sizes, .. } = stage;
    if !stage.has(Name::Cohab) {
        return Ok(Series::new());
    }
    let past = Past::make(stage, sizes.versions, rows_each)?;
    let series = interleaved(
        &[(Name::Cohab, ())],
        sizes.rounds,
        |_| (),
        |_, (), ()| {
            place.sync()?;
            let present = past.source.store().snapshot()?;
            let watch = Stopwatch::start();
            for _ in 0..sizes.ats() {
                black_box(present.at(past.version)?.namespace(NAMESPACE)?.id());
            }
            let round = watch.stop_now(Done::operations(sizes.ats()));
            past.check_changed(&present.at(past.version)?)?;
            Ok(round)
        },
    )?;
    past.check(&past.source.store().snapshot()?.at(past.version)?)?;
    past.source.end()?;
    Ok(series)
}

/// Looks keys up in an earlier version, and in the present one.
pub fn get(stage: Stage<'_>) -> Result<Series> {
    let count = stage.sizes.gets_held;
    reads(stage, count, |namespace, keys| {
        let mut seen = Seen::default();
        for key in keys {
            seen.value(namespace.get(key)?.as_deref());
        }
        ensure!(seen.rows == keys.len() as u64, "found {} of {} keys", seen.rows, keys.len());
        Ok(seen)
    })
}

/// Scans an earlier version, and the present one.
pub fn scan(stage: Stage<'_>) -> Result<Series> {
    let count = stage.sizes.scans_1000;
    reads(stage, count, |namespace, starts| {
        let mut seen = Seen::default();
        for start in starts {
            let mut range = namespace.range(start..)?;
            for _ in 0..ROWS_PER_SCAN {
                let Some(entry) = range.step()? else { break };
                seen.row(entry.key(), entry.value());
            }
        }
        Ok(seen)
    })
}

fn reads(
    stage: Stage<'_>,
    count: usize,
    read: impl Fn(&NamespaceView<'_>, &[Key]) -> Result<Seen>,
) -> Result<Series> {
    let Stage { place, sizes, .. } = stage;
    if !stage.has(Name::Cohab) {
        return Ok(Series::new());
    }
    let past = Past::make(stage, sizes.versions, ROWS_PER_COMMIT)?;
    let (now, then) = {
        let snapshot = past.source.store().snapshot()?;
        (snapshot.clone(), snapshot.at(past.version)?)
    };
    let changed: Vec<Key> = past.before.keys().copied().collect();
    let mut number = 0;
    let series = interleaved(
        &[(Name::Cohab, ())],
        sizes.rounds,
        |_| {
            number += 1;
            let keys = past.source.workload.borrow_mut().lookups(count);
            let others: Vec<Key> = changed.iter().copied().cycle().skip(number * count).take(count).collect();
            (number, keys, others)
        },
        |_, (), (number, keys, changed)| {
            place.sync()?;
            let measure = |snapshot: &Snapshot, keys: &[Key]| -> Result<Round> {
                let namespace = snapshot.namespace(NAMESPACE)?;
                let watch = Stopwatch::start();
                let seen = read(&namespace, keys)?;
                Ok(watch.stop_now(seen.into()))
            };
            let (past, present) = if number % 2 == 0 {
                let past = measure(&then, keys)?;
                (past, measure(&now, keys)?)
            } else {
                let present = measure(&now, keys)?;
                (measure(&then, keys)?, present)
            };
            let of_changed = nanos_each(&measure(&then, changed)?) / nanos_each(&measure(&now, changed)?);
            let (of_past, of_present) = (nanos_each(&past), nanos_each(&present));
            let figures = vec![
                ("past", of_past),
                ("present", of_present),
                ("to present", of_past / of_present),
                ("changed to present", of_changed),
            ];
            Ok(Round { figures, ..past })
        },
    )?;
    past.check_changed(&then)?;
    past.check(&then)?;
    drop((now, then));
    past.source.end()?;
    Ok(series)
}
