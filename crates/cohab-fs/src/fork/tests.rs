//! Real forks, in a child process of the test so that nothing else is forked along.
#![expect(unsafe_code, reason = "forks")]

use std::fs::TryLockError;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::*;

/// Tells a test that it is to act as the process that forks, and how.
const ROLE: &str = "COHAB_FS_FORK_TEST";
const PATH: &str = "COHAB_FS_FORK_TEST_PATH";

/// Takes the lock, forks, and lets both processes live on.
#[test]
fn child_locks_and_forks() -> io::Result<()> {
    let (Ok(role), Some(path)) = (std::env::var(ROLE), std::env::var_os(PATH)) else { return Ok(()) };
    let open = || File::options().write(true).open(&path);
    let (file, second) = (open()?, open()?);
    let _released = match role.as_str() {
        "released" => vec![release_in_child(&file)],
        "released by its inode" => release_file_in_child(&second),
        _ => Vec::new(),
    };
    file.lock()?;
    let before = generation();
    assert!(before.is_current());
    // SAFETY: the child makes nothing but system calls.
    let forked = unsafe { libc::fork() };
    assert!(forked >= 0, "{}", io::Error::last_os_error());
    if forked == 0 {
        let writable = rustix::io::write(&file, b"from the child").is_ok();
        let answer: &[u8] = match (before.is_current(), generation() == before, writable) {
            (false, false, false) => b"\n@old generation, descriptor gone\n",
            (false, false, true) => b"\n@old generation, descriptor works\n",
            _ => b"\n@same generation\n",
        };
        let _ = rustix::io::write(io::stdout(), answer);
        // As a daemon would; the time is the bound for a test that fails.
        std::thread::sleep(Duration::from_mins(1));
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(0) };
    }
    let line = format!("\n@{forked}\n");
    rustix::io::write(io::stdout(), line.as_bytes())?;
    std::thread::sleep(Duration::from_mins(1));
    Ok(())
}

/// Has a process lock a file and fork, kills it, and returns what its child said and whether the lock is free.
fn lock_fork_and_kill(role: &str, path: &Path) -> io::Result<(String, bool)> {
    File::create(path)?;
    let mut parent = Command::new(std::env::current_exe()?)
        .args(["fork::tests::child_locks_and_forks", "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(PATH, path)
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = BufReader::new(parent.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
    let lines =
        stdout.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix('@').map(str::to_owned));
    let mut said: Vec<String> = lines.take(2).collect();
    said.sort_by_key(|line| line.parse::<i32>().is_ok());
    let [answer, pid] = <[String; 2]>::try_from(said).expect("both processes report");

    let third = File::options().write(true).open(path)?;
    assert!(matches!(third.try_lock(), Err(TryLockError::WouldBlock)), "the parent keeps its lock");
    parent.kill()?;
    parent.wait()?;
    let is_free = third.try_lock().is_ok();
    let pid = pid.parse().ok().and_then(Pid::from_raw).expect("is a process id");
    rustix::process::kill_process(pid, Signal::KILL).expect("the forked child is still alive");
    Ok((answer, is_free))
}

/// A daemonised helper of a killed writer kept the writer's lock, and nobody could open the store until somebody
/// found and ended the helper.
#[test]
fn a_forked_child_does_not_keep_its_parents_lock() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let run = |role: &str| lock_fork_and_kill(role, &dir.path().join(role));
    assert_eq!(run("released")?, ("old generation, descriptor gone".into(), true));
    if cfg!(target_os = "linux") {
        assert_eq!(run("released by its inode")?, ("old generation, descriptor gone".into(), true));
    }
    // What happens without, so that the test would notice if it proved nothing.
    assert_eq!(run("kept")?, ("old generation, descriptor works".into(), false));
    Ok(())
}

#[test]
fn a_slot_is_free_again_after_its_guard() -> io::Result<()> {
    let file = tempfile::tempfile()?;
    for _ in 0..2 * RELEASED_MAX {
        assert!(release_in_child(&file).is_registered());
    }
    let guards: Vec<_> = (0..=RELEASED_MAX).map(|_| release_in_child(&file)).collect();
    assert!(!guards.last().is_some_and(Released::is_registered), "one too many is not registered");
    Ok(())
}
