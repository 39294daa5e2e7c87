//! Operations of transactions: no input panics the parser, and what it reads survives being written again.

#![no_main]

use cohab_exchange::{Operation, operations};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for operation in operations(bytes).map_while(Result::ok) {
        let line = serde_json::to_vec(&operation).expect("writing into memory does not fail");
        assert!(!line.contains(&b'\n'));
        let again = Operation::parse(&line).expect("was written by ourselves");
        assert_eq!(again, operation);
    }
});
