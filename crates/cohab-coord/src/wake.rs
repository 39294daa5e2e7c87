//! Sleeping until another process has something to say.

use std::time::Duration;

use crate::sync::AtomicU32;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use futex::{sleep, wake_all};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use polling::{sleep, wake_all};

#[cfg(any(target_os = "linux", target_os = "android"))]
mod futex {
    use rustix::io::Errno;
    use rustix::thread::futex::{self, Flags, Timespec};

    use super::{AtomicU32, Duration};

    /// Sleeps until it is woken, the word is not what was read, or the time is over; or for no reason.
    pub(crate) fn sleep(word: &AtomicU32, read: u32, timeout: Duration) {
        let timespec = Timespec::try_from(timeout).ok();
        // Not private to the process. The kernel only reads the word, so the map may be read-only.
        match futex::wait(word, Flags::empty(), read, timespec.as_ref()) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
            // The file was cut off under the map. Whoever looks next finds an empty page.
            Err(_) => std::thread::sleep(timeout.min(Duration::from_millis(1))),
        }
    }

    pub(crate) fn wake_all(word: &AtomicU32) {
        // The kernel takes the number of waiters as an `int`.
        let everybody = i32::MAX.cast_unsigned();
        // Without a page behind the map there is nobody to be woken.
        let _ = futex::wake(word, Flags::empty(), everybody);
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod polling {
    use super::{AtomicU32, Duration};

    /// How long a waiter sleeps between two looks where no system call is known that others' changes would end.
    const POLL: Duration = Duration::from_millis(1);

    pub(crate) fn sleep(_word: &AtomicU32, _read: u32, timeout: Duration) {
        std::thread::sleep(timeout.min(POLL));
    }

    pub(crate) fn wake_all(_word: &AtomicU32) {}
}
