//! A process of the benchmark's own, as the benchmark sees it.

use std::env;
use std::io::{BufRead as _, BufReader, BufWriter};
use std::path::Path;
use std::process::{self, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::measure::Round;
use crate::name::{Memory, Name};
use crate::order::{Answer, Order, give};
use crate::workload::{Contents, Key};

/// How long a process may take for an answer before something is wrong with it.
const PATIENCE: Duration = Duration::from_mins(5);

/// A process that does as it is ordered. It is killed when it is dropped.
pub struct Child {
    process: process::Child,
    /// `None` when there will be no more orders.
    orders: Option<ChildStdin>,
    answers: Receiver<Answer>,
}

impl Child {
    /// Starts a process for the store in a directory. It has nothing open yet.
    pub fn start(name: Name, dir: &Path) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("part").args(["--engine", name.as_str()]).arg("--dir").arg(dir);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = process.stdin.take();
        let output = process.stdout.take().context("stdout is piped")?;
        let (hand_on, answers) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            let mut read = lines.map_while(|line| serde_json::from_str(&line).ok());
            read.try_for_each(|answer| hand_on.send(answer))
        });
        Ok(Self { process, orders, answers })
    }

    /// Starts a process that has the store open for reading.
    pub fn reader(name: Name, dir: &Path, memory: Memory, key: Key) -> Result<Self> {
        let reader = Self::start(name, dir)?;
        reader.round(Order::Open(memory), &[key])?;
        Ok(reader)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Gives it an order about some keys.
    pub fn order(&self, order: Order, keys: &[Key]) -> Result<()> {
        let to = self.orders.as_ref().context("the process has its last order")?;
        give(&mut BufWriter::new(to), order, keys).context("giving an order to a process")
    }

    /// Waits for its answer to an order.
    pub fn answer(&self) -> Result<Answer> {
        let deadline = Instant::now() + PATIENCE;
        self.answer_until(deadline)?.context("a process does not answer")
    }

    /// Waits for its answer until a moment.
    pub fn answer_until(&self, deadline: Instant) -> Result<Option<Answer>> {
        match self.answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Answer::Failed(error)) => bail!("in another process: {error}"),
            Ok(answer) => Ok(Some(answer)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("a process has ended"),
        }
    }

    /// Waits until it has begun, or ended, what was ordered.
    pub fn await_ready(&self) -> Result<()> {
        match self.answer()? {
            Answer::Ready => Ok(()),
            other => bail!("a process answered {other:?}"),
        }
    }

    /// Waits for the times at which something happened.
    pub fn times(&self) -> Result<Vec<i64>> {
        match self.answer()? {
            Answer::At(times) => Ok(times),
            other => bail!("a process answered {other:?}"),
        }
    }

    /// Gives it an order, and waits for what it took.
    pub fn round(&self, order: Order, keys: &[Key]) -> Result<Round> {
        self.order(order, keys)?;
        self.answer()?.into_round().context("a process did not say what it took")
    }

    /// Makes sure that it finds this in the store.
    pub fn check(&self, contents: Contents) -> Result<()> {
        self.order(Order::Check(contents), &[])?;
        self.await_ready()
    }

    /// Lets it close the store and end.
    pub fn end(mut self) -> Result<()> {
        drop(self.orders.take());
        let status = self.process.wait()?;
        ensure!(status.success(), "a process ended with {status}");
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // If it has ended already, there is nothing left to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
