//! What a command works with: the store it was pointed to, and where its results go.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cohab::{Committed, Role, Snapshot, Store, Transaction};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::terminal::{Output, Progress};

/// The setting a command runs in.
pub(crate) struct Session {
    pub(crate) out: Output,
    store: Option<PathBuf>,
    wait: Duration,
    is_quiet: bool,
}

impl Session {
    pub(crate) fn new(global: Global) -> Self {
        let is_colored = global.color.applies(io::stdout().is_terminal());
        let out = Output::to_stdout(global.output, is_colored);
        Self { out, store: global.store, wait: global.wait, is_quiet: global.quiet }
    }

    /// Returns the path of the store, which every command but a few needs.
    pub(crate) fn path(&self) -> Result<&Path, Failure> {
        self.store.as_deref().filter(|path| !path.as_os_str().is_empty()).ok_or_else(|| {
            Failure::usage("which store?").hint("name its directory with --store DIR or in COHAB_STORE")
        })
    }

    /// Opens the store for reading, beside its writer if there is one.
    pub(crate) fn reader(&self) -> Result<Store, Failure> {
        Ok(Store::options().role(Role::Reader).wait(self.wait).open(self.path()?)?)
    }

    /// Opens the store for reading and takes a snapshot, which is all that most inspecting commands need.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Failure> {
        Ok(self.reader()?.snapshot()?)
    }

    /// Opens the store, which must be there, for writing.
    pub(crate) fn writer(&self) -> Result<Store, Failure> {
        Ok(Store::options().create(false).wait(self.wait).open(self.path()?)?)
    }

    /// Creates the store.
    pub(crate) fn create(&self) -> Result<Store, Failure> {
        Ok(Store::options().wait(self.wait).open(self.path()?)?)
    }

    /// Begins to show how far a long operation is, if anybody watches.
    pub(crate) fn progress(&self, what: &'static str, bytes: Option<u64>) -> Progress {
        Progress::begin(what, bytes, !self.is_quiet && io::stderr().is_terminal())
    }

    /// Whether the user wants results and errors only.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_quiet
    }
}

/// Runs a transaction whose closure may fail for reasons of its own.
pub(crate) fn write<T>(
    store: &Store,
    label: &str,
    f: impl FnOnce(&mut Transaction<'_, '_>) -> Result<T, Failure>,
) -> Result<Committed<T>, Failure> {
    let mut failure = None;
    let committed = store.write(|tx| {
        tx.label(label)?;
        f(tx).map_err(|reason| {
            failure = Some(reason);
            cohab::Error::abort("told elsewhere")
        })
    });
    match failure {
        Some(failure) => Err(failure),
        None => Ok(committed?),
    }
}
