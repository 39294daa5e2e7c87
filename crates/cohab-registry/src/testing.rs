//! What is in files, decoded from memory, for fuzz targets; not part of the promise of this crate.

use cohab_core::InstanceId;

use crate::sticky::Sticky;
use crate::{PortPreference, Record};

/// Reads the record of an instance.
pub fn record(bytes: &[u8]) -> Record {
    Record::from_json(bytes)
}

/// Encodes the record of an instance.
pub fn encode_record(record: &mut Record, id: InstanceId) -> Vec<u8> {
    record.encode(id)
}

/// Reads the port that was bound last.
pub fn sticky_port(bytes: &[u8], preference: &PortPreference) -> Option<u16> {
    Sticky::parse(bytes, preference)
}
