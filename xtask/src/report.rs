//! How the steps of the gate went.

use std::fmt;
use std::time::Duration;

/// What became of each step, and the results that `cargo test` printed.
#[derive(Default)]
pub(crate) struct Report {
    steps: Vec<(String, Duration, Option<anyhow::Error>)>,
    /// Lines that begin with `test result:`. They scroll away under the steps that follow, so they are repeated.
    pub(crate) test_results: Vec<String>,
}

impl Report {
    /// Notes how a step went.
    pub(crate) fn note(&mut self, step: String, took: Duration, outcome: anyhow::Result<()>) {
        self.steps.push((step, took, outcome.err()));
    }

    /// Counts the steps that failed.
    pub(crate) fn failed(&self) -> usize {
        self.steps.iter().filter(|(_, _, error)| error.is_some()).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut total = Duration::ZERO;
        for (step, took, error) in &self.steps {
            total += *took;
            let outcome = if error.is_some() { "FAILED" } else { "ok" };
            write!(f, "{step:10} {outcome:8} {:7.1} s", took.as_secs_f64())?;
            match error {
                Some(error) => writeln!(f, "  {error:#}")?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, "{:10} {:8} {:7.1} s", "together", "", total.as_secs_f64())?;
        self.test_results.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
