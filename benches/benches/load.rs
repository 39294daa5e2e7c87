//! What does history cost in a bulk load?

use std::time::Duration;

use cohab::{History, Metadata, Name};
use cohab_benches::{Fixture, NAMESPACE, key, value};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const ROWS: u64 = 10_000;

fn load(criterion: &mut Criterion) {
    let name: Name = NAMESPACE.parse().expect("is a name");
    let rows: Vec<(String, Vec<u8>)> = (0..ROWS).map(|row| (key(row), value(row))).collect();

    let mut group = criterion.benchmark_group("load");
    group.throughput(Throughput::Elements(ROWS));
    for history in [History::Full, History::Off] {
        let mut metadata = Metadata::new(name.clone());
        metadata.history = history;
        group.bench_function(BenchmarkId::new("history", history), |bencher| {
            let empty = || Fixture::empty(env!("CARGO_TARGET_TMPDIR")).expect("the store can be made");
            let fill = |fixture: Fixture| {
                let loaded = fixture.store.write(|tx| {
                    tx.create_namespace_with(metadata.clone())?;
                    let mut namespace = tx.namespace(NAMESPACE)?;
                    rows.iter().try_for_each(|(key, value)| namespace.put(key, value))
                });
                loaded.expect("the disk takes it");
                // Handed back, so that removing it is not measured.
                fixture
            };
            bencher.iter_batched(empty, fill, BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4));
    targets = load
}
criterion_main!(benches);
