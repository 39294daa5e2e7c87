//! What can go wrong.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cohab_core::InstanceId;

use crate::Instance;

/// Why something about instances, homes or ports did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory is not there, or not ours to use.
    #[error(transparent)]
    File(#[from] cohab_fs::Error),
    /// The system refused the operation.
    #[error("{action} {} failed", path.display())]
    Io {
        /// What was attempted, such as `locking`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The id that was asked for belongs to somebody. Take a fresh one.
    #[error("instance {0} is registered already; each instance needs an id of its own")]
    InUse(InstanceId),
    /// The registration was made by a process that has forked since, and this is the child.
    #[error("instance {0} is that of the process this one was forked from; register anew after a fork")]
    Forked(InstanceId),
    /// A name cannot be one.
    #[error(
        "{what} {name:?} {problem}; names are made of lower-case ASCII letters, digits, `-`, `_` and `.`, begin \
         and end with another character than `.`, and have {} bytes at most",
        crate::component::BYTES_MAX
    )]
    Name {
        /// What it was to name, such as `app`.
        what: &'static str,
        /// The refused name, cut off if it is long.
        name: String,
        /// What is wrong with it, as the end of a sentence.
        problem: String,
    },
    /// The system does not say where this user's files go. Set `HOME`, or put the home under a directory.
    #[error("no home directory is known for this user; set HOME, or say under which directory to keep files")]
    NoHomeDirectory,
    /// All ports that a strict preference allows are taken.
    #[error("{}", port_taken(name, *port, *others, holder.as_deref()))]
    PortTaken {
        /// What the port was for.
        name: String,
        /// The first port that was wanted.
        port: u16,
        /// How many more were wanted, and are taken as well.
        others: usize,
        /// The live instance of this registry that has it; otherwise it is another program's.
        holder: Option<Box<Instance>>,
    },
    /// Listening failed, and not because the port was taken.
    #[error("listening on {address} for {name:?} failed")]
    Bind {
        /// What the port was for.
        name: String,
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

fn port_taken(name: &str, port: u16, others: usize, holder: Option<&Instance>) -> String {
    let holder = holder.map_or_else(|| "another program".to_owned(), Instance::to_string);
    let others = if others == 0 { String::new() } else { format!(", and {others} more are taken too") };
    format!("port {port} for {name:?} is taken by {holder}{others}; stop it, or allow other ports")
}
