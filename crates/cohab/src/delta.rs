//! Deltas: what leads a replica from one version to another, as one value.

use std::fmt;

use bytes::Bytes;
use cohab_core::limits::DELTA_BYTES_MAX;
use cohab_core::{NamespaceId, StoreId, Version};
pub use cohab_log::DeltaKind;
use cohab_log::{Chain, DeltaHeader, DeltaReader, DeltaWriter, Net, NetNamespace, Piece, Position, Sides};
use cohab_namespace::Record;
use cohab_namespace::catalog::Stored;
use serde_bytes::Bytes as Lent;

use crate::past::{chain_at, check_there, lost, net, record_header};
use crate::{Error, Result, Snapshot};

/// What leads a replica of a store from one version to another: verified, compressed, and good for one place in one
/// history.
///
/// [`Snapshot::delta`] makes one, [`Store::apply`](crate::Store::apply) applies it. In between it is bytes, to be sent or
/// kept. One that begins with version zero holds the whole store.
#[derive(Clone, PartialEq, Eq)]
pub struct Delta {
    bytes: Bytes,
    header: DeltaHeader,
    pieces: u64,
    plain_bytes: u64,
}

impl Delta {
    /// Takes bytes for a delta, having verified that they are one, as it was made.
    ///
    /// Cost: a hash over them; nothing is decompressed yet.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidInput`](crate::Kind::InvalidInput) for bytes that are no delta, or would have more than [`DELTA_BYTES_MAX`] bytes decompressed;
    /// [`Kind::Corrupt`](crate::Kind::Corrupt) for one that was cut off or changed; [`Kind::Format`](crate::Kind::Format) for one of a newer format.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self> {
        let bytes = bytes.into();
        let reader = DeltaReader::open(&bytes, DELTA_BYTES_MAX)?;
        let (header, pieces, plain_bytes) = (reader.header().clone(), reader.pieces(), reader.plain_bytes());
        Ok(Self { bytes, header, pieces, plain_bytes })
    }

    /// Returns its bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the store that it was made from.
    pub fn store(&self) -> StoreId {
        self.header.store
    }

    /// Returns what it tells of the versions between its two ends.
    pub fn kind(&self) -> DeltaKind {
        self.header.kind
    }

    /// Returns the version of that store from which it leads; zero if it holds the whole store.
    pub fn from(&self) -> Version {
        self.header.from.version
    }

    /// Returns the version to which it leads.
    pub fn to(&self) -> Version {
        self.header.to.version
    }

    /// Returns how many bytes it has decompressed.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    pub(crate) fn header(&self) -> &DeltaHeader {
        &self.header
    }

    /// Shows its pieces, decompressed block by block.
    pub(crate) fn visit(&self, visit: impl FnMut(Piece<'_>) -> Result<()>) -> Result<()> {
        DeltaReader::open(&self.bytes, DELTA_BYTES_MAX)?.visit(visit)
    }
}

impl fmt::Debug for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delta")
            .field("header", &self.header)
            .field("pieces", &self.pieces)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Makes the delta that leads a replica from a version of this store to the one that the snapshot shows.
    ///
    /// From version zero it holds the whole store. Of a namespace whose history is off and that was changed it holds
    /// everything; such changes cannot be told in a complete delta. Cost: proportional to what was changed, in time and
    /// memory.
    ///
    /// # Errors
    ///
    /// [`Kind::TooOld`](crate::Kind::TooOld) if the log does not reach back to `from`; [`Kind::NotFound`](crate::Kind::NotFound) if that is later than the snapshot;
    /// [`Kind::NoHistory`](crate::Kind::NoHistory) for a complete delta of what was not recorded; [`Kind::InvalidInput`](crate::Kind::InvalidInput) if it would have more than
    /// [`DELTA_BYTES_MAX`] bytes: take fewer versions, or a [`backup`](Self::backup).
    pub fn delta(&self, from: Version, kind: DeltaKind) -> Result<Delta> {
        let header = self.delta_header(from, kind)?;
        let mut writer = DeltaWriter::begin(&header, DELTA_BYTES_MAX);
        self.pieces(&header, &mut |piece| Ok(writer.piece(&piece)?))?;
        Delta::from_bytes(writer.finish()?)
    }

    /// Says where a delta leads.
    pub(crate) fn delta_header(&self, from: Version, kind: DeltaKind) -> Result<DeltaHeader> {
        let (state, root) = (self.state(), &self.state().root);
        check_there(root, from)?;
        let chain = if from == Version::ZERO && kind == DeltaKind::Coalesced {
            Chain::START
        } else if from.next() < root.log_oldest {
            return Err(Error::too_old(from, Version::new(root.log_oldest.get() - 1)));
        } else {
            chain_at(state, from)?
        };
        let to = Position { version: root.version, chain: Chain::from_bytes(root.chain) };
        Ok(DeltaHeader::new(root.store, kind, Position { version: from, chain }, to, root.next_namespace))
    }

    /// Shows the pieces of a delta, one after the other: into a writer of deltas, or straight into a replica.
    pub(crate) fn pieces(
        &self,
        header: &DeltaHeader,
        visit: &mut dyn FnMut(Piece<'_>) -> Result<()>,
    ) -> Result<()> {
        let (from, to) = (header.from.version, header.to.version);
        match header.kind {
            DeltaKind::Coalesced if from == Version::ZERO => self.pieces_of_all(visit),
            DeltaKind::Coalesced => {
                let net = net(self.state(), from, to, Net::new(Sides::After))?;
                self.pieces_of_net(&net, visit)
            }
            DeltaKind::Complete => {
                let mut before = from;
                while before < to {
                    let version = before.next();
                    let header = record_header(self.state(), version)?;
                    let net = net(self.state(), before, version, Net::new(Sides::After))?;
                    let unknown = net.namespaces().find(|(_, namespace)| namespace.is_unrecorded);
                    let named = |id| {
                        self.namespace_by_id(id)
                            .map_or_else(|_| format!("#{id}"), |it| it.metadata().name.to_string())
                    };
                    if let Some(error) = unknown.and_then(|(id, namespace)| lost(&named(id), namespace)) {
                        return Err(error.hint("a coalesced delta takes the whole namespace along"));
                    }
                    let (time, instance, label) = (header.time, header.instance, &*header.label);
                    visit(Piece::Version { version, time, instance, label })?;
                    self.pieces_of_net(&net, visit)?;
                    before = version;
                }
                Ok(())
            }
        }
    }

    fn pieces_of_net(&self, net: &Net, visit: &mut dyn FnMut(Piece<'_>) -> Result<()>) -> Result<()> {
        let is_passing = |namespace: &NetNamespace| namespace.is_new() && namespace.is_purged();
        for (namespace, what) in net.namespaces().filter(|(_, what)| !is_passing(what)) {
            if let Some(record) = &what.record {
                let record = record.after.as_deref().map(Lent::new);
                visit(Piece::Record { namespace, record })?;
            }
        }
        for (id, what) in net.namespaces().filter(|(_, what)| !what.is_purged()) {
            let Some((before, after)) = what.contents else { continue };
            visit(Piece::Namespace { namespace: id, before, after, is_whole: what.is_unrecorded })?;
            if what.is_unrecorded {
                self.entries_of(id, visit)?;
                continue;
            }
            for (key, change) in what.changes() {
                match (&change.before, &change.after) {
                    (_, Some(image)) => visit(Piece::Put { key, value: &image.value })?,
                    (Some(_), None) => visit(Piece::Delete { key })?,
                    // It came and went.
                    (None, None) => {}
                }
            }
        }
        Ok(())
    }

    fn pieces_of_all(&self, visit: &mut dyn FnMut(Piece<'_>) -> Result<()>) -> Result<()> {
        let mut ids = Vec::new();
        for id in self.namespace_ids()? {
            let id = id?;
            let (record, _) = self.namespace_by_id(id)?.into_parts();
            visit(Piece::Record { namespace: id, record: Some(Lent::new(&Record::encode(&record))) })?;
            ids.push(id);
        }
        // In the order in which they lie in the file.
        ids.sort_unstable();
        for id in ids {
            let (_, after) = self.namespace_by_id(id)?.into_parts();
            let before = cohab_namespace::Contents::EMPTY;
            visit(Piece::Namespace { namespace: id, before, after, is_whole: true })?;
            self.entries_of(id, visit)?;
        }
        Ok(())
    }

    fn entries_of(&self, id: NamespaceId, visit: &mut dyn FnMut(Piece<'_>) -> Result<()>) -> Result<()> {
        let mut entries = self.namespace_by_id(id)?.all()?;
        while let Some(entry) = entries.step()? {
            visit(Piece::Put { key: entry.key(), value: entry.value() })?;
        }
        Ok(())
    }
}
