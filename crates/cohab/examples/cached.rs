//! A feature-flag service: hot reads through the cache, decoded once, and never stale.
//!
//! `cargo run --release -p cohab --example cached`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::time::Instant;

use cohab::typed::Namespace;
use cohab::{Cache, CachePolicy, Result, Store};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Flag {
    enabled: bool,
    countries: Vec<String>,
}

const FLAGS: Namespace<str, Flag> = Namespace::new("flags");
const READS: u32 = 1_000_000;

fn main() -> Result<()> {
    let dir = tempfile::tempdir().expect("there is room for a temporary directory");
    let options = Store::options().cache(Cache::new(32 << 20)).cache_policy("flags", CachePolicy::Pinned);
    let store = options.open(dir.path().join("store"))?;
    store.write(|tx| {
        tx.create_namespace(FLAGS.name())?;
        let mut flags = tx.typed(&FLAGS)?;
        let countries = vec!["NL".into(), "DE".into()];
        flags.put("dark-mode", &Flag { enabled: true, countries })
    })?;

    let flags = store.cached_typed(&FLAGS)?;
    flags.prefetch()?.wait()?;
    let begin = Instant::now();
    for _ in 0..READS {
        assert!(flags.get("dark-mode")?.is_some_and(|flag| flag.enabled));
    }
    println!("{} ns a read", begin.elapsed().as_nanos() / u128::from(READS));

    // Nobody writes the key, so everybody has the same object; when somebody does, the next read has it.
    let before = flags.get("dark-mode")?.expect("was put");
    assert!(Arc::ptr_eq(&before, &flags.get("dark-mode")?.expect("is there")));
    store.write(|tx| tx.typed(&FLAGS)?.put("dark-mode", &Flag { enabled: false, countries: Vec::new() }))?;
    assert_eq!(flags.get("dark-mode")?.map(|flag| flag.enabled), Some(false));
    assert_eq!(flags.get("beta")?, None);
    println!("{:#?}", flags.bytes().stats());
    Ok(())
}
