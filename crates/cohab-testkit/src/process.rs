//! Child processes: a test re-executes its own binary, running one test that is a child when it is told to be.

use std::env;
use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

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
    input: Option<ChildStdin>,
    /// What it reports, collected by a thread, so that a child that says nothing cannot hang its parent.
    reports: Receiver<io::Result<String>>,
}

impl Child {
    /// Starts the test of that full name as a child with a store.
    pub fn start(test: &str, store: &Path) -> io::Result<Self> {
        Self::start_through(&[], test, store)
    }

    /// Starts a child through a command that is given the child's program and arguments, such as
    /// `["unshare", "--uts"]`.
    pub fn start_through(command: &[&str], test: &str, store: &Path) -> io::Result<Self> {
        let program = env::current_exe()?;
        let mut starter = match command {
            [] => Command::new(program),
            [first, others @ ..] => {
                let mut starter = Command::new(first);
                starter.args(others).arg(program);
                starter
            }
        };
        let mut process = starter
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(VARIABLE, store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take();
        let stdout = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let (sender, reports) = channel();
        let listen = move || {
            let mut lines = BufReader::new(stdout);
            while let Some(report) = next_report(&mut lines).transpose() {
                let is_over = report.is_err();
                if sender.send(report).is_err() || is_over {
                    return;
                }
            }
        };
        thread::Builder::new().name("child-reports".into()).spawn(listen)?;
        Ok(Self { process, input, reports })
    }

    /// Says something to the parent; called in the child.
    pub fn report(line: impl Display) -> io::Result<()> {
        // The test harness writes to the same stream, in the middle of a line even.
        let mut stdout = io::stdout().lock();
        write!(stdout, "\n{MARK}{line}\n")?;
        stdout.flush()
    }

    /// Returns the next line that the parent told, or `None` once it has ended; called in the child.
    pub fn told() -> io::Result<Option<String>> {
        io::stdin().lines().next().transpose()
    }

    /// Tells the child a line.
    pub fn tell(&mut self, line: impl Display) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(input, "{line}")?;
        input.flush()
    }

    /// Returns the next thing that the child reported, or `None` once it has ended.
    pub fn next_report(&mut self) -> io::Result<Option<String>> {
        self.reports.recv().ok().transpose()
    }

    /// Returns the next thing that the child reported, or `None` once it has ended.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut) if it reports nothing in time.
    pub fn next_report_within(&mut self, wait: Duration) -> io::Result<Option<String>> {
        match self.reports.recv_timeout(wait) {
            Ok(report) => report.map(Some),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Returns the process id, which is that of the command it was started through, if there is one.
    pub fn id(&self) -> u32 {
        self.process.id()
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

    /// Lets the child know that nothing more is told, and waits until it has ended.
    pub fn end(mut self) -> io::Result<ExitStatus> {
        drop(self.input.take());
        self.process.wait()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn next_report(lines: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        // A line that the kill has cut in half was never reported.
        if let Some(report) = line.strip_prefix(MARK).and_then(|report| report.strip_suffix('\n')) {
            return Ok(Some(report.to_owned()));
        }
    }
}
