//! Feature flags: typed values, metadata apart from data, an update that expects what it has read.
//!
//! `cargo run -p cohab --example flags`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use cohab::typed::Namespace;
use cohab::{Kind, Result, Store, Update};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Flag {
    enabled: bool,
    percent: u8,
}

const FLAGS: Namespace<str, Flag> = Namespace::new("flags");

fn main() -> Result<()> {
    let dir = tempfile::tempdir().expect("there is room for a temporary directory");
    let store = Store::open(dir.path().join("store"))?;
    store.write(|tx| {
        tx.label("first flags")?;
        tx.create_namespace(FLAGS.name())?;
        let mut flags = tx.typed(&FLAGS)?;
        flags.put("dark-mode", &Flag { enabled: true, percent: 100 })?;
        flags.put("new-editor", &Flag { enabled: true, percent: 5 })
    })?;

    // What people say about a namespace is edited without going near what it holds.
    let before = store.snapshot()?.namespace("flags")?.info();
    let edit = Update::new().title("Feature flags").protected(true).if_meta_version(before.meta_version);
    store.write(|tx| tx.update_namespace("flags", &edit))?;
    let after = store.snapshot()?.namespace("flags")?.info();
    assert_eq!(before.digest, after.digest);

    // The same edit again was made for a version that is gone.
    let refused = store.write(|tx| tx.update_namespace("flags", &edit)).expect_err("somebody was faster");
    assert_eq!(refused.kind(), Kind::Conflict);
    println!("refused, as it should be: {refused}");

    let snapshot = store.snapshot()?;
    for flag in snapshot.typed(&FLAGS)?.all()? {
        let (name, flag) = flag?;
        println!("{name}: {flag:?}");
    }
    Ok(())
}
