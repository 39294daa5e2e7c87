//! What a plugin reaches the world through.

use std::ops::ControlFlow;

use cohab_core::Timestamp;

/// What a call may ask of whoever makes it. Grants and limits were checked before: this does as it is told.
///
/// Namespaces are given by name; the empty name is the plugin's own state.
pub trait Host {
    /// Shows a key's value to `found`, and returns whether it is there.
    fn get(&mut self, namespace: &str, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, HostError>;

    /// Puts a value under a key. A namespace that is not there is created.
    fn put(&mut self, namespace: &str, key: &[u8], value: &[u8]) -> Result<(), HostError>;

    /// Removes a key, and returns whether it was there.
    fn delete(&mut self, namespace: &str, key: &[u8]) -> Result<bool, HostError>;

    /// Shows the entries whose keys begin with `prefix` and are not before `from`, in order, until `visit` has enough.
    #[expect(clippy::type_complexity, reason = "a name for it would say no more")]
    fn scan(
        &mut self,
        namespace: &str,
        prefix: &[u8],
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), HostError>;

    /// Returns the time of the wall clock.
    fn now(&mut self) -> Timestamp;
}

/// What the host could not do; it ends the call.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

/// How much a line of a plugin's log matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For whoever looks closely.
    Debug,
    /// Worth knowing.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
    Error,
}

/// A line that a plugin logged during a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub text: String,
}
