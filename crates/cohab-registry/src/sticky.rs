//! Ports that stay the same over restarts.

use std::io::Read;
use std::path::PathBuf;

use cohab_fs::Access;
use serde::{Deserialize, Serialize};

use crate::registration::Registered;
use crate::{PortPreference, Result};

/// How much of a file is read.
const BYTES_MAX: u64 = 64 << 10;

/// What was bound last under a name. A hint: it may be missing, or name a port that is taken.
#[derive(Serialize, Deserialize)]
pub(crate) struct Sticky {
    pub(crate) port: u16,
    /// What was wished for then. Who wishes for something else now shall not get the old port.
    preference: PortPreference,
}

impl Sticky {
    /// Reads the port that was bound last with the same preference.
    pub(crate) fn read(registered: &Registered, name: &str, preference: &PortPreference) -> Option<u16> {
        let file = cohab_fs::open(&path(registered, name), Access::Read).ok()?;
        Self::parse(file.take(BYTES_MAX), preference)
    }

    pub(crate) fn parse(json: impl Read, preference: &PortPreference) -> Option<u16> {
        let sticky: Self = serde_json::from_reader(json).ok()?;
        (sticky.preference == *preference).then_some(sticky.port)
    }

    /// Remembers a port.
    pub(crate) fn write(
        registered: &Registered,
        name: &str,
        port: u16,
        preference: &PortPreference,
    ) -> Result<()> {
        cohab_fs::create_dir(&registered.places.ports())?;
        let sticky = Self { port, preference: preference.clone() };
        let json = serde_json::to_vec(&sticky).expect("plain fields always serialize");
        registered.replace_shared(&path(registered, name), &json)
    }
}

/// Names hold no `@`, so that no name with a label is another's without.
fn path(registered: &Registered, name: &str) -> PathBuf {
    registered.places.ports().join(match &registered.label {
        Some(label) => format!("{name}@{label}.json"),
        None => format!("{name}.json"),
    })
}
