use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use cohab_engine::{Engine, Error, Options};
use redb::{Builder, ConcurrencyMode, TableDefinition};

use crate::{ONE, Scratch, TABLES, put};

/// A file as a crash leaves it: copied while its writer has it open. Without quick-repair its free pages are recorded
/// nowhere, so recovery has to walk all of it, as after an interrupted compaction.
fn crashed(scratch: &Scratch) -> Result<(), Box<dyn std::error::Error>> {
    let live = scratch.0.path().join("live.redb");
    let database = Builder::new().set_concurrency_mode(ConcurrencyMode::SingleWriter).create(&live)?;
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(TableDefinition::<&[u8], &[u8]>::new("bare"))?;
        for i in 0..5000u32 {
            table.insert(&i.to_be_bytes()[..], &[7; 100][..])?;
        }
    }
    transaction.commit()?;
    std::fs::copy(&live, scratch.path())?;
    Ok(())
}

#[test]
fn a_long_recovery_reports_its_progress_and_can_be_broken_off() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = Scratch::new();
    crashed(&scratch)?;
    assert!(matches!(
        Engine::open_reader(&scratch.path(), Options::new(TABLES)),
        Err(Error::NeedsRecovery(_))
    ));

    let stopped = Options::new(TABLES).on_recovery(|_| ControlFlow::Break(()));
    assert!(matches!(Engine::open(&scratch.path(), stopped), Err(Error::RecoveryStopped(_))));

    let seen = Arc::new(Mutex::new(Vec::new()));
    let progress = seen.clone();
    let followed = Options::new(TABLES).on_recovery(move |part| {
        progress.lock().expect("nobody panics with it").push(part);
        ControlFlow::Continue(())
    });
    let engine = Engine::open(&scratch.path(), followed)?;
    let seen = seen.lock().expect("nobody panics with it").clone();
    assert!(
        seen.len() >= 2 && seen.is_sorted() && seen.iter().all(|part| (0.0..=1.0).contains(part)),
        "{seen:?}"
    );
    put(&engine, b"k", b"v")?;
    drop(engine);
    let reader = Engine::open_reader(&scratch.path(), Options::new(TABLES))?;
    assert_eq!(reader.snapshot()?.get(ONE, b"k")?.as_deref(), Some(&b"v"[..]));
    Ok(())
}

#[test]
fn after_an_ordinary_crash_recovery_walks_nothing() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = Scratch::new();
    let engine = scratch.engine();
    engine.write(|tx| {
        (0..5000u32).try_for_each(|i| tx.insert(ONE, &i.to_be_bytes(), &[&[7; 100]]).map(drop))
    })?;
    let copy = scratch.0.path().join("copy.redb");
    std::fs::copy(scratch.path(), &copy)?;
    let never = Options::new(TABLES).on_recovery(|_| panic!("nothing has to be walked"));
    let recovered = Engine::open(&copy, never)?;
    assert_eq!(recovered.snapshot()?.get(ONE, &7u32.to_be_bytes())?.as_deref(), Some(&[7; 100][..]));
    Ok(())
}
