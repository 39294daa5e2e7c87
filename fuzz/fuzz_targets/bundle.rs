//! Bundles of a plugin's files: no bytes panic the decoder, and a bundle has one encoding.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use cohab_plugin::Bundle;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    survives(bytes);
    // The hash keeps a mutated bundle from being accepted, so the same bytes also come with one that is right,
    if let Some(sealed) = seal(bytes) {
        survives(&sealed);
    }
    // and stand for files to be encoded.
    if let Ok(files) = Vec::<(String, Vec<u8>)>::arbitrary(&mut Unstructured::new(bytes)) {
        let bundle = Bundle::of(files.into_iter().map(|(name, content)| (name, content.into())));
        match Bundle::decode(&bundle.encode()) {
            Ok(decoded) => assert_eq!(decoded, bundle),
            Err(_) => {
                assert!(bundle.files().len() > 256 || bundle.files().any(|(name, _)| leads_elsewhere(name)));
            }
        }
    }
});

fn survives(bytes: &[u8]) {
    let Ok(bundle) = Bundle::decode(bytes) else { return };
    assert_eq!(bundle.encode(), bytes, "a bundle has one encoding");
    assert!(bundle.files().all(|(name, _)| !leads_elsewhere(name)));
    assert!(bundle.files().all(|(name, content)| bundle.file(name) == Some(content)));
}

/// Whether a name leads out of the directory that it is relative to, or to no file.
fn leads_elsewhere(name: &str) -> bool {
    name.contains(['\\', '\0']) || name.split('/').any(|part| matches!(part, "" | "." | ".."))
}

/// Puts the hash of what follows it into its place.
fn seal(bytes: &[u8]) -> Option<Vec<u8>> {
    let files = bytes.get(8 + 4 + 32 + 8..)?;
    let mut sealed = bytes.to_vec();
    sealed[12..44].copy_from_slice(blake3::hash(files).as_bytes());
    Some(sealed)
}
