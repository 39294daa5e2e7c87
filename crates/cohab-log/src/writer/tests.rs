use std::collections::BTreeMap;
use std::convert::Infallible;

use cohab_core::{Contents, Epoch, InstanceId, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::{header, items, parse_chunk_key};

fn head(label: &str) -> Header {
    Header {
        version: Version::new(7),
        epoch: Epoch::new(2),
        instance: InstanceId::generate(),
        time: Timestamp::from_micros(1_700_000_000_000_000),
        label: label.into(),
        previous: Chain::START,
    }
}

type Change3 = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);

fn as_change((key, before, after): &Change3) -> Option<Change<'_>> {
    let before_version = Version::new(3);
    Some(match (before, after) {
        (None, Some(value)) => Change::Insert { key, value },
        (Some(before), Some(value)) => Change::Update { key, before, before_version, value },
        (Some(before), None) => Change::Delete { key, before, before_version },
        (None, None) => return None,
    })
}

fn write(header: &Header, changes: &[(u32, Change3)]) -> (BTreeMap<Vec<u8>, Vec<u8>>, Finished) {
    let mut chunks = BTreeMap::new();
    let mut store = |key: &[u8], chunk: &[u8]| -> Result<(), Infallible> {
        assert!(chunks.insert(key.to_vec(), chunk.to_vec()).is_none(), "a chunk is stored once");
        Ok(())
    };
    let mut record = RecordWriter::begin(header);
    for (namespace, change) in changes {
        if let Some(change) = as_change(change) {
            record.change(NamespaceId::new(*namespace), change);
            if record.is_full() {
                let Ok(()) = record.flush(&mut store);
            }
        }
    }
    let mut after = Contents::EMPTY;
    after.add(b"k", b"v");
    let summary = Summary { namespace: NamespaceId::FIRST, before: Contents::EMPTY, after };
    record.summary(summary);
    let Ok(finished) = record.finish(&mut store);
    (chunks, finished)
}

proptest! {
    #[test]
    fn a_record_reads_back_as_it_was_written(
        label in ".{0,20}",
        changes in prop::collection::vec(
            (1..4u32, (
                prop::collection::vec(any::<u8>(), 0..20),
                prop::option::of(prop::collection::vec(any::<u8>(), 0..70_000)),
                prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
            )),
            0..12,
        ),
    ) {
        let begin = head(&label);
        let (chunks, finished) = write(&begin, &changes);
        prop_assert_eq!(finished.chain, Chain::START.extend(chunks.values()));
        prop_assert_eq!(finished.bytes, chunks.values().map(|c| c.len() as u64).sum::<u64>());
        prop_assert_eq!(&header(chunks.values().next().expect("there is one")), &Ok(begin));
        for (chunk, key) in (0..).zip(chunks.keys()) {
            prop_assert_eq!(parse_chunk_key(key), Some((Version::new(7), chunk)));
        }
        let mut namespace = None;
        let mut read = Vec::new();
        let mut end = None;
        for item in chunks.values().flat_map(|chunk| items(chunk)) {
            prop_assert_eq!(end, None, "nothing follows the end");
            match item.expect("was just written") {
                Item::Namespace(id) => namespace = Some(id),
                Item::Change(change) => read.push((namespace.expect("is named first"), change)),
                Item::End { changes } => end = Some(changes),
                _ => {}
            }
        }
        let written: Vec<_> = changes
            .iter()
            .filter_map(|(namespace, change)| Some((NamespaceId::new(*namespace), as_change(change)?)))
            .collect();
        prop_assert_eq!(end, Some(written.len() as u64));
        prop_assert_eq!(read, written);
    }

    #[test]
    fn no_bytes_panic_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = items(&bytes).count();
        let _ = header(&bytes);
        let _ = parse_chunk_key(&bytes);
    }
}

#[test]
fn a_long_record_is_cut_into_chunks() {
    let value = vec![1; 1000];
    let many: Vec<_> =
        (0..1000u32).map(|i| (1, (i.to_be_bytes().to_vec(), None, Some(value.clone())))).collect();
    let (chunks, _) = write(&head(""), &many);
    assert_eq!(chunks.len(), 9);
    assert!(chunks.values().all(|chunk| chunk.len() <= LOG_CHUNK_BYTES + 2000));
}

#[test]
fn what_is_noted_besides_changes_reads_back_in_its_place() {
    let (namespace, begin) = (NamespaceId::new(5), head("besides"));
    let mut after = Contents::EMPTY;
    after.add(b"k", b"v");
    let summary = Summary { namespace, before: Contents::EMPTY, after };
    let mut record = RecordWriter::begin(&begin);
    record.metadata(namespace, None, Some(b"made"));
    record.metadata(namespace, Some(b"made"), None);
    record.unrecorded(namespace, 3);
    record.summary(summary);
    let mut chunks = Vec::new();
    let Ok(_) = record.finish(|_, chunk| {
        chunks.extend_from_slice(chunk);
        Ok::<_, Infallible>(())
    });
    let read: Result<Vec<_>, _> = items(&chunks).collect();
    let made = Some(serde_bytes::Bytes::new(b"made"));
    let written = [
        Item::Begin(begin),
        Item::Metadata { namespace, before: None, after: made },
        Item::Metadata { namespace, before: made, after: None },
        Item::Unrecorded { namespace, changes: 3 },
        Item::Summary(summary),
        Item::End { changes: 0 },
    ];
    assert_eq!(read.as_deref(), Ok(&written[..]));
}
