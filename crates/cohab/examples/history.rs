//! What happened: the log with the values before and after, a backup, and a store made from it.
//!
//! `cargo run -p cohab --example history`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use cohab::{LogItem, Result, Store};

fn main() -> Result<()> {
    let dir = tempfile::tempdir().expect("there is room for a temporary directory");
    let store = Store::open(dir.path().join("store"))?;
    store.write(|tx| tx.create_namespace("prices").map(drop))?;
    for (label, price) in [("opening", "100"), ("sale", "80"), ("sale is over", "100")] {
        store.write(|tx| {
            tx.label(label)?;
            tx.put("prices", "chair", price)
        })?;
    }

    for record in store.snapshot()?.log(..) {
        let record = record?;
        record.visit(|item| {
            if let LogItem::Change { change, .. } = item {
                let text = |value: Option<&[u8]>| {
                    value.map_or("–".into(), |v| String::from_utf8_lossy(v).into_owned())
                };
                let (key, before, after) =
                    (text(Some(change.key())), text(change.before()), text(change.after()));
                println!("version {} ({}): {key} {before} → {after}", record.version(), record.label());
            }
            Ok(())
        })?;
    }

    let backup = dir.path().join("backup.cohab");
    let version = store.backup(&backup, |_| ())?;
    let restored = Store::restore(&backup, dir.path().join("restored"), |_| ())?;
    assert_eq!(restored.snapshot()?.origin(), Some(store.token(version)));
    assert_eq!(
        restored.snapshot()?.namespace("prices")?.digest(),
        store.snapshot()?.namespace("prices")?.digest()
    );
    Ok(())
}
