//! The rig's side of the processes: starting them, hearing them, and ending them.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::cast::{Part, Script};
use super::report::Report;

/// The processes of one cut.
pub(crate) struct Crew {
    members: Vec<Member>,
    sender: Option<Sender<Report>>,
    receiver: Receiver<Report>,
    /// What they have reported so far.
    pub(crate) heard: Vec<Report>,
}

struct Member {
    process: Child,
    input: ChildStdin,
}

impl Crew {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = channel();
        Self { members: Vec::new(), sender: Some(sender), receiver, heard: Vec::new() }
    }

    pub(crate) fn start(&mut self, part: Part, script: &Script, seed: u64) -> anyhow::Result<()> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("power").arg("--part").arg(format!("{part:?}").to_lowercase());
        command.args([Path::new("--place"), &script.place, Path::new("--mount"), &script.mount]);
        command.args(["--seed", &seed.to_string()]);
        if let Some(point) = script.cut_at {
            command.args(["--cut-at", &format!("{point:?}").to_lowercase()]);
            command.args(["--cut-after", &script.cut_after.to_string()]);
            if script.cut_opening {
                command.arg("--cut-opening");
            }
        }
        if script.skip_syncs {
            command.arg("--skip-syncs");
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = process.stdin.take().context("it has no input")?;
        let output = process.stdout.take().context("it has no output")?;
        let sender = self.sender.clone().context("the crew is gone")?;
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|len| len > 0) {
                // A line that the kill has cut in half was never reported.
                if line.ends_with('\n')
                    && let Ok(report) = serde_json::from_str(&line)
                    && sender.send(report).is_err()
                {
                    return;
                }
                line.clear();
            }
        });
        self.members.push(Member { process, input });
        Ok(())
    }

    /// Listens until one of them reports something that is wanted, and returns whether it did in time.
    pub(crate) fn hear(&mut self, wait: Duration, is_wanted: impl Fn(&Report) -> bool) -> bool {
        let deadline = Instant::now() + wait;
        loop {
            match self.receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(report) => {
                    let is_it = is_wanted(&report);
                    self.heard.push(report);
                    if is_it {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Has the last one that was started ask for the writer's role.
    pub(crate) fn promote_last(&mut self) {
        if let Some(member) = self.members.last_mut() {
            let _ = member.input.write_all(b"promote\n");
        }
    }

    /// Kills the first one.
    pub(crate) fn kill_first(&mut self) -> anyhow::Result<()> {
        if let Some(member) = self.members.first_mut() {
            member.process.kill()?;
            member.process.wait()?;
        }
        Ok(())
    }

    /// Kills all of them, and returns everything they have reported.
    pub(crate) fn kill(mut self) -> anyhow::Result<Vec<Report>> {
        for member in &mut self.members {
            member.process.kill()?;
        }
        for member in &mut self.members {
            member.process.wait()?;
        }
        self.sender = None;
        // Until the last of those that listen has come to the end.
        self.heard.extend(self.receiver.iter());
        Ok(std::mem::take(&mut self.heard))
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.process.kill();
            let _ = member.process.wait();
        }
    }
}
