//! A secondary index beside a writer: which people live in a city, kept up with what is committed.
//!
//! `cargo run -p cohab --example index`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use cohab::{Result, Role, Store};

/// Who lives in each city.
type Index = BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>;

const PEOPLE: u32 = 2_000;
const CITIES: u32 = 7;
const MOVES: u32 = 200;

fn main() -> Result<()> {
    let dir = tempfile::tempdir().expect("there is room for a temporary directory");
    let store = Store::open(dir.path().join("store"))?;
    store.write(|tx| {
        tx.create_namespace("people")?;
        let mut people = tx.namespace("people")?;
        (0..PEOPLE).try_for_each(|i| people.put(format!("person {i}"), format!("city {}", i % CITIES)))
    })?;

    // This could be any process.
    let reader = Store::options().role(Role::Reader).open(store.path())?;
    let index = reader.materialize(["people"], Index::new(), |index, change| {
        if let Some(city) = change.before
            && let Some(people) = index.get_mut(city)
        {
            people.remove(change.key);
            if people.is_empty() {
                index.remove(city);
            }
        }
        if let Some(city) = change.after {
            index.entry(city.to_vec()).or_default().insert(change.key.to_vec());
        }
        Ok(())
    })?;
    assert_eq!(index.load().len(), 7);

    let writer = store.clone();
    let moves = thread::spawn(move || -> Result<()> {
        for i in 0..MOVES {
            writer.write(|tx| tx.put("people", format!("person {i}"), "city on the sea"))?;
        }
        Ok(())
    });
    while !moves.is_finished() {
        // Everybody lives somewhere, in every version.
        let view = index.latest()?;
        assert_eq!(view.values().map(BTreeSet::len).sum::<usize>(), 2_000);
        reader.wait_past(view.version(), std::time::Duration::from_millis(10))?;
    }
    moves.join().expect("nobody panics")?;

    let view = index.latest()?;
    println!("{} live on the sea at version {}", view[&b"city on the sea"[..]].len(), view.version());
    assert_eq!(view[&b"city on the sea"[..]].len(), 200);
    assert!(index.check()?, "it is as if it had been made from scratch");
    Ok(())
}
