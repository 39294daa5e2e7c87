//! A disk without room.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use cohab_lock::{Error, Mode, Request};

use crate::{Scratch, assert_pids, locks_in, me};

/// A file system of 64 KiB, unmounted when it is dropped.
struct Tiny(PathBuf);

impl Tiny {
    fn mount(at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "cohab-lock-test"]).arg(at);
        mount.output().is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }

    /// Leaves no byte, and returns what has to be removed to have room again.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).expect("can be made");
        while file.write_all(&[1; 512]).is_ok() {}
        path
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_no_half_held_lock() -> Result<(), Error> {
    let scratch = Scratch::new();
    let Some(tiny) = Tiny::mount(scratch.path()) else {
        println!("SKIPPED a_full_disk_leaves_no_half_held_lock: a tmpfs cannot be mounted here (needs root)");
        return Ok(());
    };
    let locks = locks_in(&tiny.0);
    let acquire = |name| locks.acquire(name, Mode::Exclusive, &Request::new(&me()));
    drop(acquire("known")?);

    let filler = tiny.fill();
    let refused = acquire("new").expect_err("its tokens need room");
    assert!(matches!(refused, Error::File(_)), "{refused:?}");
    assert!(locks.list()?.iter().all(|lock| !lock.is_held()));

    let guard = acquire("known")?;
    assert_eq!(guard.token(), 2, "the room for tokens was taken beforehand");
    let holders: Vec<_> = locks.list()?.into_iter().filter(cohab_lock::LockState::is_held).collect();
    assert_eq!((holders.len(), &holders[0].holder), (1, &None), "there was no room to say who it is");
    assert_pids(&holders[0].pids, &[std::process::id()]);
    drop(guard);

    fs::remove_file(filler).expect("can be removed");
    assert_eq!(acquire("new")?.token(), 1);
    assert_eq!(acquire("known")?.token(), 3);
    Ok(())
}
