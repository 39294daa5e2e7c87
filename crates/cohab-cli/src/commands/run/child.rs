//! A command that is run, and the signals it is told of.

use std::ffi::{OsStr, OsString};
use std::process::{self, ExitStatus};
use std::sync::{Mutex, PoisonError};

use cohab::Cancel;

use crate::failure::Failure;
use crate::interrupt::Signal;

/// A child process, before, while and after it runs.
#[derive(Debug, Default)]
pub(super) struct Child {
    /// There while the number is the child's: from its start until its end has been taken note of.
    pid: Mutex<Option<u32>>,
}

impl Child {
    /// Runs a command to its end and returns its exit code, unless a signal came before it was started.
    pub(super) fn run<const N: usize>(
        &self,
        command: &[OsString],
        cancel: &Cancel,
        environment: [(&str, OsString); N],
    ) -> Result<u8, Failure> {
        let (program, arguments) = command.split_first().ok_or_else(|| Failure::usage("which command?"))?;
        let mut command = process::Command::new(program);
        command.args(arguments).envs(environment);
        let mut child = {
            // A signal that comes now is told as soon as there is somebody to tell.
            let mut pid = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
            if cancel.is_cancelled() {
                return Err(Failure::interrupted());
            }
            let child = command.spawn().map_err(|error| Failure::not_started(shown(program), &error))?;
            *pid = Some(child.id());
            child
        };
        wait_for(&child);
        self.pid.lock().unwrap_or_else(PoisonError::into_inner).take();
        let status = child.wait();
        status
            .map(code)
            .map_err(|error| Failure::io(format!("waiting for {} failed", shown(program)), &error))
    }

    /// Passes a signal on, unless the child has got it from where it came from.
    pub(super) fn tell(&self, signal: Signal) {
        // Kept locked, so that the number stays the child's.
        let pid = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = *pid {
            send(pid, signal);
        }
    }
}

#[cfg(unix)]
fn send(pid: u32, signal: Signal) {
    use rustix::process::{Pid, Signal as Number, kill_process};

    let number = match signal {
        Signal::Terminate => Number::TERM,
        // A terminal sends these to all processes in front of it.
        Signal::Interrupt | Signal::Hangup | Signal::Quit if is_in_front() => return,
        Signal::Interrupt => Number::INT,
        Signal::Hangup => Number::HUP,
        Signal::Quit => Number::QUIT,
    };
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It fails where the child has just ended.
        _ = kill_process(pid, number);
    }
}

/// The console has told the child already.
#[cfg(not(unix))]
fn send(_pid: u32, _signal: Signal) {}

/// Waits until the child has ended, and leaves its number taken.
#[cfg(unix)]
fn wait_for(child: &process::Child) {
    use rustix::io::Errno;
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(Errno::INTR) = waitid(WaitId::Pid(Pid::from_child(child)), options) {}
}

#[cfg(not(unix))]
fn wait_for(_child: &process::Child) {}

/// Whether this process is among those that a terminal talks to.
#[cfg(unix)]
fn is_in_front() -> bool {
    let terminal = std::fs::File::open("/dev/tty").ok();
    let front = terminal.and_then(|terminal| rustix::termios::tcgetpgrp(terminal).ok());
    front == Some(rustix::process::getpgrp())
}

/// The exit code, or 128 and the number of the signal, as shells have it.
fn code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn shown(program: &OsStr) -> String {
    format!("\"{}\"", program.as_encoded_bytes().escape_ascii())
}
