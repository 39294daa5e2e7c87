//! An instance of the demonstration's own: a process that `cohab hold` keeps open, asked over its pipes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use super::child::{said, this_program};
use crate::failure::Failure;

/// The process, which is killed at the latest when this is dropped.
pub(super) struct Instance {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// What it told before it was asked for.
    events: Vec<Value>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Both fail only where the process is gone already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Instance {
    /// Starts this program again and waits until it has the store open.
    pub(super) fn start(store: &Path, arguments: &[&str]) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::io("starting an instance failed", &error);
        let mut command = this_program().map_err(failed)?;
        command.arg("hold").args(arguments).arg("--store").arg(store);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(Failure::defect("a child's streams are not piped"));
        };
        let mut instance = Self { child, stdin, stdout, events: Vec::new() };
        instance.event("open")?;
        Ok(instance)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks for something that has to succeed.
    pub(super) fn ask(&mut self, request: &Value) -> Result<Value, Failure> {
        let answer = self.try_to_ask(request)?;
        if answer["ok"] == true {
            return Ok(answer);
        }
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        Err(Failure::unexpected(format!("process {}: {request} failed: {message}", self.pid())))
    }

    /// Asks for something, and returns the answer be it good or bad.
    pub(super) fn try_to_ask(&mut self, request: &Value) -> Result<Value, Failure> {
        self.request(request)?;
        self.next_answer()
    }

    /// Hands in a request whose answer is not waited for yet.
    pub(super) fn request(&mut self, request: &Value) -> Result<(), Failure> {
        writeln!(self.stdin, "{request}").map_err(|_| self.ended_early())
    }

    /// Waits for the answer to the oldest request that has none.
    pub(super) fn next_answer(&mut self) -> Result<Value, Failure> {
        self.answer()?.ok_or_else(|| self.ended_early())
    }

    /// Waits for an event of that name.
    pub(super) fn event(&mut self, name: &str) -> Result<Value, Failure> {
        if let Some(at) = self.events.iter().position(|event| event["event"] == name) {
            return Ok(self.events.swap_remove(at));
        }
        loop {
            match self.line()? {
                Some(line) if line["event"] == name => return Ok(line),
                Some(_) => {}
                None => return Err(self.ended_early()),
            }
        }
    }

    /// Kills the process, and returns what it still managed to answer.
    pub(super) fn kill(mut self) -> Result<Vec<Value>, Failure> {
        self.child.kill().map_err(|error| Failure::io("killing an instance failed", &error))?;
        let mut answers = Vec::new();
        // It lies in the pipe.
        while let Some(answer) = self.answer()? {
            answers.push(answer);
        }
        Ok(answers)
    }

    fn answer(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            match self.line()? {
                Some(line) if line.get("event").is_none() => return Ok(Some(line)),
                Some(event) if event["event"] != "version" => self.events.push(event),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    fn line(&mut self) -> Result<Option<Value>, Failure> {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line);
        read.map_err(|error| Failure::io("listening to an instance failed", &error))?;
        // A line that was cut off was not said.
        let Some(line) = line.strip_suffix('\n') else { return Ok(None) };
        let said = serde_json::from_str(line);
        said.map(Some).map_err(|_| Failure::unexpected(format!("an instance said \"{line}\"")))
    }

    fn ended_early(&mut self) -> Failure {
        Failure::unexpected(format!("an instance ended by itself: {}", said(&mut self.child)))
    }
}

/// A request to put a value under a key.
pub(super) fn put(namespace: &str, key: &str, value: u64) -> Value {
    json!({ "ns": namespace, "key": key, "value": value.to_string() })
}
