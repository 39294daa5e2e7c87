//! Does renaming, describing or dropping a namespace cost the same whatever it holds?

use std::time::Duration;

use cohab::{DropMode, Update};
use cohab_benches::{Fixture, NAMESPACE};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn namespace(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("namespace");
    for rows in [10, 20_000] {
        let fixture = Fixture::filled(env!("CARGO_TARGET_TMPDIR"), rows).expect("the store can be made");
        let store = &fixture.store;
        group.bench_function(BenchmarkId::new("rename", rows), |bencher| {
            // There and back in one commit, so that every measurement begins with the same name.
            bencher.iter(|| {
                let renamed = store.write(|tx| {
                    tx.rename_namespace(NAMESPACE, "other")?;
                    tx.rename_namespace("other", NAMESPACE)
                });
                renamed.expect("the disk takes it")
            });
        });
        group.bench_function(BenchmarkId::new("describe", rows), |bencher| {
            let update = Update::new().title("Rows").description("What is measured");
            bencher.iter(|| {
                store.write(|tx| tx.update_namespace(NAMESPACE, &update)).expect("the disk takes it")
            });
        });
        group.bench_function(BenchmarkId::new("drop and undrop", rows), |bencher| {
            bencher.iter(|| {
                let dropped = store.write(|tx| {
                    tx.drop_namespace(NAMESPACE, DropMode::WithContents)?;
                    tx.undrop_namespace(NAMESPACE)
                });
                dropped.expect("the disk takes it")
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = namespace
}
criterion_main!(benches);
