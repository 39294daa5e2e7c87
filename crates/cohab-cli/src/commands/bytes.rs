//! Keys and values as arguments.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use cohab::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

use crate::arguments::text;
use crate::failure::Failure;

/// How keys and values stand in the arguments.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct Encoding {
    /// Keys and values in the arguments are hexadecimal
    #[arg(long, conflicts_with = "base64")]
    hex: bool,
    /// Keys and values in the arguments are base64
    #[arg(long)]
    base64: bool,
}

impl Encoding {
    /// Reads a key. `@FILE` stands for what is in a file, and `-` for the standard input, whatever the encoding.
    pub(super) fn key(self, argument: &OsStr) -> Result<Vec<u8>, Failure> {
        self.read("key", argument, KEY_BYTES_MAX)
    }

    /// Reads a value, of which the same holds.
    pub(super) fn value(self, argument: &OsStr) -> Result<Vec<u8>, Failure> {
        self.read("value", argument, VALUE_BYTES_MAX)
    }

    /// Reads what a plugin is called with.
    #[cfg(feature = "scripts")]
    pub(super) fn input(self, argument: &OsStr) -> Result<Vec<u8>, Failure> {
        self.read("input", argument, VALUE_BYTES_MAX)
    }

    fn read(self, what: &str, argument: &OsStr, bytes_max: usize) -> Result<Vec<u8>, Failure> {
        let bytes = if argument == "-" {
            input_must_be_open()?;
            read_all(what, "the standard input", io::stdin(), bytes_max)?
        } else if let Some(path) = file_name(argument) {
            if path.as_os_str().is_empty() {
                return Err(Failure::usage(format!("the {what} is `@` without the name of a file")));
            }
            let name = path.display().to_string();
            let file = File::open(path)
                .map_err(|error| Failure::io(format!("opening {name} for the {what} failed"), &error))?;
            read_all(what, &name, file, bytes_max)?
        } else {
            self.decode(what, argument)?
        };
        if bytes.len() > bytes_max {
            return Err(Failure::input(format!("the {what} is longer than {bytes_max} bytes")));
        }
        Ok(bytes)
    }

    fn decode(self, what: &str, argument: &OsStr) -> Result<Vec<u8>, Failure> {
        let binary = "give bytes that are no text with --hex, --base64, @FILE, or - for the standard input";
        let text = text(what, argument).map_err(|failure| failure.hint(binary))?;
        let refuse =
            |form: &str, reason: String| Failure::input(format!("the {what} is not {form}")).cause(reason);
        match self {
            Self { hex: true, .. } => decode_hex(text).map_err(|reason| refuse("hexadecimal", reason)),
            Self { base64: true, .. } => {
                STANDARD.decode(text).map_err(|error| refuse("base64", error.to_string()))
            }
            _ => Ok(text.as_bytes().to_vec()),
        }
    }
}

/// Refuses to read from a standard input that was closed: it would look empty.
///
/// The runtime opens the null device in its place, for reading and writing, by which it is known again.
pub(super) fn input_must_be_open() -> Result<(), Failure> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let null = std::fs::metadata("/dev/null").ok().filter(|null| null.file_type().is_char_device());
        let stdin =
            io::stdin().as_fd().try_clone_to_owned().and_then(|stdin| File::from(stdin).metadata()).ok();
        let flags = rustix::fs::fcntl_getfl(io::stdin()).ok();
        if let (Some(null), Some(stdin), Some(flags)) = (null, stdin, flags)
            && null.rdev() == stdin.rdev()
            && flags.contains(rustix::fs::OFlags::RDWR)
        {
            return Err(Failure::input("the standard input is closed"));
        }
    }
    Ok(())
}

/// Refuses two arguments that both stand for the standard input.
pub(super) fn one_from_input(one: &OsStr, other: &OsStr) -> Result<(), Failure> {
    if one == "-" && other == "-" {
        return Err(Failure::usage("only one of the arguments can be read from the standard input"));
    }
    Ok(())
}

fn file_name(argument: &OsStr) -> Option<&Path> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        argument.as_bytes().strip_prefix(b"@").map(|name| Path::new(OsStr::from_bytes(name)))
    }
    #[cfg(not(unix))]
    argument.to_str()?.strip_prefix('@').map(Path::new)
}

/// Reads to the end, but no more than one byte above the limit.
fn read_all(what: &str, name: &str, reader: impl Read, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = reader.take(bytes_max as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::io(format!("reading the {what} from {name} failed"), &error))?;
    Ok(bytes)
}

fn decode_hex(text: &str) -> Result<Vec<u8>, String> {
    if !text.len().is_multiple_of(2) {
        return Err("it has an odd number of digits".to_owned());
    }
    let digit = |byte: u8| {
        let digit = char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        digit.ok_or_else(|| format!("`{}` is no hexadecimal digit", byte.escape_ascii()))
    };
    text.as_bytes().chunks_exact(2).map(|pair| Ok(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_decoded_or_refused() {
        let check = |hex, base64, argument: &str, expected: Result<&[u8], &str>| {
            let read = Encoding { hex, base64 }.key(OsStr::new(argument));
            match expected {
                Ok(bytes) => assert_eq!(read.expect(argument), bytes),
                Err(part) => {
                    let message = read.expect_err(argument).summary();
                    assert!(message.contains(part), "{message}");
                }
            }
        };
        check(false, false, "ü", Ok("ü".as_bytes()));
        check(false, false, "", Ok(b""));
        check(true, false, "00fFa0", Ok(b"\x00\xff\xa0"));
        check(true, false, "0", Err("odd number"));
        check(true, false, "0ü", Err("odd number"));
        check(true, false, "+0", Err("`+` is no hexadecimal digit"));
        check(false, true, "/wA=", Ok(b"\xff\x00"));
        check(false, true, "/wA", Err("not base64"));
        check(false, false, "@", Err("`@` without the name of a file"));
        check(false, false, "@/nowhere/at/all", Err("opening /nowhere/at/all for the key failed"));
        check(false, false, &"k".repeat(KEY_BYTES_MAX), Ok("k".repeat(KEY_BYTES_MAX).as_bytes()));
        check(false, false, &"k".repeat(KEY_BYTES_MAX + 1), Err("longer than 2048 bytes"));
    }
}
