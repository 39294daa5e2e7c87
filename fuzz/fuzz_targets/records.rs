//! What lies beside a store as JSON – its card, records of holders, instances, ports, followers and plugins: no bytes
//! panic a reader, and what one reads survives being written again.

#![no_main]

use cohab::testing::{card, cursor};
use cohab::{FollowerRecord, PluginLogLine, PluginRecord, PortPreference};
use cohab_fuzz::same_when_encoded_again;
use cohab_lock::testing::{encode_holder, holder, lock_record};
use cohab_registry::testing::{encode_record, record, sticky_port};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(holder) = holder(bytes) {
        assert_eq!(cohab_lock::testing::holder(&encode_holder(&holder)).as_ref(), Some(&holder));
        let shown = holder.to_string();
        assert!(!shown.contains(char::is_control) && shown.len() < 4096, "{shown:?} is no line");
    }
    if let Some(encoded) = lock_record(bytes) {
        assert_eq!(lock_record(&encoded), Some(encoded));
    }

    // It takes what it understands, so it reads anything; what it says of itself has its place filled in.
    let mut instance = record(bytes);
    if let Some(id) = instance.id {
        let encoded = encode_record(&mut instance, id);
        assert_eq!(record(&encoded), instance);
    }
    if let Some(port) = sticky_port(bytes, &PortPreference::new()) {
        let again =
            format!(r#"{{"port":{port},"preference":{{"ranges":[],"is_strict":false,"address":null}}}}"#);
        assert_eq!(sticky_port(again.as_bytes(), &PortPreference::new()), Some(port));
    }

    if let Ok(encoded) = card(bytes) {
        assert_eq!(card(&encoded).as_deref().ok(), Some(&*encoded));
    }
    if let Ok(encoded) = cursor(bytes) {
        assert_eq!(cursor(&encoded).as_deref().ok(), Some(&*encoded));
    }
    same_when_encoded_again::<FollowerRecord>(bytes);
    same_when_encoded_again::<PluginRecord>(bytes);
    same_when_encoded_again::<PluginLogLine>(bytes);
});
