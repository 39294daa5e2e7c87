//! Points at which a process ends or stops itself, as if somebody had sent the signal just then.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cohab::testing::Storage;
use cohab::{Clock, Options, SystemClock, Timestamp};
use rustix::process::{Signal, getpid, kill_process};

/// The bytes of the file that name the last commit.
const HEADER_BYTES: u64 = 320;

/// Where.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub(crate) enum Point {
    /// Before the store is opened.
    Opening,
    /// The store is open.
    Opened,
    /// Before a write to the store's file.
    Write,
    /// Before a write of its header.
    Header,
    /// Before it grows or shrinks.
    Resize,
    /// Before a sync.
    Sync,
    /// After one.
    Synced,
    /// Before a commit, which was written down.
    Invoked,
    /// At the beginning of a transaction.
    Clock,
    /// At the end of its closure.
    Closure,
    /// After a commit, before anybody is told.
    Committed,
    /// Acknowledged, before the token is handed over.
    Acknowledged,
    /// It has just become the writer.
    Promoted,
    /// It is just the writer no more.
    SteppedDown,
    /// It asks the writer to hand over.
    Promoting,
    /// With a snapshot in hand.
    Snapshot,
    /// Between two reads through the cache.
    Cached,
    /// With a version of a watch in hand.
    Watched,
    /// Before it looks at its source.
    Following,
    /// When it has applied what changed.
    Applied,
    /// Holding a named lock.
    Locked,
    /// Before it lets go of it.
    Unlocking,
}

/// What happens there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// `SIGKILL`.
    Killed,
    /// `SIGSTOP`; whether it goes on is for others to decide.
    Stopped,
}

/// What is to happen to a process: `kill:sync:3` ends it before its third sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Doom {
    pub(crate) fate: Fate,
    pub(crate) point: Point,
    pub(crate) count: u64,
}

impl FromStr for Doom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let &[fate, point, count] = &parts[..] else { return Err(format!("{text:?} is no doom")) };
        let fate = match fate {
            "kill" => Fate::Killed,
            "stop" => Fate::Stopped,
            _ => return Err(format!("what does {fate:?} mean?")),
        };
        let point = <Point as clap::ValueEnum>::from_str(point, false)?;
        Ok(Self { fate, point, count: count.parse().map_err(|_| format!("{count:?} is no number"))? })
    }
}

impl fmt::Display for Doom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fate = match self.fate {
            Fate::Killed => "kill",
            Fate::Stopped => "stop",
        };
        write!(f, "{fate}:{}:{}", self.point, self.count)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self).expect("every point has a name");
        f.write_str(value.get_name())
    }
}

/// A process's doom, and how near it is. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Points(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    doom: Option<Doom>,
    passed: AtomicU64,
}

impl Points {
    pub(crate) fn new(doom: Option<Doom>) -> Self {
        Self(Arc::new(Inner { doom, passed: AtomicU64::new(0) }))
    }

    /// Passes a point, or not.
    pub(crate) fn pass(&self, point: Point) {
        let Some(doom) = self.0.doom.filter(|doom| doom.point == point) else { return };
        if self.0.passed.fetch_add(1, Ordering::SeqCst) + 1 != doom.count {
            return;
        }
        let signal = match doom.fate {
            Fate::Killed => Signal::KILL,
            Fate::Stopped => Signal::STOP,
        };
        kill_process(getpid(), signal).expect("a process may signal itself");
        // Another thread may take the signal, and stop this one a little later.
        thread::sleep(Duration::from_millis(20));
    }

    /// Has a store opened with these options pass the points of its commits. `sync` is called before each sync.
    pub(crate) fn install(
        &self,
        options: Options,
        sync: impl Fn() + Send + Sync + Clone + 'static,
    ) -> Options {
        let points = self.clone();
        options
            .clock(PassingClock(self.clone()))
            .storage_layer(move |inner| Box::new(Layer { inner, points: points.clone(), sync: sync.clone() }))
    }
}

/// The system's clock, which is read when a commit begins.
#[derive(Debug)]
struct PassingClock(Points);

impl Clock for PassingClock {
    fn now(&self) -> Timestamp {
        self.0.pass(Point::Clock);
        SystemClock.now()
    }
}

struct Layer<F> {
    inner: Box<dyn Storage>,
    points: Points,
    sync: F,
}

impl<F: Fn() + Send + Sync + 'static> Storage for Layer<F> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.points.pass(Point::Resize);
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        (self.sync)();
        self.points.pass(Point::Sync);
        let synced = self.inner.sync_data();
        self.points.pass(Point::Synced);
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.points.pass(Point::Write);
        if offset < HEADER_BYTES {
            self.points.pass(Point::Header);
        }
        self.inner.write(offset, data)
    }
}

impl<F> fmt::Debug for Layer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dooms_are_read_as_they_are_shown() {
        for text in ["kill:sync:3", "stop:stepped-down:1"] {
            assert_eq!(text.parse::<Doom>().unwrap().to_string(), text);
        }
        for text in ["", "kill:sync", "kill:nowhere:1", "hurt:sync:1", "kill:sync:x"] {
            text.parse::<Doom>().unwrap_err();
        }
    }
}
