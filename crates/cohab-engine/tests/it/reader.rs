use cohab_engine::{Direction, Engine, Error, Integrity, Options};
use std::ops::Bound;

use crate::{ONE, Scratch, TABLES, TWO, put};

#[test]
fn a_snapshot_never_changes_and_spans_all_tables() -> Result<(), Error> {
    let scratch = Scratch::new();
    let engine = scratch.engine();
    put(&engine, b"k", b"old")?;
    let old = engine.snapshot()?;
    put(&engine, b"k", b"new")?;
    assert_eq!(old.get(ONE, b"k")?.as_deref(), Some(&b"old"[..]));
    assert!(old.get(TWO, b"new")?.is_none());
    let new = engine.snapshot()?;
    assert_eq!(new.get(ONE, b"k")?.as_deref(), Some(&b"new"[..]));
    assert_eq!(new.get(TWO, b"new")?.as_deref(), Some(&b"k"[..]));
    Ok(())
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() -> Result<(), Error> {
    let scratch = Scratch::new();
    let engine = scratch.engine();
    put(&engine, b"k", b"v")?;
    let second = Engine::open(&scratch.path(), Options::new(TABLES));
    assert!(matches!(second, Err(Error::Locked(path)) if path == scratch.path()));
    let reader = Engine::open_reader(&scratch.path(), Options::new(TABLES))?;
    put(&engine, b"k", b"w")?;
    assert_eq!(reader.snapshot()?.get(ONE, b"k")?.as_deref(), Some(&b"w"[..]));
    assert!(matches!(put(&reader, b"k", b"x"), Err(Error::ReadOnly)));
    assert!(matches!(reader.check(), Err(Error::ReadOnly)));
    Ok(())
}

#[test]
fn what_needs_the_file_for_itself_says_who_is_in_the_way() -> Result<(), Error> {
    let scratch = Scratch::new();
    let engine = scratch.engine();
    put(&engine, b"k", b"v")?;
    let snapshot = engine.snapshot()?;
    assert!(matches!(engine.compact(), Err(Error::InUse)));
    assert!(matches!(engine.check(), Err(Error::InUse)));
    drop(snapshot);
    assert_eq!(engine.check()?, Integrity::Sound);
    engine.compact()?;
    put(&engine, b"k", b"w")?;
    Ok(())
}

#[test]
fn compaction_gives_space_back() -> Result<(), Error> {
    let scratch = Scratch::new();
    let engine = scratch.engine();
    engine.write(|tx| {
        (0..20_000u32).try_for_each(|i| tx.insert(ONE, &i.to_be_bytes(), &[&[7; 200]]).map(drop))
    })?;
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut seen = 0;
    let removed = engine.write(|tx| tx.remove_first(ONE, all, 19_990, |_, _| seen += 1))?;
    assert_eq!((removed, seen), (19_990, 19_990));
    let before = engine.file_bytes()?;
    engine.compact()?;
    assert!(engine.file_bytes()? < before / 2, "{before} → {}", engine.file_bytes()?);
    let snapshot = engine.snapshot()?;
    assert_eq!(snapshot.range(ONE, all, Direction::Forward)?.count(), 10);
    Ok(())
}

#[test]
fn a_transaction_that_is_discarded_commits_nothing() -> Result<(), Error> {
    let scratch = Scratch::new();
    let engine = scratch.engine();
    let value = engine.write(|tx| {
        tx.insert(ONE, b"k", &[b"v"])?;
        tx.discard();
        Ok::<_, Error>(7)
    })?;
    assert_eq!(value, 7);
    assert!(engine.snapshot()?.get(ONE, b"k")?.is_none());
    Ok(())
}

#[test]
fn an_empty_or_foreign_file_is_not_taken_for_a_new_one() {
    let scratch = Scratch::new();
    let never = || Options::new(TABLES).create(false);
    assert!(matches!(Engine::open(&scratch.path(), never()), Err(Error::NotFound(_))));
    for content in [Vec::new(), b"a letter".to_vec(), vec![0; 100_000]] {
        std::fs::write(scratch.path(), &content).expect("can be written");
        assert!(matches!(Engine::open(&scratch.path(), never()), Err(Error::Corrupt { .. })));
        assert!(matches!(Engine::open_reader(&scratch.path(), never()), Err(Error::Corrupt { .. })));
        assert_eq!(std::fs::read(scratch.path()).expect("can be read"), content, "left as it was");
    }
}
