//! What each step of the gate does.

use std::io::{BufRead, BufReader, Write};
use std::num::NonZero;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::report::Report;
use crate::workspace::{self, Target, Workspace, run};
use crate::{deny, fuzz, peers, planted, plugins, rigs};

/// How many tests run at a time for each processor.
const TESTS_EACH: usize = 2;

/// A step of the gate, in the order in which they run: what is cheap and fails often comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Step {
    /// The code is formatted.
    Fmt,
    /// Clippy has nothing to say.
    Clippy,
    /// The documentation builds without a warning.
    Doc,
    /// Unit, integration and documentation tests pass.
    Test,
    /// Plugins build in each language, and the host's suite passes against them.
    Plugins,
    /// Every example runs.
    Examples,
    /// Every feature compiles by itself, and so does none.
    Features,
    /// Licences, bans and sources of dependencies are as agreed.
    Deny,
    /// What is published can be packaged.
    Package,
    /// The fuzz targets build and survive a few seconds each.
    Fuzz,
    /// The rigs attack a store, briefly.
    Rigs,
    /// Each defect that is planted, of those that show within seconds, is caught by a rig.
    Planted,
    /// The benchmarks run.
    Bench,
}

impl Step {
    /// Returns what the step is called on the command line.
    pub(crate) fn name(self) -> String {
        self.described().get_name().to_owned()
    }

    /// Returns what holds when the step has passed.
    pub(crate) fn meaning(self) -> String {
        self.described().get_help().map(ToString::to_string).unwrap_or_default()
    }

    fn described(self) -> clap::builder::PossibleValue {
        self.to_possible_value().expect("no step is hidden")
    }

    /// Runs the step.
    pub(crate) fn run(self, workspace: &Workspace, report: &mut Report) -> Result<()> {
        match self {
            Self::Fmt => fmt(workspace),
            Self::Clippy => clippy(workspace),
            Self::Doc => doc(workspace),
            Self::Test => test(workspace, report),
            Self::Plugins => plugins::check(workspace),
            Self::Examples => examples(workspace),
            Self::Features => features(workspace),
            Self::Deny => deny::run(workspace),
            Self::Package => package(workspace),
            Self::Fuzz => fuzz::smoke(workspace),
            Self::Rigs => rigs::smoke(workspace),
            Self::Planted => planted::smoke(workspace),
            Self::Bench => bench(workspace),
        }
    }
}

/// The workspaces that hang off the main one, which cargo's `--workspace` does not reach.
fn others() -> impl Iterator<Item = &'static str> {
    [fuzz::MANIFEST, peers::MANIFEST, rigs::MANIFEST].into_iter().chain(plugins::MANIFESTS)
}

fn fmt(workspace: &Workspace) -> Result<()> {
    run(workspace.cargo("fmt").args(["--all", "--check"]))?;
    for manifest in others() {
        run(workspace.cargo("fmt").args(["--check", "--manifest-path", manifest]))?;
    }
    Ok(())
}

fn clippy(workspace: &Workspace) -> Result<()> {
    let deny_warnings = ["--", "-D", "warnings"];
    let everything = ["--workspace", "--all-targets", "--all-features"];
    run(workspace.cargo("clippy").args(everything).args(deny_warnings))?;
    for manifest in others() {
        run(workspace
            .cargo("clippy")
            .args(["--all-targets", "--manifest-path", manifest])
            .args(deny_warnings))?;
    }
    Ok(())
}

fn doc(workspace: &Workspace) -> Result<()> {
    let mut command = workspace.cargo("doc");
    run(command.args(["--workspace", "--no-deps", "--all-features"]).env("RUSTDOCFLAGS", "-Dwarnings"))
}

fn test(workspace: &Workspace, report: &mut Report) -> Result<()> {
    let mut command = workspace.cargo("test");
    command.args(["--workspace", "--no-fail-fast"]);
    // Many of the tests wait for processes, for most of their time.
    let threads = thread::available_parallelism().map_or(1, NonZero::get) * TESTS_EACH;
    command.env("RUST_TEST_THREADS", threads.to_string());
    each_line(&mut command, |line| {
        if line.starts_with("test result:") {
            report.test_results.push(line.to_owned());
        }
    })
}

/// Runs a command that prints as if nobody listened, and listens.
fn each_line(command: &mut Command, mut listen: impl FnMut(&str)) -> Result<()> {
    workspace::announce(command);
    let name = workspace::name(command);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {name}"))?;
    let mut output = BufReader::new(child.stdout.take().context("the output was piped")?);
    let (mut line, mut stdout) = (Vec::new(), std::io::stdout());
    while output.read_until(b'\n', &mut line)? > 0 {
        stdout.write_all(&line)?;
        listen(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    let status = child.wait()?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

fn examples(workspace: &Workspace) -> Result<()> {
    let metadata = workspace.metadata(&workspace.path("Cargo.toml"))?;
    for package in &metadata.packages {
        for example in package.targets_of("example") {
            // Not by package, so that it is what the tests have built.
            let mut command = workspace.cargo("run");
            command.args(["--quiet", "--example", &example.name]);
            for feature in &example.required_features {
                command.args(["--features", &format!("{}/{feature}", package.name)]);
            }
            run(&mut command)?;
        }
    }
    Ok(())
}

fn features(workspace: &Workspace) -> Result<()> {
    let metadata = workspace.metadata(&workspace.path("Cargo.toml"))?;
    for package in metadata.packages.iter().filter(|package| !package.features.is_empty()) {
        let alone = || {
            let mut command = workspace.cargo("check");
            command.args(["--quiet", "--package", &package.name, "--no-default-features"]);
            command
        };
        run(&mut alone())?;
        let is_left = |feature: &&String| *feature != "default" && !is_built_alone(&package.name, feature);
        for feature in package.features.keys().filter(is_left) {
            run(alone().args(["--features", feature]))?;
        }
        // Those that need a feature are not among what the test command runs. The host's suite has a step of its own.
        let is_left = |test: &&Target| !test.required_features.is_empty() && package.name != plugins::HOST;
        for test in package.targets_of("test").filter(is_left) {
            let features = test.required_features.join(",");
            let mut command = workspace.cargo("test");
            let named = ["--package", &package.name, "--test", &test.name];
            run(command.args(named).args(["--features", &features]))?;
        }
    }
    Ok(())
}

/// Whether another step builds a package with this feature and no other: the benchmark beside other engines with scripts, and what
/// plugins are tested with is the facade and the host, each with WebAssembly.
fn is_built_alone(package: &str, feature: &str) -> bool {
    [("cohab", "scripts"), ("cohab", "plugins"), (plugins::HOST, "wasm")].contains(&(package, feature))
}

/// Packages everything that is published, without building it again: the build is what the other steps check.
fn package(workspace: &Workspace) -> Result<()> {
    let metadata = workspace.metadata(&workspace.path("Cargo.toml"))?;
    let mut command = workspace.cargo("package");
    command.args(["--quiet", "--allow-dirty", "--no-verify"]);
    for package in metadata.packages.iter().filter(|package| package.is_published()) {
        command.args(["--package", &package.name]);
    }
    run(&mut command)
}

fn bench(workspace: &Workspace) -> Result<()> {
    // Whether they run is the question, not how fast, so they are what the test step has built.
    run(workspace.cargo("test").args(["--workspace", "--bench", "*"]))?;
    peers::check(workspace)
}
