//! Child processes: a test re-executes its own binary, running one test that is a child when it is told to be.

use std::env;
use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdout, Command, Stdio};

/// Tells a test that it is a child, and with which store.
const VARIABLE: &str = "COHAB_TESTKIT_CHILD";

/// What a line of a child begins with that is meant for its parent.
const MARK: &str = "@child ";

/// Returns the store of a test that runs as a child, or `None` in an ordinary run.
///
/// A test that acts as a child begins with this and returns at once when it is `None`.
pub fn child_store() -> Option<PathBuf> {
    env::var_os(VARIABLE).map(PathBuf::from)
}

/// A child process that runs one test of this binary. It is killed when it is dropped.
#[derive(Debug)]
pub struct Child {
    process: process::Child,
    lines: BufReader<ChildStdout>,
}

impl Child {
    /// Starts the test of that full name as a child with a store.
    pub fn start(test: &str, store: &Path) -> io::Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(VARIABLE, store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { process, lines: BufReader::new(stdout) })
    }

    /// Says something to the parent; called in the child.
    pub fn report(line: impl Display) -> io::Result<()> {
        // The test harness writes to the same stream, in the middle of a line even.
        let mut stdout = io::stdout().lock();
        write!(stdout, "\n{MARK}{line}\n")?;
        stdout.flush()
    }

    /// Returns the next thing that the child reported, or `None` once it has ended.
    pub fn next_report(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            // A line that the kill has cut in half was never reported.
            if let Some(report) = line.strip_prefix(MARK).and_then(|report| report.strip_suffix('\n')) {
                return Ok(Some(report.to_owned()));
            }
        }
    }

    /// Kills the child with `SIGKILL`, and returns what it had reported since the parent last listened.
    pub fn kill(mut self) -> io::Result<Vec<String>> {
        self.process.kill()?;
        let mut reports = Vec::new();
        while let Some(report) = self.next_report()? {
            reports.push(report);
        }
        self.process.wait()?;
        Ok(reports)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
