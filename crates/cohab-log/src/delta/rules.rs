//! What pieces make a delta.

use cohab_core::Version;
use cohab_core::limits::{KEY_BYTES_MAX, RECORD_BYTES_MAX, TRANSACTION_LABEL_BYTES_MAX, VALUE_BYTES_MAX};

use super::{DeltaError, DeltaHeader, DeltaKind, Piece, damaged};

/// Holds the pieces of one delta to the rules, in the order in which they are written or read.
#[derive(Debug)]
pub(super) struct Rules {
    kind: DeltaKind,
    from: Version,
    to: Version,
    /// The version that the pieces belong to now, in a complete delta; before the first, the one it leads from.
    version: Version,
    section: Option<Section>,
    /// The last key of the section, if it has one; kept beside it for its memory.
    key: Vec<u8>,
}

/// The entries of one namespace.
#[derive(Clone, Copy, Debug)]
struct Section {
    is_whole: bool,
    has_keys: bool,
}

impl Rules {
    pub(super) fn of(header: &DeltaHeader) -> Self {
        let (from, to) = (header.from.version, header.to.version);
        Self { kind: header.kind, from, to, version: from, section: None, key: Vec::new() }
    }

    /// Takes the next piece in, or says what is wrong with it.
    pub(super) fn admit(&mut self, piece: &Piece<'_>) -> Result<(), DeltaError> {
        let is_version = matches!(piece, Piece::Version { .. });
        if self.kind == DeltaKind::Complete && self.version == self.from && !is_version {
            return Err(damaged("a piece comes before the first version"));
        }
        match *piece {
            Piece::Version { version, label, .. } => self.version(version, label),
            Piece::Record { .. } if self.section.is_some() => {
                Err(damaged("a namespace's record comes after data of its version"))
            }
            Piece::Record { record, .. } => {
                bounded(record.map_or(0, |record| record.len()), RECORD_BYTES_MAX, "a record is too long")
            }
            Piece::Namespace { is_whole, .. } => {
                self.section = Some(Section { is_whole, has_keys: false });
                Ok(())
            }
            Piece::Put { key, value } => {
                bounded(value.len(), VALUE_BYTES_MAX, "a value is too long")?;
                self.entry(key)
            }
            Piece::Delete { .. } if self.section.is_some_and(|section| section.is_whole) => {
                Err(damaged("a key is deleted from a namespace that is given as a whole"))
            }
            Piece::Delete { key } => self.entry(key),
        }
    }

    /// Says whether the pieces up to here are all that there should be.
    pub(super) fn end(&self) -> Result<(), DeltaError> {
        match self.kind {
            DeltaKind::Complete if self.version != self.to => Err(damaged("its last versions are missing")),
            _ => Ok(()),
        }
    }

    fn version(&mut self, version: Version, label: &str) -> Result<(), DeltaError> {
        if self.kind == DeltaKind::Coalesced {
            return Err(damaged("it names a version, but is coalesced"));
        }
        // Not by the version after the last one: there is none after the largest that a damaged header can name.
        if version > self.to || version.get().checked_sub(1) != Some(self.version.get()) {
            return Err(damaged("its versions do not follow each other"));
        }
        bounded(label.len(), TRANSACTION_LABEL_BYTES_MAX, "a label is too long")?;
        (self.version, self.section) = (version, None);
        Ok(())
    }

    fn entry(&mut self, key: &[u8]) -> Result<(), DeltaError> {
        bounded(key.len(), KEY_BYTES_MAX, "a key is too long")?;
        let section = self.section.as_mut().ok_or(damaged("an entry belongs to no namespace"))?;
        if section.has_keys && *key <= *self.key {
            return Err(damaged("keys do not ascend"));
        }
        section.has_keys = true;
        self.key.clear();
        self.key.extend_from_slice(key);
        Ok(())
    }
}

fn bounded(bytes: usize, bytes_max: usize, what: &'static str) -> Result<(), DeltaError> {
    if bytes <= bytes_max { Ok(()) } else { Err(damaged(what)) }
}
