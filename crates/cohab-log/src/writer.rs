//! Writing a record, chunk by chunk.

use cohab_core::limits::LOG_CHUNK_BYTES;
use cohab_core::{NamespaceId, Version};

use crate::Chain;
use crate::chain::ChainBuilder;
use crate::record::{Change, Header, Item, Summary, chunk_key};

/// Writes one record.
///
/// Adding to it only fills a buffer. Whoever adds asks [`is_full`](Self::is_full) now and then and hands the chunk
/// on with [`flush`](Self::flush), so that memory stays at one chunk, or one change if that is larger.
#[derive(Debug)]
pub struct RecordWriter {
    version: Version,
    link: ChainBuilder,
    buffer: Vec<u8>,
    chunk: u32,
    namespace: Option<NamespaceId>,
    changes: u64,
    bytes: u64,
}

/// What became of a finished record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Finished {
    /// The chain with the record in it.
    pub chain: Chain,
    /// How many bytes of chunks it has.
    pub bytes: u64,
    /// How many changes it lists.
    pub changes: u64,
}

impl RecordWriter {
    /// Begins a record.
    pub fn begin(header: &Header) -> Self {
        let mut record = Self {
            version: header.version,
            link: ChainBuilder::after(header.previous),
            buffer: Vec::new(),
            chunk: 0,
            namespace: None,
            changes: 0,
            bytes: 0,
        };
        record.encode(&Item::Begin(header.clone()));
        record
    }

    /// Adds a change of a key.
    pub fn change(&mut self, namespace: NamespaceId, change: Change<'_>) {
        if self.namespace != Some(namespace) {
            self.namespace = Some(namespace);
            self.encode(&Item::Namespace(namespace));
        }
        self.encode(&Item::Change(change));
        self.changes += 1;
    }

    /// Adds a change of metadata, as the catalogue's records before and after.
    pub fn metadata(&mut self, namespace: NamespaceId, before: Option<&[u8]>, after: Option<&[u8]>) {
        let (before, after) = (before.map(serde_bytes::Bytes::new), after.map(serde_bytes::Bytes::new));
        self.encode(&Item::Metadata { namespace, before, after });
    }

    /// Notes that a namespace with history off was changed.
    pub fn unrecorded(&mut self, namespace: NamespaceId, changes: u64) {
        self.encode(&Item::Unrecorded { namespace, changes });
    }

    /// Sums up a namespace that the transaction touched.
    pub fn summary(&mut self, summary: Summary) {
        self.encode(&Item::Summary(summary));
    }

    /// Returns whether a chunk's worth has come together.
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= LOG_CHUNK_BYTES
    }

    /// Hands what has come together to `store`, as the key and the bytes of a chunk.
    pub fn flush<E>(&mut self, store: impl FnOnce(&[u8], &[u8]) -> Result<(), E>) -> Result<(), E> {
        store(&chunk_key(self.version, self.chunk), &self.buffer)?;
        self.link.chunk(&self.buffer);
        self.bytes += self.buffer.len() as u64;
        self.chunk += 1;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the record and hands out its last chunk.
    pub fn finish<E>(mut self, store: impl FnOnce(&[u8], &[u8]) -> Result<(), E>) -> Result<Finished, E> {
        self.encode(&Item::End { changes: self.changes });
        self.flush(store)?;
        Ok(Finished { chain: self.link.finish(), bytes: self.bytes, changes: self.changes })
    }

    fn encode(&mut self, item: &Item<'_>) {
        let buffer = std::mem::take(&mut self.buffer);
        self.buffer = postcard::to_extend(item, buffer).expect("writing into memory does not fail");
    }
}

#[cfg(test)]
mod tests;
