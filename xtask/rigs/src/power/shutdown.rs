//! What the kernel does to a file system when it is asked to: the power of one mount, cut by a system call.

#![expect(unsafe_code, reason = "two system calls that no safe crate has")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// `_IOR('X', 125, __u32)`: `EXT4_IOC_SHUTDOWN`, and `XFS_IOC_GOINGDOWN`, which it was taken from.
const SHUTDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;

/// What becomes of the journal that is in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Journal {
    /// It is written out first, so that names and lengths are there, and data that was not synced is not.
    Flushed,
    /// It is lost, as all that was not synced.
    Lost,
}

/// Shuts down the file system that is mounted at a path: from now on nothing more reaches the disk.
pub(crate) fn shut_down(mount: &Path, journal: Journal) -> io::Result<()> {
    let root = File::open(mount)?;
    let flag: u32 = match journal {
        Journal::Flushed => 1,
        Journal::Lost => 2,
    };
    // SAFETY: the descriptor is open for as long as `root` lives, and the call reads four bytes behind the pointer, which
    // are those of `flag`.
    let result = unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &raw const flag) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes the dirty pages of a part of a file to the disk, and nothing that says where they are.
pub(crate) fn write_back(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let flags =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    let (offset, len) = (offset.cast_signed(), len.cast_signed());
    // SAFETY: the descriptor is open for as long as `file` lives, and the call touches no memory of ours.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
