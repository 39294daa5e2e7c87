//! What does a durable commit of one key cost: through `write`, through `submit`, and for each of sixteen threads
//! that submit at the same time?

use std::thread;
use std::time::{Duration, Instant};

use cohab::{Batch, Name, Store};
use cohab_benches::{Fixture, NAMESPACE, key, value};
use criterion::{Criterion, criterion_group, criterion_main};

const ROWS: u64 = 10_000;
const THREADS: u64 = 16;

fn commit(criterion: &mut Criterion) {
    let fixture = Fixture::filled(env!("CARGO_TARGET_TMPDIR"), ROWS).expect("the store can be made");
    let store = &fixture.store;
    let name: Name = NAMESPACE.parse().expect("is a name");
    let mut rows = (0..ROWS).cycle();
    let mut next_row = || rows.next().expect("goes round");

    let mut group = criterion.benchmark_group("commit");
    group.bench_function("write", |bencher| {
        bencher.iter(|| {
            let row = next_row();
            store.write(|tx| tx.put(NAMESPACE, key(row), value(row + 1))).expect("the disk takes it")
        });
    });
    group.bench_function("submit", |bencher| bencher.iter(|| submit(store, &name, next_row())));
    // The time of one commit as each thread sees its share of it: all there is, divided by all that was done.
    group.bench_function("submit/16 threads", |bencher| {
        bencher.iter_custom(|each| {
            let begin = Instant::now();
            thread::scope(|scope| {
                for thread in 0..THREADS {
                    let name = &name;
                    scope.spawn(move || {
                        (0..each).for_each(|n| submit(store, name, (n * THREADS + thread) % ROWS));
                    });
                }
            });
            begin.elapsed() / u32::try_from(THREADS).expect("is small")
        });
    });
    group.finish();
}

fn submit(store: &Store, name: &Name, row: u64) {
    store.submit(Batch::new().put(name, key(row), value(row + 2))).expect("the disk takes it");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4));
    targets = commit
}
criterion_main!(benches);
