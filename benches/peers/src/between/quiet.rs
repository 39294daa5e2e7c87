//! A reader beside an idle writer that goes on for a while, so that its system calls can be watched from outside.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::child::Child;
use crate::engine::History;
use crate::name::{Memory, Name};
use crate::order::Order;
use crate::place::Place;
use crate::workload::Workload;

/// How many keys are looked up over and over.
const LOOKUPS: usize = 50_000;

/// What to watch.
#[derive(Args)]
pub struct Quiet {
    #[arg(long)]
    engine: Name,
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    /// How long to go on.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[arg(long, default_value = "target")]
    dir: PathBuf,
}

impl Quiet {
    /// Says which process reads once it is warm, and how many look-ups it made in the end.
    pub fn run(&self) -> Result<()> {
        let place = Place::within(&self.dir)?;
        let dir = place.fresh(self.engine.as_str())?;
        let mut workload = Workload::new(self.keys);
        let writer = self.engine.open(&dir, History::Full)?;
        writer.commit(workload.rows())?;
        let keys = workload.lookups(LOOKUPS);
        let reader = Child::reader(self.engine, &dir, Memory::HALVES, workload.marked_key())?;
        reader.check(workload.contents())?;
        reader.round(Order::GetFresh, &keys)?;
        reader.order(Order::Spin { threads: 1 }, &keys)?;
        reader.await_ready()?;
        println!("{}", reader.id());
        thread::sleep(Duration::from_secs(self.seconds));
        reader.order(Order::Stop, &[])?;
        let round = reader.answer()?.into_round().context("the reader did not say what it took")?;
        println!("{} gets in {:.1} s", round.done.operations, round.wall.as_secs_f64());
        reader.end()
    }
}
