//! Keys and values from files into one namespace.

use cohab::{Name, Transaction};
use cohab_exchange::deb822::Stanzas;
use cohab_exchange::jsonl;

use super::source::{Content, Format, Source};
use crate::failure::{Failure, in_file};
use crate::interrupt;

/// What was loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Loaded {
    /// Entries that were put.
    pub(crate) entries: u64,
    /// Bytes of their keys and values.
    pub(crate) bytes: u64,
    /// Stanzas that repeat an earlier one.
    pub(crate) repeated: Option<u64>,
    /// Files of a directory that are no regular files.
    pub(crate) skipped: Option<u64>,
    /// Namespaces of a dump.
    pub(crate) namespaces: Option<u64>,
}

impl Loaded {
    /// Counts an entry.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.entries += 1;
        self.bytes += (key.len() + value.len()) as u64;
    }
}

/// Puts every entry of a source that is no dump into a namespace, which must be there.
pub(crate) fn load_entries(
    tx: &mut Transaction<'_, '_>,
    namespace: &Name,
    source: Source<'_>,
    loaded: &mut Loaded,
) -> Result<(), Failure> {
    let mut namespace = tx.namespace(namespace)?;
    let mut put = |key: &[u8], value: &[u8]| -> Result<(), Failure> {
        interrupt::check()?;
        namespace.put(key, value)?;
        loaded.add(key, value);
        Ok(())
    };
    let Source { path, format, content } = source;
    let refused = in_file(&path);
    match content {
        Content::Tree(mut files) => {
            for file in files.by_ref() {
                let file = file.map_err(&refused)?;
                put(&file.key, &file.value)?;
            }
            *loaded.skipped.get_or_insert(0) += files.skipped();
        }
        Content::Bytes(reader) if format == Format::Deb822 => {
            let mut stanzas = Stanzas::new(reader);
            while let Some(stanza) = stanzas.next().map_err(&refused)? {
                put(stanza.key, stanza.body)?;
            }
            *loaded.repeated.get_or_insert(0) += stanzas.repeated();
        }
        Content::Bytes(reader) => {
            for entry in jsonl::entries(reader) {
                let entry = entry.map_err(&refused)?;
                put(&entry.key, &entry.value)?;
            }
        }
    }
    Ok(())
}
