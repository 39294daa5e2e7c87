//! What a process takes along when it forks, and how a lock stays behind.
//!
//! A child that was forked and does not `exec` inherits every open file description, and with it the `flock` and
//! open-file-description locks that belong to it. Such a lock lasts until the last copy is closed: if the parent
//! is killed and the child lives on, the lock of a dead process stays held. And a handle that works in the parent
//! still looks like one in the child, where two processes would then write as one.
//!
//! [`release_in_child`] registers a descriptor. In a forked child a `pthread_atfork` handler lets go of it, while
//! the parent keeps its own. The number stays taken, by a descriptor that can be neither read nor written, because
//! the child still owns the [`File`] and will close it. [`Generation`] tells a handle whether it is in the process
//! that made it.
//!
//! # Order
//!
//! Register after opening and drop [`Released`] before the file is closed, for otherwise the number could name
//! somebody else's file by then. In a struct, the guard is declared before the file, because fields are
//! dropped in the order of their declaration.
//!
//! # Limitations
//!
//! A fork by another thread just before the registration takes the descriptor along; to be safe in the other
//! direction, unlock before dropping the guard. A memory map keeps the description that it was made from,
//! registered or not, so a map belongs onto a description of its own that nobody locks. `vfork`, a bare `clone`
//! and other ways around libc run no handlers. On systems other than Unix, which do not fork, everything here does
//! nothing.

#[cfg(unix)]
use unix as system;

#[cfg(not(unix))]
use elsewhere as system;

use std::fs::File;

/// How many descriptors can be registered at a time; one more is not registered.
pub const RELEASED_MAX: usize = 1024;

/// A process among its forked ancestors and descendants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Generation(u64);

impl Generation {
    /// Returns whether this is still the process in which the generation was taken, rather than a forked child.
    ///
    /// Cost: one atomic load.
    #[inline]
    #[must_use]
    pub fn is_current(self) -> bool {
        self.0 == system::current()
    }
}

/// Returns the generation of the present process.
///
/// Cost: two atomic loads. The first call in a process installs the handler that forks go through.
pub fn generation() -> Generation {
    system::install();
    Generation(system::current())
}

/// A registered descriptor. Dropping this takes it off the list again.
#[derive(Debug)]
#[must_use = "dropping it lets forked children keep the descriptor"]
pub struct Released {
    slot: Option<usize>,
}

impl Released {
    /// Returns whether there was room to register the descriptor ([`RELEASED_MAX`]).
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.slot.is_some()
    }
}

impl Drop for Released {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            system::deregister(slot);
        }
    }
}

/// Has forked children let go of a file that is open in this process. The guard must be dropped before the file.
pub fn release_in_child(file: &File) -> Released {
    Released { slot: system::register(file) }
}

/// Has forked children let go of every descriptor through which this process has a file open, including those that
/// a library has opened out of sight.
///
/// Some may be closed, and their numbers used for other files, before the guards are dropped: a child only lets go of
/// what is still the same file. On Unix systems other than Linux only the given one
/// is found. Cost: a system call for every open descriptor of the process.
pub fn release_file_in_child(file: &File) -> Vec<Released> {
    system::register_all(file).into_iter().map(|slot| Released { slot }).collect()
}

#[cfg(not(unix))]
mod elsewhere {
    use std::fs::File;

    pub(super) fn install() {}

    pub(super) fn current() -> u64 {
        0
    }

    pub(super) fn register(_file: &File) -> Option<usize> {
        None
    }

    pub(super) fn register_all(_file: &File) -> Vec<Option<usize>> {
        Vec::new()
    }

    pub(super) fn deregister(_slot: usize) {}
}

#[cfg(unix)]
mod unix {
    #![expect(unsafe_code, reason = "pthread_atfork, and replacing descriptors in the child")]

    use std::fs::File;
    use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
    use std::sync::Once;
    use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

    use super::RELEASED_MAX;

    /// A slot without a descriptor.
    const FREE: RawFd = -1;

    /// A slot that is being filled.
    const TAKEN: RawFd = -2;

    /// A descriptor that a child lets go of, if it still refers to this file.
    struct Slot {
        descriptor: AtomicI32,
        device: AtomicU64,
        inode: AtomicU64,
    }

    impl Slot {
        const fn empty() -> Self {
            Self { descriptor: AtomicI32::new(FREE), device: AtomicU64::new(0), inode: AtomicU64::new(0) }
        }
    }

    /// How many forks lie between the first process and this one. Only the handler changes it, in the child.
    static GENERATION: AtomicU64 = AtomicU64::new(0);
    /// The descriptors that a child lets go of.
    static RELEASED: [Slot; RELEASED_MAX] = [const { Slot::empty() }; RELEASED_MAX];
    /// What takes the place of a descriptor in a child; opened beforehand, because a handler cannot fail.
    static PLACEHOLDER: AtomicI32 = AtomicI32::new(FREE);

    #[inline]
    pub(super) fn current() -> u64 {
        // The handler runs before any other thread exists in the child, so there is nothing to be ordered with.
        GENERATION.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn install() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            if let Some(placeholder) = placeholder() {
                PLACEHOLDER.store(placeholder.into_raw_fd(), Ordering::Release);
            }
            // SAFETY: `in_child` is a function, so it lives as long as the program, and it does nothing that is
            // forbidden in the child of a process with several threads. The call fails only for lack of memory at
            // the first use; forks then go unnoticed.
            let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
    }

    /// Opens something that can neither be read nor written, so that a child that uses an old handle gets an error
    /// and not the impression of having written.
    fn placeholder() -> Option<OwnedFd> {
        use rustix::fs::{Mode, OFlags};
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        // A bare container may lack the first; the second is always there.
        ["/dev/null", "/"].iter().find_map(|path| rustix::fs::open(*path, flags, Mode::empty()).ok())
    }

    /// Runs in a forked child before `fork` returns there. It only loads and stores lock-free atomics and calls
    /// `fstat` and `dup3`, or their equivalents, all of which a signal handler may do, too.
    extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
        let placeholder = PLACEHOLDER.load(Ordering::Acquire);
        if placeholder == FREE {
            return;
        }
        for slot in &RELEASED {
            let descriptor = slot.descriptor.load(Ordering::Acquire);
            let registered = (slot.device.load(Ordering::Relaxed), slot.inode.load(Ordering::Relaxed));
            // The slot stays taken: the guard was inherited as well and will free it.
            if descriptor != FREE && identity(descriptor) == Some(registered) {
                put_in_place(placeholder, descriptor);
            }
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    fn put_in_place(placeholder: RawFd, descriptor: RawFd) {
        // SAFETY: the placeholder is never closed. The descriptor is open, because it is deregistered before it is
        // closed, and nothing in the child relies on what it refers to any more than on any other open file.
        let _ = unsafe { libc::dup3(placeholder, descriptor, libc::O_CLOEXEC) };
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    fn put_in_place(placeholder: RawFd, descriptor: RawFd) {
        // SAFETY: as for `dup3` above.
        let _ = unsafe { libc::dup2(placeholder, descriptor) };
        // SAFETY: sets a flag of a descriptor that was opened just now.
        let _ = unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }

    pub(super) fn register(file: &File) -> Option<usize> {
        register_number(file.as_raw_fd())
    }

    fn register_number(descriptor: RawFd) -> Option<usize> {
        install();
        let (device, inode) = identity(descriptor)?;
        // Taken with a number that no file has, so that a fork in between finds nothing to let go of.
        let take = |slot: &Slot| {
            slot.descriptor.compare_exchange(FREE, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let position = RELEASED.iter().position(take)?;
        let slot = &RELEASED[position];
        slot.device.store(device, Ordering::Relaxed);
        slot.inode.store(inode, Ordering::Relaxed);
        slot.descriptor.store(descriptor, Ordering::Release);
        Some(position)
    }

    pub(super) fn deregister(slot: usize) {
        RELEASED[slot].descriptor.store(FREE, Ordering::Release);
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn register_all(file: &File) -> Vec<Option<usize>> {
        vec![register(file)]
    }

    #[cfg(target_os = "linux")]
    pub(super) fn register_all(file: &File) -> Vec<Option<usize>> {
        let same_file = |descriptor| Some(identity(descriptor)? == identity(file.as_raw_fd())?);
        let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return vec![register(file)] };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|descriptor| same_file(*descriptor) == Some(true))
            .map(register_number)
            .collect()
    }

    /// Returns the device and inode behind a descriptor, or `None` if it has been closed meanwhile.
    fn identity(descriptor: RawFd) -> Option<(u64, u64)> {
        let mut found = std::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: one system call that only looks, and writes to memory of the type it expects. Should the number have
        // been closed, or be another file's by now, the call fails or describes that one; neither harms its owner.
        let result = unsafe { libc::fstat(descriptor, found.as_mut_ptr()) };
        if result != 0 {
            return None;
        }
        // SAFETY: the call has succeeded, so it has written the whole of it.
        let found = unsafe { found.assume_init() };
        #[allow(
            clippy::unnecessary_cast,
            clippy::cast_sign_loss,
            reason = "the types differ between systems"
        )]
        Some((found.st_dev as u64, found.st_ino as u64))
    }
}

#[cfg(all(test, unix))]
#[path = "fork/tests.rs"]
mod tests;
