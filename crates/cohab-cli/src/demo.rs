//! `cohab demo`: the whole product on real data, each step checked.
//!
//! A step is a function that does something with the [`Stage`] and returns a line about it, or what was not as it
//! should be. Steps that belong together share a file, which lists them; [`STEPS`] lists the files. What one step
//! leaves behind the next ones find, so their order is that of the list.

mod beside;
mod cache;
mod channels;
mod child;
mod describe;
mod export;
mod history;
mod instance;
mod kill;
mod load;
mod material;
#[cfg(feature = "scripts")]
mod plugins;
mod read;
mod stage;
mod takeover;
mod together;
mod transaction;
mod writer;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use self::stage::Stage;
pub(crate) use self::writer::DemoWriter;
use crate::commands::{Exit, Outcome};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::terminal::{Format, Record, tell};

/// See the whole product at work on real data, each step checked
///
/// Takes package lists, or sources, that this machine has, and works in a temporary directory; nothing else is
/// touched. Ends with a table of what was shown, and exit code 1 if anything was not as it should be.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Keep what the demonstration makes in this directory, which must not exist yet
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// One thing that is shown.
struct Step {
    name: &'static str,
    /// What happens, for somebody who has never seen it.
    says: &'static str,
    run: fn(&mut Stage) -> Result<String, Failure>,
}

/// Everything that is shown, in order.
const STEPS: &[&[Step]] = &[
    load::STEPS,
    describe::STEPS,
    read::STEPS,
    transaction::STEPS,
    beside::STEPS,
    together::STEPS,
    cache::STEPS,
    kill::STEPS,
    history::STEPS,
    takeover::STEPS,
    channels::STEPS,
    export::STEPS,
    #[cfg(feature = "scripts")]
    plugins::STEPS,
];

/// How a step ended.
struct Shown {
    step: &'static Step,
    result: &'static str,
    detail: String,
    time: Duration,
}

impl Demo {
    pub(crate) fn run(self, session: &mut Session) -> Outcome {
        session.out.prefer_table();
        let begin = Instant::now();
        let mut stage = Stage::set(self.keep.as_deref())?;
        let narrator = Narrator { is_quiet: session.is_quiet(), names: width() };
        narrator.say(&format!(
            "cohab demo: {}, in {}\n",
            stage.material.describe(),
            stage.path("").display()
        ));
        let mut shown: Vec<Shown> = Vec::new();
        for step in STEPS.iter().copied().flatten() {
            interrupt::check()?;
            // Without data there is nothing to show.
            let is_in_vain = shown.first().is_some_and(|load| load.result == "FAIL");
            shown.push(if is_in_vain {
                let detail = "not tried, because nothing was loaded".to_owned();
                Shown { step, result: "skip", detail, time: Duration::ZERO }
            } else {
                narrator.show(step, &mut stage)?
            });
        }
        print(session, &shown)?;
        let failed = shown.iter().filter(|shown| shown.result != "PASS").count();
        let seconds = begin.elapsed().as_secs_f64();
        narrator.say(&match failed {
            0 => format!("all {} steps passed in {seconds:.1} s\n", shown.len()),
            failed => format!("{failed} of {} steps did not pass ({seconds:.1} s)\n", shown.len()),
        });
        if self.keep.is_some() {
            narrator.say(&format!("look around: cohab --store {} ns list\n", stage.store_path().display()));
        }
        Ok(if failed == 0 { Exit::Done } else { Exit::Difference })
    }
}

/// Tells on the standard error what is going on.
struct Narrator {
    is_quiet: bool,
    names: usize,
}

impl Narrator {
    fn say(&self, text: &str) {
        if !self.is_quiet {
            tell(text);
        }
    }

    /// Runs a step. Only an interrupt ends the demonstration early.
    fn show(&self, step: &'static Step, stage: &mut Stage) -> Result<Shown, Failure> {
        self.say(&format!("{:names$}  {} … ", step.name, step.says, names = self.names));
        let begin = Instant::now();
        let outcome = (step.run)(stage);
        let time = begin.elapsed();
        let (result, detail) = match outcome {
            Ok(detail) => ("PASS", detail),
            Err(failure) if interrupt::is_requested() => return Err(failure),
            Err(failure) => ("FAIL", failure.summary()),
        };
        let mark = if result == "PASS" { "ok" } else { "FAILED" };
        let indent = " ".repeat(self.names + 2);
        self.say(&format!("{mark}\n{indent}{detail}\n"));
        Ok(Shown { step, result, detail, time })
    }
}

fn width() -> usize {
    STEPS.iter().copied().flatten().map(|step| step.name.len()).max().unwrap_or(0)
}

fn print(session: &mut Session, shown: &[Shown]) -> Result<(), Failure> {
    let is_table = session.out.format() == Format::Table;
    let records: Vec<Record<'_>> = shown
        .iter()
        .map(|shown| {
            let millis = u64::try_from(shown.time.as_millis()).unwrap_or(u64::MAX);
            let record = Record::new().with("step", shown.step.name).with("result", shown.result);
            let record = record.with("detail", &*shown.detail);
            if is_table { record.with("time", readable(shown.time)) } else { record.with("ms", millis) }
        })
        .collect();
    if is_table {
        session.out.framed(&["step", "result", "detail", "time"], &records)?;
        return session.out.flush();
    }
    let mut list = session.out.list(&[], &["step", "result", "ms", "detail"])?;
    for record in &records {
        list.push(record)?;
    }
    list.finish()?;
    session.out.flush()
}

/// A time for people.
fn readable(time: Duration) -> String {
    match time {
        time if time >= Duration::from_secs(1) => format!("{:.1} s", time.as_secs_f64()),
        time if time >= Duration::from_millis(10) => format!("{} ms", time.as_millis()),
        time => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
    }
}

/// A number for people: `65,432`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Makes a failed check of what is not as it should be.
fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::unexpected(what())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_readable() {
        let check = |number, text: &str| assert_eq!(grouped(number), text);
        check(0, "0");
        check(999, "999");
        check(1_234_567, "1,234,567");
        assert_eq!(readable(Duration::from_micros(1540)), "1.5 ms");
        assert_eq!(readable(Duration::from_millis(15)), "15 ms");
        assert_eq!(readable(Duration::from_millis(2340)), "2.3 s");
    }
}
