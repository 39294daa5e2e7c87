//! How far a verification has come, as a text that another process can go on from.

use std::fmt;
use std::str::FromStr;

use cohab_core::{StoreId, Version};
use serde::{Deserialize, Serialize};

use super::course::Course;
use crate::{Error, Result};

/// The form of the text that this build writes and reads.
const FORM: u32 = 1;

/// How far a verification has come, and what it has found so far: [`Verifier::checkpoint`](super::Verifier::checkpoint).
///
/// Its text, one line of JSON, is good for this store and for as long as cohab does not change: to go on after a crash
/// or a restart, not to be archived.
#[derive(Clone, Debug)]
pub struct Checkpoint(pub(super) Course);

impl Checkpoint {
    /// Returns the store that is verified.
    pub fn store(&self) -> StoreId {
        self.0.store
    }

    /// Returns the version that was read last.
    pub fn version(&self) -> Version {
        self.0.version
    }
}

#[derive(Serialize)]
struct Written<'a> {
    cohab_checkpoint: u32,
    course: &'a Course,
}

#[derive(Deserialize)]
struct Read {
    cohab_checkpoint: u32,
    course: Course,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = Written { cohab_checkpoint: FORM, course: &self.0 };
        f.write_str(&serde_json::to_string(&written).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Checkpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match serde_json::from_str(text) {
            Ok(Read { cohab_checkpoint: FORM, course }) if course.is_plausible() => Ok(Self(course)),
            Ok(Read { cohab_checkpoint: FORM, .. }) => {
                Err(Error::invalid("the checkpoint counts more than there can be: it is damaged"))
            }
            Ok(_) => Err(Error::invalid("the checkpoint is of another version of cohab")),
            Err(error) => {
                Err(Error::invalid(format!("the text is no checkpoint of a verification: {error}")))
            }
        }
    }
}
