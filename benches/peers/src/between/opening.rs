//! Readers that begin, and many that are there.

use std::time::Duration;

use anyhow::Result;

use super::Stage;
use super::memory::private_bytes;
use crate::child::Child;
use crate::measure::{Round, Series, interleaved};
use crate::name::Memory;
use crate::order::Order;
use crate::reading::Seen;

/// Opens readers, each in a process of its own that has just begun.
pub fn open(stage: &mut Stage<'_>) -> Result<Series> {
    let inputs: Vec<_> =
        (0..=stage.sizes.rounds).map(|_| stage.workload.lookups(stage.sizes.openings)).collect();
    interleaved(
        &stage.stores,
        stage.sizes.rounds,
        |round| &inputs[round],
        |name, store, keys| {
            let (mut wall, mut cpu, mut seen) = (Duration::ZERO, Duration::ZERO, Seen::default());
            for key in *keys {
                let reader = Child::start(name, &store.dir)?;
                let round = reader.round(Order::Open(Memory::PAGES), &[*key])?;
                wall += round.wall;
                cpu += round.cpu;
                seen = seen.and(round.done.seen);
                reader.end()?;
            }
            Ok(Round::of_times(wall, cpu, seen.into()))
        },
    )
}

/// Keeps many readers open, and looks at what each of them has for itself. Every process counts as a round.
pub fn memory(stage: &mut Stage<'_>) -> Result<Series> {
    let mut series = Series::new();
    for (name, store) in &stage.stores {
        let readers = (0..stage.sizes.readers).map(|_| stage.reader(store, Memory::PAGES));
        let readers: Vec<Child> = readers.collect::<Result<_>>()?;
        let rounds = readers.iter().map(|reader| Ok(Round::of_samples(vec![private_bytes(reader.id())?])));
        series.push((*name, rounds.collect::<Result<_>>()?));
        readers.into_iter().try_for_each(Child::end)?;
    }
    if let Some((name, store)) = stage.stores.first() {
        let bare = Child::start(*name, &store.dir)?;
        bare.order(Order::Nothing, &[])?;
        bare.await_ready()?;
        println!(
            "\na process that has opened nothing has {} kB for itself",
            private_bytes(bare.id())? / 1000
        );
        bare.end()?;
    }
    Ok(series)
}
