//! Measures cohab next to LMDB, SQLite, redb and fjall, doing the same work side by side in one run.
//!
//! ```text
//! cargo run --release -- --quick               a first look, in about four minutes
//! cargo run --release -- --json FILE           everything, in about forty
//! cargo run --release -- --case get-held --engine lmdb --engine redb
//! cargo run --release -- --check               tiny sizes: does everything work, and do all do the same?
//! ```
//!
//! # What is measured
//!
//! The stores hold rows of 24-byte keys and 150-byte values, random bytes from a fixed seed and therefore in random
//! order. Every case is a number of rounds of a fixed number of operations, and the engines take turns: nobody begins a
//! round before everybody has ended the one before. What counts is CPU time of the whole process, until the engine's
//! own threads have come to rest, because on wall time a commit is the disk's; wall time stands beside it.
//!
//! A commit is durable when it returns. A read copies nothing: it looks at every byte of what it has found, where it
//! is. All stores have the same cache ([`name::CACHE_BYTES`]) if they have one, everything is warm, and the kernel has
//! written out what others left before a round starts.
//!
//! Where a case involves several processes, this one writes and the others are the program once more, each with one
//! store open for reading, of which they measure their own CPU time. Readers ask for the state after the last commit
//! with every look-up. Who waits for a commit is woken by cohab; the others have to look, which they do every
//! millisecond. Fjall has a store for itself and takes no part.
//!
//! Half of cohab's memory in such a process is its cache of values, where the case is about that; `cohab-with` shows
//! the values in place, `cohab` returns them, and `cohab-uncached` has pages only. moka and quick_cache stand beside
//! it without a store: they answer from memory and would never learn of a commit, so what they take is what a cache of
//! values takes at the least. Skewed look-ups are picked as YCSB does, by a Zipf distribution of exponent 0.99 over
//! scattered rows, before the clock starts.
//!
//! Plugins are cohab's alone. They are the same one in WebAssembly and as a script: what a call of it costs,
//! how far it lags behind a writer, and what becomes of an edit while it is called. What has to do with files and threads is
//! wall time there.
//!
//! # What is checked
//!
//! In every round, all engines must have read the same. After every case, a full scan of every store must find what
//! was written, by count and digest, also from the readers' processes; and after a kill, all that was committed and
//! nothing of what wasn't. A plugin must have added up every commit once, and counted every call once, whatever it was
//! replaced by meanwhile.
//!
//! # Limitations
//!
//! Linux only. The bundled SQLite calls `fsync` where the others call `fdatasync`. What an engine left on disk for
//! later, as a log-structured tree does, is only counted as far as its threads clear it up in the round.

mod bench;
mod between;
mod case;
mod child;
#[cfg(feature = "with-cohab")]
mod cohab;
mod crash;
mod data;
mod engine;
mod fjall;
mod lmdb;
mod measure;
mod metric;
mod name;
mod order;
mod part;
mod place;
mod plain;
mod plots;
mod reading;
mod redb;
mod report;
mod sizes;
mod spin;
mod sqlite;
mod workload;
mod zipf;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum as _};

use crate::bench::Bench;
use crate::between::quiet::Quiet;
use crate::case::Case;
use crate::crash::Victim;
use crate::name::{CACHE_BYTES, Name};
use crate::part::Part;
use crate::place::Place;
use crate::report::Report;
use crate::sizes::Sizes;

/// Measures cohab next to LMDB, SQLite, redb and fjall.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    /// Only this case; may be given several times.
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<Case>,

    /// Only this engine; may be given several times.
    #[arg(long = "engine", value_name = "NAME")]
    engines: Vec<Name>,

    /// A tenth of the rows, and fewer and shorter rounds.
    #[arg(long, conflicts_with = "check")]
    quick: bool,

    /// Tiny sizes, to see that everything works and that all engines do the same.
    #[arg(long)]
    check: bool,

    /// Rows in a store.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..))]
    keys: Option<u32>,

    /// Where to make the directory for the stores.
    #[arg(long, value_name = "DIR", default_value = "target")]
    dir: PathBuf,

    /// Write the figures to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write charts into a directory.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,

    #[command(subcommand)]
    hidden: Option<Hidden>,
}

#[derive(Subcommand)]
enum Hidden {
    /// Works on a store until it is killed.
    #[command(hide = true)]
    Victim(Victim),

    /// Reads or stands by beside a writer, as it is told on stdin.
    #[command(hide = true)]
    Part(Part),

    /// Has a reader look keys up beside an idle writer for a while, to watch its system calls.
    #[command(hide = true)]
    Quiet(Quiet),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match &cli.hidden {
        Some(Hidden::Victim(victim)) => victim.run(),
        Some(Hidden::Part(part)) => part.run(),
        Some(Hidden::Quiet(quiet)) => quiet.run(),
        None => run(&cli),
    }
}

fn run(cli: &Cli) -> Result<()> {
    let sizes = match (cli.check, cli.quick) {
        (true, _) => Sizes::CHECK,
        (_, true) => Sizes::QUICK,
        _ => Sizes::FULL,
    };
    let sizes = cli.keys.map_or(sizes, |keys| sizes.with_keys(keys as usize));
    let engines = chosen(&cli.engines, Name::value_variants());
    let cases = chosen(&cli.cases, Case::value_variants());

    let place = Place::within(&cli.dir)?;
    println!("stores in {}", place.describe()?);
    println!("{} rows, caches of {} MiB", sizes.keys, CACHE_BYTES >> 20);
    let mut bench = Bench::new(place, engines, sizes);
    let mut reports = Vec::new();
    let outcome = cases.into_iter().try_for_each(|case| {
        let start = Instant::now();
        let series = bench.run(case).with_context(|| case.name())?;
        let report = Report::new(case, &series);
        report.print();
        println!("  {:.1} s", start.elapsed().as_secs_f64());
        reports.push(report);
        Ok(())
    });
    // What was measured before something failed is worth keeping.
    if let Some(path) = &cli.json {
        report::write_json(path, &reports)?;
    }
    if let Some(dir) = &cli.plots {
        plots::write(dir, &reports)?;
    }
    outcome
}

/// Those that were named, or all, in the order of the list of all.
fn chosen<T: Copy + PartialEq>(named: &[T], all: &[T]) -> Vec<T> {
    all.iter().copied().filter(|one| named.is_empty() || named.contains(one)).collect()
}
