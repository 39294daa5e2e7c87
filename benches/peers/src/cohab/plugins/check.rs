//! What it costs a call to see to it that it runs what is in the files.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use cohab::PluginMode;
use cohab_plugin::{Look, Source};

use super::{Folder, Home, MARK, PLUGIN, Tier};
use crate::cohab::history::{Stage, nanos_each};
use crate::measure::{Done, Round, Series, Stopwatch, interleaved, quantile};
use crate::name::Name;

/// After this time nothing is read again to make sure of it.
const SETTLED: Duration = Duration::from_millis(200);

/// In how many turns of each mode the calls of a round come.
const TURNS: usize = 10;

/// Looks at files that do not change, and calls a plugin whose files are looked at and one whose files are not.
pub fn run(stage: Stage<'_>) -> Result<Series> {
    let Stage { place, sizes, .. } = stage;
    if !stage.has(Name::Cohab) {
        return Ok(Series::new());
    }
    let folder = Folder::make(place, "checked", Tier::Script, &Tier::Script.code(0)?)?;
    let home = Home::make(place, "called", Tier::Script, &Tier::Script.code(0)?)?;
    let never = watch(&folder, Duration::from_hours(1))?;
    let always = watch(&folder, Duration::ZERO)?;
    let series = interleaved(
        &[(Name::Cohab, ())],
        sizes.rounds,
        |round| round,
        |_, (), round| {
            let not_due = look(&never, sizes.plugins.looks)?;
            let looking = look(&always, sizes.plugins.looks / 100)?;
            let (mut development, mut production) = (Vec::new(), Vec::new());
            for turn in 0..2 * TURNS {
                let (mode, taken) = match (turn + turn / 2 + round) % 2 {
                    0 => (PluginMode::Development, &mut development),
                    _ => (PluginMode::Production, &mut production),
                };
                home.store.plugins().set_mode(PLUGIN, mode)?;
                taken.push(call(&home, sizes.plugins.calls / TURNS)?);
            }
            let (development, production) = (quantile(&development, 0.5), quantile(&production, 0.5));
            let figures = vec![
                ("not due", not_due),
                ("looking", looking),
                ("in development", development),
                ("in production", production),
                ("to production", development / production),
            ];
            Ok(Round { figures, ..Round::of_samples(Vec::new()) })
        },
    )?;
    home.end()?;
    folder.remove()?;
    Ok(series)
}

/// Takes note of what is there, as after a load.
fn watch(folder: &Folder, interval: Duration) -> Result<Source> {
    let source = Source::new(&folder.path).with_interval(interval);
    let (_, signature) = source.read_settled(Duration::ZERO)?;
    source.adopt(&signature);
    thread::sleep(SETTLED);
    // With this look it is read once more, and no more after that.
    ensure!(source.look() == Look::Same, "nobody has changed it");
    ensure!(!source.look_if_due(), "nobody has changed it");
    Ok(source)
}

/// Looks so many times, and returns the CPU time that each took, in nanoseconds.
fn look(source: &Source, count: usize) -> Result<f64> {
    let watch = Stopwatch::start();
    let changed = (0..count).filter(|_| black_box(source).look_if_due()).count();
    let round = watch.stop_now(Done::operations(count));
    ensure!(changed == 0, "nobody has changed it");
    Ok(nanos_each(&round))
}

/// Calls the plugin so many times, and returns the CPU time of a call, in nanoseconds.
#[expect(clippy::cast_possible_truncation, reason = "a call takes less than an hour")]
fn call(home: &Home, count: usize) -> Result<i64> {
    let plugins = home.store.plugins();
    let watch = Stopwatch::start();
    for _ in 0..count {
        ensure!(black_box(plugins.call(PLUGIN, MARK)?) == "00000000", "the reply is another");
    }
    Ok(nanos_each(&watch.stop_now(Done::operations(count))) as i64)
}
