//! What the kernel says about who holds a lock.
//!
//! Linux lists locks in `/proc/locks`, which disturbs nobody and knows the processes. It does not always show
//! everything, though: not what is held in another container, on some file systems (btrfs, overlays) not under the
//! numbers that a file goes by, and a long list may change while it is read. So a lock that is listed is held. One
//! that is not is free if the list can be relied on, and is otherwise tried for a moment, which those who want it
//! have to put up with (`GRACE` in `wait.rs`).

use std::fs::{File, TryLockError};
use std::io;
use std::time::Duration;

use crate::Mode;

/// How long after the first look a second one decides; no onlooker keeps a lock for so long.
const SECOND_LOOK: Duration = Duration::from_millis(1);

/// How a lock is held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sight {
    pub(crate) mode: Mode,
    /// The processes that hold it, each once, as far as they can be seen.
    pub(crate) pids: Vec<u32>,
}

/// Returns how a file is locked, or `None` if it is not. `expected` is the process that says to hold it.
pub(crate) fn look(file: &File, expected: Option<u32>, list: &List) -> io::Result<Option<Sight>> {
    let first = look_once(file, list)?;
    match &first {
        Some(sight) if !expected.is_some_and(|pid| sight.pids.contains(&pid)) => {
            // It may have been another onlooker.
            std::thread::sleep(SECOND_LOOK);
            look_once(file, &List::read())
        }
        _ => Ok(first),
    }
}

fn look_once(file: &File, list: &List) -> io::Result<Option<Sight>> {
    match list.find(file) {
        Listed::Held(sight) => Ok(Some(sight)),
        Listed::Free => Ok(None),
        Listed::Unknown => tried(file),
    }
}

/// Finds out by taking the lock, for an instant, in the ways that it can be taken.
fn tried(file: &File) -> io::Result<Option<Sight>> {
    let held = |mode| Ok(Some(Sight { mode, pids: Vec::new() }));
    // Shared first: that does not get into the way of others who look or share.
    match cohab_fs::uninterrupted(|| file.try_lock_shared()) {
        Err(TryLockError::WouldBlock) => return held(Mode::Exclusive),
        tried => tried?,
    }
    file.unlock()?;
    match cohab_fs::uninterrupted(|| file.try_lock()) {
        Err(TryLockError::WouldBlock) => held(Mode::Shared),
        tried => {
            tried?;
            file.unlock()?;
            Ok(None)
        }
    }
}

/// What the kernel's list says about a lock.
#[derive(PartialEq, Eq, Debug)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
enum Listed {
    Held(Sight),
    Free,
    Unknown,
}

/// The kernel's list, as it was at one moment. Reading it costs far more than finding a lock in it.
#[derive(Debug)]
pub(crate) struct List {
    #[cfg(target_os = "linux")]
    text: String,
    /// Whether what it does not show is not held.
    #[cfg(target_os = "linux")]
    is_complete: bool,
}

#[cfg(not(target_os = "linux"))]
impl List {
    pub(crate) fn read() -> Self {
        Self {}
    }

    fn find(&self, _file: &File) -> Listed {
        Listed::Unknown
    }
}

#[cfg(target_os = "linux")]
impl List {
    /// Reads the list; one that cannot be read shows nothing.
    pub(crate) fn read() -> Self {
        let (text, is_whole) = read_list().unwrap_or_default();
        Self { text, is_complete: is_whole && sees_all_processes() }
    }

    fn find(&self, file: &File) -> Listed {
        let Ok(stat) = rustix::fs::fstat(file) else { return Listed::Unknown };
        let device = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        match find(&self.text, device, stat.st_ino) {
            Some(sight) => Listed::Held(sight),
            None if self.is_complete && goes_by_its_device(file) => Listed::Free,
            None => Listed::Unknown,
        }
    }
}

/// Reads the kernel's list, and returns whether nothing can have changed meanwhile.
#[cfg(target_os = "linux")]
fn read_list() -> io::Result<(String, bool)> {
    use std::io::Read;
    let mut file = File::open("/proc/locks")?;
    // The kernel hands out a page at a time, each as of one moment.
    let mut page = vec![0; 64 << 10];
    let len = file.read(&mut page)?;
    let mut list = String::from_utf8_lossy(&page[..len]).into_owned();
    let rest = file.read_to_string(&mut list)?;
    Ok((list, rest == 0))
}

/// Returns whether this process is in no container that hides the locks of processes outside of it.
#[cfg(target_os = "linux")]
fn sees_all_processes() -> bool {
    use std::os::unix::fs::MetadataExt;
    /// The first namespace of process ids, which the kernel has under this number (`PROC_PID_INIT_INO`).
    const FIRST: u64 = 0xefff_fffc;
    std::fs::metadata("/proc/self/ns/pid").is_ok_and(|namespace| namespace.ino() == FIRST)
}

/// Returns whether a file's locks are surely listed under the device that the file says to be on: it is on ext4, XFS,
/// tmpfs or F2FS.
#[cfg(target_os = "linux")]
fn goes_by_its_device(file: &File) -> bool {
    let kind = rustix::fs::fstatfs(file).map(|found| i128::from(found.f_type) & 0xffff_ffff);
    matches!(kind, Ok(0xef53 | 0x5846_5342 | 0x0102_1994 | 0xf2f5_2010))
}

/// Finds who holds a file's lock in a text such as `1: FLOCK ADVISORY WRITE 4711 fd:01:1234 0 EOF`.
#[cfg(target_os = "linux")]
fn find(locks: &str, (major, minor): (u32, u32), inode: u64) -> Option<Sight> {
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    let mut found: Option<Sight> = None;
    for line in locks.lines() {
        // Who waits for a lock has an arrow where others have the kind.
        let fields: Vec<&str> = line.split_ascii_whitespace().skip(1).take(5).collect();
        let ["FLOCK", _, kind, pid, of] = fields[..] else { continue };
        if of != file {
            continue;
        }
        let mode = if kind == "WRITE" { Mode::Exclusive } else { Mode::Shared };
        let sight = found.get_or_insert(Sight { mode, pids: Vec::new() });
        // Holders in other containers have no number here. A list that changed while it was read may show one twice.
        let pid = pid.parse::<u32>().ok().filter(|pid| *pid != 0 && !sight.pids.contains(pid));
        sight.pids.extend(pid);
    }
    found
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn holders_are_found_in_the_kernels_list() {
        let locks = "\
1: POSIX  ADVISORY  WRITE 10 fd:01:77 0 EOF
2: FLOCK  ADVISORY  READ 11 fd:01:77 0 EOF
2: -> FLOCK  ADVISORY  WRITE 12 fd:01:77 0 EOF
3: FLOCK  ADVISORY  READ -1 fd:01:77 0 EOF
4: FLOCK  ADVISORY  READ 13 fd:01:77 0 EOF
4: FLOCK  ADVISORY  READ 11 fd:01:77 0 EOF
5: OFDLCK ADVISORY  WRITE -1 fd:01:77 0 EOF
6: FLOCK  ADVISORY  WRITE 14 103:0a:78 0 EOF
7: torn";
        let check = |device, inode, expected: Option<(Mode, &[u32])>| {
            let expected = expected.map(|(mode, pids)| Sight { mode, pids: pids.to_vec() });
            assert_eq!(find(locks, device, inode), expected);
        };
        check((0xfd, 1), 77, Some((Mode::Shared, &[11, 13])));
        check((0x103, 10), 78, Some((Mode::Exclusive, &[14])));
        check((0xfd, 1), 7, None);
    }

    #[test]
    fn a_lock_is_seen_by_the_list_and_by_trying() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let open = || File::options().create(true).truncate(false).write(true).open(dir.path().join("lock"));
        let (held, onlooker) = (open()?, open()?);
        let somebodys = |mode| Some(Sight { mode, pids: Vec::new() });
        let mine = |mode| Some(Sight { mode, pids: vec![std::process::id()] });
        // In a container the list may show nothing.
        let check = |mode| -> io::Result<()> {
            for expected in [None, Some(std::process::id())] {
                let sight = look(&onlooker, expected, &List::read())?;
                assert!(sight == mine(mode) || sight == somebodys(mode), "{sight:?}");
            }
            assert_eq!(tried(&onlooker)?, somebodys(mode));
            Ok(())
        };
        assert_eq!((look(&onlooker, None, &List::read())?, tried(&onlooker)?), (None, None));
        held.lock()?;
        check(Mode::Exclusive)?;
        held.unlock()?;
        held.lock_shared()?;
        check(Mode::Shared)
    }
}
