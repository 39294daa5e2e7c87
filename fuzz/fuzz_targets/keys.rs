//! Typed keys: no bytes panic the decoders, a key has one encoding, and encodings sort as keys do.

#![no_main]

use std::fmt::Debug;

use arbitrary::{Arbitrary, Result, Unstructured};
use cohab::typed::Key;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    // What runs out of bytes goes on with zeros, so there is no error worth handling.
    let _ = match choice % 10 {
        0 => check::<u8>(bytes),
        1 => check::<i128>(bytes),
        2 => check::<bool>(bytes),
        3 => check::<char>(bytes),
        4 => check::<String>(bytes),
        5 => check::<Vec<u8>>(bytes),
        6 => check::<(u16, i32)>(bytes),
        7 => check::<(String, u64)>(bytes),
        8 => check::<(Vec<u8>, String, i8)>(bytes),
        _ => check::<(String, (Vec<u8>, bool), char)>(bytes),
    };
});

fn check<'b, K: Key<Owned = K> + Arbitrary<'b> + Ord + Debug>(bytes: &'b [u8]) -> Result<()> {
    if let Some(key) = K::decode(bytes) {
        assert_eq!(encoded(&key), bytes, "{key:?} has another encoding, too");
    }
    let mut unstructured = Unstructured::new(bytes);
    let (a, b): (K, K) = unstructured.arbitrary()?;
    assert_eq!(encoded(&a).cmp(&encoded(&b)), a.cmp(&b), "{a:?} and {b:?}");
    assert_eq!(K::decode(&encoded(&a)).as_ref(), Some(&a));
    Ok(())
}

fn encoded<K: Key>(key: &K) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    bytes
}
