//! The gate: everything a change has to pass, step by step.

mod steps;

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use self::steps::Step;
use crate::report::Report;
use crate::workspace::Workspace;

/// What to run of the gate.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Runs this step only; may be given more than once.
    #[arg(long, value_name = "NAME")]
    step: Vec<Step>,
}

/// Runs the steps in their order. One that fails does not keep the others from running, so that one run tells all.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let wanted = |step: &Step| arguments.step.is_empty() || arguments.step.contains(step);
    let mut report = Report::default();
    for step in Step::value_variants().iter().filter(|step| wanted(step)) {
        eprintln!("\n=== {}: {}", step.name(), step.meaning());
        let begin = Instant::now();
        let outcome = step.run(workspace, &mut report);
        let took = begin.elapsed();
        match &outcome {
            Ok(()) => eprintln!("=== {}: ok in {:.1} s", step.name(), took.as_secs_f64()),
            Err(error) => eprintln!("=== {}: FAILED: {error:#}", step.name()),
        }
        report.note(step.name(), took, outcome);
    }
    println!("\n{report}");
    let failed = report.failed();
    ensure!(failed == 0, "{failed} of the gate's steps failed");
    Ok(())
}
