//! Files that somebody has damaged, or made up: what the target `hostile_store` does with its input.
//!
//! A few real stores are made when the target starts, and of each is kept what it held at each version. An input is a list
//! of edits of one of them, or bytes in the place of one. However it was edited, opening and reading it ends with what was
//! there at the version that it claims to be at, or with an error, or is reported by a verification: a store that says it
//! is well has what it had.

mod edit;
mod origin;
mod reading;

use std::fs;
use std::path::Path;
use std::time::Duration;

use arbitrary::Arbitrary;
use cohab::{DropMode, Role, Snapshot, Store, VerifyOptions};

use self::edit::{Edit, edited};
use self::origin::{ORIGINS, Origin};
use self::reading::Differences;
use crate::memory_dir;

/// The input of one run.
#[derive(Clone, Debug, Arbitrary)]
pub struct Hostile {
    origin: u8,
    /// Whether the store is opened to be written as well, which is what takes the most time.
    writes: bool,
    content: Content,
}

#[derive(Clone, Debug, Arbitrary)]
enum Content {
    /// The origin's file with these edits.
    Edited(Vec<Edit>),
    /// These bytes, and nothing else of the origin than its length.
    Bytes(Vec<u8>),
}

/// The most edits that are made.
const EDITS_MAX: usize = 24;

/// Puts a file in the place of a store's and sees what becomes of it.
///
/// # Panics
///
/// If the store says that it is well and is not.
pub fn open_hostile(hostile: &Hostile) {
    let origins = ORIGINS.with(Clone::clone);
    let origin = &origins[usize::from(hostile.origin) % origins.len()];
    let (file, is_whole) = match &hostile.content {
        Content::Edited(edits) => {
            let edits = &edits[..edits.len().min(EDITS_MAX)];
            (edited(origin, edits), edits.is_empty())
        }
        Content::Bytes(bytes) => (bytes.clone(), false),
    };
    let dir = memory_dir();
    let path = dir.path().join("store");
    origin.write(&path, &file);

    read(&path, origin, is_whole);
    if hostile.writes {
        write(&path, origin, is_whole);
        // What was written since is not among what the origin held.
        let _ = reader(&path).and_then(|store| store.snapshot()?.verify(|_| ()));
    }
}

fn reader(path: &Path) -> cohab::Result<Store> {
    let options = Store::options().role(Role::Reader).register(false).cache_bytes(1 << 20);
    options.patience(Duration::from_millis(50)).open(path)
}

fn read(path: &Path, origin: &Origin, is_whole: bool) {
    let store = match reader(path) {
        Ok(store) => store,
        Err(error) => return assert!(!is_whole, "{error}"),
    };
    match store.snapshot() {
        Ok(snapshot) => _ = check(&snapshot, origin, is_whole),
        Err(error) => assert!(!is_whole, "{error}"),
    }
}

/// Reads all there is, compares it with what was there, and returns whether it is well.
fn check(snapshot: &Snapshot, origin: &Origin, is_whole: bool) -> bool {
    let differences = Differences::of(snapshot, origin);
    let is_sound = match snapshot.verify(|_| ()) {
        Ok(report) => report.is_sound(),
        Err(_) => false,
    };
    assert!(is_sound || !is_whole, "nothing was edited, but it is not well");
    assert!(!is_sound || differences.is_empty(), "it says that it is well: {differences:?}");
    is_sound
}

fn write(path: &Path, origin: &Origin, is_whole: bool) {
    let options = Store::options().create(false).register(false).cache_bytes(1 << 20);
    let store = match options.patience(Duration::from_millis(50)).clock(origin::Noon).open(path) {
        Ok(store) => store,
        Err(error) => return assert!(!is_whole, "{error}"),
    };
    let is_sound = store.snapshot().is_ok_and(|snapshot| check(&snapshot, origin, is_whole));
    let checked = store.check();
    assert!(checked.is_ok() || !is_whole, "{checked:?}");

    // Whatever is done next may be refused.
    let put = store.write(|tx| {
        tx.ensure_namespace("hostile")?;
        tx.put("hostile", "key", "value")
    });
    if let (Ok(_), Ok(snapshot)) = (&put, store.snapshot()) {
        match snapshot.get("hostile", "key") {
            Ok(value) => assert_eq!(value.as_deref(), Some(&b"value"[..]), "what was just put is gone"),
            Err(error) => assert!(!is_sound, "{error}"),
        }
        let _ = snapshot.delta(cohab::Version::ZERO, cohab::DeltaKind::Coalesced);
        let _ = snapshot.diff(snapshot.oldest_readable(), snapshot.version());
        let _ = snapshot.named_snapshots();
    }
    let _ = store.maintain();
    let _ = store.write(|tx| tx.undo().map(drop));
    for name in origin.names() {
        let _ = store.write(|tx| tx.put(name, "k", "v"));
        let _ = store.write(|tx| tx.rollback_namespace(name, cohab::Version::new(1)).map(drop));
    }
    if let Some(name) = origin.names().next() {
        let _ = store.write(|tx| tx.drop_namespace(name, DropMode::WithContents));
        let _ = store.purge(name, |_| ());
    }
    if let Ok(mut verifier) = store.verifier(VerifyOptions::default().slice_keys(3)) {
        for _ in 0..50 {
            if !matches!(verifier.step(), Ok(None)) {
                break;
            }
        }
    }
    let _ = store.backup(path.with_extension("backup"), |_| ());
    let _ = store.compact();
    let _ = store.reopen();
    drop(store);
    let _ = fs::remove_file(path.with_extension("backup"));
}
