//! What the argument parser has to say, in the form that all errors have.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};

use clap::CommandFactory;
use clap::error::ErrorKind;

use crate::arguments::{Arguments, When};
use crate::failure::Failure;
use crate::terminal::tell;

/// Tells somebody who gave no arguments what there is.
pub(crate) fn summary() -> u8 {
    tell(&Arguments::command().render_help().to_string());
    2
}

/// Whether the arguments name no command, be it that there are none or that they begin with flags of another one.
pub(crate) fn is_command_missing(arguments: &[OsString]) -> bool {
    Arguments::read(arguments).is_err_and(|error| {
        matches!(
            error.kind(),
            ErrorKind::MissingSubcommand
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                | ErrorKind::UnknownArgument
        )
    })
}

/// Prints help where help was asked for; otherwise returns what is wrong with the arguments.
pub(crate) fn explain(error: &clap::Error) -> Result<u8, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let mut out = std::io::stdout().lock();
            let styled = error.render();
            let printed = if When::Auto.applies(out.is_terminal()) {
                write!(out, "{}", styled.ansi())
            } else {
                write!(out, "{styled}")
            };
            printed.and_then(|()| out.flush()).map_err(|error| Failure::output(&error))?;
            Ok(0)
        }
        _ => Err(failure(&error.render().to_string())),
    }
}

/// Takes the parser's text apart: a paragraph with the problem, then tips, then the usage.
fn failure(text: &str) -> Failure {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let mut paragraphs = text.split("\n\n").map(|paragraph| {
        let lines: Vec<&str> = paragraph.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.join(" ")
    });
    // The parser lists all commands, also those that nobody is to call.
    let message = paragraphs.next().unwrap_or_default().replace(", demo-writer", "");
    let hints: Vec<String> = paragraphs
        .filter(|paragraph| !paragraph.is_empty())
        .map(|paragraph| match paragraph.strip_prefix("For more information, try ") {
            Some(rest) => format!("{} says more", rest.trim_end_matches('.').replace('\'', "`")),
            None => paragraph.replace("tip: ", "").replace("Usage: ", "usage: "),
        })
        .collect();
    Failure::usage(message).hint(hints.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parsers_text_becomes_one_line_and_a_hint() {
        let check = |text: &str, message: &str, hint: &str| {
            let failure = failure(text);
            assert_eq!((failure.message(), failure.hint_text()), (message, Some(hint)));
        };
        check(
            "error: the following required arguments were not provided:\n  <NS>\n  <KEY>\n\n\
             Usage: cohab get <NS> <KEY>\n\nFor more information, try '--help'.\n",
            "the following required arguments were not provided: <NS> <KEY>",
            "usage: cohab get <NS> <KEY>; `--help` says more",
        );
        check(
            "error: unexpected argument '--form' found\n\n  tip: a similar argument exists: '--from'\n\n\
             Usage: cohab scan --from <FROM> <NS>\n",
            "unexpected argument '--form' found",
            "a similar argument exists: '--from'; usage: cohab scan --from <FROM> <NS>",
        );
    }
}
