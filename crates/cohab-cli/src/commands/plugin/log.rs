//! `cohab plugin log`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use cohab::{PluginLogLine, Plugins, Role};

use super::status::word;
use crate::commands::{Exit, Outcome};
use crate::failure::Failure;
use crate::interrupt::{self, Signal, Then};
use crate::session::Session;
use crate::terminal::{Format, Record, is_output_closed, printable};

/// Show what a plugin logged, and what became of it, the oldest first
///
/// The log lies beside the store in a file that is begun anew when it is large; the one before it is kept.
#[derive(Debug, Args)]
pub(super) struct Log {
    /// The plugin
    name: String,
    /// Go on with what is logged from now on, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// No more than the last so many lines of what there is
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<usize>,
}

/// How often to look for new lines.
const TICK: Duration = Duration::from_millis(200);

impl Log {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        if self.follow {
            return self.follow(session);
        }
        let plugins = session.reader()?.plugins();
        let lines = self.read(&plugins)?;
        let columns = &["at", "level", "generation", "text"];
        let mut list = session.out.list(columns, columns)?;
        for line in self.last(&lines) {
            list.push(&record(line))?;
        }
        list.finish()?;
        Ok(Exit::Done)
    }

    /// Reads the log of a plugin that is there.
    fn read(&self, plugins: &Plugins) -> Result<Vec<PluginLogLine>, Failure> {
        plugins.show(&self.name)?;
        Ok(plugins.log(&self.name))
    }

    /// Returns the last lines, as many as are wanted.
    fn last<'l>(&self, lines: &'l [PluginLogLine]) -> &'l [PluginLogLine] {
        &lines[lines.len().saturating_sub(self.limit.unwrap_or(usize::MAX))..]
    }

    fn follow(&self, session: &mut Session) -> Outcome {
        let is_over = Arc::new(AtomicBool::new(false));
        let ending = is_over.clone();
        interrupt::listen(&[Signal::Terminate], move |_| {
            ending.store(true, Ordering::Relaxed);
            Then::End
        });
        let options =
            session.options().role(Role::Reader).app("cohab").app_version(env!("CARGO_PKG_VERSION"));
        let plugins = options.label("plugin-log").open(session.path()?)?.plugins();
        let mut lines = self.read(&plugins)?;
        for line in self.last(&lines) {
            print(session, line)?;
        }
        let mut last = lines.pop();
        while !is_over.load(Ordering::Relaxed) && !is_output_closed() {
            thread::sleep(TICK);
            lines = plugins.log(&self.name);
            lines.drain(..new_from(&lines, last.as_ref()));
            for line in &lines {
                print(session, line)?;
            }
            last = lines.pop().or(last);
        }
        interrupt::check()?;
        Ok(Exit::Done)
    }
}

/// Returns where the lines begin that come after one that was there before. A log that was begun anew twice since has it no
/// more; then what is later is new.
fn new_from(lines: &[PluginLogLine], last: Option<&PluginLogLine>) -> usize {
    let Some(last) = last else { return 0 };
    let known = lines.iter().rposition(|line| line == last).map(|at| at + 1);
    known.unwrap_or_else(|| lines.iter().take_while(|line| line.at <= last.at).count())
}

fn record(line: &PluginLogLine) -> Record<'_> {
    Record::new()
        .with("at", line.at)
        .with("level", word(line.level))
        .with("generation", line.generation)
        .with("text", line.text.as_str())
}

/// Prints a line at once: whoever reads a pipe waits for it.
fn print(session: &mut Session, line: &PluginLogLine) -> Result<(), Failure> {
    match session.out.format() {
        Format::Table | Format::Raw => {
            let level = word(line.level);
            let generation = line.generation.map(|number| format!(" g{number}")).unwrap_or_default();
            let text = printable(line.text.as_bytes(), usize::MAX);
            let level = level.as_str().unwrap_or_default();
            session.out.bytes(format!("{}  {level:5}{generation}  {text}\n", line.at).as_bytes())?;
        }
        Format::Json | Format::Jsonl => session.out.line(&record(line))?,
    }
    session.out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_printed_is_not_printed_again() {
        let line = |at: u64, text: &str| {
            let line = serde_json::json!({"at": at, "level": "info", "text": text});
            serde_json::from_value::<PluginLogLine>(line).expect("it has all fields")
        };
        let lines = [line(1, "a"), line(2, "b"), line(2, "c"), line(3, "a")];
        let check = |last: Option<PluginLogLine>, from| assert_eq!(new_from(&lines, last.as_ref()), from);
        check(None, 0);
        check(Some(line(1, "a")), 1);
        check(Some(line(2, "b")), 2);
        check(Some(line(3, "a")), 4);
        check(Some(line(0, "gone")), 0);
        check(Some(line(2, "gone")), 3);
    }
}
