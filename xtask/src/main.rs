//! The project's own tasks, as `cargo xtask …`.
//!
//! `ci` is the gate that every change passes, `fuzz` builds and runs the fuzz targets without more than the
//! toolchain, `plugins` builds the WebAssembly plugins and runs the host's suite against them, `bench peers`
//! measures cohab next to other engines. They are a program rather than scripts so that they run the same wherever
//! cargo does, and so that what the gate runs is what a person runs.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "tasks report to whoever runs them")]

mod ci;
mod coverage;
mod deny;
mod fuzz;
mod mutants;
mod peers;
mod planted;
mod plugins;
mod report;
mod rigs;
mod sanitize;
mod tools;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// The project's own tasks.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Task {
    /// Runs the gate, or some of its steps, and sums up how they went.
    Ci(ci::Arguments),
    /// Runs what `cargo bench` does not.
    #[command(subcommand)]
    Bench(Bench),
    /// Builds the fuzz targets and runs them over their corpora and beyond.
    Fuzz(fuzz::Arguments),
    /// Simulates power loss at every operation on the disk; every argument is the rig's own, as with all rigs.
    Crash(rigs::Arguments),
    /// Fails every operation of the system, once and for ever.
    Faults(rigs::Arguments),
    /// Flips bits in every file.
    Flips(rigs::Arguments),
    /// Kills and stops real processes, and checks what each of them saw.
    Kill(rigs::Arguments),
    /// Cuts the power of real file systems.
    Power(rigs::Arguments),
    /// Runs everything at once for a long time, and watches what grows.
    Soak(rigs::Arguments),
    /// Runs tests under AddressSanitizer, and under Miri and ThreadSanitizer where there are such.
    Sanitize(sanitize::Arguments),
    /// Measures which lines the tests reach.
    Coverage(coverage::Arguments),
    /// Breaks the code in every small way and looks whether a test notices.
    Mutants(mutants::Arguments),
    /// Plants known defects, and has the rigs catch each of them.
    Planted(planted::Arguments),
    /// Builds the WebAssembly plugins from their sources, and runs the host's suite against them.
    Plugins(plugins::Arguments),
}

#[derive(Subcommand)]
enum Bench {
    /// Measures cohab next to LMDB, SQLite, redb and fjall; every argument is the benchmark's own.
    #[command(disable_help_flag = true)]
    Peers {
        /// See `cargo xtask bench peers --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    if let Some(code) = coverage::wrapped_compiler() {
        return code;
    }
    match run(Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match task {
        Task::Ci(arguments) => ci::run(&workspace, &arguments),
        Task::Bench(Bench::Peers { arguments }) => peers::run(&workspace, &arguments),
        Task::Fuzz(arguments) => fuzz::run(&workspace, &arguments),
        Task::Crash(arguments) => rigs::run(&workspace, "crash", &arguments),
        Task::Faults(arguments) => rigs::run(&workspace, "faults", &arguments),
        Task::Flips(arguments) => rigs::run(&workspace, "flips", &arguments),
        Task::Kill(arguments) => rigs::run(&workspace, "kill", &arguments),
        Task::Power(arguments) => rigs::run(&workspace, "power", &arguments),
        Task::Soak(arguments) => rigs::run(&workspace, "soak", &arguments),
        Task::Sanitize(arguments) => sanitize::run(&workspace, &arguments),
        Task::Coverage(arguments) => coverage::run(&workspace, &arguments),
        Task::Mutants(arguments) => mutants::run(&workspace, &arguments),
        Task::Planted(arguments) => planted::run(&workspace, &arguments),
        Task::Plugins(arguments) => plugins::run(&workspace, &arguments),
    }
}
