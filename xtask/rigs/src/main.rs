//! The rigs: programs that attack a whole store, one after the other, and count what they have covered.
//!
//! Each is called by `cargo xtask`, takes a seed, and prints how what it finds is repeated. `docs/testing.md` tells
//! what each proves.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "rigs report to whoever runs them")]

mod crash;
mod faults;
mod flips;
mod kill;
mod power;
mod random;
mod seam;
mod soak;

use std::process::ExitCode;

use clap::Parser;

/// What can be done to a store.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Rig {
    /// Simulates power loss at every operation on the disk, and opens what may be left.
    Crash(crash::Arguments),
    /// Fails every operation of the system once and for ever.
    Faults(faults::Arguments),
    /// Flips bits in every file.
    Flips(flips::Arguments),
    /// Kills and stops real processes, and checks what each of them saw.
    Kill(kill::Arguments),
    /// Cuts the power of real file systems.
    Power(power::Arguments),
    /// Runs everything at once for a long time, and watches what grows.
    Soak(soak::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Rig::parse() {
        Rig::Crash(arguments) => crash::run(&arguments),
        Rig::Faults(arguments) => faults::run(&arguments),
        Rig::Flips(arguments) => flips::run(&arguments),
        Rig::Kill(arguments) => kill::run(&arguments),
        Rig::Power(arguments) => power::run(&arguments),
        Rig::Soak(arguments) => soak::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
