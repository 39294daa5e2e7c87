//! Dumps: no input panics the reader; what it accepts is written again in one form, which is read as the same; and
//! what is written of any entries is accepted.

#![no_main]

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use cohab_core::Name;
use cohab_core::limits::KEY_BYTES_MAX;
use cohab_exchange::dump::{Event, NamespaceHeader, Reader, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(namespaces) = read(bytes) {
        let written = write(&namespaces);
        assert_eq!(read(&written).as_ref(), Some(&namespaces));
        assert_eq!(write(&namespaces), written);
    }
    // Digests keep a mutated dump from being accepted, so the same bytes also stand for entries to be written.
    if let Ok(entries) = Unstructured::new(bytes).arbitrary::<BTreeMap<Vec<u8>, Vec<u8>>>() {
        let entries = entries.into_iter().filter(|(key, _)| key.len() <= KEY_BYTES_MAX).collect();
        let header = NamespaceHeader::new(Name::new("n").expect("is a name"));
        let namespaces = vec![(header, entries)];
        assert_eq!(read(&write(&namespaces)), Some(namespaces));
    }
});

type Namespaces = Vec<(NamespaceHeader, Vec<(Vec<u8>, Vec<u8>)>)>;

/// Reads a dump, unless it is refused.
fn read(bytes: &[u8]) -> Option<Namespaces> {
    let mut reader = Reader::new(bytes);
    let mut namespaces = Namespaces::new();
    while let Some(event) = reader.next().ok()? {
        match event {
            Event::Namespace(header) => namespaces.push((header, Vec::new())),
            Event::Entry { key, value } => {
                let (_, entries) = namespaces.last_mut().expect("an entry belongs to a namespace");
                entries.push((key.into_owned(), value.into_owned()));
            }
            Event::End(totals) => {
                assert_eq!(totals.namespaces, namespaces.len() as u64);
                assert!(reader.next().is_ok_and(|event| event.is_none()), "nothing follows the end");
                return Some(namespaces);
            }
            _ => {}
        }
    }
    unreachable!("a dump ends with its end or with an error")
}

fn write(namespaces: &Namespaces) -> Vec<u8> {
    let in_memory = "writing into memory does not fail";
    let mut dump = Writer::begin(Vec::new()).expect(in_memory);
    for (header, entries) in namespaces {
        dump.namespace(header).expect(in_memory);
        for (key, value) in entries {
            dump.entry(key, value).expect(in_memory);
        }
        dump.end_namespace().expect(in_memory);
    }
    dump.finish().expect(in_memory)
}
