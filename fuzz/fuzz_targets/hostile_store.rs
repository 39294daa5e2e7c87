//! A store's file as somebody has left it: whatever is in it, a store that says it is well holds what it held.

#![no_main]

use cohab_fuzz::{Hostile, caught, open_hostile, unwind_from};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: unwind_from(&["redb"]),
    |hostile: Hostile| caught(|| open_hostile(&hostile))
);
