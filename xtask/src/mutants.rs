//! The crates of pure functions, and the cache, broken in every small way: does a test notice?
//!
//! cargo-mutants takes a function's body out, turns a comparison round, or adds where was subtracted, one at a time, and
//! runs the tests of the crate. Of a mutant that survives, a test is missing or the code says something twice.
//! `docs/testing.md` tells of those that are equal to what they were made of.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::tools::Tool;
use crate::workspace::{self, Workspace};

const MUTANTS: Tool = Tool { name: "cargo-mutants", version: "27.1.0" };

/// The crates whose tests are to notice everything.
const CRATES: [&str; 4] = ["cohab-core", "cohab-namespace", "cohab-log", "cohab-cache"];

/// A test that measures memory takes minutes where little is optimised, and notices nothing that others do not.
const LEFT_OUT: &str = "memory";

/// What becomes of mutants, and the files that cargo-mutants lists them in.
const OUTCOMES: [(&str, &str); 4] = [
    ("caught", "caught.txt"),
    ("missed", "missed.txt"),
    ("timeout", "timeout.txt"),
    ("unviable", "unviable.txt"),
];

/// Which mutants to make.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Breaks this crate only; may be given more than once.
    #[arg(long = "crate", value_name = "NAME")]
    crates: Vec<String>,
    /// Makes every Nth of the mutants only, beginning with the Kth, counted from 0.
    #[arg(long, value_name = "K/N", conflicts_with = "smoke")]
    shard: Option<String>,
    /// Makes every fortieth mutant of `cohab-namespace`, to see that all of this works.
    #[arg(long, conflicts_with = "crates")]
    smoke: bool,
    /// Lists the mutants instead of making them.
    #[arg(long)]
    list: bool,
}

/// Makes the mutants and prints what became of them; fails if one was missed.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let program = MUTANTS.find_or_install(workspace)?;
    let metadata = workspace.metadata(&workspace.path("Cargo.toml"))?;
    let (crates, shard) = match arguments {
        Arguments { smoke: true, .. } => (vec!["cohab-namespace"], Some("0/40")),
        Arguments { crates, shard, .. } if crates.is_empty() => (CRATES.to_vec(), shard.as_deref()),
        Arguments { crates, shard, .. } => (crates.iter().map(|name| &**name).collect(), shard.as_deref()),
    };
    let mut counts = Vec::new();
    for name in crates {
        let mut command = Command::new(&program);
        command.current_dir(workspace.path("")).stdin(Stdio::null());
        command.args(["mutants", "--package", name, "--jobs", "1", "--no-times", "--colors", "never"]);
        if let Some(shard) = shard {
            command.args(["--shard", shard]);
        }
        // Examples in documentation compile one by one, for longer than all else runs; tests have to do without them.
        command.arg("--cargo-test-arg=--lib");
        let package = metadata.packages.iter().find(|package| package.name == name);
        let package = package.with_context(|| format!("there is no crate `{name}`"))?;
        for test in package.targets_of("test").filter(|test| test.name != LEFT_OUT) {
            command.arg(format!("--cargo-test-arg=--test={}", test.name));
        }
        if arguments.list {
            workspace::run(command.arg("--list"))?;
            continue;
        }
        // Copies of the tree share what the dependencies compile to, for which they need not be theirs.
        command.env("CARGO_TARGET_DIR", metadata.target_directory.join("mutants-build"));
        // What searches at random searches briefly, or a mutant would take a minute.
        command.env("PROPTEST_CASES", "32");
        let output = metadata.target_directory.join("mutants-reports").join(name);
        fs::create_dir_all(&output)?;
        command.arg("--output").arg(&output);
        // It reports surviving mutants by its exit status, and other failures as well.
        workspace::announce(&command);
        let status = command.status().context("cannot run cargo-mutants")?;
        let known = [0, 2, 3];
        ensure!(status.code().is_some_and(|code| known.contains(&code)), "cargo-mutants ended with {status}");
        counts.push((name, count(&output.join("mutants.out"))?));
    }
    print(&counts);
    let missed = counts.iter().any(|(_, [_, missed, ..])| *missed > 0);
    ensure!(!missed, "mutants survived: they are listed above");
    Ok(())
}

/// Counts the mutants by what became of them.
fn count(report: &Path) -> Result<[usize; OUTCOMES.len()]> {
    let mut counts = [0; OUTCOMES.len()];
    for (count, (_, file)) in counts.iter_mut().zip(OUTCOMES) {
        let path = report.join(file);
        *count = fs::read_to_string(&path).with_context(|| path.display().to_string())?.lines().count();
    }
    Ok(counts)
}

fn print(counts: &[(&str, [usize; OUTCOMES.len()])]) {
    let line = |name: &str, columns: [String; OUTCOMES.len()]| {
        println!("{name:18}{}", columns.map(|column| format!("{column:>10}")).concat());
    };
    line("crate", OUTCOMES.map(|(name, _)| name.to_owned()));
    for (name, counts) in counts {
        line(name, counts.map(|count| count.to_string()));
    }
}
