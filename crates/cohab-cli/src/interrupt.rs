//! Ctrl-C and other signals: work that can be broken off cleanly is; everything else ends with the process, which no
//! store minds. A command that stays open hears of them and ends by itself.

use std::panic;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::failure::Failure;

/// How long the command may go on before it has noticed the interrupt.
const GRACE: Duration = Duration::from_millis(300);

/// How long it may tidy up once it has.
const TIDYING: Duration = Duration::from_secs(10);

static REQUESTED: AtomicBool = AtomicBool::new(false);
static NOTICED: AtomicBool = AtomicBool::new(false);
static LISTENER: OnceLock<Listener> = OnceLock::new();

type Listener = Box<dyn Fn(Signal) -> Then + Send + Sync>;

/// What the user, or the system, lets the process know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// The polite request to end.
    Terminate,
    /// The terminal is gone.
    Hangup,
    /// Ctrl-\.
    Quit,
}

/// What a command that was told of a signal does about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    /// It ends, and has ten seconds for it.
    End,
    /// It goes on.
    GoOn,
    /// It does not know how to end yet, so the process does.
    AsUsual,
}

/// Catches the interrupt from here on.
pub(crate) fn install() {
    system::install();
}

/// Hands these signals, and the interrupt, to the command, which ends in its own way.
pub(crate) fn listen(signals: &[Signal], listener: impl Fn(Signal) -> Then + Send + Sync + 'static) {
    // There is one command, which listens once.
    _ = LISTENER.set(Box::new(listener));
    system::catch(signals);
}

/// Acts on a signal, on the thread that waits for them.
fn receive(signal: Signal) {
    if signal == Signal::Interrupt {
        REQUESTED.store(true, Ordering::SeqCst);
    }
    match LISTENER.get().map(|listener| listener(signal)) {
        Some(Then::GoOn) => return,
        Some(Then::End) => std::thread::sleep(TIDYING),
        Some(Then::AsUsual) | None => {
            std::thread::sleep(GRACE);
            if NOTICED.load(Ordering::SeqCst) {
                std::thread::sleep(TIDYING);
            }
        }
    }
    std::process::exit(i32::from(Failure::interrupted().code()));
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

#[cfg(unix)]
mod system {
    use std::sync::OnceLock;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use signal_hook::iterator::{Handle, Signals};

    use super::{Signal, receive};

    /// What adds signals to those that the thread waits for.
    static CAUGHT: OnceLock<Handle> = OnceLock::new();

    pub(super) fn install() {
        // Where the system refuses, a signal does what it does to every process.
        let Ok(mut signals) = Signals::new([SIGINT]) else { return };
        if CAUGHT.set(signals.handle()).is_ok() {
            let named = std::thread::Builder::new().name("cohab-signals".to_owned());
            _ = named.spawn(move || signals.forever().filter_map(known).for_each(receive));
        }
    }

    pub(super) fn catch(signals: &[Signal]) {
        let ignored = ignored();
        for number in signals.iter().map(|signal| number(*signal)) {
            // Under `nohup` a hangup is to stay without effect, here and in what is started from here.
            if ignored >> (number - 1) & 1 == 0
                && let Some(caught) = CAUGHT.get()
            {
                _ = caught.add_signal(number);
            }
        }
    }

    /// The signals that were ignored before anybody here cared, a bit each. Only Linux tells.
    fn ignored() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    }

    fn number(signal: Signal) -> i32 {
        match signal {
            Signal::Interrupt => SIGINT,
            Signal::Terminate => SIGTERM,
            Signal::Hangup => SIGHUP,
            Signal::Quit => SIGQUIT,
        }
    }

    fn known(number: i32) -> Option<Signal> {
        let known = [Signal::Interrupt, Signal::Terminate, Signal::Hangup, Signal::Quit];
        known.into_iter().find(|signal| self::number(*signal) == number)
    }
}

#[cfg(not(unix))]
mod system {
    use super::{Signal, receive};

    pub(super) fn install() {
        // It fails where a handler is installed already, which then keeps its say.
        _ = ctrlc::set_handler(|| receive(Signal::Interrupt));
    }

    pub(super) fn catch(_signals: &[Signal]) {}
}
