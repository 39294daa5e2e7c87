//! Entries as JSON lines: no input panics the reader, and what it reads survives being written again.

#![no_main]

use cohab_exchange::Text;
use cohab_exchange::jsonl::entries;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for entry in entries(bytes).map_while(Result::ok) {
        let [key, value] = [&entry.key, &entry.value].map(|bytes| {
            serde_json::to_string(&Text::new(bytes)).expect("writing into memory does not fail")
        });
        let line = format!(r#"{{"key":{key},"value":{value}}}"#);
        let mut again = entries(line.as_bytes());
        let read = again.next().expect("is one line").expect("was written by ourselves");
        assert_eq!((read.key, read.value, read.line), (entry.key, entry.value, 1));
        assert!(again.next().is_none());
    }
});
