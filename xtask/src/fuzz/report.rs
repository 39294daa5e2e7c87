//! How the targets went.

use std::fmt;

use anyhow::Result;

use super::build::Sanitizer;
use super::execute::Done;

/// What each target did, in the order in which they ended.
pub(super) struct Report {
    sanitizer: Sanitizer,
    lines: Vec<(String, Option<Done>)>,
}

impl Report {
    pub(super) fn new(sanitizer: Sanitizer) -> Self {
        Self { sanitizer, lines: Vec::new() }
    }

    pub(super) fn note(&mut self, target: &str, outcome: Result<Done>) {
        self.lines.push((target.to_owned(), outcome.ok()));
        self.lines.sort_by(|a, b| a.0.cmp(&b.0));
    }

    /// Names the targets that failed.
    pub(super) fn failed(&self) -> Vec<&str> {
        self.lines.iter().filter(|(_, done)| done.is_none()).map(|(target, _)| &**target).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "fuzzed {}:", self.sanitizer)?;
        let [target, executions, seconds, rate] = ["target", "executions", "seconds", "per second"];
        let [places, features, inputs] = ["places", "features", "inputs"];
        writeln!(
            f,
            "{target:16} {executions:>11} {seconds:>8} {rate:>10} {places:>7} {features:>9} {inputs:>7}"
        )?;
        let mut total = 0;
        for (target, done) in &self.lines {
            let Some(Done { executions, took, places, features, inputs }) = done else {
                writeln!(f, "{target:16} FAILED")?;
                continue;
            };
            total += executions;
            let seconds = took.as_secs_f64();
            let rate = u128::from(*executions) * 1000 / took.as_millis().max(1);
            writeln!(
                f,
                "{target:16} {executions:>11} {seconds:>8.1} {rate:>10} {places:>7} {features:>9} {inputs:>7}"
            )?;
        }
        write!(f, "{:16} {total:>11}", "together")
    }
}
