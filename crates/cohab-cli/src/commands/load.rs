//! `cohab load`

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use cohab::{History, Name, Transaction, Version};

use super::bytes::input_must_be_open;
use super::{Exit, Outcome};
use crate::arguments::name;
use crate::failure::Failure;
use crate::session::{Session, write};
use crate::terminal::Record;
use crate::transfer::{Format, Loaded, Merged, Source, load_dump, load_entries};

/// Load files into a namespace, or a dump into the store, in one transaction
///
/// Either everything is loaded or nothing is: an error names the line or file. Files may be compressed with gzip or
/// lz4. The namespace is created if it is not there; keys that it has already get the new value, and `cohab undo` brings
/// back what they had: if it held anything, `snapshot` names what that goes back to. A dump alone,
/// `cohab load FILE`, is loaded with all its namespaces; `cohab load NS FILE` takes the one of that name, or the only
/// one there is under that name. Namespaces of a dump must be new or empty.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// The namespace, then the files; - is the standard input, which is also what is read without any
    #[arg(value_name = "NS FILE", required = true, num_args = 1..)]
    arguments: Vec<OsString>,
    /// What the files are; guessed if not given
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// What is loaded, and where to.
struct Plan<'p> {
    into: Option<Name>,
    sources: Vec<Source<'p>>,
}

/// What was loaded, and over what.
struct Done {
    version: Version,
    loaded: Loaded,
    over: Option<(Name, Over)>,
}

/// What was there before a load.
struct Over {
    /// What was taken before, unless the namespace's history is off, so that nothing can be brought back.
    snapshot: Option<Name>,
}

impl Load {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let (into, paths) = self.sort()?;
        if paths.iter().any(|path| path == Path::new("-")) {
            input_must_be_open()?;
        }
        let progress = session.progress("loading", total(&paths));
        let sources = paths.iter().map(|path| Source::open(path, self.format, &progress));
        let plan = Plan { into, sources: sources.collect::<Result<_, _>>()? };
        let done = plan.carry_out(session)?;
        drop(progress);
        if let Some((name, _)) = done.over.as_ref().filter(|(_, over)| over.snapshot.is_none()) {
            session.note(&format!(
                "the history of namespace `{name}` is off: what it held before cannot be brought back"
            ));
        }
        session.out.record(&summary(&done))?;
        Ok(Exit::Done)
    }

    /// Tells the namespace from the files.
    fn sort(&self) -> Result<(Option<Name>, Vec<PathBuf>), Failure> {
        let paths = |arguments: &[OsString]| arguments.iter().map(PathBuf::from).collect();
        let may_be_dump = matches!(self.format, None | Some(Format::Dump));
        match &self.arguments[..] {
            [only] if may_be_dump && (only == "-" || Path::new(only).is_file()) => {
                Ok((None, paths(&self.arguments)))
            }
            [only] => Ok((Some(name(only)?), vec![PathBuf::from("-")])),
            [first, files @ ..] => Ok((Some(name(first)?), paths(files))),
            [] => Err(Failure::usage("nothing to load")),
        }
    }
}

impl Plan<'_> {
    fn carry_out(self, session: &Session) -> Result<Done, Failure> {
        if !self.sources.iter().any(Source::is_dump) {
            return self.entries(session);
        }
        let into = self.into;
        let [dump] = <[Source<'_>; 1]>::try_from(self.sources).map_err(|_| {
            Failure::usage("a dump is loaded by itself")
                .hint("load the other files with a command of their own")
        })?;
        let dump = match &into {
            None => Merged::all(dump)?,
            Some(name) => Merged::one(dump, name)?,
        };
        let mut loaded = Loaded::default();
        let done = write(&session.writer()?, "cohab load", |tx| load_dump(tx, dump, &mut loaded))?;
        Ok(Done { version: done.version, loaded, over: None })
    }

    fn entries(self, session: &Session) -> Result<Done, Failure> {
        let Some(into) = self.into else {
            let path = self.sources.first().map_or("-".into(), |source| source.path.display().to_string());
            let message = format!("{path} is no dump, so say into which namespace to load it");
            let hint = format!("`cohab load NS {path}`; or `cohab load {path} -` if that is the namespace");
            return Err(Failure::usage(message).hint(hint));
        };
        let mut loaded = Loaded::default();
        let done = write(&session.writer()?, "cohab load", |tx| {
            tx.ensure_namespace(&into)?;
            let over = safeguard(tx, &into)?;
            self.sources.into_iter().try_for_each(|source| load_entries(tx, &into, source, &mut loaded))?;
            Ok(over)
        })?;
        Ok(Done { version: done.version, loaded, over: done.value.map(|over| (into, over)) })
    }
}

/// Takes a snapshot of what a namespace holds, if it holds anything.
fn safeguard(tx: &mut Transaction<'_, '_>, into: &Name) -> Result<Option<Over>, Failure> {
    let found = tx.namespace_info(into)?;
    if found.keys == 0 {
        return Ok(None);
    }
    // Without history there is nothing to go back to.
    let is_kept = found.history == History::Full;
    let snapshot = is_kept.then(|| tx.safeguard(into)).transpose()?;
    Ok(Some(Over { snapshot }))
}

/// How many bytes there are to read, if that can be told: not of pipes, directories and compressed files.
fn total(paths: &[PathBuf]) -> Option<u64> {
    let bytes = paths.iter().map(|path| {
        let is_compressed = path.extension().is_some_and(|name| name == "gz" || name == "lz4");
        let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file);
        metadata.filter(|_| !is_compressed).map(|metadata| metadata.len())
    });
    bytes.sum()
}

/// What was loaded, as a result.
fn summary(done: &Done) -> Record<'_> {
    let Done { version, loaded, over } = done;
    let mut record = Record::new().with("version", *version).with("loaded", loaded.entries);
    let details =
        [("namespaces", loaded.namespaces), ("repeated", loaded.repeated), ("skipped", loaded.skipped)];
    for (name, count) in details {
        if let Some(count) = count {
            record = record.with(name, count);
        }
    }
    record = record.with("bytes", loaded.bytes);
    match over {
        Some((_, over)) => {
            record.with("snapshot", over.snapshot.as_ref().map(|name| name.as_str().to_owned()))
        }
        None => record,
    }
}
