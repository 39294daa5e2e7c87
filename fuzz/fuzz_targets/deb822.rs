//! Debian control files: no input panics the reader, keys do not repeat, and stanzas joined by two line feeds are a
//! file again, with the same stanzas.

#![no_main]

use std::collections::BTreeMap;

use cohab_exchange::deb822::Stanzas;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (stanzas, is_whole) = read(bytes);
    let by_key: BTreeMap<_, _> = stanzas.iter().cloned().collect();
    assert_eq!(by_key.len(), stanzas.len(), "a key is given once");
    let bodies: Vec<_> = stanzas.iter().map(|(_, body)| &body[..]).collect();
    let (again, is_whole_again) = read(&bodies.join(&b"\n\n"[..]));
    assert_eq!(again, stanzas);
    assert!(is_whole_again || !is_whole);
});

type Entry = (Vec<u8>, Vec<u8>);

/// Reads entries up to the end or the first error, and tells which of the two it was.
fn read(bytes: &[u8]) -> (Vec<Entry>, bool) {
    let mut reader = Stanzas::new(bytes);
    let mut entries = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(stanza)) => entries.push((stanza.key.to_vec(), stanza.body.to_vec())),
            Ok(None) => return (entries, true),
            Err(_) => return (entries, false),
        }
    }
}
