//! The numbers that a recorder of the crate `metrics` gets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cohab::{Result, Role, Store};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Keeps every number under its name and labels, as `name{label=value}`.
#[derive(Clone, Default)]
struct Numbers {
    counters: Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>,
    gauges: Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>,
    described: Arc<Mutex<Vec<String>>>,
}

fn cell(cells: &Mutex<BTreeMap<String, Arc<AtomicU64>>>, name: String) -> Arc<AtomicU64> {
    cells.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default().clone()
}

fn named(key: &Key) -> String {
    let labels: Vec<String> =
        key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
    format!("{}{{{}}}", key.name(), labels.join(","))
}

impl Numbers {
    fn counter(&self, name: &str) -> u64 {
        cell(&self.counters, name.to_owned()).load(Ordering::Relaxed)
    }

    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(cell(&self.gauges, name.to_owned()).load(Ordering::Relaxed))
    }

    fn describe(&self, key: &KeyName) {
        self.described.lock().unwrap_or_else(PoisonError::into_inner).push(key.as_str().to_owned());
    }
}

impl Recorder for Numbers {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&key);
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&key);
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&key);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(cell(&self.counters, named(key)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(cell(&self.gauges, named(key)))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn comes_true(condition: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(20) {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

#[test]
fn a_recorder_gets_the_numbers_of_the_cache_and_the_store() -> Result<()> {
    let numbers = Numbers::default();
    metrics::set_global_recorder(numbers.clone()).expect("there is none yet");
    let dir = tempfile::tempdir().expect("there is room");
    let path = dir.path().join("store");
    let store = Store::open(&path)?;
    store.write(|tx| {
        tx.create_namespace("flags")?;
        tx.put("flags", "a", "1")
    })?;
    let of_store = |name: &str| format!("{name}{{store={}}}", path.display());
    let of_flags = |name: &str| format!("{name}{{store={},namespace=flags}}", path.display());
    let flags = store.cached("flags")?;
    for _ in 0..5 {
        flags.get("a")?;
    }
    store.write(|tx| tx.put("flags", "a", "2"))?;
    flags.get("a")?;
    let snapshot = store.snapshot()?;

    assert!(comes_true(|| numbers.counter(&of_flags("cohab_cache_hits_total")) == 4));
    // These may be told a second later: what is told in between has all the hits already.
    assert!(comes_true(|| numbers.counter(&of_flags("cohab_cache_misses_total")) == 2));
    assert!(comes_true(|| numbers.counter(&of_flags("cohab_cache_invalidations_total")) == 1));
    let gauge_is = |name: &str, value: f64| (numbers.gauge(name) - value).abs() < f64::EPSILON;
    for (name, value) in [
        (of_flags("cohab_cache_entries"), 1.0),
        (of_flags("cohab_cache_horizon"), 2.0),
        (of_flags("cohab_cache_lag_versions"), 0.0),
        (of_store("cohab_cache_budget_bytes"), 64.0 * 1024.0 * 1024.0),
        (of_store("cohab_store_version"), 2.0),
        (of_store("cohab_instances"), 1.0),
    ] {
        assert!(comes_true(|| gauge_is(&name, value)), "{name} is {}", numbers.gauge(&name));
    }
    assert!(numbers.gauge(&of_flags("cohab_cache_entry_bytes")) > 0.0);
    assert!(numbers.gauge(&of_store("cohab_cache_bytes")) > 0.0);
    assert!(comes_true(|| numbers.gauge(&of_store("cohab_snapshot_age_seconds")) > 0.5));
    drop(snapshot);

    // A second handle of the same store adds to the same counters, and what came last is not lost.
    let reader = Store::options().role(Role::Reader).open(&path)?;
    let same = reader.cached("flags")?;
    for _ in 0..3 {
        same.get("a")?;
    }
    drop((same, reader));
    assert_eq!(numbers.counter(&of_flags("cohab_cache_hits_total")), 6);
    assert_eq!(numbers.counter(&of_flags("cohab_cache_misses_total")), 3);

    let published: Vec<String> = [&numbers.counters, &numbers.gauges]
        .into_iter()
        .flat_map(|cells| {
            cells.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect::<Vec<_>>()
        })
        .collect();
    let described = numbers.described.lock().unwrap_or_else(PoisonError::into_inner);
    for name in &published {
        let name = name.split('{').next().unwrap_or_default();
        assert!(described.iter().any(|described| described == name), "{name} is not described");
        let guide = include_str!("../../../docs/guide.md");
        assert!(guide.contains(&format!("`{name}`")), "{name} is not in the guide");
    }
    assert_eq!(published.len(), 15);
    Ok(())
}
