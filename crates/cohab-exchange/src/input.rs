//! Opening what a user names, and guessing what it is.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use self::lz4::Lz4Decoder;
use crate::{Error, Result};

mod lz4;

/// How much is read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// How much is read in advance of an input whose first line is longer.
const START_BYTES: usize = 4096;

const LZ4_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Opens a file, or the standard input if the path is `-`.
///
/// What is compressed with gzip or as an lz4 frame is decompressed on the way, whatever the file is called.
/// Compressed input that is cut off is an error, not an end. The first [`fill_buf`](BufRead::fill_buf) shows
/// the first line, or 4 KiB of it, or all there is, which is what [`detect`] wants.
pub fn open(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let failed = |action| move |source| Error::Io { action, path: path.to_owned(), source };
    if path == Path::new("-") {
        return decompressed(io::stdin()).map_err(failed("reading"));
    }
    let file = File::open(path).map_err(failed("opening"))?;
    decompressed(file).map_err(failed("reading"))
}

fn decompressed(reader: impl Read + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    let raw = started(reader, |start| start.len() >= LZ4_MAGIC.len())?;
    let (start, _) = raw.get_ref();
    let (is_lz4, is_gzip) =
        (start.get_ref().starts_with(&LZ4_MAGIC), start.get_ref().starts_with(&GZIP_MAGIC));
    let is_enough = |start: &[u8]| start.len() >= START_BYTES || start.contains(&b'\n');
    Ok(match () {
        () if is_lz4 => Box::new(started(Lz4Decoder::new(raw), is_enough)?),
        () if is_gzip => Box::new(started(MultiGzDecoder::new(raw), is_enough)?),
        () => Box::new(started(raw, is_enough)?),
    })
}

/// Reads until the start suffices or there is no more, and puts it back before the rest.
fn started<R: Read>(
    mut reader: R,
    is_enough: impl Fn(&[u8]) -> bool,
) -> io::Result<io::Chain<Cursor<Vec<u8>>, BufReader<R>>> {
    let mut start = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    while !is_enough(&start) {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => start.extend_from_slice(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Cursor::new(start).chain(BufReader::with_capacity(BUFFER_BYTES, reader)))
}

/// A format that bytes can be in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Format {
    /// See [`dump`](crate::dump).
    Dump,
    /// See [`jsonl`](crate::jsonl).
    Jsonl,
    /// See [`deb822`](crate::deb822).
    Deb822,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dump => "dump",
            Self::Jsonl => "jsonl",
            Self::Deb822 => "deb822",
        })
    }
}

/// Guesses a format from how the input begins; the first line suffices.
///
/// It is a guess: a reader of that format may still refuse the input.
pub fn detect(start: &[u8]) -> Option<Format> {
    let start = start.trim_ascii_start();
    if let Some(object) = start.strip_prefix(b"{") {
        let is_dump = object.trim_ascii_start().starts_with(br#""cohab_dump""#);
        return Some(if is_dump { Format::Dump } else { Format::Jsonl });
    }
    let name = start.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
    let is_field = name > 0 && start.get(name) == Some(&b':');
    (is_field || start.starts_with(b"#")).then_some(Format::Deb822)
}

#[cfg(test)]
mod tests;
