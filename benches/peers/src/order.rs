//! What the benchmark orders a process of its own to do, and what that answers: lines of JSON on stdin and stdout. The
//! keys that an order is about follow its line as they are.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::Data;
use crate::measure::Round;
use crate::name::Memory;
use crate::reading::{Counts, Seen};
use crate::workload::{Contents, KEY_BYTES, Key};

/// An order.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Answer.
    Nothing,
    /// Open the store for reading and look the keys up.
    Open(Memory),
    /// Look all keys up once.
    Warm(Data),
    /// Look the keys up in one snapshot.
    GetHeld,
    /// Look the keys up, each in a fresh snapshot.
    GetFresh,
    /// Look the keys up again and again, each in a fresh snapshot, until [`Order::Stop`].
    Spin {
        /// How many threads do that, each from another of the keys on.
        threads: usize,
    },
    /// Compute until [`Order::Stop`], without a look at the store.
    Compute,
    /// Stop.
    Stop,
    /// Say when the row at the key was seen with each of the marks from the first to the last.
    Follow {
        /// The first mark. The one before it is there.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// Keep a replica of the store until [`Order::Stop`].
    Mirror,
    /// Make sure that the store holds this.
    Check(Contents),
    /// Stand by, and mark the row at the key as soon as this is the writer.
    Succeed {
        /// The mark.
        mark: u64,
    },
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It has begun what was ordered.
    Ready,
    /// It has done what was ordered.
    Took {
        /// Time in nanoseconds.
        wall: u64,
        /// CPU time of the process in nanoseconds.
        cpu: u64,
        /// What was read.
        seen: Seen,
        /// What the reader's cache of values counted meanwhile.
        counts: Option<Counts>,
    },
    /// When it happened, on the clock that processes share.
    At(Vec<i64>),
    /// It did not succeed.
    Failed(String),
}

impl From<Round> for Answer {
    fn from(round: Round) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self::Took {
            wall: nanos(round.wall),
            cpu: nanos(round.cpu),
            seen: round.done.seen,
            counts: round.counts,
        }
    }
}

impl Answer {
    /// The answer as a round of a case, if it is one.
    pub fn into_round(self) -> Option<Round> {
        let Self::Took { wall, cpu, seen, counts } = self else { return None };
        let round = Round::of_times(Duration::from_nanos(wall), Duration::from_nanos(cpu), seen.into());
        Some(Round { counts, ..round })
    }
}

/// Writes an order.
pub fn give(to: &mut impl Write, order: Order, keys: &[Key]) -> io::Result<()> {
    write_line(to, &(order, keys.len()))?;
    to.write_all(keys.as_flattened())?;
    to.flush()
}

/// Reads an order, or `None` if there will be none.
pub fn take(from: &mut impl BufRead) -> io::Result<Option<(Order, Vec<Key>)>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let (order, count): (Order, usize) = serde_json::from_str(&line)?;
    let mut keys = vec![[0; KEY_BYTES]; count];
    from.read_exact(keys.as_flattened_mut())?;
    Ok(Some((order, keys)))
}

/// Writes a line of JSON.
pub fn write_line(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, message)?;
    to.write_all(b"\n")?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    #[test]
    fn orders_arrive_as_they_were_given() -> io::Result<()> {
        let workload = Workload::new(20);
        let keys: Vec<Key> = workload.rows().iter().map(|row| row.key).collect();
        let mut sent = Vec::new();
        give(&mut sent, Order::Check(workload.contents()), &[])?;
        give(&mut sent, Order::GetHeld, &keys)?;
        let mut sent = sent.as_slice();
        let (first, none) = take(&mut sent)?.expect("two were given");
        assert!(
            matches!(first, Order::Check(contents) if contents == workload.contents()) && none.is_empty()
        );
        let (second, arrived) = take(&mut sent)?.expect("two were given");
        assert!(matches!(second, Order::GetHeld) && arrived == keys);
        assert!(take(&mut sent)?.is_none());
        Ok(())
    }
}
