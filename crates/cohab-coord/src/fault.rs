//! What happens when somebody cuts off the file under a map.
//!
//! Touching a map beyond the end of its file is answered with SIGBUS, which ends the process. No care on our
//! side prevents it, so a handler catches it, as display servers do for the buffers of their clients
//! (`wl_shm_buffer_begin_access` in Wayland): it puts empty memory in the place of the map, and the page then reads as
//! what it is, nothing. Every other SIGBUS goes where it would have gone.
#![expect(unsafe_code, reason = "handles a signal")]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use libc::{c_int, c_void, siginfo_t};

use crate::map::{LEN, PAGES_MAX};

/// Where the maps begin that are guarded; 0 for a free place. All are of one length, so that an address alone
/// describes one and the handler never meets half an entry.
static GUARDED: [AtomicUsize; PAGES_MAX] = [const { AtomicUsize::new(0) }; PAGES_MAX];

/// What was there before our handler. Set before the handler is installed.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Keeps a map from killing the process. Must be dropped before the map is.
#[derive(Debug)]
pub(crate) struct Guard {
    place: usize,
}

impl Guard {
    /// Guards the map that begins here, before it is touched; `None` if there are too many already.
    pub(crate) fn new(start: usize) -> io::Result<Option<Self>> {
        install()?;
        let free = |place: &AtomicUsize| {
            place.compare_exchange(0, start, Ordering::Release, Ordering::Relaxed).is_ok()
        };
        Ok(GUARDED.iter().position(free).map(|place| Self { place }))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        GUARDED[self.place].store(0, Ordering::Release);
    }
}

/// Installs the handler, once in a process.
fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*installed {
        let mut action = *PREVIOUS.get_or_init(current_action);
        // The mask, and what becomes of interrupted calls, stay as the handler that we may call expects them.
        action.sa_flags =
            action.sa_flags & (libc::SA_NODEFER | libc::SA_RESTART) | libc::SA_SIGINFO | libc::SA_ONSTACK;
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        // SAFETY: the action is one that the system has given us, with a function that has the signature which
        // SA_SIGINFO asks for, lives as long as the program, and does only what is allowed in a handler.
        if unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        *installed = true;
    }
    Ok(())
}

fn current_action() -> libc::sigaction {
    let mut action = MaybeUninit::zeroed();
    // SAFETY: without a new action, the call only writes the present one to where the pointer points.
    unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: it was written; and all zeros, should that have failed, is the default action.
    unsafe { action.assume_init() }
}

/// Runs on the thread that touched what is not there, between any two of its instructions: it takes no lock,
/// allocates nothing and cannot panic.
extern "C" fn handler(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO a valid `siginfo_t`.
    let info_ref = unsafe { &*info };
    // Sent by a process, and not for want of memory: it has no address.
    let was_sent = info_ref.si_code <= 0;
    // SAFETY: SIGBUS carries an address unless it was sent, when the bytes mean something else but are there all the
    // same.
    let address = unsafe { info_ref.si_addr() }.addr();
    if !was_sent && replace(address) {
        return;
    }
    pass_on(signal, was_sent, info, context);
}

/// Puts empty memory in the place of the guarded map that an address lies in; returns whether there is one.
fn replace(address: usize) -> bool {
    let mut starts = GUARDED.iter().map(|place| place.load(Ordering::Acquire)).filter(|start| *start != 0);
    let Some(start) = starts.find(|start| address.wrapping_sub(*start) < LEN) else { return false };
    // All of it, so that what is still there of the file does not pass for a whole page. That a successful `mmap`
    // leaves `errno` alone is what the interrupted code relies on.
    // SAFETY: the range is that of a map of ours, which somebody is touching right now and nobody unmaps
    // therefore; whoever holds references into it finds memory there as before, with other bytes in it, and
    // these are atomics. `munmap` later takes it away like the map it replaces.
    let mapped = unsafe {
        libc::mmap(
            ptr::with_exposed_provenance_mut(start),
            LEN,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    mapped != libc::MAP_FAILED
}

/// Does what would have been done without our handler.
fn pass_on(signal: c_int, was_sent: bool, info: *mut siginfo_t, context: *mut c_void) {
    let Some(previous) = PREVIOUS.get() else { return };
    match previous.sa_sigaction {
        libc::SIG_IGN if was_sent => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: puts back the action that the system gave us. The instruction that failed is run again when
            // the handler returns, and the process then ends where and how it would have without us.
            unsafe { libc::sigaction(signal, previous, ptr::null_mut()) };
            if was_sent {
                // SAFETY: sends a signal to this thread; being blocked, it arrives when the handler returns.
                unsafe { libc::raise(signal) };
            }
        }
        function if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: whoever installed the address with SA_SIGINFO gave a function of this signature.
            let function = unsafe {
                std::mem::transmute::<usize, extern "C" fn(c_int, *mut siginfo_t, *mut c_void)>(function)
            };
            function(signal, info, context);
        }
        function => {
            // SAFETY: whoever installed the address without SA_SIGINFO gave a function of this signature.
            let function = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(function) };
            function(signal);
        }
    }
}
