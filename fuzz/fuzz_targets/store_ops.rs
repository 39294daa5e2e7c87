//! A store next to a model of it: whatever is done to both, they agree.

#![no_main]

use cohab_fuzz::{Plan, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|plan: Plan| run(&plan));
