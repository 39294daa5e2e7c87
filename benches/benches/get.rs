//! What does a verified get cost: hit and miss, from a snapshot that is held and from a fresh one?

use std::hint::black_box;
use std::time::Duration;

use cohab::{Role, Store};
use cohab_benches::{Fixture, NAMESPACE, shuffled_keys};
use criterion::{Criterion, criterion_group, criterion_main};

const ROWS: u64 = 20_000;

fn get(criterion: &mut Criterion) {
    let fixture = Fixture::filled(env!("CARGO_TARGET_TMPDIR"), ROWS).expect("the store can be made");
    let keys = shuffled_keys(ROWS);
    let mut hits = keys.iter().cycle();
    // They sort between those that are there, so the way down is as long.
    let missing: Vec<String> = keys.iter().map(|key| format!("{key}-")).collect();
    let mut misses = missing.iter().cycle();
    let mut next_hit = || hits.next().expect("goes round");

    let mut group = criterion.benchmark_group("get");
    let snapshot = fixture.store.snapshot().expect("the store is sound");
    let held = snapshot.namespace(NAMESPACE).expect("the namespace is there");
    group.bench_function("held/hit", |bencher| {
        bencher.iter(|| held.get(black_box(next_hit())).expect("is sound").expect("is there").len());
    });
    group.bench_function("held/miss", |bencher| {
        let mut next_miss = || misses.next().expect("goes round");
        bencher.iter(|| assert!(held.get(black_box(next_miss())).expect("is sound").is_none()));
    });

    let fresh = |store: &Store, key: &str| {
        let snapshot = store.snapshot().expect("the store is sound");
        snapshot.get(NAMESPACE, key).expect("is sound").expect("is there").len()
    };
    group.bench_function("fresh/writer", |bencher| {
        bencher.iter(|| fresh(&fixture.store, black_box(next_hit())));
    });
    let reader = Store::options().role(Role::Reader).open(fixture.store.path()).expect("the store is there");
    group.bench_function("fresh/reader", |bencher| bencher.iter(|| fresh(&reader, black_box(next_hit()))));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = get
}
criterion_main!(benches);
