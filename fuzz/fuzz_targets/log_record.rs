//! Log records: no bytes panic the decoders, and what decodes survives being encoded again.

#![no_main]

use cohab_log::{Item, chunk_key, header, items, parse_chunk_key};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let begins = items(bytes).next().is_some_and(|item| matches!(item, Ok(Item::Begin(_))));
    assert_eq!(header(bytes).is_ok(), begins);

    let decoded: Vec<_> = items(bytes).collect();
    let (broken, whole) = match decoded.split_last() {
        Some((Err(damaged), whole)) => (Some(damaged.offset), whole),
        _ => (None, &decoded[..]),
    };
    assert!(broken.is_none_or(|offset| offset < bytes.len()), "damage lies within the chunk");
    let mut again = Vec::new();
    for item in whole {
        let item = item.as_ref().expect("only the last item can be damaged");
        again = postcard::to_extend(item, again).expect("writing into memory does not fail");
    }
    assert!(items(&again).eq(whole.iter().cloned()));

    if let Some((version, chunk)) = parse_chunk_key(bytes) {
        assert_eq!(chunk_key(version, chunk), bytes);
    }
});
