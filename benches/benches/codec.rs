//! What does it cost to turn things into bytes and back: log records, digests, keys?

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use cohab::typed::Key;
use cohab::{Chain, Change, Digest, Epoch, InstanceId, NamespaceId, Timestamp, Version};
use cohab_benches::{key, value};
use cohab_log::{Header, Item, RecordWriter, items};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// How many changes the record lists.
const CHANGES: u64 = 100;

fn log_record(criterion: &mut Criterion) {
    let header = Header {
        version: Version::new(1),
        epoch: Epoch::new(1),
        instance: InstanceId::generate(),
        time: Timestamp::from_micros(0),
        label: String::new(),
        previous: Chain::START,
    };
    let rows: Vec<(String, Vec<u8>)> = (0..CHANGES).map(|row| (key(row), value(row))).collect();
    let encode = || {
        let mut record = RecordWriter::begin(&header);
        for (key, value) in &rows {
            record.change(NamespaceId::FIRST, Change::Insert { key: key.as_bytes(), value });
        }
        let mut chunks = Vec::new();
        let Ok(_) = record.finish(|_, chunk| {
            chunks.extend_from_slice(chunk);
            Ok::<_, Infallible>(())
        });
        chunks
    };
    let record = encode();

    let mut group = criterion.benchmark_group("log record");
    group.throughput(Throughput::Elements(CHANGES));
    group.bench_function("encode", |bencher| bencher.iter(encode));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let changes = items(black_box(&record)).filter(|item| matches!(item, Ok(Item::Change(_))));
            assert_eq!(changes.count() as u64, CHANGES);
        });
    });
    group.finish();
}

fn digest(criterion: &mut Criterion) {
    let (key, value) = (key(7), value(7));
    let mut group = criterion.benchmark_group("digest");
    group.throughput(Throughput::Bytes((key.len() + value.len()) as u64));
    group.bench_function("add", |bencher| {
        let mut digest = Digest::EMPTY;
        bencher.iter(|| digest.add(black_box(key.as_bytes()), black_box(&value)));
    });
    group.finish();
}

fn keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("key");
    let typed = ("a sensor in the attic".to_owned(), 1_700_000_000_u64, -7_i32);
    let mut bytes = Vec::new();
    typed.encode(&mut bytes);
    group.bench_function("encode (String, u64, i32)", |bencher| {
        let mut out = Vec::new();
        bencher.iter(|| {
            out.clear();
            black_box(&typed).encode(&mut out);
            out.len()
        });
    });
    group.bench_function("decode (String, u64, i32)", |bencher| {
        bencher.iter(|| <(String, u64, i32)>::decode(black_box(&bytes)).expect("was encoded"));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = log_record, digest, keys
}
criterion_main!(benches);
