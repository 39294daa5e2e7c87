//! The engine's tests that need more than one of its parts.

mod copies;
mod damage;
mod old_versions;
mod reader;
mod recovery;
mod storage;

use cohab_engine::{Engine, Error, Options, Table};

const ONE: Table = Table::new(0, "one");
const TWO: Table = Table::new(1, "two");
const TABLES: &[Table] = &[ONE, TWO];

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("there is room for a directory"))
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("data.redb")
    }

    fn engine(&self) -> Engine {
        Engine::open(&self.path(), Options::new(TABLES)).expect("can be made in an empty directory")
    }
}

fn put(engine: &Engine, key: &[u8], value: &[u8]) -> Result<(), Error> {
    engine.write(|tx| {
        tx.insert(ONE, key, &[value])?;
        tx.insert(TWO, value, &[key]).map(drop)
    })
}
