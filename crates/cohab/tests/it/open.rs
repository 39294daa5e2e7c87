use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use cohab::{Error, Kind, Result, Role, Store};

use crate::{Scratch, v};

fn refusal(result: Result<Store>, kind: Kind, says: &str) -> Error {
    let error = result.map(drop).expect_err(says);
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
    error
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("is there").permissions().mode() & 0o777
}

#[test]
fn what_a_store_makes_is_private_whatever_the_umask() -> Result<()> {
    // The umask is the whole process's; the tests beside this one are unharmed, since none depends on it.
    let before = rustix::process::umask(rustix::fs::Mode::empty());
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.backup(scratch.file("backup"), |_| ())?;
    rustix::process::umask(before);
    let path = scratch.path();
    let mut unseen = vec![path];
    while let Some(path) = unseen.pop() {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), expected, "{}", path.display());
        let entries = if path.is_dir() { fs::read_dir(&path).ok() } else { None };
        unseen.extend(entries.into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    assert_eq!(mode(&scratch.file("backup")), 0o600);
    Ok(())
}

#[test]
fn what_is_no_store_is_refused_by_name_and_left_alone() -> Result<()> {
    let scratch = Scratch::new();
    let never = || Store::options().create(false);
    refusal(never().open(scratch.path()), Kind::NotFound, "there is no store at");
    refusal(Store::options().role(Role::Reader).open(scratch.path()), Kind::NotFound, "there is no store at");
    assert!(!scratch.path().exists(), "looking creates nothing");
    refusal(Store::open(scratch.file("a/b")), Kind::NotFound, "a does not exist");

    fs::write(scratch.file("file"), "x").expect("can be written");
    refusal(Store::open(scratch.file("file")), Kind::InvalidInput, "file is not a directory");

    fs::create_dir(scratch.file("full")).expect("can be made");
    fs::write(scratch.file("full/letter"), "x").expect("can be written");
    refusal(Store::open(scratch.file("full")), Kind::InvalidInput, "neither empty nor a store");
    assert_eq!(fs::read_dir(scratch.file("full")).expect("can be read").count(), 1, "nothing was put there");

    fs::create_dir(scratch.file("empty")).expect("can be made");
    Store::open(scratch.file("empty"))?;

    symlink(scratch.file("empty"), scratch.file("link")).expect("can be made");
    refusal(Store::open(scratch.file("link")), Kind::InvalidInput, "link is a symbolic link");
    Ok(())
}

#[test]
fn what_belongs_to_somebody_else_is_refused() {
    let scratch = Scratch::new();
    drop(scratch.with_namespace());
    if chown(scratch.path(), Some(12345), None).is_err() {
        eprintln!("only root can give a directory away; this part was not tested");
        return;
    }
    refusal(Store::open(scratch.path()), Kind::InvalidInput, "belongs to user 12345");
    chown(scratch.path(), Some(0), None).expect("can be taken back");
    let data = scratch.path().join("store.redb");
    chown(&data, Some(12345), None).expect("can be given away");
    refusal(Store::open(scratch.path()), Kind::InvalidInput, "store.redb belongs to user 12345");
}

#[test]
fn links_within_a_store_are_not_followed() {
    let scratch = Scratch::new();
    drop(scratch.with_namespace());
    for name in ["store.redb", "store.json", "writer.lock"] {
        let (path, moved) = (scratch.path().join(name), scratch.file("moved"));
        fs::rename(&path, &moved).expect("can be moved");
        symlink(&moved, &path).expect("can be linked");
        refusal(Store::open(scratch.path()), Kind::InvalidInput, &format!("{name} is a symbolic link"));
        fs::remove_file(&path).expect("can be removed");
        fs::rename(&moved, &path).expect("can be moved back");
    }
    scratch.store();
}

#[test]
fn one_writer_at_a_time_and_the_other_is_told_who() {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let error = refusal(Store::open(scratch.path()), Kind::Busy, "writer.lock is held by writer");
    let holder = error.holder().expect("left word");
    assert_eq!((holder.pid, holder.instance), (std::process::id(), Some(store.instance())));
    let begin = Instant::now();
    let wait = Duration::from_millis(80);
    refusal(Store::options().wait(wait).open(scratch.path()), Kind::Busy, "is held");
    assert!(begin.elapsed() >= wait);
    drop(store);
    scratch.store();
}

#[test]
fn a_reader_reads_beside_the_writer_and_follows_it() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let before = fs::read_dir(scratch.path()).expect("can be read").count();
    let reader = Store::options().role(Role::Reader).open(scratch.path())?;
    assert_eq!(reader.snapshot()?.version(), v(1));
    store.write(|tx| tx.put("n", "k", "v"))?;
    assert_eq!(reader.snapshot()?.version(), v(2));
    assert_eq!(reader.writer().map(|holder| holder.role), Some("writer".into()));
    assert_eq!(
        fs::read_dir(scratch.path()).expect("can be read").count(),
        before,
        "a reader creates nothing"
    );
    drop(store);
    assert_eq!(reader.snapshot()?.version(), v(2));
    assert!(reader.writer().is_none());
    Ok(())
}

#[test]
fn a_damaged_card_is_named_and_a_newer_one_is_told_from_it() -> Result<()> {
    let scratch = Scratch::new();
    let id = scratch.with_namespace().id();
    let card = scratch.path().join("store.json");
    let good = fs::read_to_string(&card).expect("can be read");
    for torn in ["", "{", &good[..good.len() / 2], "null", "[1,2]"] {
        fs::write(&card, torn).expect("can be written");
        refusal(Store::open(scratch.path()), Kind::Corrupt, "store.json is damaged");
    }
    // A bit that makes it no text any more was an error of the system, which tells nobody what to do.
    let mut flipped = good.clone().into_bytes();
    flipped[9] ^= 0x80;
    fs::write(&card, flipped).expect("can be written");
    refusal(Store::open(scratch.path()), Kind::Corrupt, "store.json is damaged");
    fs::write(&card, r#"{"format":9,"oldest_format":9,"something":"new"}"#).expect("can be written");
    refusal(Store::open(scratch.path()), Kind::Format, "is written in format 9");
    fs::write(&card, r#"{"format":1,"oldest_format":1}"#).expect("can be written");
    refusal(Store::open(scratch.path()), Kind::Format, "is written in format 1");
    let compatible = good.replace(r#""format": 2"#, r#""format": 9"#);
    fs::write(&card, compatible).expect("can be written");
    scratch.store();
    let other = format!(r#"{{"store":"{}","format":2,"oldest_format":2}}"#, cohab::StoreId::generate());
    fs::write(&card, other).expect("can be written");
    refusal(Store::open(scratch.path()), Kind::Corrupt, &format!("store.redb is store {id}"));
    assert_eq!(Store::rewrite_card(scratch.path())?, id);
    scratch.store();
    Ok(())
}

/// A card that was not UTF-8 was an error of the disk, without a word about the remedy; and a file of any length that lay in
/// its place was read into memory as a whole. Both are damage, as all that is no card.
#[test]
fn a_card_of_arbitrary_bytes_is_damage_whatever_its_length() -> Result<()> {
    let scratch = Scratch::new();
    let id = scratch.with_namespace().id();
    let card = scratch.path().join("store.json");
    fs::write(&card, b"{\"store\":\"\xff\xfe\"}").expect("can be written");
    refusal(Store::open(scratch.path()), Kind::Corrupt, "store.json is damaged");
    let endless = fs::File::create(&card).expect("can be written");
    endless.set_len(1 << 40).expect("takes no room");
    refusal(Store::open(scratch.path()), Kind::Corrupt, "it has more than");
    assert_eq!(Store::rewrite_card(scratch.path())?, id);
    scratch.store();
    Ok(())
}

#[test]
fn a_creation_that_was_interrupted_is_finished_by_the_next_opener() -> Result<()> {
    let scratch = Scratch::new();
    let id = scratch.with_namespace().id();
    fs::remove_file(scratch.path().join("store.json")).expect("can be removed");
    let store = scratch.store();
    assert_eq!((store.id(), store.snapshot()?.version()), (id, v(1)), "what was there is still there");
    Ok(())
}

#[test]
fn a_file_that_is_no_database_is_named_and_left_alone() {
    let scratch = Scratch::new();
    drop(scratch.with_namespace());
    let data = scratch.path().join("store.redb");
    let good = fs::read(&data).expect("can be read");
    let zeroed = vec![0; good.len()];
    let foreign = b"SQLite format 3\0".repeat(1000);
    for (what, bytes) in
        [("truncated", &good[..5000]), ("zeroed", &zeroed), ("foreign", &foreign), ("empty", &[])]
    {
        fs::write(&data, bytes).expect("can be written");
        for role in [Role::Writer, Role::Reader] {
            let error = Store::options().role(role).open(scratch.path()).map(drop).expect_err(what);
            assert!(matches!(error.kind(), Kind::Corrupt | Kind::NeedsRecovery), "{what}: {error:?}");
        }
        assert_eq!(fs::read(&data).expect("can be read").len(), bytes.len(), "{what}: left as it was");
    }
}
