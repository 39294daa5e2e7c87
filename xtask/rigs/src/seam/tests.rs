use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use super::*;

/// Notes the names of calls.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Watcher for Notes {
    fn meet(&self, call: Call<'_>, carry_out: &CarryOut<'_>) -> i64 {
        let name = format!("{call:?}");
        let name = name.split([' ', '{']).next().unwrap_or_default().to_owned();
        self.0.lock().expect("nobody panics").push(name);
        carry_out(ALL)
    }
}

/// If one of these went by unseen, the rigs would attack less than they say.
#[test]
fn what_the_libraries_do_to_files_is_seen() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let notes = Arc::new(Notes::default());
    let watched = watch(notes.clone());
    let see = |expected: &[&str], does: &mut dyn FnMut() -> std::io::Result<()>| {
        notes.0.lock().expect("nobody panics").clear();
        does().expect("can be done");
        let seen = notes.0.lock().expect("nobody panics").clone();
        for expected in expected {
            assert!(seen.iter().any(|seen| seen == expected), "{expected} is not among {seen:?}");
        }
    };
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let mut file = None;
    let options = || {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        options
    };
    see(&["Open"], &mut || {
        file = Some(options().open(&a)?);
        Ok(())
    });
    let mut file = file.expect("was opened");
    see(&["Write"], &mut || file.write_all(b"ab"));
    see(&["Write"], &mut || file.write_all_at(b"ab", 1));
    see(&["Read"], &mut || file.read_exact_at(&mut [0; 1], 1));
    see(&["Read"], &mut || {
        file.rewind()?;
        file.read_to_end(&mut Vec::new()).map(drop)
    });
    see(&["Sync"], &mut || file.sync_all());
    see(&["Sync"], &mut || file.sync_data());
    see(&["Truncate"], &mut || file.set_len(9));
    see(&["Lock"], &mut || file.lock());
    see(&["Lock"], &mut || file.unlock());
    see(&["Examine"], &mut || file.metadata().map(drop));
    see(&["Duplicate", "Close"], &mut || file.try_clone().map(drop));
    see(&["Rename"], &mut || fs::rename(&a, &b));
    see(&["Rename"], &mut || {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        Ok(renameat_with(CWD, &b, CWD, &a, RenameFlags::NOREPLACE)?)
    });
    see(&["Link"], &mut || fs::hard_link(&a, &b));
    see(&["Unlink"], &mut || fs::remove_file(&b));
    see(&["MakeDir"], &mut || fs::create_dir(&b));
    see(&["List"], &mut || fs::read_dir(&b).map(drop));
    see(&["RemoveDir"], &mut || fs::remove_dir(&b));
    see(&["Write"], &mut || fs::copy(&a, &b).map(drop));
    see(&["Open", "Rename"], &mut || {
        let file = tempfile::NamedTempFile::new_in(dir.path())?;
        file.persist(&b).map(drop).map_err(|failed| failed.error)
    });
    see(&["RemoveDir"], &mut || {
        let inner = tempfile::tempdir_in(dir.path())?;
        fs::write(inner.path().join("x"), "x")?;
        inner.close()
    });
    // Maps and the engine's own locks.
    let options = cohab::Store::options().role(cohab::Role::Writer);
    let mut store = None;
    see(&["Map", "Lock", "Sync", "Random", "Truncate"], &mut || {
        store = options.clone().open(dir.path().join("store")).ok();
        Ok(())
    });
    let store = store.expect("can be made");
    see(&["Write", "Sync", "Lock"], &mut || {
        store.write(|tx| tx.create_namespace("n")).map(drop).map_err(std::io::Error::other)
    });
    let mut reader = None;
    see(&["Read", "Lock"], &mut || {
        reader = cohab::Store::options().role(cohab::Role::Reader).open(dir.path().join("store")).ok();
        Ok(())
    });
    assert!(reader.is_some());
    drop(watched);
    Ok(())
}
