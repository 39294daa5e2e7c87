//! The commands, each in a file of its own.

mod apply;
mod backup;
mod bytes;
mod compact;
mod completions;
mod count;
mod del;
mod delta;
mod diff;
mod dirs;
mod doctor;
mod dump;
mod follow;
mod get;
mod history;
mod hold;
mod info;
mod init;
mod load;
mod locks;
mod log;
mod man;
mod namespaces;
#[cfg(feature = "scripts")]
mod plugin;
mod port;
mod promote;
mod ps;
mod put;
mod range;
mod reap;
mod rollback;
mod run;
mod scan;
mod snapshot;
mod txn;
mod undo;
mod verify;
mod watch;

use clap::Subcommand;
use cohab::Version;

use crate::demo;
use crate::failure::Failure;
use crate::session::Session;
use crate::terminal::Record;

/// How a command ended that came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Something is not as it should be, but not damaged.
    Difference,
    /// Damage was found.
    Corrupt,
    /// The store is of a format that this build does not read.
    Format,
    /// The store needs recovery.
    NeedsRecovery,
    /// What a command said that was run.
    Command(u8),
}

impl Exit {
    /// Returns the process's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Difference => 1,
            Self::Corrupt => 4,
            Self::Format => 5,
            Self::NeedsRecovery => 6,
            Self::Command(code) => code,
        }
    }
}

/// What a command returns.
pub(crate) type Outcome = Result<Exit, Failure>;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::Demo),
    Init(init::Init),
    Info(info::Info),
    Doctor(doctor::Doctor),
    Verify(verify::Verify),
    Compact(compact::Compact),
    Backup(backup::Backup),
    Get(get::Get),
    Put(put::Put),
    Del(del::Del),
    Scan(scan::Scan),
    Count(count::Count),
    Txn(txn::Txn),
    Load(load::Load),
    Dump(dump::Dump),
    Ns(namespaces::Namespaces),
    Watch(watch::Watch),
    #[cfg(feature = "scripts")]
    Plugin(plugin::Plugin),
    Log(log::Log),
    Snapshot(snapshot::Snapshot),
    Rollback(rollback::Rollback),
    Undo(undo::Undo),
    Delta(delta::Delta),
    Apply(apply::Apply),
    Promote(promote::Promote),
    Follow(follow::Follow),
    History(history::History),
    Diff(diff::Diff),
    Ps(ps::Ps),
    Locks(locks::Locks),
    Dirs(dirs::Dirs),
    Port(port::Port),
    Reap(reap::Reap),
    Run(run::Run),
    Hold(hold::Hold),
    Completions(completions::Completions),
    Man(man::Man),
    #[command(hide = true)]
    DemoWriter(demo::DemoWriter),
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self, session: &mut Session) -> Outcome {
        match self {
            Self::Demo(command) => command.run(session),
            Self::Init(command) => command.run(session),
            Self::Info(command) => command.run(session),
            Self::Doctor(command) => command.run(session),
            Self::Verify(command) => command.run(session),
            Self::Compact(command) => command.run(session),
            Self::Backup(command) => command.run(session),
            Self::Get(command) => command.run(session),
            Self::Put(command) => command.run(session),
            Self::Del(command) => command.run(session),
            Self::Scan(command) => command.run(session),
            Self::Count(command) => command.run(session),
            Self::Txn(command) => command.run(session),
            Self::Load(command) => command.run(session),
            Self::Dump(command) => command.run(session),
            Self::Ns(command) => command.run(session),
            Self::Watch(command) => command.run(session),
            #[cfg(feature = "scripts")]
            Self::Plugin(command) => command.run(session),
            Self::Log(command) => command.run(session),
            Self::Snapshot(command) => command.run(session),
            Self::Rollback(command) => command.run(session),
            Self::Undo(command) => command.run(session),
            Self::Delta(command) => command.run(session),
            Self::Apply(command) => command.run(session),
            Self::Promote(command) => command.run(session),
            Self::Follow(command) => command.run(session),
            Self::History(command) => command.run(session),
            Self::Diff(command) => command.run(session),
            Self::Ps(command) => command.run(session),
            Self::Locks(command) => command.run(session),
            Self::Dirs(command) => command.run(session),
            Self::Port(command) => command.run(session),
            Self::Reap(command) => command.run(session),
            Self::Run(command) => command.run(session),
            Self::Hold(command) => command.run(session),
            Self::Completions(command) => command.run(session),
            Self::Man(command) => command.run(session),
            Self::DemoWriter(command) => command.run(session),
        }
    }
}

/// Ends a command that made a version, by telling which.
fn committed(session: &mut Session, version: Version) -> Outcome {
    session.out.record(&Record::new().with("version", version))?;
    Ok(Exit::Done)
}
