//! The lines that a hold is given, read on a thread of their own so that a signal is heard as well.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::SyncSender;
use std::thread;

use cohab::limits::LINE_BYTES_MAX;

use crate::failure::Failure;

/// How many lines are read ahead, which bounds memory whatever comes through the pipe.
pub(super) const LINES_AHEAD: usize = 4;

/// What the loop of a hold wakes up for.
pub(super) enum Input {
    /// A line without its line feed.
    Line(Vec<u8>),
    /// A line that is longer than any request.
    TooLong,
    /// Reading failed.
    Failed(io::Error),
    /// There is nothing more, or the hold is to end.
    End,
}

/// Reads lines until there are none, or nobody wants them any more.
pub(super) fn read(to: SyncSender<Input>) {
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let input = next(&mut stdin, LINE_BYTES_MAX).unwrap_or_else(Input::Failed);
            let is_last = matches!(input, Input::Failed(_) | Input::End);
            if to.send(input).is_err() || is_last {
                return;
            }
        }
    });
}

fn next(reader: &mut impl BufRead, bytes_max: usize) -> io::Result<Input> {
    let mut line = Vec::new();
    let bytes = reader.by_ref().take(bytes_max as u64 + 1).read_until(b'\n', &mut line)?;
    if line.pop_if(|last| *last == b'\n').is_some() || (bytes > 0 && bytes <= bytes_max) {
        return Ok(Input::Line(line));
    }
    if bytes == 0 {
        return Ok(Input::End);
    }
    reader.skip_until(b'\n')?;
    Ok(Input::TooLong)
}

pub(super) fn too_long() -> Failure {
    Failure::input(format!("the line is longer than {LINE_BYTES_MAX} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_or_refused() {
        let mut reader = &b"one\n\n12345678\n123456789\n12345678901234567890\nlast"[..];
        let mut read = || match next(&mut reader, 8) {
            Ok(Input::Line(line)) => String::from_utf8(line).expect("is ASCII"),
            Ok(Input::TooLong) => "too long".to_owned(),
            Ok(Input::End) => "end".to_owned(),
            Ok(Input::Failed(error)) | Err(error) => panic!("{error}"),
        };
        for expected in ["one", "", "12345678", "too long", "too long", "last", "end"] {
            assert_eq!(read(), expected);
        }
    }
}
