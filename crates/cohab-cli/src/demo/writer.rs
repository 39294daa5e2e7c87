//! What a writing process of the demonstration does, until it is killed.

use std::time::Duration;

use clap::Args;
use cohab::{Batch, Name, Store};

use crate::commands::{Exit, Outcome};
use crate::failure::Failure;
use crate::session::Session;

/// Where it writes.
pub(super) const NAMESPACE: &str = "demo-kill";

/// Where it writes the same few keys over and over, how many they are, and how long it rests in between, so that it does
/// not take a small machine for itself.
pub(super) const HOT_NAMESPACE: &str = "demo-hot";
pub(super) const HOT_KEYS: u64 = 64;
const REST: Duration = Duration::from_micros(500);

/// How many keys a large transaction has.
pub(super) const LARGE_KEYS: u64 = 500;

/// Commit without end, and acknowledge every version
#[derive(Debug, Args)]
pub(crate) struct DemoWriter {
    /// The number of the first commit
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Write the same few keys over and over, with a rest in between
    #[arg(long)]
    hot: bool,
}

impl DemoWriter {
    pub(crate) fn run(self, session: &mut Session) -> Outcome {
        // The one before has just been killed; the kernel releases its lock when it is gone.
        let wait = Duration::from_secs(10);
        let store = Store::options().create(false).wait(wait).open(session.path()?)?;
        let namespace = Name::new(NAMESPACE).map_err(Failure::input)?;
        for number in self.start.. {
            let version = if self.hot {
                std::thread::sleep(REST);
                let name = Name::new(HOT_NAMESPACE).map_err(Failure::input)?;
                store.submit(Batch::new().put(&name, hot_key(number), number.to_string()))?
            } else if is_large(number) {
                let done = store.write(|tx| {
                    let mut into = tx.namespace(&namespace)?;
                    for part in 0..LARGE_KEYS {
                        into.put(part_key(number, part), number.to_string())?;
                    }
                    into.put(key(number), number.to_string())
                })?;
                done.version
            } else {
                store.submit(Batch::new().put(&namespace, key(number), number.to_string()))?
            };
            // Only what is durable is acknowledged. Once nobody listens, the write fails quietly and this ends.
            session.out.bytes(format!("{number} {version}\n").as_bytes())?;
            session.out.flush()?;
        }
        Ok(Exit::Done)
    }
}

/// Every fourth transaction is a large one, so that the kill meets those, too.
pub(super) fn is_large(number: u64) -> bool {
    number.is_multiple_of(4)
}

pub(super) fn key(number: u64) -> String {
    format!("commit/{number:08}")
}

pub(super) fn part_key(number: u64, part: u64) -> String {
    format!("part/{number:08}/{part:04}")
}

pub(super) fn hot_key(number: u64) -> String {
    format!("hot/{:02}", number % HOT_KEYS)
}
