//! A writing process of the demonstration's own.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use cohab::Version;

use super::stage::Stage;
use crate::failure::Failure;

/// A commit that the writer reported: its number, and the version it made.
pub(super) type Acknowledged = (u64, Version);

/// A child process that commits without end, killed at the latest when this is dropped.
pub(super) struct Writer {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Both fail only where the process is gone already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Writer {
    /// Starts this program again, as a writer whose first commit has the number `next`.
    pub(super) fn start(stage: &Stage, next: u64) -> Result<Self, Failure> {
        Self::start_with(stage, &["--start", &next.to_string()])
    }

    /// Starts this program again, as a writer that does what the arguments say.
    pub(super) fn start_with(stage: &Stage, arguments: &[&str]) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::io("starting the writing process failed", &error);
        let mut command = this_program().map_err(failed)?;
        command.arg("demo-writer").args(arguments).arg("--store").arg(stage.store_path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let stdout = child.stdout.take().map(BufReader::new);
        let stdout = stdout.ok_or_else(|| Failure::defect("a child's standard output is not piped"))?;
        Ok(Self { child, stdout })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next commits.
    pub(super) fn acknowledgements(&mut self, count: usize) -> Result<Vec<Acknowledged>, Failure> {
        let mut acknowledged = Vec::new();
        while acknowledged.len() < count {
            match self.acknowledgement()? {
                Some(commit) => acknowledged.push(commit),
                None => return Err(self.ended_early()),
            }
        }
        Ok(acknowledged)
    }

    /// Kills the process, and returns what it still managed to acknowledge.
    pub(super) fn kill(mut self) -> Result<Vec<Acknowledged>, Failure> {
        let failed = |error: std::io::Error| Failure::io("killing the writing process failed", &error);
        self.child.kill().map_err(failed)?;
        let mut acknowledged = Vec::new();
        // It lies in the pipe. A line that was cut off was not said.
        while let Some(commit) = self.acknowledgement()? {
            acknowledged.push(commit);
        }
        Ok(acknowledged)
    }

    fn acknowledgement(&mut self) -> Result<Option<Acknowledged>, Failure> {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line);
        read.map_err(|error| Failure::io("listening to the writing process failed", &error))?;
        let Some(line) = line.strip_suffix('\n') else { return Ok(None) };
        let numbers = line
            .split_once(' ')
            .and_then(|(number, version)| Some((number.parse().ok()?, Version::new(version.parse().ok()?))));
        numbers.map(Some).ok_or_else(|| Failure::unexpected(format!("the writer said \"{line}\"")))
    }

    fn ended_early(&mut self) -> Failure {
        Failure::unexpected(format!("the writing process ended by itself: {}", said(&mut self.child)))
    }
}

/// This program once more, which knows nothing of how this process was called.
pub(super) fn this_program() -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    for variable in ["COHAB_STORE", "COHAB_OUTPUT", "COHAB_COLOR", "COHAB_WAIT", "COHAB_QUIET"] {
        command.env_remove(variable);
    }
    Ok(command)
}

/// What a process that has ended said on its standard error.
pub(super) fn said(child: &mut Child) -> String {
    let mut said = String::new();
    if let Some(stderr) = &mut child.stderr {
        _ = stderr.read_to_string(&mut said);
    }
    said.trim().to_owned()
}
