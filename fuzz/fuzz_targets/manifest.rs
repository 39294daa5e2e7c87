//! A plugin's manifest: no text panics the reader, and what it accepts keeps every rule that others rely on.

#![no_main]

use std::time::Duration;

use cohab_core::Timestamp;
use cohab_plugin::{Bundle, Manifest, Trigger};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let files = [(Manifest::FILE, bytes), ("a.rhai", b""), ("a.wasm", b"")];
    let bundle = Bundle::of(files.map(|(name, content)| (name.to_owned(), content.to_vec().into())));
    match Manifest::of(&bundle) {
        Ok(manifest) => check(&manifest),
        Err(error) => {
            assert!(error.to_string().len() < bytes.len() + 4096, "the error is longer than its cause");
        }
    }
});

fn check(manifest: &Manifest) {
    let is_plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_');
    assert!((1..=64).contains(&manifest.name.len()) && manifest.name.chars().all(is_plain));
    assert!(matches!(&*manifest.entry, "a.rhai" | "a.wasm"), "{} is not in the bundle", manifest.entry);
    assert!(!manifest.triggers.is_empty());
    let limits = manifest.limits;
    assert!(limits.memory <= 1 << 30 && limits.writes <= 64 << 20 && limits.cache <= 256 << 20);
    assert!(limits.time <= Duration::from_mins(1) && limits.before_commit_time <= Duration::from_secs(1));
    for trigger in &manifest.triggers {
        if let Trigger::Schedule(schedule) = trigger {
            let now = Timestamp::from_micros(1_767_268_800_000_000);
            for last in [Timestamp::from_micros(0), now, Timestamp::from_micros(u64::MAX)] {
                let next = schedule.next_after(last, now);
                assert!(next > last.min(now), "{schedule} stands still");
            }
        }
    }
    let asked = manifest.asks_for();
    assert!(asked.lacking(&asked).is_empty(), "it lacks what it was given: {asked:?}");
    assert!(asked.union(&manifest.grants).lacking(&asked).is_empty());
}
