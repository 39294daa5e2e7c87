//! What a store says of its plugins, made up by whoever a replica was taken from: nothing of it costs data.

#![no_main]

use cohab_fuzz::{Plugins, caught, run_hostile_plugins, unwind_from};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: unwind_from(&["rhai"]),
    |plugins: Plugins| caught(|| run_hostile_plugins(&plugins))
);
