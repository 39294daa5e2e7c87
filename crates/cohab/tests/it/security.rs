//! What other processes of the same user, and files that they leave, cannot do. `docs/security.md` lists the claims.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cohab::{InstanceId, Kind, LockMode, Mapping, PortPreference, Result, Role, Store, StoreId, Wait};

use crate::{Scratch, key, v};

/// How long what must not wait may take on a machine that is busy.
const SOON: Duration = Duration::from_secs(5);

fn reader(path: &Path) -> Result<Store> {
    Store::options().role(Role::Reader).open(path)
}

/// Opens a store in both roles, on a thread that may hang, and returns why it was refused.
fn open_both(path: &Path) -> [Option<Kind>; 2] {
    let (tell, told) = mpsc::channel();
    let path = path.to_owned();
    std::thread::spawn(move || {
        let read = reader(&path).and_then(|store| store.snapshot()).err();
        let written = Store::open(&path).err();
        let _ = tell.send([read, written].map(|error| error.map(|error| error.kind())));
    });
    told.recv_timeout(SOON).expect("whoever opens a store does not hang")
}

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").args(["-m", "600"]).arg(path).status().expect("there is a mkfifo");
    assert!(made.success());
}

#[test]
fn pipes_in_the_place_of_files_hang_nobody() {
    for name in [
        "store.json",
        "store.redb",
        "writer.lock",
        "writer.json",
        "writer.epoch",
        "handover.lock",
        "handover.json",
        "coord.page",
        "instances",
        "locks",
        "followers",
    ] {
        let scratch = Scratch::new();
        drop(scratch.with_namespace());
        let path = scratch.path().join(name);
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir_all(&path);
        pipe(&path);
        for refused in open_both(&scratch.path()).into_iter().flatten() {
            assert_eq!(refused, Kind::InvalidInput, "{name}");
        }
    }
}

/// The card was read to its end, however far off that was, into memory.
#[test]
fn files_without_end_take_no_memory() -> Result<()> {
    let scratch = Scratch::new();
    drop(scratch.with_namespace());
    for dir in ["instances", "followers", "ports"] {
        fs::create_dir_all(scratch.path().join(dir)).expect("can be made");
    }
    let (id, replica) = (InstanceId::generate(), StoreId::generate());
    let endless = |name: &str| {
        let file = File::create(scratch.path().join(name)).expect("can be made");
        file.set_len(1 << 40).expect("a file may have holes");
    };
    for name in ["writer.json", "handover.json", "coord.page", "ports/http.json"] {
        endless(name);
    }
    endless(&format!("instances/{id}.json"));
    endless(&format!("followers/{replica}.json"));
    let store = scratch.store();
    // A child that another test is just starting may still hold the lock of the handle before.
    assert!(store.instances()?.iter().all(|instance| instance.id != id), "it is nobody's");
    assert!(store.followers().is_empty());
    drop(store.registration()?.bind("http", &PortPreference::new()).expect("a port is to be had"));
    store.write(|tx| tx.put("n", "k", "v"))?;
    store.maintain()?;
    drop(store);
    endless("store.json");
    assert_eq!(open_both(&scratch.path()), [Some(Kind::Corrupt); 2]);
    Ok(())
}

#[test]
fn forged_records_decide_nothing() -> Result<()> {
    let scratch = Scratch::new();
    drop(scratch.with_namespace());
    let (id, replica) = (InstanceId::generate(), StoreId::generate());
    for dir in ["instances", "followers"] {
        fs::create_dir_all(scratch.path().join(dir)).expect("can be made");
    }
    let forge = |name: &str, text: String| {
        fs::write(scratch.path().join(name), text).expect("can be written");
    };
    // The first process of the machine always lives.
    let holder = format!(r#"{{"instance":"{id}","role":"writer","pid":1,"since":1}}"#);
    forge("writer.json", holder.clone());
    forge("handover.json", holder);
    forge(&format!("instances/{id}.json"), format!(r#"{{"schema":1,"id":"{id}","role":"writer","pid":1}}"#));
    forge(&format!("instances/{id}.lock"), String::new());
    let far = i64::MAX;
    forge(
        &format!("followers/{replica}.json"),
        format!(r#"{{"replica":"{replica}","version":{far},"at":{far},"path":"/"}}"#),
    );
    assert_eq!(reader(&scratch.path())?.writer(), None);
    let begin = Instant::now();
    let store = scratch.store();
    assert!(begin.elapsed() < SOON, "nobody is waited for who only says to be there");
    let seen = store.instances()?;
    assert!(seen.iter().any(|instance| instance.id == store.instance()), "{seen:?}");
    assert!(seen.iter().all(|instance| instance.id != id), "nobody holds the forged one's lock: {seen:?}");
    store.write(|tx| tx.put("n", "k", "v"))?;
    store.maintain()?;
    assert_eq!(store.snapshot()?.log(..).count(), 2, "the log is kept as it would be");
    Ok(())
}

#[test]
fn a_stranger_that_locks_every_lock_file_keeps_nobody_from_reading() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| tx.put("n", "k", "v"))?;
    drop(store);
    let held = ["writer.lock", "handover.lock"].map(|name| {
        let path = scratch.path().join(name);
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(path).expect("can be opened");
        file.lock().expect("nobody has it");
        file
    });
    let begin = Instant::now();
    let refused = Store::open(scratch.path()).map(drop).expect_err("somebody writes, for all that is known");
    assert_eq!(refused.kind(), Kind::Busy);
    let store = reader(&scratch.path())?;
    assert_eq!(store.snapshot()?.get("n", "k")?.as_deref(), Some(&b"v"[..]));
    assert!(begin.elapsed() < SOON);
    drop(held);
    scratch.store();
    Ok(())
}

#[test]
fn names_of_locks_stay_within_their_directory() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let names = ["../../evil", "/tmp/evil", "..", ".", "a/b", "\0", "evil\n", "store.redb", "e\u{301}"];
    for name in names {
        drop(store.lock(name, LockMode::Exclusive, Wait::Try)?);
    }
    let files = fs::read_dir(scratch.path().join("locks")).expect("can be read");
    let mut count = 0;
    for file in files {
        let name = file.expect("can be read").file_name().into_string().expect("is text");
        let (stem, extension) = name.split_once('.').expect("has two parts");
        assert!(stem.len() == 32 && stem.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
        assert!(["lock", "token", "json"].contains(&extension), "{name}");
        count += usize::from(extension == "lock");
    }
    assert_eq!(count, names.len());
    assert_eq!(fs::read_dir(scratch.path().parent().expect("has one")).expect("can be read").count(), 1);
    Ok(())
}

#[test]
fn names_that_become_paths_cannot_climb() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    for name in ["../x", "a/../b", "/x", "a//b", ".", "..", "a\0", "_own"] {
        let refused = store.write(|tx| tx.create_namespace(name)).expect_err(name);
        assert_eq!(refused.kind(), Kind::InvalidInput, "{name}");
        let refused = store.create_snapshot(name, None, "").expect_err(name);
        assert_eq!(refused.kind(), Kind::InvalidInput, "{name}");
    }
    let registration = store.registration()?;
    for name in ["../x", "a/b", "..", "", "x\0"] {
        assert!(registration.bind(name, &PortPreference::new()).is_err(), "{name:?}");
        let labelled = Store::options().role(Role::Reader).label(name).open(scratch.path());
        assert_eq!(labelled.map(drop).map_err(|error| error.kind()), Err(Kind::InvalidInput), "{name:?}");
    }
    assert_eq!(fs::read_dir(scratch.path().parent().expect("has one")).expect("can be read").count(), 1);
    Ok(())
}

#[test]
fn a_backup_is_written_neither_over_a_file_nor_through_a_link() {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    fs::write(scratch.file("letter"), "Dear Sir or Madam").expect("can be written");
    symlink(scratch.file("letter"), scratch.file("link")).expect("can be made");
    symlink(scratch.file("nowhere"), scratch.file("dangling")).expect("can be made");
    for name in ["letter", "link", "dangling"] {
        let refused = store.backup(scratch.file(name), |_| ()).expect_err(name);
        assert_eq!(refused.kind(), Kind::Exists, "{name}");
    }
    assert!(!scratch.file("nowhere").exists());
    assert_eq!(fs::read(scratch.file("letter")).expect("is there"), b"Dear Sir or Madam");
}

/// With a map it would be the end of the process, which the documentation says.
#[test]
fn a_file_that_is_cut_off_under_its_writer_is_an_error_without_a_map() -> Result<()> {
    let scratch = Scratch::new();
    drop(scratch.with_namespace());
    let store = Store::options().mapping(Mapping::Off).cache_bytes(1 << 20).open(scratch.path())?;
    store.write(|tx| (0..3000).try_for_each(|i| tx.put("n", key(i), [b'v'; 500])))?;
    let snapshot = store.snapshot()?;
    let file = OpenOptions::new().write(true).open(scratch.path().join("store.redb")).expect("can be opened");
    file.set_len(16 << 10).expect("can be cut");
    let mut failed = 0;
    for i in 0..3000 {
        match snapshot.get("n", key(i)) {
            // What was read before is in memory.
            Ok(found) => assert_eq!(found.as_deref(), Some(&[b'v'; 500][..])),
            Err(error) => {
                assert!(matches!(error.kind(), Kind::Corrupt | Kind::Poisoned | Kind::Io), "{error:?}");
                failed += 1;
            }
        }
    }
    assert!(failed > 0, "something was beyond the end");
    Ok(())
}

/// A directory that somebody else has made, or that was renamed to where a store was, is looked at like any other.
#[test]
fn another_store_in_the_place_of_one_that_is_open_is_not_written_to() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    fs::rename(scratch.path(), scratch.file("moved")).expect("can be moved");
    let other = scratch.with_namespace();
    assert_ne!(other.id(), store.id());
    let refused = store.write(|tx| tx.put("n", "k", "v")).expect_err("it is another one's place");
    assert_eq!(refused.kind(), Kind::StoreReplaced);
    assert_eq!(other.snapshot()?.version(), v(1));
    assert!(other.snapshot()?.get("n", "k")?.is_none());
    Ok(())
}

/// A log was opened as any file is: through a link, into whatever file of the user's own it led to, with the permissions
/// that were left to it; and a pipe kept the writer waiting for somebody to read it.
#[test]
#[cfg(feature = "scripts")]
fn a_plugins_log_goes_through_no_link_and_waits_for_no_pipe() -> Result<()> {
    use crate::plugins::{Folder, open};

    let scratch = Scratch::new();
    let manifest = "[[trigger]]\non = \"request\"\n[grants]\nlog = true\n";
    let folder =
        Folder::new(&scratch, "talker", manifest, "fn on_request(input) { log(\"info\", \"said\"); input }");
    let store = open(&scratch);
    store.plugins().add(folder.path(), cohab::AddPlugin::new())?;
    store.plugins().call("talker", b"x")?;
    let log = scratch.path().join("plugins/talker.log");
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).expect("is there").permissions().mode() & 0o777
    };
    assert_eq!(mode(&log), 0o600);
    assert!(!store.plugins().log("talker").is_empty());

    let letter = scratch.file("letter");
    fs::write(&letter, "Dear Sir or Madam").expect("can be written");
    fs::remove_file(&log).expect("is there");
    symlink(&letter, &log).expect("can be made");
    store.plugins().call("talker", b"x")?;
    assert_eq!(fs::read(&letter).expect("is there"), b"Dear Sir or Madam");
    assert!(store.plugins().log("talker").is_empty());

    fs::remove_file(&log).expect("is there");
    pipe(&log);
    let (tell, told) = mpsc::channel();
    let handle = store.clone();
    std::thread::spawn(move || {
        tell.send(handle.plugins().call("talker", b"x").map(|answer| answer.to_vec()))
    });
    assert_eq!(told.recv_timeout(SOON).expect("it does not hang")?, b"x");

    let outside = scratch.file("outside.log");
    fs::write(&outside, r#"{"at":1,"level":"info","text":"secret"}"#).expect("can be written");
    assert!(store.plugins().log("../../outside").is_empty());
    Ok(())
}

/// A value that was put under another key, or taken from another namespace, carries the checksum of where it was.
#[test]
fn a_value_that_was_moved_within_the_file_is_damage() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| {
        tx.put("n", "first-key", "the value of the first key.")?;
        tx.put("n", "other-key", "the value of the other key.")
    })?;
    store.compact()?;
    drop(store);
    let path = scratch.path().join("store.redb");
    let mut file = OpenOptions::new().read(true).write(true).open(&path).expect("can be opened");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("can be read");
    // The checksum and the version stand before it; in the log it stands otherwise.
    let rows = |value: &[u8]| -> Vec<usize> {
        let is_row = |at: usize| bytes[at..].starts_with(value) && bytes[at - 8..at] == 2u64.to_le_bytes();
        (16..bytes.len()).filter(|at| is_row(*at)).collect()
    };
    let (first, others) = (rows(b"the value of the first key."), rows(b"the value of the other key."));
    assert!(!first.is_empty() && !others.is_empty(), "both are there");
    let taken = &bytes[first[0] - 16..first[0] + 27];
    for at in others {
        use std::io::Write;
        file.seek(SeekFrom::Start(at as u64 - 16)).expect("can be sought");
        file.write_all(taken).expect("can be written");
    }
    drop(file);
    let snapshot = reader(&scratch.path())?.snapshot()?;
    assert_eq!(snapshot.get("n", "other-key").map(drop).map_err(|error| error.kind()), Err(Kind::Corrupt));
    Ok(())
}
