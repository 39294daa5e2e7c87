//! The one seam between the program and the system: everything that a store does to files passes here.
//!
//! The rigs define the C library's functions for files themselves ([`symbols`]), and the linker prefers theirs. So what the standard
//! library, redb, memmap2 and every crate of cohab do is seen here as a [`Call`], in the order in which it happens, in code that is
//! compiled exactly as users get it. While no [`Watcher`] is installed a call goes straight to the kernel.
//!
//! What goes through memory that is shared with a file does not pass here: that is the coordination page alone, whose content
//! nobody may rely on.
//!
//! # Limitations
//!
//! Linux with glibc, on x86-64 or AArch64.

mod raw;
mod symbols;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Something that the program asks of the system.
#[derive(Debug)]
pub(crate) enum Call<'a> {
    /// Opens a file or directory; the result is a descriptor.
    Open {
        path: &'a Path,
        flags: i32,
    },
    /// Makes another descriptor of the same file; the result is that.
    Duplicate {
        fd: i32,
    },
    Close {
        fd: i32,
    },
    /// Reads, at the descriptor's position if no other is given.
    Read {
        fd: i32,
        at: Option<u64>,
        len: usize,
    },
    /// Writes, at the descriptor's position if no other is given.
    Write {
        fd: i32,
        at: Option<u64>,
        data: &'a [u8],
    },
    /// Asks for what was written to be durable, with all that is said about the file or only what reading it needs.
    Sync {
        fd: i32,
        data_only: bool,
    },
    /// Gives a file a length.
    Truncate {
        fd: i32,
        len: u64,
    },
    Rename {
        from: &'a Path,
        to: &'a Path,
        how: Rename,
    },
    /// Gives a file another name.
    Link {
        from: &'a Path,
        to: &'a Path,
    },
    /// Removes a name.
    Unlink {
        path: &'a Path,
    },
    MakeDir {
        path: &'a Path,
    },
    RemoveDir {
        path: &'a Path,
    },
    /// Opens a directory to list it.
    List {
        path: &'a Path,
    },
    /// Asks what is there.
    Examine {
        path: &'a Path,
    },
    /// Changes the mode.
    Protect {
        path: &'a Path,
    },
    /// Takes or lets go of a lock, or asks about one.
    Lock {
        fd: i32,
        is_release: bool,
    },
    /// Maps a file.
    Map {
        fd: i32,
        len: usize,
    },
    /// Asks for random bytes.
    Random {
        out: &'a mut [u8],
    },
}

/// How a rename treats what has the name already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rename {
    Replace,
    Exchange,
    Refuse,
}

/// Carries a call out, for no more than so many bytes. Returns what the system does: a result, or an error's number, negated.
pub(crate) type CarryOut<'c> = dyn Fn(usize) -> i64 + 'c;

/// All of the bytes that a call asks for.
pub(crate) const ALL: usize = usize::MAX;

/// Somebody who stands in the seam.
pub(crate) trait Watcher: Send + Sync {
    /// Decides what becomes of a call, and returns its result, or an error's number, negated.
    ///
    /// Files that the watcher uses meanwhile, on the same thread, are not watched.
    fn meet(&self, call: Call<'_>, carry_out: &CarryOut<'_>) -> i64;
}

static IS_WATCHED: AtomicBool = AtomicBool::new(false);
static WATCHER: RwLock<Option<Arc<dyn Watcher>>> = RwLock::new(None);

thread_local! {
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Takes the watcher out again when it is dropped.
#[must_use = "the watcher is taken out when this is dropped"]
pub(crate) struct Watched(());

/// Lets somebody watch and decide about all calls of this process, until the result is dropped.
///
/// # Panics
///
/// If somebody watches already.
pub(crate) fn watch(watcher: Arc<dyn Watcher>) -> Watched {
    let mut slot = WATCHER.write().unwrap_or_else(PoisonError::into_inner);
    assert!(slot.is_none(), "there is one watcher at a time");
    *slot = Some(watcher);
    IS_WATCHED.store(true, Ordering::Release);
    Watched(())
}

impl Drop for Watched {
    fn drop(&mut self) {
        IS_WATCHED.store(false, Ordering::Release);
        *WATCHER.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Does something on this thread that is not watched.
pub(crate) fn aside<T>(f: impl FnOnce() -> T) -> T {
    let outer = IS_INSIDE.replace(true);
    let done = f();
    IS_INSIDE.set(outer);
    done
}

/// Takes a call to the watcher, if there is one, or else straight to the system.
fn pass<'a>(call: impl FnOnce() -> Call<'a>, carry_out: &CarryOut<'_>) -> i64 {
    if !IS_WATCHED.load(Ordering::Acquire) || IS_INSIDE.get() {
        return carry_out(ALL);
    }
    aside(|| {
        let watcher = WATCHER.read().unwrap_or_else(PoisonError::into_inner).clone();
        match watcher {
            Some(watcher) => watcher.meet(call(), carry_out),
            None => carry_out(ALL),
        }
    })
}

/// Returns the path of an open file, as the kernel has it.
pub(crate) fn path_of(fd: i32) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default()
}

/// Returns where the next write through a descriptor goes.
pub(crate) fn position(fd: i32, flags: i32) -> u64 {
    let whence = if flags & libc::O_APPEND == 0 { libc::SEEK_CUR } else { libc::SEEK_END };
    raw::seek(fd, whence).unsigned_abs()
}

#[cfg(test)]
mod tests;
