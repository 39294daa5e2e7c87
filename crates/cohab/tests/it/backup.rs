use cohab::{Kind, Result, Role, Store};

use crate::{Scratch, key, v};

fn filled(scratch: &Scratch) -> Result<Store> {
    let store = scratch.with_namespace();
    store.write(|tx| (0..5000).try_for_each(|i| tx.put("n", key(i), [9; 50])))?;
    Ok(store)
}

#[test]
fn a_backup_opens_as_a_store_does_and_stays_as_it_was() -> Result<()> {
    let scratch = Scratch::new();
    let store = filled(&scratch)?;
    let file = scratch.file("backup.cohab");
    let mut seen = 0;
    assert_eq!(store.backup(&file, |progress| seen = progress.entries)?, v(2));
    assert!(seen > 5000);
    store.write(|tx| tx.put("n", "later", "x"))?;

    let backup = Store::options().role(Role::Reader).open(&file)?;
    let snapshot = backup.snapshot()?;
    assert_eq!((snapshot.version(), snapshot.store()), (v(2), store.id()));
    assert_eq!(snapshot.namespace("n")?.count(), 5000);
    assert_eq!(snapshot.log(..).count(), 2, "the log is in it");
    assert!(snapshot.verify(|_| ())?.is_sound());
    assert_eq!(backup.write(|tx| tx.put("n", "k", "v")).map_err(|e| e.kind()).err(), Some(Kind::ReadOnly));
    let taken = store.backup(&file, |_| ()).expect_err("there is a file of that name");
    assert_eq!(taken.kind(), Kind::Exists);
    Ok(())
}

#[test]
fn a_store_restored_from_a_backup_goes_its_own_way() -> Result<()> {
    let scratch = Scratch::new();
    let store = filled(&scratch)?;
    let (file, path) = (scratch.file("backup.cohab"), scratch.file("restored"));
    store.backup(&file, |_| ())?;
    let restored = Store::restore(&file, &path, |_| ())?;
    assert_ne!(restored.id(), store.id(), "tokens of the one are refused by the other");
    assert_eq!(restored.write(|tx| tx.put("n", "k", "v"))?.version, v(3));
    drop(restored);
    let restored = Store::open(&path)?;
    let snapshot = restored.snapshot()?;
    assert_eq!(snapshot.origin(), Some(store.token(v(2))));
    assert!(snapshot.verify(|_| ())?.is_sound(), "the chain goes on from the backup");
    drop((snapshot, restored));
    assert_eq!(Store::restore(&file, &path, |_| ()).map_err(|e| e.kind()).err(), Some(Kind::Exists));
    Ok(())
}

#[test]
fn a_backup_is_taken_while_the_writer_goes_on() -> Result<()> {
    let scratch = Scratch::new();
    let store = filled(&scratch)?;
    let file = scratch.file("backup.cohab");
    let version = std::thread::scope(|scope| -> Result<_> {
        let writer =
            scope.spawn(|| (0..50).try_for_each(|i| store.write(|tx| tx.put("n", key(i), "new")).map(drop)));
        let version = store.backup(&file, |_| ())?;
        writer.join().expect("does not panic")?;
        Ok(version)
    })?;
    let backup = Store::options().role(Role::Reader).open(&file)?;
    assert_eq!(backup.snapshot()?.version(), version);
    assert!(backup.snapshot()?.verify(|_| ())?.is_sound());
    Ok(())
}

#[test]
fn a_backup_begins_again_if_the_role_changes_hands() -> Result<()> {
    let scratch = Scratch::new();
    drop(filled(&scratch)?);
    // So little is kept in memory that the file is needed to the end.
    let store = Store::options().cache_bytes(0).open(scratch.path())?;
    let file = scratch.file("backup.cohab");
    let (mut beginnings, mut seen) = (0, u64::MAX);
    let version = store.backup(&file, |progress| {
        beginnings += u32::from(progress.entries <= seen);
        seen = progress.entries;
        if store.role() == Role::Writer {
            store.step_down().expect("a snapshot is in nobody's way");
        }
    })?;
    assert_eq!((version, beginnings), (v(2), 2));
    let backup = Store::options().role(Role::Reader).open(&file)?;
    assert_eq!(backup.snapshot()?.namespace("n")?.count(), 5000);
    assert!(backup.snapshot()?.verify(|_| ())?.is_sound());
    Ok(())
}

#[test]
fn what_is_no_backup_is_refused_by_name() {
    let scratch = Scratch::new();
    let file = scratch.file("letter.txt");
    std::fs::write(&file, "Dear Sir or Madam").expect("can be written");
    let error = Store::options().role(Role::Reader).open(&file).expect_err("is no store");
    assert_eq!(error.kind(), Kind::InvalidInput);
    assert!(error.to_string().contains("letter.txt"), "{error}");
    assert!(Store::restore(&file, scratch.file("new"), |_| ()).is_err());
    assert!(!scratch.file("new").exists(), "nothing was made");
}
