//! What lies beside a store's file, damaged before it is opened or meanwhile: no answer changes.

#![no_main]

use cohab_fuzz::{Beside, damage_beside};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|beside: Beside| damage_beside(&beside));
