use cohab::{DropMode, History, Kind, Metadata, Name, Result, Store, Update};

use crate::{Scratch, key, v};

fn fill(store: &Store, namespace: &str, keys: u32) -> Result<()> {
    store.write(|tx| {
        let mut n = tx.namespace(namespace)?;
        (0..keys).try_for_each(|i| n.put(key(i), [7; 20]))
    })?;
    Ok(())
}

#[test]
fn invariant_5_metadata_changes_leave_every_digest_equal() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| tx.create_namespace("other"))?;
    fill(&store, "n", 1000)?;
    let before = store.snapshot()?.namespace("n")?.info();
    let all = Update::new()
        .title("Numbers")
        .description("what they are for")
        .label("team", "core")
        .protected(true)
        .history(History::Off);
    store.write(|tx| tx.update_namespace("n", &all))?;
    store.write(|tx| tx.rename_namespace("n", "numbers"))?;
    store.write(|tx| tx.update_namespace("numbers", &Update::new().unlabel("team").protected(false)))?;
    store.write(|tx| tx.drop_namespace("numbers", DropMode::WithContents))?;
    store.write(|tx| tx.undrop_namespace("numbers"))?;

    let snapshot = store.snapshot()?;
    let after = snapshot.namespace("numbers")?.info();
    assert_eq!(
        (after.id, after.digest, after.keys, after.bytes),
        (before.id, before.digest, 1000, before.bytes)
    );
    assert_eq!((after.data_version, after.meta_version), (before.data_version, v(8)));
    assert_eq!((&*after.title, &*after.description), ("Numbers", "what they are for"));
    assert!(after.labels.is_empty());
    assert!(snapshot.verify(|_| ())?.is_sound(), "the digest kept is that of the data");
    assert_eq!(snapshot.namespace("n").map_err(|e| e.kind()).err(), Some(Kind::NotFound));
    Ok(())
}

#[test]
fn an_update_may_expect_a_version() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let read_at = store.snapshot()?.namespace("n")?.info().meta_version;
    let mine = Update::new().title("mine").if_meta_version(read_at);
    let yours = Update::new().title("yours").if_meta_version(read_at);
    store.write(|tx| tx.update_namespace("n", &mine))?;
    let refused = store.write(|tx| tx.update_namespace("n", &yours)).expect_err("somebody was faster");
    assert_eq!(refused.kind(), Kind::Conflict);
    assert!(refused.to_string().contains("`n` is at meta_version 2, not 1"), "{refused}");
    assert_eq!(store.snapshot()?.namespace("n")?.metadata().title, "mine");
    Ok(())
}

#[test]
fn dropping_is_refused_for_what_is_protected_or_not_empty() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    fill(&store, "n", 1)?;
    let kind = |result: Result<cohab::Committed<()>>| result.map(|_| ()).map_err(|error| error.kind());
    assert_eq!(kind(store.write(|tx| tx.drop_namespace("n", DropMode::IfEmpty))), Err(Kind::Conflict));
    store.write(|tx| tx.update_namespace("n", &Update::new().protected(true)))?;
    assert_eq!(kind(store.write(|tx| tx.drop_namespace("n", DropMode::WithContents))), Err(Kind::Conflict));
    store.write(|tx| tx.update_namespace("n", &Update::new().protected(false)))?;
    assert_eq!(kind(store.write(|tx| tx.drop_namespace("n", DropMode::WithContents))), Ok(()));
    Ok(())
}

#[test]
fn of_several_that_were_dropped_the_last_comes_back_first() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    // The older namespace gets the name later, and is dropped last.
    store.write(|tx| tx.create_namespace("younger"))?;
    store.write(|tx| tx.drop_namespace("younger", DropMode::IfEmpty))?;
    store.write(|tx| tx.rename_namespace("n", "younger"))?;
    let older = store.snapshot()?.namespace("younger")?.id();
    store.write(|tx| tx.drop_namespace("younger", DropMode::IfEmpty))?;
    assert_eq!(store.snapshot()?.dropped_namespaces()?.count(), 2);
    assert_eq!(store.write(|tx| tx.undrop_namespace("younger"))?.value, older);
    let taken = store.write(|tx| tx.undrop_namespace("younger")).expect_err("the name is taken");
    assert_eq!(taken.kind(), Kind::Exists);
    let none = store.write(|tx| tx.undrop_namespace("never")).expect_err("there was none");
    assert_eq!(none.kind(), Kind::NotFound);
    Ok(())
}

#[test]
fn what_is_created_anew_under_an_old_name_is_another_namespace() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    fill(&store, "n", 10)?;
    let old = store.snapshot()?.namespace("n")?.id();
    store.write(|tx| tx.drop_namespace("n", DropMode::WithContents))?;
    store.write(|tx| tx.create_namespace("n"))?;
    let snapshot = store.snapshot()?;
    let new = snapshot.namespace("n")?;
    assert_ne!(new.id(), old);
    assert_eq!((new.count(), new.all()?.count()), (0, 0));
    assert_eq!(snapshot.namespace_by_id(old)?.count(), 10, "the dropped one still holds its keys");
    Ok(())
}

#[test]
fn a_copy_is_whole_independent_and_unprotected() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    fill(&store, "n", 10_000)?;
    store.write(|tx| tx.update_namespace("n", &Update::new().title("t").protected(true)))?;
    store.write(|tx| tx.copy_namespace("n", "copy"))?;
    let snapshot = store.snapshot()?;
    let (source, copy) = (snapshot.namespace("n")?.info(), snapshot.namespace("copy")?.info());
    assert_eq!((copy.digest, copy.keys, &copy.title), (source.digest, 10_000, &source.title));
    assert!(!copy.protected);
    store.write(|tx| tx.delete("copy", key(1)))?;
    let snapshot = store.snapshot()?;
    assert_eq!(snapshot.namespace("n")?.digest(), source.digest);
    assert_eq!(snapshot.namespace("copy")?.count(), 9_999);
    assert!(snapshot.verify(|_| ())?.is_sound());
    Ok(())
}

#[test]
fn purging_removes_the_keys_in_bounded_steps() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    fill(&store, "n", 25_000)?;
    store.write(|tx| tx.create_namespace("kept"))?;
    fill(&store, "kept", 100)?;
    store.write(|tx| tx.drop_namespace("n", DropMode::WithContents))?;
    let mut steps = Vec::new();
    let purged = store.purge("n", |keys| steps.push(keys))?;
    assert_eq!((purged.value, steps), (25_000, vec![10_000, 20_000, 25_000]));
    let snapshot = store.snapshot()?;
    assert_eq!(snapshot.version(), purged.version, "removing the keys makes no version");
    assert_eq!(snapshot.dropped_namespaces()?.count(), 0);
    assert_eq!(snapshot.namespace("kept")?.all()?.count(), 100);
    assert!(snapshot.verify(|_| ())?.is_sound(), "no row is left over");
    assert_eq!(store.purge("n", |_| ()).map_err(|e| e.kind()).err(), Some(Kind::NotFound));
    Ok(())
}

#[test]
fn a_purge_that_was_interrupted_goes_on_later() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    fill(&store, "n", 15_000)?;
    store.write(|tx| tx.drop_namespace("n", DropMode::WithContents))?;
    store.write(|tx| tx.purge_namespace("n"))?;
    assert_eq!(store.maintain()?.reclaimed, 10_000);
    drop(store);
    let store = scratch.store();
    assert!(store.snapshot()?.verify(|_| ())?.is_sound(), "a purge under way is no damage");
    let step = store.maintain()?;
    assert_eq!((step.reclaimed, step.more), (5_000, false));
    assert_eq!(store.maintain()?.reclaimed, 0);
    Ok(())
}

#[test]
fn of_two_that_create_the_same_namespace_one_succeeds() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let created = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| store.write(|tx| tx.create_namespace("n")).is_ok())).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|created| *created).count()
    });
    assert_eq!(created, 1);
}

#[test]
fn metadata_over_a_limit_is_refused_by_name() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let check = |update: Update, says: &str| {
        let error = store.write(|tx| tx.update_namespace("n", &update)).expect_err(says);
        assert_eq!(error.kind(), Kind::InvalidInput);
        assert!(error.to_string().contains(says), "{error}");
    };
    check(
        Update::new().title("x".repeat(1025)),
        "title of namespace `n` is 1025 bytes long, the most is 1024",
    );
    check(Update::new().description("x".repeat(65_537)), "description");
    check(Update::new().label("", "v"), "label key");
    check(Update::new().label("a=b", "v"), "label key");
    check(Update::new().label("k", "v".repeat(256)), "label value");
    let many = (0..65).fold(Update::new(), |update, i| update.label(format!("l{i}"), ""));
    check(many, "65 labels, the most is 64");
    let mut metadata = Metadata::new(Name::new("m")?);
    metadata.title = "x".repeat(2000);
    assert!(store.write(|tx| tx.create_namespace_with(metadata)).is_err());
    assert_eq!(store.snapshot()?.version(), v(1), "nothing of all this changed anything");
    Ok(())
}

#[test]
fn names_that_look_alike_are_different_namespaces() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    let names = ["a", "a/b", "a/b/c", "ab", "A"];
    store.write(|tx| {
        for name in names {
            tx.create_namespace(name)?;
            tx.put(name, "k", name)?;
        }
        Ok(())
    })?;
    store.write(|tx| tx.drop_namespace("a", DropMode::WithContents))?;
    let snapshot = store.snapshot()?;
    for name in &names[1..] {
        assert_eq!(snapshot.get(name, "k")?.as_deref(), Some(name.as_bytes()));
    }
    assert_eq!(snapshot.namespace("a").map_err(|e| e.kind()).err(), Some(Kind::NotFound));
    assert_eq!(snapshot.namespace("a/../b").map_err(|e| e.kind()).err(), Some(Kind::InvalidInput));
    Ok(())
}
