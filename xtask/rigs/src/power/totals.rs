//! What a run has covered, and how it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use super::disk::FileSystem;
use super::ledger::Found;

/// What was covered on one kind of file system.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) cuts: u64,
    pub(super) images: u64,
    pub(super) looks: u64,
    /// Cuts within an operation of the file.
    pub(super) within: u64,
    pub(super) new: u64,
    pub(super) takeovers: u64,
    pub(super) found: Found,
    pub(super) slowest_mount: Duration,
}

impl Totals {
    pub(super) fn add(&mut self, found: Found) {
        let sum = &mut self.found;
        sum.acknowledged += found.acknowledged;
        sum.whole += found.whole;
        sum.absent += found.absent;
        sum.tokens += found.tokens;
        sum.epochs += found.epochs;
        sum.replicas += found.replicas;
        sum.backups += found.backups;
        sum.past += found.past;
        sum.keys += found.keys;
        sum.repaired += found.repaired;
        sum.opening = sum.opening.max(found.opening);
        sum.files = sum.files.max(found.files);
    }
}

/// A line of the table: what it says, and of what.
type Row = (&'static str, Box<dyn Fn(&Totals) -> String>);

/// Prints one table, a column for each file system.
pub(super) fn print(totals: &BTreeMap<FileSystem, Totals>, time: Duration) {
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    let count =
        |name, of: fn(&Totals) -> u64| -> Row { (name, Box::new(move |totals| of(totals).to_string())) };
    let rows: Vec<Row> = vec![
        count("cuts", |totals| totals.cuts),
        count("  within an operation of the file", |totals| totals.within),
        count("  while a store was being made", |totals| totals.new),
        count("  after a take-over", |totals| totals.takeovers),
        count("file systems made", |totals| totals.images),
        count("stores looked at, key by key", |totals| totals.looks),
        count("acknowledged versions, all there", |totals| totals.found.acknowledged),
        count("past versions compared", |totals| totals.found.past),
        count("keys compared", |totals| totals.found.keys),
        count("unacknowledged, there as a whole", |totals| totals.found.whole),
        count("unacknowledged, absent", |totals| totals.found.absent),
        count("epochs, each larger", |totals| totals.found.epochs),
        count("tokens, each larger", |totals| totals.found.tokens),
        count("replicas compared", |totals| totals.found.replicas),
        count("backups verified", |totals| totals.found.backups),
        count("accounting of pages rebuilt", |totals| totals.found.repaired),
        count("most files in a store's directory", |totals| totals.found.files),
        ("slowest mount", Box::new(move |totals| millis(totals.slowest_mount))),
        ("slowest opening", Box::new(move |totals| millis(totals.found.opening))),
    ];
    print!("{:36}", "");
    for file_system in totals.keys() {
        print!("{:>22}", file_system.name());
    }
    println!();
    for (name, of) in rows {
        print!("{name:36}");
        for totals in totals.values() {
            print!("{:>22}", of(totals));
        }
        println!();
    }
    let cuts: u64 = totals.values().map(|totals| totals.cuts).sum();
    let seconds = time.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "is small")]
    let rate = cuts as f64 / seconds;
    println!("{cuts} cuts in {seconds:.0} s, {rate:.1} a second; violations: 0");
}
