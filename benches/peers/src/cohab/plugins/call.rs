//! What a call costs: of a commit hook beside the store, and of a request that reads.

use std::collections::HashMap;
use std::ops::ControlFlow;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use cohab::{Timestamp, Version};
use cohab_plugin::{
    Bundle, Call, ChangeRef, Changes, Code, Grants, GuestCache, Host, HostError, Instance, Manifest, Stop,
};

use super::{Home, NAMESPACE, PLUGIN, SUM, Tier, batch, namespace, number, value};
use crate::cohab::history::{Stage, nanos_each};
use crate::cohab::plugins::follow::await_followed;
use crate::measure::{Done, Round, Series, Stopwatch, interleaved};
use crate::name::Name;

/// How many changes a call is handed.
const CHANGES: [usize; 3] = [1, 100, 1_000];

/// How many rows are there when requests ask for their sum.
const ROWS: u64 = 10;

/// What the figures are called, by tier.
struct Titles {
    hooks: [&'static str; 3],
    request: &'static str,
    requests: &'static str,
}

fn titles(tier: Tier) -> Titles {
    match tier {
        Tier::Wasm => Titles {
            hooks: ["wasm n=1", "wasm n=100", "wasm n=1000"],
            request: "wasm request",
            requests: "wasm requests",
        },
        Tier::Script => Titles {
            hooks: ["script n=1", "script n=100", "script n=1000"],
            request: "script request",
            requests: "script requests",
        },
    }
}

/// Calls a commit hook with changes in memory, and a store's plugin for requests.
pub fn run(stage: Stage<'_>) -> Result<Series> {
    let Stage { place, sizes, .. } = stage;
    if !stage.has(Name::Cohab) {
        return Ok(Series::new());
    }
    let mut homes = Vec::new();
    for &tier in Tier::ALL {
        let home = Home::make(place, "requests", tier, &tier.code(0)?)?;
        let namespace = namespace()?;
        (0..ROWS).try_for_each(|row| home.store.submit(batch(&namespace, row)).map(drop))?;
        await_followed(&home.store)?;
        homes.push((tier, home));
    }
    let series = interleaved(
        &[(Name::Cohab, ())],
        sizes.rounds,
        |_| (),
        |_, (), ()| {
            let mut figures = Vec::new();
            for (tier, home) in &homes {
                let titles = titles(*tier);
                for (count, title) in CHANGES.into_iter().zip(titles.hooks) {
                    figures.push((title, hook(*tier, count, sizes.plugins.calls)? / 1e3));
                }
                let round = requests(home, sizes.plugins.calls)?;
                figures.push((titles.request, nanos_each(&round) / 1e3));
                #[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2⁵³")]
                let calls = round.done.operations as f64;
                figures.push((titles.requests, calls / round.wall.as_secs_f64()));
            }
            Ok(Round { figures, ..Round::of_samples(Vec::new()) })
        },
    )?;
    homes.into_iter().try_for_each(|(_, home)| home.end())?;
    Ok(series)
}

/// Calls the commit hook on one instance, with so many changes each time and about so many in all. Returns the CPU time of a
/// call, in nanoseconds.
fn hook(tier: Tier, changes_each: usize, calls: usize) -> Result<f64> {
    let calls = (calls / changes_each).max(10);
    let file = |text: String| Bytes::from(text);
    let bundle = Bundle::of([
        ("plugin.toml".to_owned(), file(tier.manifest())),
        (tier.entry().to_owned(), Bytes::from(tier.code(0)?)),
    ]);
    let code = Code::compile(Manifest::of(&bundle)?, &bundle)?;
    let mut desk = Desk {
        grants: code.manifest().grants.clone(),
        instance: code.instantiate()?,
        state: State::default(),
        cache: GuestCache::new(0),
        stop: Stop::new(),
    };
    let mut changes = Changes::new();
    let mut each = 0;
    for change in 0..changes_each as u64 {
        each += change;
        changes.push(ChangeRef {
            version: Version::new(1),
            time: Timestamp::from_micros(1),
            namespace: NAMESPACE,
            key: format!("key/{change:08}").as_bytes(),
            before: None,
            after: Some(&value(change)),
        });
    }
    desk.call(&changes)?;
    let watch = Stopwatch::start();
    (0..calls).try_for_each(|_| desk.call(&changes))?;
    let round = watch.stop_now(Done::operations(calls));
    let sum = number(desk.state.0.get(SUM).context("nothing was added up")?)?;
    ensure!(sum == each * (calls as u64 + 1), "the sum is {sum}");
    Ok(nanos_each(&round))
}

/// Asks for the sum so many times.
fn requests(home: &Home, count: usize) -> Result<Round> {
    let plugins = home.store.plugins();
    let expected = (0..ROWS).sum::<u64>().to_string();
    let watch = Stopwatch::start();
    for _ in 0..count {
        let sum = plugins.call(PLUGIN, SUM)?;
        ensure!(sum == expected, "the sum is {sum:?}, and not {expected}");
    }
    Ok(watch.stop_now(Done::operations(count)))
}

/// All that a call needs.
struct Desk {
    instance: Instance,
    grants: Grants,
    state: State,
    cache: GuestCache,
    stop: Stop,
}

impl Desk {
    fn call(&mut self, changes: &Changes) -> Result<()> {
        let Self { instance, grants, state, cache, stop } = self;
        instance.call(Call::Commit(changes), state, grants, cache, stop).result?;
        Ok(())
    }
}

/// The plugin's own state, in memory.
#[derive(Default)]
struct State(HashMap<Vec<u8>, Vec<u8>>);

impl Host for State {
    fn get(&mut self, _: &str, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, HostError> {
        Ok(self.0.get(key).map(|value| found(value)).is_some())
    }

    fn put(&mut self, _: &str, key: &[u8], value: &[u8]) -> Result<(), HostError> {
        self.0.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn delete(&mut self, _: &str, key: &[u8]) -> Result<bool, HostError> {
        Ok(self.0.remove(key).is_some())
    }

    fn scan(
        &mut self,
        _: &str,
        _: &[u8],
        _: &[u8],
        _: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), HostError> {
        Err("it scans nothing".into())
    }

    fn now(&mut self) -> Timestamp {
        Timestamp::from_micros(0)
    }
}
