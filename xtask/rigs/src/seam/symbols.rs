//! The C library's functions for files, as the rest of the program finds them.
//!
//! Each says what it is asked for as a [`Call`], and does it by a system call if it is let. Those that are not here pass unseen:
//! they touch no file, or nothing that cohab is made of uses them.
#![expect(unsafe_code, reason = "defines functions of the C library")]

use std::ffi::{CStr, OsStr, c_char, c_int, c_long, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{ptr, slice};

use super::raw::{arg, call};
use super::{Call, CarryOut, Rename, pass, path_of};

/// Returns a result as the C library does: −1 and `errno` for an error.
fn result(value: i64) -> i64 {
    if (-4095..0).contains(&value) {
        let errno = i32::try_from(-value).expect("was just compared");
        // SAFETY: the C library gives every thread an `errno` of its own, which is always there.
        unsafe { *libc::__errno_location() = errno };
        return -1;
    }
    value
}

fn status(value: i64) -> c_int {
    result(value) as c_int
}

/// Makes a system call on the caller's arguments.
///
/// # Safety
///
/// As for the function of the C library through which it came here: all that happens to the arguments is that they are passed on.
unsafe fn kernel(number: c_long, arguments: &[usize]) -> i64 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    // SAFETY: the caller's.
    unsafe { call(number, all) }
}

/// Returns a path relative to a directory that is open.
///
/// # Safety
///
/// `path` is a string as C has them.
unsafe fn path_at(directory: c_int, path: *const c_char) -> PathBuf {
    // SAFETY: the caller's.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
    if path.is_absolute() {
        return path.to_owned();
    }
    let base = if directory == libc::AT_FDCWD {
        std::env::current_dir().unwrap_or_default()
    } else {
        path_of(directory)
    };
    base.join(path)
}

// Each of the functions below is called as the C library's function of that name, by code that keeps to that function's
// contract; that is what every SAFETY comment in it stands on, and the only thing it needs.

macro_rules! symbols {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $returns:ty { $($body:tt)* })*) => {$(
        $(#[$meta])*
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $type),*) -> $returns {
            // SAFETY: the caller keeps to the contract of the C library's function of this name, and all that is done with its
            // arguments is what that function does: they are read as paths and buffers, and passed on to the kernel.
            unsafe { $($body)* }
        }
    )*};
}

symbols! {
    fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
        openat64(libc::AT_FDCWD, path, flags, mode)
    }

    fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
        openat64(libc::AT_FDCWD, path, flags, mode)
    }

    fn openat(directory: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
        openat64(directory, path, flags, mode)
    }

    fn openat64(directory: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
        let mut full = PathBuf::new();
        let carry_out = |_| kernel(libc::SYS_openat, &[arg(directory), path as usize, arg(flags), mode as usize]);
        status(pass(
            || {
                full = path_at(directory, path);
                Call::Open { path: &full, flags }
            },
            &carry_out,
        ))
    }

    fn close(fd: c_int) -> c_int {
        status(pass(|| Call::Close { fd }, &|_| kernel(libc::SYS_close, &[arg(fd)])))
    }

    fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
        status(control(fd, command, argument))
    }

    fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int {
        status(control(fd, command, argument))
    }

    fn flock(fd: c_int, operation: c_int) -> c_int {
        let is_release = operation & libc::LOCK_UN != 0;
        status(pass(|| Call::Lock { fd, is_release }, &|_| kernel(libc::SYS_flock, &[arg(fd), arg(operation)])))
    }

    fn read(fd: c_int, out: *mut c_void, len: usize) -> isize {
        let carry_out = |most: usize| kernel(libc::SYS_read, &[arg(fd), out as usize, len.min(most)]);
        result(pass(|| Call::Read { fd, at: None, len }, &carry_out)) as isize
    }

    fn pread(fd: c_int, out: *mut c_void, len: usize, at: i64) -> isize {
        pread64(fd, out, len, at)
    }

    fn pread64(fd: c_int, out: *mut c_void, len: usize, at: i64) -> isize {
        let carry_out = |most: usize| kernel(libc::SYS_pread64, &[arg(fd), out as usize, len.min(most), at as usize]);
        result(pass(|| Call::Read { fd, at: Some(at.unsigned_abs()), len }, &carry_out)) as isize
    }

    fn write(fd: c_int, data: *const c_void, len: usize) -> isize {
        let carry_out = |most: usize| kernel(libc::SYS_write, &[arg(fd), data as usize, len.min(most)]);
        let call = || Call::Write { fd, at: None, data: bytes(data, len) };
        result(pass(call, &carry_out)) as isize
    }

    fn pwrite(fd: c_int, data: *const c_void, len: usize, at: i64) -> isize {
        pwrite64(fd, data, len, at)
    }

    fn pwrite64(fd: c_int, data: *const c_void, len: usize, at: i64) -> isize {
        let carry_out = |most: usize| kernel(libc::SYS_pwrite64, &[arg(fd), data as usize, len.min(most), at as usize]);
        let call = || Call::Write { fd, at: Some(at.unsigned_abs()), data: bytes(data, len) };
        result(pass(call, &carry_out)) as isize
    }

    fn writev(fd: c_int, pieces: *const libc::iovec, count: c_int) -> isize {
        // Nobody is promised more than one piece.
        let Some(piece) = pieces_of(pieces, count).iter().find(|piece| piece.iov_len > 0) else { return 0 };
        write(fd, piece.iov_base, piece.iov_len)
    }

    fn readv(fd: c_int, pieces: *const libc::iovec, count: c_int) -> isize {
        let Some(piece) = pieces_of(pieces, count).iter().find(|piece| piece.iov_len > 0) else { return 0 };
        read(fd, piece.iov_base, piece.iov_len)
    }

    fn fsync(fd: c_int) -> c_int {
        status(pass(|| Call::Sync { fd, data_only: false }, &|_| kernel(libc::SYS_fsync, &[arg(fd)])))
    }

    fn fdatasync(fd: c_int) -> c_int {
        status(pass(|| Call::Sync { fd, data_only: true }, &|_| kernel(libc::SYS_fdatasync, &[arg(fd)])))
    }

    fn ftruncate(fd: c_int, len: i64) -> c_int {
        ftruncate64(fd, len)
    }

    fn ftruncate64(fd: c_int, len: i64) -> c_int {
        let carry_out = |_| kernel(libc::SYS_ftruncate, &[arg(fd), len as usize]);
        status(pass(|| Call::Truncate { fd, len: len.unsigned_abs() }, &carry_out))
    }

    fn rename(from: *const c_char, to: *const c_char) -> c_int {
        renameat2(libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0)
    }

    fn renameat(from_directory: c_int, from: *const c_char, to_directory: c_int, to: *const c_char) -> c_int {
        renameat2(from_directory, from, to_directory, to, 0)
    }

    fn renameat2(
        from_directory: c_int,
        from: *const c_char,
        to_directory: c_int,
        to: *const c_char,
        flags: c_uint,
    ) -> c_int {
        let how = match flags {
            libc::RENAME_EXCHANGE => Rename::Exchange,
            libc::RENAME_NOREPLACE => Rename::Refuse,
            _ => Rename::Replace,
        };
        let arguments = [arg(from_directory), from as usize, arg(to_directory), to as usize, flags as usize];
        let mut paths = (PathBuf::new(), PathBuf::new());
        status(pass(
            || {
                paths = (path_at(from_directory, from), path_at(to_directory, to));
                Call::Rename { from: &paths.0, to: &paths.1, how }
            },
            &|_| kernel(libc::SYS_renameat2, &arguments),
        ))
    }

    fn link(from: *const c_char, to: *const c_char) -> c_int {
        linkat(libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0)
    }

    fn linkat(
        from_directory: c_int,
        from: *const c_char,
        to_directory: c_int,
        to: *const c_char,
        flags: c_int,
    ) -> c_int {
        let arguments = [arg(from_directory), from as usize, arg(to_directory), to as usize, arg(flags)];
        let mut paths = (PathBuf::new(), PathBuf::new());
        status(pass(
            || {
                paths = (path_at(from_directory, from), path_at(to_directory, to));
                Call::Link { from: &paths.0, to: &paths.1 }
            },
            &|_| kernel(libc::SYS_linkat, &arguments),
        ))
    }

    fn unlink(path: *const c_char) -> c_int {
        unlinkat(libc::AT_FDCWD, path, 0)
    }

    fn rmdir(path: *const c_char) -> c_int {
        unlinkat(libc::AT_FDCWD, path, libc::AT_REMOVEDIR)
    }

    fn unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> c_int {
        let mut full = PathBuf::new();
        status(pass(
            || {
                full = path_at(directory, path);
                if flags & libc::AT_REMOVEDIR == 0 {
                    Call::Unlink { path: &full }
                } else {
                    Call::RemoveDir { path: &full }
                }
            },
            &|_| kernel(libc::SYS_unlinkat, &[arg(directory), path as usize, arg(flags)]),
        ))
    }

    fn mkdir(path: *const c_char, mode: c_uint) -> c_int {
        let mut full = PathBuf::new();
        status(pass(
            || {
                full = path_at(libc::AT_FDCWD, path);
                Call::MakeDir { path: &full }
            },
            &|_| kernel(libc::SYS_mkdirat, &[arg(libc::AT_FDCWD), path as usize, mode as usize]),
        ))
    }

    fn opendir(path: *const c_char) -> *mut c_void {
        let mut full = PathBuf::new();
        // The C library's own call of the kernel is not seen here, so the directory is opened first and then handed over.
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC | libc::O_NONBLOCK;
        let opened = pass(
            || {
                full = path_at(libc::AT_FDCWD, path);
                Call::List { path: &full }
            },
            &|_| kernel(libc::SYS_openat, &[arg(libc::AT_FDCWD), path as usize, arg(flags), 0]),
        );
        match status(opened) {
            -1 => ptr::null_mut(),
            fd => libc::fdopendir(fd).cast(),
        }
    }

    fn statx(directory: c_int, path: *const c_char, flags: c_int, mask: c_uint, out: *mut c_void) -> c_int {
        let arguments = [arg(directory), path as usize, arg(flags), mask as usize, out as usize];
        let mut full = PathBuf::new();
        status(pass(
            || {
                full = if path.is_null() || *path == 0 { path_of(directory) } else { path_at(directory, path) };
                Call::Examine { path: &full }
            },
            &|_| kernel(libc::SYS_statx, &arguments),
        ))
    }

    fn fstat64(fd: c_int, out: *mut c_void) -> c_int {
        status(examine(fd, &|_| kernel(libc::SYS_fstat, &[arg(fd), out as usize])))
    }

    fn fstat(fd: c_int, out: *mut c_void) -> c_int {
        fstat64(fd, out)
    }

    fn fstatfs64(fd: c_int, out: *mut c_void) -> c_int {
        status(examine(fd, &|_| kernel(libc::SYS_fstatfs, &[arg(fd), out as usize])))
    }

    fn statfs64(path: *const c_char, out: *mut c_void) -> c_int {
        let mut full = PathBuf::new();
        status(pass(
            || {
                full = path_at(libc::AT_FDCWD, path);
                Call::Examine { path: &full }
            },
            &|_| kernel(libc::SYS_statfs, &[path as usize, out as usize]),
        ))
    }

    fn fchmod(fd: c_int, mode: c_uint) -> c_int {
        let mut full = PathBuf::new();
        status(pass(
            || {
                full = path_of(fd);
                Call::Protect { path: &full }
            },
            &|_| kernel(libc::SYS_fchmod, &[arg(fd), mode as usize]),
        ))
    }

    fn chmod(path: *const c_char, mode: c_uint) -> c_int {
        let arguments = [arg(libc::AT_FDCWD), path as usize, mode as usize];
        let mut full = PathBuf::new();
        status(pass(
            || {
                full = path_at(libc::AT_FDCWD, path);
                Call::Protect { path: &full }
            },
            &|_| kernel(libc::SYS_fchmodat, &arguments),
        ))
    }

    fn mmap64(near: *mut c_void, len: usize, access: c_int, flags: c_int, fd: c_int, at: i64) -> *mut c_void {
        let carry_out = |_| {
            kernel(libc::SYS_mmap, &[near as usize, len, arg(access), arg(flags), arg(fd), at as usize])
        };
        // Memory alone is not what this is about.
        let mapped = if fd < 0 { carry_out(0) } else { pass(|| Call::Map { fd, len }, &carry_out) };
        ptr::without_provenance_mut(result(mapped) as usize)
    }

    fn getrandom(out: *mut c_void, len: usize, flags: c_uint) -> isize {
        let carry_out = |most: usize| kernel(libc::SYS_getrandom, &[out as usize, len.min(most), flags as usize]);
        let call = || Call::Random { out: slice::from_raw_parts_mut(out.cast::<u8>(), len) };
        result(pass(call, &carry_out)) as isize
    }

    // Whoever copies with these copies by reading and writing where there is no such thing.
    fn copy_file_range(
        from: c_int,
        from_at: *mut i64,
        to: c_int,
        to_at: *mut i64,
        len: usize,
        flags: c_uint,
    ) -> isize {
        let _ = (from, from_at, to, to_at, len, flags);
        result(-i64::from(libc::ENOSYS)) as isize
    }

    fn sendfile64(to: c_int, from: c_int, at: *mut i64, len: usize) -> isize {
        let _ = (to, from, at, len);
        result(-i64::from(libc::ENOSYS)) as isize
    }

    fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
        let value = match number {
            libc::SYS_fcntl => control(a as c_int, b as c_int, c),
            libc::SYS_copy_file_range | libc::SYS_sendfile => -i64::from(libc::ENOSYS),
            libc::SYS_getrandom => return getrandom(a as *mut c_void, b, c as c_uint) as c_long,
            libc::SYS_renameat2 => {
                let (from, to) = (b as *const c_char, d as *const c_char);
                return c_long::from(renameat2(a as c_int, from, c as c_int, to, e as c_uint));
            }
            libc::SYS_statx => {
                return c_long::from(statx(a as c_int, b as *const c_char, c as c_int, d as c_uint, e as *mut c_void));
            }
            _ => kernel(number, &[a, b, c, d, e, f]),
        };
        result(value)
    }
}

/// Asks what an open file is.
fn examine(fd: c_int, carry_out: &CarryOut<'_>) -> i64 {
    let mut full = PathBuf::new();
    pass(
        || {
            full = path_of(fd);
            Call::Examine { path: &full }
        },
        carry_out,
    )
}

/// `fcntl`, without `errno`.
///
/// # Safety
///
/// As for `fcntl`.
unsafe fn control(fd: c_int, command: c_int, argument: usize) -> i64 {
    // SAFETY: the caller's.
    let carry_out = |_| unsafe { kernel(libc::SYS_fcntl, &[arg(fd), arg(command), argument]) };
    match command {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => pass(|| Call::Duplicate { fd }, &carry_out),
        libc::F_OFD_GETLK
        | libc::F_OFD_SETLK
        | libc::F_OFD_SETLKW
        | libc::F_GETLK
        | libc::F_SETLK
        | libc::F_SETLKW => {
            // SAFETY: these commands take the address of a description of a lock.
            let kind = unsafe { (*(argument as *const libc::flock64)).l_type };
            let is_release = c_int::from(kind) == c_int::from(libc::F_UNLCK as i16);
            pass(|| Call::Lock { fd, is_release }, &carry_out)
        }
        _ => carry_out(0),
    }
}

/// # Safety
///
/// `data` is the beginning of `len` bytes that can be read, for as long as the caller of the C library's function lends them.
unsafe fn bytes<'a>(data: *const c_void, len: usize) -> &'a [u8] {
    // SAFETY: the caller's.
    unsafe { slice::from_raw_parts(data.cast(), len) }
}

/// # Safety
///
/// `pieces` is the beginning of `count` pieces.
unsafe fn pieces_of<'a>(pieces: *const libc::iovec, count: c_int) -> &'a [libc::iovec] {
    // SAFETY: the caller's.
    unsafe { slice::from_raw_parts(pieces, usize::try_from(count).unwrap_or(0)) }
}
