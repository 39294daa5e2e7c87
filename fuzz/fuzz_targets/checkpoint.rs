//! Checkpoints of a verification: no text panics the reader, and what it reads survives being written again.

#![no_main]

use cohab::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(checkpoint) = text.parse::<Checkpoint>() else { return };
    let written = checkpoint.to_string();
    let again: Checkpoint = written.parse().expect("was written by ourselves");
    assert_eq!((again.store(), again.version()), (checkpoint.store(), checkpoint.version()));
    assert_eq!(again.to_string(), written);
});
