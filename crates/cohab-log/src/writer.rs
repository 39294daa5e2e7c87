//! Writing a record, chunk by chunk.

use cohab_core::limits::LOG_CHUNK_BYTES;
use cohab_core::{NamespaceId, Version};

use crate::Chain;
use crate::chain::Link;
use crate::record::{Change, Header, Item, Summary, chunk_key};

/// Room for an item's own bytes beside its keys and values.
const ITEM_OVERHEAD: usize = 64;

/// Writes one record. Items go out to the `store` callback of each call as chunks fill up.
///
/// Memory: one chunk, or one change if that is larger.
#[derive(Debug)]
pub struct RecordWriter {
    version: Version,
    link: Link,
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
            link: Link::after(header.previous),
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
    pub fn change<E>(
        &mut self,
        namespace: NamespaceId,
        change: Change<'_>,
        store: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.make_room(change.bytes(), store)?;
        if self.namespace != Some(namespace) {
            self.namespace = Some(namespace);
            self.encode(&Item::Namespace(namespace));
        }
        self.encode(&Item::Change(change));
        self.changes += 1;
        Ok(())
    }

    /// Adds a change of metadata, as the catalogue's records before and after.
    pub fn metadata<E>(
        &mut self,
        namespace: NamespaceId,
        before: Option<&[u8]>,
        after: Option<&[u8]>,
        store: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.make_room(before.map_or(0, <[u8]>::len) + after.map_or(0, <[u8]>::len), store)?;
        let (before, after) = (before.map(serde_bytes::Bytes::new), after.map(serde_bytes::Bytes::new));
        self.encode(&Item::Metadata { namespace, before, after });
        Ok(())
    }

    /// Notes that a namespace with history off was changed.
    pub fn unrecorded<E>(
        &mut self,
        namespace: NamespaceId,
        changes: u64,
        store: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.make_room(0, store)?;
        self.encode(&Item::Unrecorded { namespace, changes });
        Ok(())
    }

    /// Sums up a namespace that the transaction touched.
    pub fn summary<E>(
        &mut self,
        summary: Summary,
        store: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.make_room(0, store)?;
        self.encode(&Item::Summary(summary));
        Ok(())
    }

    /// Ends the record and hands out its last chunk.
    pub fn finish<E>(mut self, store: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>) -> Result<Finished, E> {
        self.encode(&Item::End { changes: self.changes });
        self.flush(store)?;
        Ok(Finished { chain: self.link.finish(), bytes: self.bytes, changes: self.changes })
    }

    fn make_room<E>(
        &mut self,
        bytes: usize,
        store: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.buffer.len() + bytes + ITEM_OVERHEAD > LOG_CHUNK_BYTES && !self.buffer.is_empty() {
            self.flush(store)?;
        }
        Ok(())
    }

    fn encode(&mut self, item: &Item<'_>) {
        let buffer = std::mem::take(&mut self.buffer);
        self.buffer = postcard::to_extend(item, buffer).expect("writing into memory does not fail");
    }

    fn flush<E>(&mut self, store: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>) -> Result<(), E> {
        store(&chunk_key(self.version, self.chunk), &self.buffer)?;
        self.link.chunk(&self.buffer);
        self.bytes += self.buffer.len() as u64;
        self.chunk += 1;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
