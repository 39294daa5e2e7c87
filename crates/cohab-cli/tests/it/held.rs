//! An instance that `cohab hold` keeps open for a test.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::Place;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The process, and what it has said that nobody asked for yet.
pub(crate) struct Held {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    events: VecDeque<Value>,
    /// What it said first.
    pub(crate) opened: Value,
}

impl Held {
    /// Starts a hold and waits until it is open.
    #[track_caller]
    pub(crate) fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut command = place.command();
        command.arg("hold").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // A process that is killed may leave half a line.
            for line in stdout.lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str(&line) else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        let mut held = Self { child, stdin, lines, events: VecDeque::new(), opened: Value::Null };
        held.opened = held.event("open");
        held
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn instance(&self) -> &str {
        self.opened["instance"].as_str().unwrap()
    }

    /// Hands in a line, as it is.
    #[track_caller]
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Returns the next answer; events that come before it are kept.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap();
            if line.get("event").is_none() {
                return line;
            }
            self.events.push_back(line);
        }
    }

    /// Asks for something and returns the answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        self.say(&request.to_string());
        self.answer()
    }

    /// Asks for something that has to succeed.
    #[track_caller]
    pub(crate) fn done(&mut self, request: &Value) -> Value {
        let answer = self.ask(request);
        assert_eq!(answer["ok"], true, "{request} was answered with {answer}");
        answer
    }

    /// Asks for something that has to fail, and returns the error.
    #[track_caller]
    pub(crate) fn fails(&mut self, kind: &str, request: &Value) -> Value {
        let answer = self.ask(request);
        assert_eq!((&answer["ok"], &answer["error"]["kind"]), (&json!(false), &json!(kind)), "{answer}");
        answer["error"].clone()
    }

    /// Waits for an event of that name; others are dropped on the way.
    #[track_caller]
    pub(crate) fn event(&mut self, name: &str) -> Value {
        loop {
            let event = match self.events.pop_front() {
                Some(event) => event,
                None => self.lines.recv_timeout(PATIENCE).unwrap(),
            };
            if event["event"] == name {
                return event;
            }
        }
    }

    /// Waits until the hold has told of a version.
    #[track_caller]
    pub(crate) fn reaches(&mut self, version: u64) {
        while self.event("version")["version"].as_u64().unwrap() < version {}
    }

    /// Kills the process as hard as can be.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Closes the standard input and waits for the end.
    #[track_caller]
    pub(crate) fn close(mut self) {
        drop(self.stdin.take());
        self.ends(0);
    }

    /// Waits for the end, of which it tells, with this code.
    #[track_caller]
    pub(crate) fn ends(mut self, code: i32) {
        self.event("closed");
        assert_eq!(self.child.wait().unwrap().code(), Some(code));
        assert!(self.lines.recv_timeout(PATIENCE).is_err(), "it spoke after the end");
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Both fail only where the process is gone already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
