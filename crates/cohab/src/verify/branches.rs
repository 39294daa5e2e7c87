//! The pages that lead to what the tables hold.

use serde::{Deserialize, Serialize};

use super::Report;
use super::course::Size;
use crate::layout::TABLES;
use crate::{Result, Snapshot};

/// How many bytes there are, about, of a branch's page for each leaf, along with how that begins.
const LEAF_BYTES: u64 = 48;

/// How far they were followed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Branches {
    table: usize,
    from: Vec<u8>,
}

impl Branches {
    /// Follows them on, and returns whether it is through. Behind damage, it goes on with the next table.
    pub(super) fn advance(
        &mut self,
        snapshot: &Snapshot,
        report: &mut Report,
        left: &mut Size,
    ) -> Result<bool> {
        let Some(&table) = TABLES.get(self.table) else { return Ok(true) };
        let leaves = left.keys.min(left.bytes / LEAF_BYTES).max(1);
        let engine = snapshot.state().engine()?;
        let verified =
            engine.verify_branches(table, &self.from, usize::try_from(leaves).unwrap_or(usize::MAX));
        let place = format!("the index of the {}", table.name());
        if let Some(from) = report.absorb(place, verified.map_err(Into::into))?.flatten() {
            self.from = from;
            left.keys = left.keys.saturating_sub(leaves);
            left.bytes = left.bytes.saturating_sub(leaves * LEAF_BYTES);
        } else {
            left.take(0);
            *self = Self { table: self.table + 1, from: Vec::new() };
        }
        Ok(false)
    }
}
