//! The catalogue's values and keys: no bytes panic their decoders, and what decodes survives being encoded again.

#![no_main]

use cohab_core::{Name, NamespaceId};
use cohab_namespace::catalog::{
    Root, Stored, kept_key, name_key, parse_kept_key, parse_reclaim_key, parse_trash_key, reclaim_key,
    trash_prefix,
};
use cohab_namespace::{Contents, Kept, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    survives::<Root>(bytes);
    survives::<Record>(bytes);
    survives::<Contents>(bytes);
    survives::<NamespaceId>(bytes);
    survives::<Kept>(bytes);
    if let Some((name, _)) = parse_trash_key(bytes)
        && let Ok(name) = Name::from_bytes(name)
    {
        assert!(bytes.starts_with(&trash_prefix(&name)));
        assert_eq!(name_key(&name)[1..], *name.as_bytes());
    }
    if let Some(name) = parse_kept_key(bytes) {
        assert_eq!(kept_key(&name), bytes);
    }
    if let Some(id) = parse_reclaim_key(bytes) {
        assert_eq!(reclaim_key(id), bytes);
    }
});

fn survives<T: Stored + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = T::decode(bytes) {
        assert_eq!(T::decode(&value.encode()).as_ref(), Ok(&value));
    }
}
