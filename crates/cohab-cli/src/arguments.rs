//! The arguments that every command takes, and the texts that several of them parse alike.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum};
use cohab::Name;

use crate::commands::Command;
use crate::failure::Failure;
use crate::terminal::Format;

/// Work with a store that several processes share: namespaces of keys and values, every change a version.
///
/// Inspecting commands work beside a live writer and never wait for it. Results go to the standard output,
/// everything else to the standard error.
#[derive(Debug, Parser)]
#[command(
    name = "cohab",
    bin_name = "cohab",
    version,
    propagate_version = false,
    subcommand_required = true,
    after_long_help = "Exit codes: 0 done, 1 not found or a difference found, 2 wrong usage or bad input, 3 busy, \
                       4 corrupt, 5 unknown format, 6 needs recovery, 7 too old, not recorded or not in time, 8 conflict, \
                       9 overtaken or replaced, 74 the system refused, 130 interrupted."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that stand before or after any command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The store's directory, or, for commands that only read, a backup's file
    #[arg(long, global = true, env = "COHAB_STORE", hide_env_values = true, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// The form of the output; by default a table on a terminal and jsonl elsewhere
    #[arg(short, long, global = true, env = "COHAB_OUTPUT", value_enum, value_name = "FORM")]
    #[arg(hide_env_values = true)]
    pub(crate) output: Option<Format>,
    /// When to use color
    #[arg(long, global = true, env = "COHAB_COLOR", value_enum, value_name = "WHEN", default_value_t)]
    #[arg(hide_env_values = true)]
    pub(crate) color: When,
    /// How long to wait for another writer to end, or for a lock; fractions count
    #[arg(long, global = true, env = "COHAB_WAIT", value_name = "SECONDS", value_parser = seconds)]
    #[arg(
        default_value = "0",
        hide_default_value = true,
        hide_env_values = true,
        allow_negative_numbers = true
    )]
    pub(crate) wait: Duration,
    /// Open the store for this process alone, as is needed on a network file system
    #[arg(long, global = true, env = "COHAB_EXCLUSIVE", value_parser = FalseyValueParser::new())]
    #[arg(hide_env_values = true)]
    pub(crate) exclusive: bool,
    /// Print results and errors only
    #[arg(short, long, global = true, env = "COHAB_QUIET", value_parser = FalseyValueParser::new())]
    #[arg(hide_env_values = true)]
    pub(crate) quiet: bool,
}

impl Arguments {
    /// Reads the arguments, and the environment, where a variable without a value counts as one that is not set.
    pub(crate) fn read(arguments: &[OsString]) -> Result<Self, clap::Error> {
        let command = Self::command().mut_args(|argument| {
            let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
            if argument.get_env().is_some_and(is_empty) { argument.env(None::<&str>) } else { argument }
        });
        let mut matches = command.try_get_matches_from(arguments)?;
        Self::from_arg_matches_mut(&mut matches)
    }
}

/// When to do something that suits only a terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl When {
    /// Decides for a stream that is a terminal or is not.
    pub(crate) fn applies(self, is_terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }
}

/// Reads a time.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let duration = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| "expected a number of seconds, such as 2.5".to_owned())
}

/// Reads a number of bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit.trim() {
        "" | "B" => Some(1),
        "k" | "kB" | "KB" => Some(1000),
        "M" | "MB" => Some(1_000_000),
        "G" | "GB" => Some(1_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let number = number.parse().ok().filter(|number| *number > 0);
    let bytes = factor.zip(number).and_then(|(factor, number): (u64, u64)| number.checked_mul(factor));
    bytes.ok_or_else(|| "expected a number of bytes, such as 10MB or 512KiB".to_owned())
}

/// Reads the name of a namespace.
pub(crate) fn name(argument: &OsStr) -> Result<Name, Failure> {
    Name::from_bytes(argument.as_encoded_bytes()).map_err(Failure::input)
}

/// Reads an argument that has to be text.
pub(crate) fn text<'a>(what: &str, argument: &'a OsStr) -> Result<&'a str, Failure> {
    let shown = || argument.as_encoded_bytes().escape_ascii();
    argument.to_str().ok_or_else(|| Failure::input(format!("the {what} \"{}\" is not UTF-8", shown())))
}
