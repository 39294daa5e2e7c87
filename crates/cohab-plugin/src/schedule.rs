//! When a plugin is due.

/// A schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule;
