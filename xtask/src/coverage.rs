//! How much of each crate its tests reach, in lines.
//!
//! The compiler counts (`-Cinstrument-coverage`), and LLVM's own programs add up. Only the workspace's crates are
//! compiled for that, by this program standing in front of the compiler, so that what they depend on is taken from the
//! ordinary build. Many tests kill the processes that they start, so counters are mapped from the file that they end up
//! in: what a process has reached counts, however it ended.
//!
//! Tests do not count as lines, and neither do examples in documentation, which the stable compiler cannot keep.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::tools;
use crate::workspace::{self, Workspace};

/// What each crate's tests have to reach at least, in percent of its lines.
const THRESHOLDS: [(&str, u32); 8] = [
    ("cohab-core", 95),
    ("cohab-log", 95),
    ("cohab-namespace", 95),
    ("cohab-cache", 95),
    ("cohab-lock", 95),
    ("cohab-engine", 85),
    ("cohab-registry", 85),
    ("cohab", 85),
];

/// Set for the compiler calls that this program stands in front of.
const WRAPS: &str = "COHAB_XTASK_COVERAGE";

/// Which crates to measure, and what to print of them.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Builds and runs the tests of this crate only, and judges no other; may be given more than once.
    #[arg(long = "crate", value_name = "NAME")]
    crates: Vec<String>,
    /// Lists the lines that nothing has reached.
    #[arg(long)]
    missing: bool,
    /// Adds up what the last run has left, without running anything.
    #[arg(long)]
    report: bool,
}

/// Stands in front of the compiler, if that is what this process was started for.
pub(crate) fn wrapped_compiler() -> Option<ExitCode> {
    env::var_os(WRAPS)?;
    let mut arguments = env::args_os().skip(1);
    let mut command = Command::new(arguments.next()?);
    // The second lets counters be where a file is mapped.
    command.args(arguments).args(["-Cinstrument-coverage", "-Cllvm-args=-runtime-counter-relocation"]);
    let succeeded = command.status().is_ok_and(|status| status.success());
    Some(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the tests, prints what they reached, and fails if that is less than it has to be.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    for name in &arguments.crates {
        ensure!(workspace.path("crates").join(name).is_dir(), "there is no crate `{name}`");
    }
    let llvm = Llvm::find_or_install()?;
    let metadata = workspace.metadata(&workspace.path("Cargo.toml"))?;
    let run = Run { workspace, arguments, directory: metadata.target_directory.join("coverage") };
    let programs = run.build()?;
    // What was reached is of interest also if a test failed.
    let tested = if arguments.report { Ok(()) } else { run.test() };
    let profile = run.directory.join("merged.profdata");
    run.merge(&llvm, &profile)?;
    let reached = run.reached(&llvm, &profile, &programs)?;
    tested.and(run.judge(&reached))
}

struct Run<'w> {
    workspace: &'w Workspace,
    arguments: &'w Arguments,
    /// Where the counts of each run are.
    directory: PathBuf,
}

/// The lines of a file that are compiled, and whether something reached them.
type Lines = BTreeMap<u32, bool>;

impl Run<'_> {
    fn counts(&self) -> PathBuf {
        self.directory.join("counts")
    }

    fn cargo_test(&self) -> Result<Command> {
        let mut command = self.workspace.cargo("test");
        if self.arguments.crates.is_empty() {
            command.args(["--workspace", "--exclude", "xtask", "--exclude", "cohab-benches"]);
        }
        for name in &self.arguments.crates {
            command.args(["--package", name]);
        }
        command.args(["--lib", "--bins", "--tests"]);
        command.env("RUSTC_WORKSPACE_WRAPPER", env::current_exe()?).env(WRAPS, "1");
        // One file for all processes of a program (`%m`), into which each counts as it runs (`%c`).
        command.env("LLVM_PROFILE_FILE", self.counts().join("%m%c.profraw"));
        Ok(command)
    }

    /// Builds the tests and returns all programs that may have run.
    fn build(&self) -> Result<Vec<PathBuf>> {
        #[derive(Deserialize)]
        struct Message {
            executable: Option<PathBuf>,
        }
        let mut command = self.cargo_test()?;
        command.args(["--no-run", "--message-format=json"]);
        workspace::announce(&command);
        let messages = workspace::output(&mut command)?;
        let messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
        Ok(messages.filter_map(|message| message.executable).collect())
    }

    fn test(&self) -> Result<()> {
        if self.counts().exists() {
            fs::remove_dir_all(self.counts())?;
        }
        fs::create_dir_all(self.counts())?;
        workspace::run(self.cargo_test()?.arg("--no-fail-fast"))
    }

    fn merge(&self, llvm: &Llvm, into: &Path) -> Result<()> {
        let mut counts = Vec::new();
        for entry in fs::read_dir(self.counts()).context("no run has left anything to add up")? {
            counts.push(entry?.path());
        }
        let mut command = Command::new(&llvm.profdata);
        workspace::run(command.args(["merge", "-sparse", "-o"]).arg(into).args(counts))
    }

    /// Returns what was reached of each file of the crates, relative to the workspace.
    fn reached(&self, llvm: &Llvm, profile: &Path, programs: &[PathBuf]) -> Result<BTreeMap<PathBuf, Lines>> {
        let mut command = Command::new(&llvm.cov);
        command.args(["export", "-format=lcov", "-instr-profile"]).arg(profile);
        let mut programs = programs.iter();
        command.arg(programs.next().context("no tests were built")?);
        for program in programs {
            command.arg("-object").arg(program);
        }
        let crates = self.workspace.path("crates");
        let mut files = BTreeMap::<PathBuf, Lines>::new();
        let (mut path, mut end) = (PathBuf::new(), 0);
        for line in workspace::output(&mut command)?.lines() {
            if let Some(file) = line.strip_prefix("SF:") {
                let file = Path::new(file);
                let inside = file.strip_prefix(&crates).ok();
                path = inside.unwrap_or(file).into();
                end = if inside.is_some() { code_end(file)? } else { 0 };
            } else if let Some(counted) = line.strip_prefix("DA:") {
                let (number, count) = counted.split_once(',').context("llvm-cov has changed its form")?;
                let number = number.parse()?;
                if number < end {
                    *files.entry(path.clone()).or_default().entry(number).or_default() |= count != "0";
                }
            }
        }
        Ok(files)
    }

    /// Prints a line for each crate, and fails if one of them is below what it has to reach.
    fn judge(&self, reached: &BTreeMap<PathBuf, Lines>) -> Result<()> {
        let mut crates = BTreeMap::<&str, (usize, usize)>::new();
        for (path, lines) in reached {
            let name = path.iter().next().and_then(|name| name.to_str()).context("a path in no crate")?;
            if !self.is_wanted(name) {
                continue;
            }
            let (all, covered) = crates.entry(name).or_default();
            *all += lines.len();
            *covered += lines.values().filter(|reached| **reached).count();
            if self.arguments.missing {
                print_missing(path, lines);
            }
        }
        println!("{:18}{:>8}{:>9}{:>9}{:>9}", "crate", "lines", "reached", "percent", "wanted");
        let mut below = Vec::new();
        for (name, (all, covered)) in crates {
            let wanted = THRESHOLDS.iter().find(|(of, _)| *of == name).map(|(_, percent)| *percent);
            let shown = wanted.map_or(String::new(), |percent| format!("{percent:9}"));
            // For people: nothing is decided by it.
            #[expect(clippy::cast_precision_loss, reason = "there are not that many lines")]
            let percent = covered as f64 * 100.0 / all as f64;
            println!("{name:18}{all:8}{covered:9}{percent:9.1}{shown}");
            if wanted.is_some_and(|wanted| covered * 100 < all * wanted as usize) {
                below.push(name);
            }
        }
        ensure!(
            below.is_empty(),
            "tests reach too little of {}; --missing shows what they do not",
            below.join(", ")
        );
        Ok(())
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.arguments.crates.is_empty() || self.arguments.crates.iter().any(|wanted| wanted == name)
    }
}

/// Returns the line of a file that its tests begin at, so that they are not counted, or 0 if it is no source of a crate.
fn code_end(file: &Path) -> Result<u32> {
    let is_test = file.iter().any(|part| part == "tests" || part == "tests.rs");
    if is_test || !file.iter().any(|part| part == "src") {
        return Ok(0);
    }
    let source = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let lines: Vec<_> = source.lines().collect();
    let begin =
        lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests {"));
    Ok(begin.map_or(u32::MAX, |line| u32::try_from(line + 1).unwrap_or(u32::MAX)))
}

/// Prints a file's lines that nothing has reached, as ranges.
fn print_missing(path: &Path, lines: &Lines) {
    let mut ranges = Vec::<(u32, u32)>::new();
    let mut was_reached = true;
    for (&line, &reached) in lines {
        match ranges.last_mut().filter(|_| !was_reached) {
            _ if reached => {}
            Some(range) => range.1 = line,
            None => ranges.push((line, line)),
        }
        was_reached = reached;
    }
    if !ranges.is_empty() {
        let ranges =
            ranges.iter().map(
                |(first, last)| {
                    if first == last { format!(" {first}") } else { format!(" {first}-{last}") }
                },
            );
        println!("{}:{}", path.display(), ranges.collect::<String>());
    }
}

/// The programs of LLVM that read what the compiler's programs write.
struct Llvm {
    profdata: PathBuf,
    cov: PathBuf,
}

impl Llvm {
    /// Finds those of the toolchain (`rustup component add llvm-tools`), or the system's of the same release. On a
    /// Debian system that one may install to, installs those.
    fn find_or_install() -> Result<Self> {
        let release = llvm_release()?;
        if let Some(llvm) = Self::find(&release) {
            return Ok(llvm);
        }
        let package = format!("llvm-{release}");
        if tools::may_install() {
            tools::install(&[&package])?;
        }
        Self::find(&release).with_context(|| {
            format!("there is no llvm-cov of LLVM {release}: `rustup component add llvm-tools` (Debian: apt-get install {package})")
        })
    }

    fn find(release: &str) -> Option<Self> {
        let rustc = tools::printed(&tools::compiler(), &["--print", "target-libdir"]);
        let component = rustc.map(|libraries| Path::new(libraries.trim()).with_file_name("bin"));
        let ours =
            component.map(|dir| Self { profdata: dir.join("llvm-profdata"), cov: dir.join("llvm-cov") });
        let named = |name: &str| tools::on_path(&format!("{name}-{release}"));
        let system = || Some(Self { profdata: named("llvm-profdata")?, cov: named("llvm-cov")? });
        ours.filter(|llvm| llvm.profdata.is_file() && llvm.cov.is_file()).or_else(system)
    }
}

/// Returns the release of LLVM that the compiler has, which its programs have to be of.
fn llvm_release() -> Result<String> {
    let version =
        tools::printed(&tools::compiler(), &["-vV"]).context("the compiler does not say its version")?;
    let release = version.lines().find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next());
    Ok(release.context("the compiler does not say its version of LLVM")?.to_owned())
}
