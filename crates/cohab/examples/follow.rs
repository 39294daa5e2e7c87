//! Follows a store from asynchronous code: every version, in order, exactly once.
//!
//! ```text
//! cargo run -p cohab --example follow --features stream
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use cohab::{Filter, Store};
use futures_lite::{StreamExt, future};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path().join("store"))?;
    store.write(|tx| tx.create_namespace("orders"))?;

    // This could be any process that has the store open, a reader for instance.
    let changes = store.watch(Filter::new().namespace("orders").prefix("paid/"))?.into_stream()?;
    let shop = std::thread::spawn(move || -> cohab::Result<()> {
        for order in 1..=5 {
            store.write(|tx| tx.put("orders", format!("new/{order}"), "…"))?;
            store.write(|tx| {
                tx.delete("orders", format!("new/{order}"))?;
                tx.put("orders", format!("paid/{order}"), "…")
            })?;
        }
        Ok(())
    });

    let paid: Vec<String> = future::block_on(
        changes
            .map(|event| {
                let changes = event?.changes()?;
                Ok(String::from_utf8_lossy(&changes[0].key).into_owned())
            })
            .take(5)
            .try_collect::<_, cohab::Error, _>(),
    )?;
    shop.join().expect("the shop does not panic")?;
    println!("{paid:?}");
    assert_eq!(paid, ["paid/1", "paid/2", "paid/3", "paid/4", "paid/5"]);
    Ok(())
}
