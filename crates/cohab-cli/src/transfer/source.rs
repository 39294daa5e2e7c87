//! Opening what is to be loaded, and finding out what it is.

use std::io::{self, BufRead, Read, Seek};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use cohab_exchange::{input, tree};

use crate::failure::{Failure, in_file};
use crate::terminal::Progress;

/// What data is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// Lines of {"key":…,"value":…}
    Jsonl,
    /// Debian control files, such as a Packages list; a stanza each, by package name
    Deb822,
    /// A directory; a file each, by path
    Tree,
    /// What `cohab dump` wrote
    Dump,
}

/// Something to load from.
pub(crate) struct Source<'p> {
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
    pub(crate) content: Content<'p>,
}

/// What is behind the path.
pub(crate) enum Content<'p> {
    /// Decompressed bytes.
    Bytes(Reader<'p>),
    /// The files of a directory.
    Tree(tree::Entries),
}

/// A reader that tells how far it has come.
pub(crate) type Reader<'p> = Counted<'p, Box<dyn BufRead + Send>>;

impl<'p> Source<'p> {
    /// Opens a file, a directory, or for `-` the standard input, and guesses its format if none is given.
    pub(crate) fn open(path: &Path, format: Option<Format>, progress: &'p Progress) -> Result<Self, Failure> {
        if format == Some(Format::Tree) || (format.is_none() && path.is_dir()) {
            let content = Content::Tree(tree::entries(path)?);
            return Ok(Self { path: path.to_owned(), format: Format::Tree, content });
        }
        let mut reader = input::open(path).map_err(in_file(path))?;
        let format = match format {
            Some(format) => format,
            None => guess(path, &mut reader)?,
        };
        let content = Content::Bytes(Counted { reader, progress });
        Ok(Self { path: path.to_owned(), format, content })
    }

    /// Returns the bytes, which only a directory does not have.
    pub(crate) fn into_bytes(self) -> Result<Reader<'p>, Failure> {
        match self.content {
            Content::Bytes(reader) => Ok(reader),
            Content::Tree(_) => Err(Failure::input(format!("{} is a directory", self.path.display()))),
        }
    }
}

fn guess(path: &Path, reader: &mut impl BufRead) -> Result<Format, Failure> {
    let failed = |error: io::Error| Failure::io(format!("reading {} failed", path.display()), &error);
    let start = reader.fill_buf().map_err(failed)?;
    match input::detect(start) {
        Some(input::Format::Dump) => Ok(Format::Dump),
        Some(input::Format::Jsonl) => Ok(Format::Jsonl),
        Some(input::Format::Deb822) => Ok(Format::Deb822),
        _ => {
            let what = if start.is_empty() { "is empty" } else { "begins like none of the known formats" };
            let failure = Failure::input(format!("{} {what}", shown(path)));
            Err(failure.hint("say with --format what it is: jsonl, deb822, tree or dump"))
        }
    }
}

/// The path as the user knows it.
pub(super) fn shown(path: &Path) -> String {
    if path == Path::new("-") { "the standard input".to_owned() } else { path.display().to_string() }
}

/// Counts what is read.
pub(crate) struct Counted<'p, R> {
    reader: R,
    progress: &'p Progress,
}

impl<R: BufRead> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.reader.read(buffer)?;
        self.progress.add(bytes as u64);
        Ok(bytes)
    }
}

impl<R: BufRead> BufRead for Counted<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.progress.add(bytes as u64);
        self.reader.consume(bytes);
    }
}

/// Copies a stream that can be read once into a file without a name, so that it can be read twice.
pub(super) fn spool(reader: &mut impl Read) -> Result<std::fs::File, Failure> {
    let failed = |error: io::Error| Failure::io("keeping the input in a temporary file failed", &error);
    let mut file = tempfile::tempfile().map_err(failed)?;
    io::copy(reader, &mut file).map_err(failed)?;
    file.rewind().map_err(failed)?;
    Ok(file)
}
