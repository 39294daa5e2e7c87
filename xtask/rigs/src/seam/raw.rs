//! System calls as the kernel takes them, with no library in between.
#![expect(unsafe_code, reason = "calls the kernel")]

use std::arch::asm;

/// Makes a system call. Returns its result, or an error's number, negated.
///
/// # Safety
///
/// As for the system call of that number with these arguments.
#[inline]
pub(super) unsafe fn call(number: i64, a: [usize; 6]) -> i64 {
    let result: i64;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel's convention: number and result in rax, arguments in these registers, rcx and r11 overwritten. What
    // the call does is the caller's contract.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above, by the convention of this processor.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a[0] => result,
            in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5],
            options(nostack),
        );
    }
    result
}

/// Returns the position that a descriptor has, or its file's end.
pub(super) fn seek(fd: i32, whence: i32) -> i64 {
    // SAFETY: moves by nothing from where it is, or, for files that are only ever appended to, to their end; touches no memory.
    unsafe { call(libc::SYS_lseek, [arg(fd), 0, arg(whence), 0, 0, 0]) }
}

/// Returns an argument as the kernel takes it.
pub(super) fn arg(value: i32) -> usize {
    (value as isize).cast_unsigned()
}
