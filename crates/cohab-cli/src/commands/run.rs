//! `cohab run`

mod child;

use std::ffi::OsString;
use std::sync::Arc;

use clap::Args;
use cohab::{Cancel, LockMode, Wait};

use self::child::Child;
use super::{Exit, Outcome};
use crate::failure::Failure;
use crate::interrupt::{self, Signal, Then};
use crate::session::Session;

/// Run a command under a named lock of the store
///
/// The lock is held exactly while the command runs. Its fencing token, larger than that of every holder before, is in
/// COHAB_TOKEN, the lock's name in COHAB_LOCK, and the store's directory in COHAB_STORE: with
/// {"expect":{"lock":"…","token":…}} in a `cohab txn`, what the command writes is refused once somebody else has
/// overtaken it. The exit code is the command's, and 128 and the signal's number if a signal ended it. Is the lock
/// held, the exit code is 3 and the message names the holder; --wait SECONDS waits for it.
///
/// Should this process be killed, the lock is free although the command goes on; the token is for that.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The lock's name, which may be any text of up to 255 bytes
    #[arg(long, value_name = "NAME")]
    lock: Option<String>,
    /// Share the lock with others that do, too
    #[arg(long)]
    shared: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Run {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let name = self.lock.ok_or_else(|| {
            Failure::usage("which lock is the command to run under?").hint("name it with --lock NAME")
        })?;
        let mode = if self.shared { LockMode::Shared } else { LockMode::Exclusive };
        let (cancel, child) = (Cancel::new(), Arc::new(Child::default()));
        let (cancelling, told) = (cancel.clone(), child.clone());
        interrupt::listen(&[Signal::Terminate, Signal::Hangup, Signal::Quit], move |signal| {
            cancelling.cancel();
            told.tell(signal);
            // It ends when the command does.
            Then::GoOn
        });
        let store = std::path::absolute(session.path()?)
            .map_err(|error| Failure::io("finding the present directory failed", &error))?;
        session.directory()?;
        // Opened for the moment only: the store knows of tokens that the lock may have forgotten.
        let reader = session.reader()?;
        let lock = reader.lock_unless(&name, mode, Wait::For(session.wait()), &cancel)?;
        drop(reader);
        let ended = child.run(
            &self.command,
            &cancel,
            [
                ("COHAB_LOCK", OsString::from(&name)),
                ("COHAB_TOKEN", lock.token().to_string().into()),
                ("COHAB_STORE", store.into()),
            ],
        );
        drop(lock);
        Ok(Exit::Command(ended?))
    }
}
