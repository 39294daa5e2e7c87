//! What a handle is for, and how that changes while it is open.

use std::fmt;

use cohab_core::Epoch;

/// What a handle is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Role {
    /// Reads and writes; there is one such handle of a store at a time.
    #[default]
    Writer,
    /// Reads, and becomes the writer as soon as there is none: it waits for the kernel to release the writer's lock,
    /// recovers what a crash left, and goes on.
    Standby,
    /// Only reads, beside the writer if there is one.
    Reader,
    /// Becomes the writer if there is none, and a stand-by otherwise. A handle that is open is never in this role.
    Auto,
}

impl Role {
    /// Returns the role's name in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Standby => "standby",
            Self::Reader => "reader",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A handle's role has changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum RoleChange {
    /// It is the writer now.
    Promoted {
        /// The epoch in which it writes.
        epoch: Epoch,
    },
    /// It is the writer no longer, because it handed over.
    SteppedDown {
        /// What it is now.
        role: Role,
    },
    /// It could have become the writer, but failed to; it tries again.
    TakeOverFailed(crate::Error),
}
