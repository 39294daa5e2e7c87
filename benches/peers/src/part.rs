//! The process that reads, or stands by, beside a writer in another: the program once more, doing as it is ordered.

use std::io::{self, BufReader};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;
use std::{process, thread};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use crate::measure::{Round, Stopwatch, shared_ns};
use crate::name::Name;
use crate::order::{Answer, Order, take, write_line};
use crate::reading::{Reader, Seen};
use crate::spin::{compute, look_up};
use crate::workload::{Key, Row, mark_in};

/// How long after the last order the process may still be there.
const GRACE: Duration = Duration::from_secs(10);

/// The part that a process plays.
#[derive(Args)]
pub struct Part {
    #[arg(long)]
    engine: Name,
    #[arg(long)]
    dir: PathBuf,
}

impl Part {
    /// Does what it is ordered until stdin ends.
    pub fn run(&self) -> Result<()> {
        let desk = Desk::open();
        let mut reader = None;
        while let Ok((order, keys)) = desk.orders.recv() {
            let answer = self.follow(&mut reader, &desk, order, &keys);
            answer.unwrap_or_else(|error| Answer::Failed(format!("{error:#}"))).say()?;
        }
        Ok(())
    }

    fn follow(
        &self,
        reader: &mut Option<Box<dyn Reader>>,
        desk: &Desk,
        order: Order,
        keys: &[Key],
    ) -> Result<Answer> {
        if let Order::Open(memory) = order {
            let watch = Stopwatch::start();
            let reader = reader.insert(self.engine.open_reader(&self.dir, memory)?);
            let seen = reader.get_fresh(keys)?;
            return Ok(watch.stop_now(seen.into()).into());
        }
        if let Order::Succeed { mark } = order {
            let row = Row::marked(*keys.first().context("no key was given")?, mark);
            // Stdout breaks if the benchmark has ended; then so does this process.
            self.engine
                .succeed(&self.dir, &row, &|| Answer::Ready.say().unwrap_or_else(|_| process::exit(1)))?;
            return Ok(Answer::At(vec![shared_ns()]));
        }
        if let Order::Nothing = order {
            return Ok(Answer::Ready);
        }
        if let Order::Mirror = order {
            desk.is_to_stop.store(false, Ordering::Relaxed);
            self.engine.mirror(&self.dir, &desk.is_to_stop, &|| Ok(Answer::Ready.say()?))?;
            return Ok(Answer::Ready);
        }
        let reader = reader.as_deref().context("nothing was opened")?;
        Ok(match order {
            Order::GetHeld => measure(reader, || reader.get_held(keys))?.into(),
            Order::GetFresh => measure(reader, || reader.get_fresh(keys))?.into(),
            Order::Warm(data) => measure(reader, || reader.warm(data).map(|()| Seen::default()))?.into(),
            Order::Spin { threads } => {
                let is_to_stop = desk.begin()?;
                measure(reader, || look_up(reader, keys, threads, is_to_stop))?.into()
            }
            Order::Compute => {
                let is_to_stop = desk.begin()?;
                measure(reader, || Ok(compute(keys, is_to_stop)))?.into()
            }
            Order::Follow { first, last } => {
                let key = keys.first().context("no key was given")?;
                Answer::At(follow(reader, key, first, last)?)
            }
            Order::Check(contents) => {
                reader.check(contents)?;
                Answer::Ready
            }
            Order::Nothing | Order::Stop | Order::Mirror | Order::Open(_) | Order::Succeed { .. } => {
                Answer::Ready
            }
        })
    }
}

fn measure(reader: &dyn Reader, work: impl FnOnce() -> Result<Seen>) -> Result<Round> {
    let before = reader.counts().unwrap_or_default();
    let watch = Stopwatch::start();
    let seen = work()?;
    let round = watch.stop_now(seen.into());
    Ok(Round { counts: reader.counts().map(|counts| counts.since(before)), ..round })
}

/// Returns when each of the marks was seen, or one that came after it.
fn follow(reader: &dyn Reader, key: &Key, first: u64, last: u64) -> Result<Vec<i64>> {
    let mut outcome = Ok(());
    let mut times = Vec::new();
    let mut next = None;
    reader.follow(key, &mut |value| {
        let now = shared_ns();
        let mark = value.and_then(mark_in).filter(|mark| (first - 1..=last).contains(mark));
        match (mark, &mut next) {
            (Some(mark), Some(next)) => {
                while *next <= mark {
                    times.push(now);
                    *next += 1;
                }
            }
            (Some(mark), next @ None) if mark == first - 1 => {
                *next = Some(first);
                outcome = Answer::Ready.say().context("answering");
            }
            _ => outcome = Err(anyhow!("the row that was to be followed is marked {mark:?}")),
        }
        match next {
            Some(next) if outcome.is_ok() && next <= last => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    })?;
    outcome.map(|()| times)
}

impl Answer {
    fn say(&self) -> io::Result<()> {
        write_line(&mut io::stdout().lock(), self)
    }
}

/// Where orders come in, also while one is carried out.
struct Desk {
    orders: Receiver<(Order, Vec<Key>)>,
    is_to_stop: Arc<AtomicBool>,
}

impl Desk {
    fn open() -> Self {
        let (hand_on, orders) = mpsc::channel();
        let is_to_stop = Arc::new(AtomicBool::new(false));
        let stop = is_to_stop.clone();
        thread::spawn(move || {
            let mut input = BufReader::new(io::stdin());
            while let Ok(Some(order)) = take(&mut input) {
                match order {
                    (Order::Stop, _) => stop.store(true, Ordering::Relaxed),
                    order => {
                        let _ = hand_on.send(order);
                    }
                }
            }
            // Time to close the store. If the benchmark has ended without waiting for that, nobody wants the rest.
            drop(hand_on);
            thread::sleep(GRACE);
            process::exit(1);
        });
        Self { orders, is_to_stop }
    }

    /// Says that what goes on until it is to stop begins. Nobody stops it earlier.
    fn begin(&self) -> Result<&AtomicBool> {
        self.is_to_stop.store(false, Ordering::Relaxed);
        Answer::Ready.say()?;
        Ok(&self.is_to_stop)
    }
}
