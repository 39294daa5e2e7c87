//! What a process tells the rig, one line of JSON each: through a pipe, which no power cut reaches.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

/// Something that a process has done, or is about to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// It has its stores open.
    Ready,
    /// It writes, in this epoch.
    Epoch(u64),
    /// It is about to commit the transaction of that number.
    Try(u64),
    /// A transaction was acknowledged at a version.
    Done { version: u64, number: u64 },
    /// It was given a lock, with that token.
    Token { lock: String, token: u64 },
    /// A transaction that showed that token was acknowledged.
    Fenced { lock: String, token: u64 },
    /// A backup was made.
    Backup { file: String, version: u64 },
    /// The replica has come so far.
    Followed(u64),
    /// It goes on to another stage of its errand.
    Stage(String),
    /// It was told that there is room again, and has gone on.
    Recovered,
    /// It cuts the power, in the middle of an operation.
    Cut,
    /// It is no longer of use.
    Failed { kind: String, message: String },
    /// It panicked, which nothing may make it do.
    Panicked(String),
}

impl Report {
    /// Sends it. A parent that is gone has no use for it.
    pub(crate) fn send(&self) {
        let mut line = serde_json::to_string(self).expect("is plain");
        line.push('\n');
        let mut out = io::stdout().lock();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}
