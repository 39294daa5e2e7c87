//! What a command works with: the store it was pointed to, and where its results go.

#[cfg(feature = "scripts")]
use std::cell::RefCell;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cohab::limits::STALL_AFTER;
use cohab::{Committed, Options, Retention, Role, Snapshot, Stall, Store, Transaction};
#[cfg(feature = "scripts")]
use cohab::{Kind, Version};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::moment::At;
use crate::report::one_line;
use crate::terminal::{Output, Progress, tell};

/// For how long plugins may be called for what a command committed, before it ends.
#[cfg(feature = "scripts")]
const SETTLING: Duration = Duration::from_secs(5);

/// The setting a command runs in.
pub(crate) struct Session {
    pub(crate) out: Output,
    store: Option<PathBuf>,
    wait: Duration,
    is_exclusive: bool,
    is_quiet: bool,
    /// The store that was opened for writing, and the version that it had then.
    #[cfg(feature = "scripts")]
    written: RefCell<Option<(Store, Version)>>,
}

impl Session {
    pub(crate) fn new(global: Global) -> Self {
        let is_colored = global.color.applies(io::stdout().is_terminal());
        let out = Output::to_stdout(global.output, is_colored);
        let Global { store, wait, exclusive: is_exclusive, quiet: is_quiet, .. } = global;
        Self {
            out,
            store,
            wait,
            is_exclusive,
            is_quiet,
            #[cfg(feature = "scripts")]
            written: RefCell::default(),
        }
    }

    /// Returns the path of the store, which every command but a few needs.
    pub(crate) fn path(&self) -> Result<&Path, Failure> {
        self.store.as_deref().filter(|path| !path.as_os_str().is_empty()).ok_or_else(|| {
            Failure::usage("which store?").hint("name its directory with --store DIR or in COHAB_STORE")
        })
    }

    /// Returns the directory of the store, for a command that looks around in it without opening the store.
    pub(crate) fn directory(&self) -> Result<&Path, Failure> {
        let path = self.path()?;
        if path.is_file() {
            let message = format!("{} is a backup, which no processes share", path.display());
            return Err(Failure::input(message));
        }
        if path.join("store.json").symlink_metadata().is_err() {
            return Err(Failure::not_found(format!("there is no store at {}", path.display()))
                .hint("`cohab init` makes one, or name another place with --store"));
        }
        Ok(path)
    }

    /// How long to wait for what somebody else holds.
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    /// Settings for a command that opens the store and stays for a while.
    pub(crate) fn options(&self) -> Options {
        Store::options().create(false).wait(self.wait).exclusive(self.is_exclusive)
    }

    /// Settings for a command that opens the store and is gone in a moment, so that nobody need hear of it. Plugins are
    /// called when it has done its work.
    fn brief(&self) -> Options {
        let options = self.options().register(false);
        #[cfg(feature = "scripts")]
        let options = options.run_plugins(false);
        options
    }

    /// Opens the store for reading, beside its writer if there is one.
    pub(crate) fn reader(&self) -> Result<Store, Failure> {
        Ok(self.brief().role(Role::Reader).open(self.path()?)?)
    }

    /// Opens the store for reading and takes a snapshot, which is all that most inspecting commands need.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Failure> {
        Ok(self.reader()?.snapshot()?)
    }

    /// Opens the store for reading, and takes a snapshot of it as it was.
    pub(crate) fn snapshot_at(&self, at: &At) -> Result<Snapshot, Failure> {
        at.of(self.snapshot()?)
    }

    /// Opens the store, which must be there, for writing.
    pub(crate) fn writer(&self) -> Result<Store, Failure> {
        self.open_to_write(self.brief())
    }

    /// The same, without waiting for somebody else who writes.
    #[cfg(feature = "scripts")]
    pub(crate) fn writer_at_once(&self) -> Result<Store, Failure> {
        self.open_to_write(self.brief().wait(Duration::ZERO))
    }

    /// Opens the store for writing, with its log to be kept so far.
    pub(crate) fn writer_keeping(&self, retention: Retention) -> Result<Store, Failure> {
        self.open_to_write(self.brief().retention(retention))
    }

    fn open_to_write(&self, options: Options) -> Result<Store, Failure> {
        let store = options.on_stall(STALL_AFTER, tell_stall).open(self.path()?)?;
        #[cfg(feature = "scripts")]
        {
            // Where it cannot be told what there was, nothing is done about it either.
            let version = store.snapshot().map(|snapshot| snapshot.version()).ok();
            *self.written.borrow_mut() = version.map(|version| (store.clone(), version));
        }
        Ok(store)
    }

    /// Has plugins called for what the command committed, so that what they make of it is there when it ends. What
    /// it committed it has committed: that a plugin is behind is told, and fails nothing.
    #[cfg(feature = "scripts")]
    pub(crate) fn settle(&self) {
        let Some((store, before)) = self.written.take() else { return };
        if !store.snapshot().is_ok_and(|snapshot| snapshot.version() > before) {
            return;
        }
        match store.plugins().catch_up(SETTLING) {
            Ok(0) => {}
            Ok(behind) => self.note(&laggards(&store, behind)),
            // As in a replica, whose plugins are called where it comes from.
            Err(error) if error.kind() == Kind::ReadOnly => {}
            Err(error) => self.note(&format!("plugins were not called: {}", Failure::from(error).summary())),
        }
    }

    /// Creates the store.
    pub(crate) fn create(&self) -> Result<Store, Failure> {
        Ok(self.brief().create(true).open(self.path()?)?)
    }

    /// Begins to show how far a long operation is, if anybody watches.
    pub(crate) fn progress(&self, what: &'static str, bytes: Option<u64>) -> Progress {
        Progress::begin(what, bytes, !self.is_quiet && io::stderr().is_terminal())
    }

    /// Tells what is no error, and yet to be known, unless the user wants results and errors only.
    pub(crate) fn note(&self, text: &str) {
        if !self.is_quiet {
            tell(&format!("cohab: {}\n", one_line(text)));
        }
    }

    /// Whether the user wants results and errors only.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_quiet
    }
}

/// Names the plugins that have not seen everything yet, and why.
#[cfg(feature = "scripts")]
fn laggards(store: &Store, behind: u64) -> String {
    let all = store.plugins().list().unwrap_or_default();
    let told = all.iter().filter_map(|plugin| {
        let lag = plugin.lag.filter(|lag| *lag > 0)?;
        let why = plugin.stalled.as_ref().or(plugin.last_error.as_ref());
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        Some(format!("plugin `{}` is {lag} versions behind{why}", plugin.record.name))
    });
    match &told.collect::<Vec<_>>()[..] {
        [] => format!("plugins are {behind} versions behind"),
        told => told.join(", "),
    }
}

/// Tells in one line who may be holding up what the command does.
fn tell_stall(stall: &Stall) {
    let (operation, waited) = (stall.operation, stall.waited.as_secs_f64());
    let suspects: Vec<String> = stall.suspects.iter().map(ToString::to_string).collect();
    let suspects = match &suspects[..] {
        [] => "nobody that is known of".to_owned(),
        suspects => suspects.join(", or "),
    };
    let line =
        format!("cohab: the {operation} has waited for {waited:.1} s; it may be held up by {suspects}");
    tell(&format!("{}\n", one_line(&line)));
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
