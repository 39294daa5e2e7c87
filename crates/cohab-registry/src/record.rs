//! The record of an instance, for people.

use std::io::Read;
use std::path::Path;

use cohab_core::{InstanceId, Timestamp, Version};
use cohab_fs::Access;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{CacheRecord, Error, Result};

/// The schema that this software writes.
const SCHEMA: u32 = 1;

/// How much of a record is read. A longer one is none of ours.
const BYTES_MAX: u64 = 64 << 10;

/// What an instance says about itself. Informs people; proves nothing.
///
/// What a record does not say, or says in a way that this software does not know, has its default: empty, zero or
/// `None`. An empty role is an unknown one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Record {
    /// The schema the record was written in.
    pub schema: u32,
    /// The instance; `None` if the record could not be read.
    pub id: Option<InstanceId>,
    /// What it does, such as `writer`.
    pub role: String,
    /// Its process id, as it was when it registered, in its own pid namespace.
    pub pid: u32,
    /// When it registered.
    pub started: Timestamp,
    /// The name of the machine or container at that time.
    pub host: String,
    /// Which start of the machine that was, where the system says so.
    pub boot: Option<String>,
    /// The application.
    pub app: String,
    /// The application's channel.
    pub channel: String,
    /// The application's version.
    pub app_version: String,
    /// What tells it from others of its kind.
    pub label: Option<String>,
    /// The ports that it listens on.
    pub ports: Vec<Port>,
    /// The version of the store that it saw last.
    pub version: Option<Version>,
    /// When it opened the oldest snapshot that it still holds.
    pub snapshot_since: Option<Timestamp>,
    /// The version of that snapshot.
    pub snapshot_version: Option<Version>,
    /// What it caches; `None` if it does not say, as older ones do not, nor those that have no store open.
    ///
    /// Brought up to date once a second at the most, so it may be that old. Of the namespaces only those with the most
    /// bytes are told, up to a [bound](CacheRecord::namespaces).
    pub cache: Option<CacheRecord>,
}

/// A port that an instance listens on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Port {
    /// What for, such as `http`.
    pub name: String,
    /// The number.
    pub port: u16,
}

impl Record {
    /// Puts right what is not the instance's to choose, and encodes the record.
    pub(crate) fn encode(&mut self, id: InstanceId) -> Vec<u8> {
        self.schema = SCHEMA;
        self.id = Some(id);
        serde_json::to_vec(self).expect("plain fields always serialize")
    }

    /// Reads the record at a path; `None` if there is no such file, an empty record if it is not one that can be understood.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let file = match cohab_fs::open(path, Access::Read) {
            Ok(file) => file,
            Err(cohab_fs::Error::NotFound(_)) => return Ok(None),
            Err(cohab_fs::Error::Untrusted { .. }) => return Ok(Some(Self::default())),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        let read = file.take(BYTES_MAX + 1).read_to_end(&mut bytes);
        let read = read.map_err(|error| Error::io("reading", path, error))?;
        Ok(Some(if read as u64 <= BYTES_MAX { Self::from_json(&bytes) } else { Self::default() }))
    }

    /// Takes what it understands, field by field: a later schema may have given some another shape.
    pub(crate) fn from_json(bytes: &[u8]) -> Self {
        let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(bytes) else { return Self::default() };
        Self {
            schema: field(&fields, "schema"),
            id: field(&fields, "id"),
            role: field(&fields, "role"),
            pid: field(&fields, "pid"),
            started: field(&fields, "started"),
            host: field(&fields, "host"),
            boot: field(&fields, "boot"),
            app: field(&fields, "app"),
            channel: field(&fields, "channel"),
            app_version: field(&fields, "app_version"),
            label: field(&fields, "label"),
            ports: field(&fields, "ports"),
            version: field(&fields, "version"),
            snapshot_since: field(&fields, "snapshot_since"),
            snapshot_version: field(&fields, "snapshot_version"),
            cache: field(&fields, "cache"),
        }
    }
}

fn field<T: DeserializeOwned + Default>(fields: &Map<String, Value>, name: &str) -> T {
    fields.get(name).and_then(|value| T::deserialize(value).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_understood_of_a_record_is_shown() {
        let id = InstanceId::generate();
        let mut record = Record { role: "writer".into(), pid: 7, ..Record::default() };
        record.ports.push(Port { name: "http".into(), port: 80 });
        assert_eq!(Record::from_json(&record.encode(id)), record);

        let newer =
            br#"{"schema":9,"role":"reader","pid":"4711","ports":{"http":80},"mood":"good","version":3}"#;
        let shown = Record::from_json(newer);
        assert_eq!((shown.schema, &*shown.role, shown.version), (9, "reader", Some(Version::new(3))));
        assert_eq!((shown.pid, shown.ports.len()), (0, 0), "these have another shape");

        for garbage in [&b""[..], b"{\"role\":\"wri", b"[]", b"\xff\0\xff", b"null"] {
            assert_eq!(Record::from_json(garbage), Record::default());
        }
    }
}
