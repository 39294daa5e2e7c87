//! Ctrl-C: work that can be broken off cleanly is; everything else ends with the process, which no store minds.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::failure::Failure;

/// How long the command may go on before it has noticed the interrupt.
const GRACE: Duration = Duration::from_millis(300);

/// How long it may tidy up once it has.
const TIDYING: Duration = Duration::from_secs(10);

static REQUESTED: AtomicBool = AtomicBool::new(false);
static NOTICED: AtomicBool = AtomicBool::new(false);

/// Catches the interrupt from here on.
pub(crate) fn install() {
    // It fails where a handler is installed already, which then keeps its say.
    _ = ctrlc::set_handler(|| {
        REQUESTED.store(true, Ordering::SeqCst);
        std::thread::sleep(GRACE);
        if NOTICED.load(Ordering::SeqCst) {
            std::thread::sleep(TIDYING);
        }
        std::process::exit(i32::from(Failure::interrupted().code()));
    });
}

/// Whether the user wants the command to end.
pub(crate) fn is_requested() -> bool {
    let is_requested = REQUESTED.load(Ordering::SeqCst);
    if is_requested {
        NOTICED.store(true, Ordering::SeqCst);
    }
    is_requested
}

/// Ends work that is under way, between two of its steps.
pub(crate) fn check() -> Result<(), Failure> {
    if is_requested() { Err(Failure::interrupted()) } else { Ok(()) }
}

/// Ends work that only calls back to tell how far it is: by unwinding, which drops its unfinished files.
pub(crate) fn check_in_callback() {
    if is_requested() {
        panic::resume_unwind(Box::new(Failure::interrupted()));
    }
}
