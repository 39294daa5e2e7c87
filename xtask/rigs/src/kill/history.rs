//! What each process has seen, written down so that it is there after the process was killed.
//!
//! One file for each process, one `write` for each record: what the kernel was given survives `kill -9`. A record
//! that was cut off in the middle is the last of its file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::keys::List;

/// Nanoseconds on the machine's monotonic clock, which all processes share.
pub(crate) type Time = u64;

pub(crate) fn now() -> Time {
    let time = clock_gettime(ClockId::Monotonic);
    let [seconds, nanoseconds] = [time.tv_sec, time.tv_nsec].map(|it| u64::try_from(it).unwrap_or_default());
    seconds * 1_000_000_000 + nanoseconds
}

/// A promise that turned out to be broken while it was looked at.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

/// What a process is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, clap::ValueEnum)]
pub(crate) enum Part {
    /// Writes, or stands by to.
    Writer,
    /// Reads from snapshots.
    Reader,
    /// Reads through the cache.
    Cached,
    /// Follows the versions.
    Watcher,
    /// Keeps a replica.
    Follower,
    /// Takes named locks, and hands their tokens to the writer.
    Tenant,
}

/// How new a read was to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Asked {
    /// As new as the last commit.
    Latest,
    /// At or after a version that another process has handed over.
    Token(u64),
    /// Whatever version it was: a snapshot that was kept, or one of the past.
    Any,
}

/// One thing that a process did or saw.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// It began.
    Began { part: Part, pid: u32 },
    /// It has become the writer.
    Promoted { epoch: u64 },
    /// It is the writer no more.
    SteppedDown,
    /// It is about to commit this. `puts` and `deletes` are sets of keys; behind a lock the token is shown.
    Invoked { op: u64, puts: u64, deletes: u64, fence: Option<(u8, u64)>, appends: u8 },
    /// Within its transaction: what it makes of these lists.
    Appending { op: u64, lists: Vec<(u8, List)> },
    /// The commit was acknowledged.
    Acknowledged { op: u64, version: u64 },
    /// The commit was refused, and is not to be there.
    Refused { op: u64 },
    /// The commit may or may not be there.
    Unknown { op: u64 },
    /// All keys of a version.
    Read { invoked: Time, asked: Asked, version: u64, values: Vec<u64> },
    /// All lists of a version.
    Lists { invoked: Time, lists: Vec<List> },
    /// One list through the cache.
    List { invoked: Time, number: u8, list: List },
    /// Single keys, each as it was when it was asked for: when, after `invoked`, which, and what it held.
    Singles { invoked: Time, reads: Vec<(u32, u8, u64)> },
    /// A version that was handed over was not reached in time.
    TimedOut { version: u64 },
    /// It begins to watch with this version.
    Watching { from: u64 },
    /// A version that it was shown, made by that operation, which changed these keys.
    Watched { version: u64, op: u64, puts: u64, deletes: u64 },
    /// A replica at a version of its source, with the digests of its namespaces, and what its keys hold.
    Followed { version: u64, digests: Vec<(u32, [u8; 16])>, values: Vec<u64> },
    /// It was given a lock.
    Locked { invoked: Time, lock: u8, token: u64 },
    /// It is about to let go of it.
    Unlocking { lock: u8, token: u64 },
    /// A token that was overtaken was shown, and refused, which is right.
    StaleRefused,
    /// It was told that somebody else has taken over.
    Fenced,
    /// What a stopped process holds up was not waited for any longer.
    Stalled,
    /// It saw with its own eyes that something is wrong.
    Broken(String),
    /// It has raised the number of the last epoch in its own transaction, as a writer would that the locks did not keep away.
    Overtaken { epoch: u64 },
}

/// An event, and when it was over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Which of the process's threads.
    pub(crate) thread: u8,
    pub(crate) time: Time,
    pub(crate) event: Event,
}

/// What one process has seen, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct History {
    pub(crate) process: u32,
    pub(crate) records: Vec<Record>,
}

/// Where a process writes down what it sees. Clones write to the same file.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    file: Arc<File>,
    thread: u8,
}

impl Journal {
    pub(crate) fn create(dir: &Path, process: u32) -> Result<Self> {
        let path = path(dir, process);
        let file = OpenOptions::new().append(true).create_new(true).open(&path);
        Ok(Self {
            file: Arc::new(file.with_context(|| format!("cannot make {}", path.display()))?),
            thread: 0,
        })
    }

    pub(crate) fn of_thread(&self, thread: u8) -> Self {
        Self { file: self.file.clone(), thread }
    }

    /// Writes down that this has just happened.
    pub(crate) fn note(&self, event: Event) {
        self.note_at(now(), event);
    }

    pub(crate) fn note_at(&self, time: Time, event: Event) {
        let record = Record { thread: self.thread, time, event };
        let mut line = vec![0; 8];
        line = postcard::to_extend(&record, line).expect("is plain data");
        let (length, check) = (line.len() - 8, check(&line[8..]));
        line[..4].copy_from_slice(&u32::try_from(length).expect("is short").to_le_bytes());
        line[4..8].copy_from_slice(&check.to_le_bytes());
        // Without its history the process proves nothing.
        (&*self.file).write_all(&line).expect("there is room for the histories");
    }

    /// Writes down that something is wrong.
    pub(crate) fn broken(&self, what: impl Into<String>) {
        self.note(Event::Broken(what.into()));
    }
}

fn path(dir: &Path, process: u32) -> PathBuf {
    dir.join(format!("process-{process}"))
}

fn check(bytes: &[u8]) -> u32 {
    let hash = rapidhash::v3::rapidhash_v3(bytes);
    u32::try_from(hash >> 32).expect("half of it")
}

/// Reads what a process has written down.
pub(crate) fn load(dir: &Path, process: u32) -> Result<History> {
    let path = path(dir, process);
    let bytes = match std::fs::read(&path) {
        // Killed before it had begun.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let records = decode(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
    Ok(History { process, records })
}

fn decode(mut bytes: &[u8]) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<8>() {
        let [length, sum] =
            [&head[..4], &head[4..]].map(|it| u32::from_le_bytes(it.try_into().expect("four bytes")));
        let Some((line, rest)) = rest.split_at_checked(length as usize) else { break };
        if check(line) != sum {
            bail!("record {} is not what was written", records.len());
        }
        records.push(postcard::from_bytes(line)?);
        bytes = rest;
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_cut_off_is_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::create(dir.path(), 3).unwrap();
        journal.note(Event::Promoted { epoch: 2 });
        let begin = std::fs::metadata(path(dir.path(), 3)).unwrap().len();
        journal.of_thread(1).note(Event::Read {
            invoked: 1,
            asked: Asked::Token(7),
            version: 8,
            values: vec![1, 2],
        });
        let whole = std::fs::read(path(dir.path(), 3)).unwrap();
        for length in 0..=whole.len() {
            let records = decode(&whole[..length]).unwrap();
            let expected = usize::from(length as u64 >= begin) + usize::from(length == whole.len());
            assert_eq!(records.len(), expected);
        }
        assert_eq!(load(dir.path(), 3).unwrap().records[1].thread, 1);
        assert!(load(dir.path(), 4).unwrap().records.is_empty());
        let mut damaged = whole.clone();
        damaged[9] ^= 1;
        assert!(decode(&damaged).is_err());
    }
}
