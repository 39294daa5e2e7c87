//! Does it pay to have entries lent instead of iterated over, forward and in reverse?

use std::time::Duration;

use cohab::{Direction, Range, Result};
use cohab_benches::{Fixture, NAMESPACE, key};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const ROWS: u64 = 20_000;

/// How many entries one scan reads.
const ENTRIES: u64 = 1000;

fn scan(criterion: &mut Criterion) {
    let fixture = Fixture::filled(env!("CARGO_TARGET_TMPDIR"), ROWS).expect("the store can be made");
    let snapshot = fixture.store.snapshot().expect("the store is sound");
    let namespace = snapshot.namespace(NAMESPACE).expect("the namespace is there");
    let (from, to) = (key(ROWS / 2), key(ROWS / 2 + ENTRIES));
    let range = |direction| match direction {
        Direction::Forward => namespace.range(&from..&to).expect("is sound"),
        Direction::Reverse => namespace.reverse(&from..&to).expect("is sound"),
    };

    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Elements(ENTRIES));
    for (name, direction) in [("forward", Direction::Forward), ("reverse", Direction::Reverse)] {
        group.bench_function(BenchmarkId::new("iterator", name), |bencher| {
            bencher.iter(|| iterated(range(direction)).expect("is sound"));
        });
        group.bench_function(BenchmarkId::new("lent", name), |bencher| {
            bencher.iter(|| lent(range(direction)).expect("is sound"));
        });
    }
    group.finish();
}

/// Looks at each entry, and returns what cannot be known without having done so.
fn iterated(range: Range<'_>) -> Result<usize> {
    let mut bytes = 0;
    for entry in range {
        let entry = entry?;
        bytes += entry.key().len() + entry.value().len();
    }
    Ok(bytes)
}

fn lent(mut range: Range<'_>) -> Result<usize> {
    let mut bytes = 0;
    while let Some(entry) = range.step()? {
        bytes += entry.key().len() + entry.value().len();
    }
    Ok(bytes)
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = scan
}
criterion_main!(benches);
