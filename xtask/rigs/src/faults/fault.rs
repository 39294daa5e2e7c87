//! What can fail, in which calls, and for how long.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::seam::Call;

/// A way in which a call fails.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// The device fails.
    Eio,
    /// The disk is full. If for ever, the first write to meet it gets half of its bytes down.
    Enospc,
    /// A signal comes in between. If for ever, it is every second call.
    Eintr,
    /// A read returns half of what it could.
    ShortRead,
    /// A write takes half of what it was given.
    ShortWrite,
    /// The system is out of locks.
    Enolck,
    /// The process has as many files open as it may.
    Emfile,
    /// There are no addresses, or no memory, for a map.
    Enomem,
}

impl Fault {
    pub(crate) const ALL: [Self; 8] = [
        Self::Eio,
        Self::Enospc,
        Self::Eintr,
        Self::ShortRead,
        Self::ShortWrite,
        Self::Enolck,
        Self::Emfile,
        Self::Enomem,
    ];

    pub(crate) fn errno(self) -> Option<i32> {
        match self {
            Self::Eio => Some(libc::EIO),
            Self::Enospc => Some(libc::ENOSPC),
            Self::Eintr => Some(libc::EINTR),
            Self::Enolck => Some(libc::ENOLCK),
            Self::Emfile => Some(libc::EMFILE),
            Self::Enomem => Some(libc::ENOMEM),
            Self::ShortRead | Self::ShortWrite => None,
        }
    }

    /// Whether nobody is to notice it: whoever meets it has to try again, or go on.
    pub(crate) fn is_invisible(self) -> bool {
        matches!(self, Self::Eintr | Self::ShortRead | Self::ShortWrite)
    }

    /// Whether what only reads never meets it.
    pub(crate) fn spares_reads(self) -> bool {
        matches!(self, Self::Enospc | Self::ShortWrite)
    }

    /// Whether a call can fail in this way.
    pub(crate) fn fits(self, call: &Call<'_>) -> bool {
        let makes = |path: &Path, flags: i32| flags & libc::O_CREAT != 0 && path.symlink_metadata().is_err();
        match self {
            Self::Eio => !matches!(
                call,
                Call::Duplicate { .. } | Call::Lock { .. } | Call::Map { .. } | Call::Random { .. }
            ),
            Self::Enospc => match call {
                Call::Open { path, flags } => makes(path, *flags),
                Call::Write { .. }
                | Call::Sync { .. }
                | Call::Truncate { .. }
                | Call::Rename { .. }
                | Call::Link { .. }
                | Call::MakeDir { .. } => true,
                _ => false,
            },
            Self::Eintr => matches!(
                call,
                Call::Open { .. }
                    | Call::Read { .. }
                    | Call::Write { .. }
                    | Call::Sync { .. }
                    | Call::Truncate { .. }
                    | Call::Lock { is_release: false, .. }
            ),
            Self::ShortRead => matches!(call, Call::Read { len, .. } if *len > 1),
            Self::ShortWrite => matches!(call, Call::Write { data, .. } if data.len() > 1),
            Self::Enolck => matches!(call, Call::Lock { is_release: false, .. }),
            Self::Emfile => matches!(call, Call::Open { .. } | Call::List { .. } | Call::Duplicate { .. }),
            Self::Enomem => matches!(call, Call::Map { .. }),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no kind is hidden").get_name())
    }
}

/// Where a fault begins, and whether it ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) fault: Fault,
    /// How many calls that could fail in this way go well before.
    pub(crate) k: u64,
    pub(crate) for_ever: bool,
}

/// As it is written on the command line: `eio@12` once, `eio@12+` from then on.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}{}", self.fault, self.k, if self.for_ever { "+" } else { "" })
    }
}

impl FromStr for Point {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let Some((fault, k)) = text.split_once('@') else { bail!("a point is KIND@K or KIND@K+") };
        let fault = Fault::from_str(fault, true).map_err(anyhow::Error::msg)?;
        let for_ever = k.ends_with('+');
        let k = k.trim_end_matches('+').parse().context("the number of calls that go well")?;
        Ok(Self { fault, k, for_ever })
    }
}
