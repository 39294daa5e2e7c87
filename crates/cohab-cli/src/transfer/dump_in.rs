//! A dump into a store: everything it holds, or one of its namespaces.

use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use cohab::{History, Metadata, Name, Transaction, Update};
use cohab_exchange::dump::{Event, NamespaceHeader, Reader};

use super::entries::Loaded;
use super::source::{Format, Source, shown, spool};
use crate::failure::{Failure, in_file};
use crate::interrupt;

/// Which namespaces of a dump are loaded, and under which names.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Choice {
    /// All, each under its own.
    All,
    /// One of them, under the name given.
    One {
        /// What the dump calls it.
        from: Name,
        /// What the store calls it.
        to: Name,
    },
}

impl Choice {
    fn name(&self, header: &NamespaceHeader) -> Option<Name> {
        match self {
            Self::All => Some(header.name.clone()),
            Self::One { from, to } => (*from == header.name).then(|| to.clone()),
        }
    }
}

/// A dump that is read from its beginning, and which of its namespaces are meant.
pub(crate) struct Merged<'p> {
    path: std::path::PathBuf,
    reader: Box<dyn BufRead + 'p>,
    choice: Choice,
}

impl<'p> Merged<'p> {
    /// Prepares to load all of a dump.
    pub(crate) fn all(source: Source<'p>) -> Result<Self, Failure> {
        let path = source.path.clone();
        Ok(Self { path, reader: Box::new(source.into_bytes()?), choice: Choice::All })
    }

    /// Prepares to load the namespace of that name, or the only one there is, under that name.
    ///
    /// Which of the two it is shows only when the second namespace begins, so the dump is read twice up to there; one
    /// that comes through a pipe is kept in a file meanwhile.
    pub(crate) fn one(source: Source<'p>, name: &Name) -> Result<Self, Failure> {
        let path = source.path.clone();
        let reader = source.into_bytes()?;
        let rewind_failed = |error| Failure::io("reading the temporary file again failed", &error);
        if path != Path::new("-") {
            let from = find(&path, reader, name)?;
            let again = cohab_exchange::input::open(&path).map_err(in_file(&path))?;
            let choice = Choice::One { from, to: name.clone() };
            return Ok(Self { path, reader: Box::new(again), choice });
        }
        let mut reader = reader;
        let mut file = spool(&mut reader)?;
        let from = find(&path, BufReader::new(&file), name)?;
        file.rewind().map_err(rewind_failed)?;
        let choice = Choice::One { from, to: name.clone() };
        Ok(Self { path, reader: Box::new(BufReader::new(file)), choice })
    }
}

/// Finds the namespace of a dump that a name stands for.
fn find(path: &Path, reader: impl BufRead, name: &Name) -> Result<Name, Failure> {
    let mut dump = Reader::new(reader);
    let mut others: Vec<Name> = Vec::new();
    let none_of_several = || {
        let message = format!("{} has no namespace `{name}`, but several others", shown(path));
        Failure::not_found(message).hint("`cohab load --format dump FILE` loads all of them")
    };
    while let Some(event) = dump.next().map_err(in_file(path))? {
        interrupt::check()?;
        let Event::Namespace(header) = event else { continue };
        if header.name == *name {
            return Ok(header.name);
        }
        // Names ascend, so behind a greater one there is no hope.
        if !others.is_empty() && header.name > *name {
            return Err(none_of_several());
        }
        others.truncate(1);
        others.push(header.name);
    }
    match <[Name; 1]>::try_from(others) {
        Ok([only]) => Ok(only),
        Err(others) if others.is_empty() => {
            Err(Failure::not_found(format!("{} has no namespaces", shown(path))))
        }
        Err(_) => Err(none_of_several()),
    }
}

/// Loads a dump. Whatever is wrong with it, down to its last line, leaves nothing of it behind.
pub(crate) fn load_dump(
    tx: &mut Transaction<'_, '_>,
    dump: Merged<'_>,
    loaded: &mut Loaded,
) -> Result<(), Failure> {
    let Merged { path, reader, choice } = dump;
    let mut dump = Reader::new(reader);
    let mut into: Option<Name> = None;
    while let Some(event) = dump.next().map_err(in_file(&path))? {
        interrupt::check()?;
        match event {
            Event::Namespace(header) => {
                into = choice.name(&header);
                if let Some(name) = &into {
                    begin(tx, name, header)?;
                    *loaded.namespaces.get_or_insert(0) += 1;
                }
            }
            Event::Entry { key, value } => {
                if let Some(name) = &into {
                    tx.put(name, &key, &value)?;
                    loaded.add(&key, &value);
                }
            }
            Event::EndOfNamespace(end) => {
                if let Some(name) = into.take() {
                    let found = tx.namespace_info(&name)?.digest;
                    if found != end.digest {
                        let message = format!("namespace `{name}` was to have the digest {}", end.digest);
                        return Err(Failure::defect(format!("{message}, but has {found}")));
                    }
                }
            }
            _ => {}
        }
    }
    loaded.namespaces.get_or_insert(0);
    Ok(())
}

/// Makes the namespace as the dump describes it, or gives an empty one that description.
fn begin(tx: &mut Transaction<'_, '_>, name: &Name, header: NamespaceHeader) -> Result<(), Failure> {
    let history: History = header.history.parse().map_err(Failure::input)?;
    let present = match tx.namespace_info(name) {
        Ok(info) => info,
        Err(error) if error.kind() == cohab::Kind::NotFound => {
            let mut metadata = Metadata::new(name.clone());
            (metadata.title, metadata.description) = (header.title, header.description);
            (metadata.labels, metadata.protected, metadata.history) =
                (header.labels, header.protected, history);
            tx.create_namespace_with(metadata)?;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    if present.keys > 0 {
        let message = format!("namespace `{name}` is there and holds {} keys", present.keys);
        return Err(Failure::conflict(message)
            .hint("a dump is loaded into namespaces that are new or empty; rename or drop this one first"));
    }
    let mut update = Update::new().title(header.title).description(header.description);
    update = update.protected(header.protected).history(history);
    for key in present.labels.keys().filter(|key| !header.labels.contains_key(*key)) {
        update = update.unlabel(key);
    }
    for (key, value) in header.labels {
        update = update.label(key, value);
    }
    Ok(tx.update_namespace(name, &update)?)
}

impl Source<'_> {
    /// Whether this is a dump, and not the content of one namespace.
    pub(crate) fn is_dump(&self) -> bool {
        self.format == Format::Dump
    }
}
