//! Telling the user what went wrong.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use cohab::Holder;
use serde_json::{Map, Value, json};

use crate::arguments::{Global, When};
use crate::failure::Failure;
use crate::terminal::{Format, tell};

/// Prints failures on the standard error, as text or as JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reporter {
    is_json: bool,
    is_colored: bool,
}

impl Reporter {
    pub(crate) fn new(global: &Global) -> Self {
        // Only on demand: with a pipe behind the standard output, a person may still read the errors.
        let is_json = matches!(global.output, Some(Format::Json | Format::Jsonl));
        Self { is_json, is_colored: global.color.applies(io::stderr().is_terminal()) }
    }

    /// Guesses the form of errors from arguments that may turn out not to make sense.
    pub(crate) fn guess(arguments: &[OsString]) -> Self {
        let flag = |long: &str, short: Option<&str>, variable: &str| {
            let mut found = std::env::var(variable).ok();
            let mut arguments = arguments.iter().filter_map(|argument| argument.to_str());
            while let Some(argument) = arguments.next() {
                if argument == "--" {
                    break;
                } else if argument == long || Some(argument) == short {
                    found = arguments.next().map(str::to_owned);
                } else if let Some(value) = argument.strip_prefix(long).and_then(|v| v.strip_prefix('=')) {
                    found = Some(value.to_owned());
                } else if let Some(value) = short.and_then(|short| argument.strip_prefix(short)) {
                    found = Some(value.trim_start_matches('=').to_owned());
                }
            }
            found
        };
        let output = flag("--output", Some("-o"), "COHAB_OUTPUT");
        let color = flag("--color", None, "COHAB_COLOR").and_then(|when| When::from_str(&when, false).ok());
        Self {
            is_json: matches!(output.as_deref(), Some("json" | "jsonl")),
            is_colored: color.unwrap_or_default().applies(io::stderr().is_terminal()),
        }
    }

    /// Prints a failure and returns its exit code.
    pub(crate) fn report(self, failure: &Failure) -> u8 {
        if failure.is_silent() {
            return 0;
        }
        let text = if self.is_json { json(failure) } else { self.text(failure) };
        tell(&text);
        failure.code()
    }

    fn text(self, failure: &Failure) -> String {
        let paint = |text: &str, color: AnsiColor| {
            let style =
                if self.is_colored { Style::new().bold().fg_color(Some(color.into())) } else { Style::new() };
            format!("{style}{text}{style:#}")
        };
        let mut text = format!("{} {}\n", paint("cohab:", AnsiColor::Red), one_line(failure.message()));
        for cause in failure.causes() {
            text = format!("{text}  {}\n", one_line(cause));
        }
        if let Some(hint) = failure.hint_text() {
            text = format!("{text}{} {}\n", paint("hint:", AnsiColor::Cyan), one_line(hint));
        }
        text
    }
}

/// A message of somebody else's may have several lines, or what a terminal obeys.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// A failure as the answer to a request, without what there is nothing to say about.
pub(crate) fn brief(failure: &Failure) -> Value {
    let mut error = json!({ "kind": failure.kind(), "message": failure.message() });
    if !failure.causes().is_empty() {
        error["causes"] = failure.causes().into();
    }
    if let Some(hint) = failure.hint_text() {
        error["hint"] = hint.into();
    }
    if let Some(of) = failure.holder() {
        error["holder"] = holder(of);
    }
    error
}

fn json(failure: &Failure) -> String {
    let mut error = Map::new();
    error.insert("kind".into(), failure.kind().into());
    error.insert("message".into(), failure.message().into());
    error.insert("causes".into(), failure.causes().into());
    error.insert("hint".into(), failure.hint_text().into());
    if failure.kind() == "busy" {
        error.insert("holder".into(), failure.holder().map_or(Value::Null, holder));
    }
    format!("{}\n", json!({ "error": error }))
}

/// Who holds a lock, as a JSON object.
pub(crate) fn holder(holder: &Holder) -> Value {
    let instance = holder.instance.map(|instance| instance.to_string());
    let since = holder.since.to_string();
    let mut object = json!({ "instance": instance, "role": holder.role, "pid": holder.pid, "since": since });
    let said = [
        ("app", &holder.app),
        ("channel", &holder.channel),
        ("app_version", &holder.app_version),
        ("label", &holder.label),
    ];
    for (field, text) in said {
        if let Some(text) = text {
            object[field] = text.as_str().into();
        }
    }
    object
}
