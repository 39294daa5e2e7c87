//! What goes wrong with plugins.

use std::fmt;

/// How far a plugin's code came on its way into service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// Its files are read.
    Read,
    /// The manifest, and what the code imports and exports, is checked.
    Validate,
    /// The code is compiled.
    Compile,
    /// A first instance is made.
    Instantiate,
    /// Its state is brought to its schema.
    Migrate,
    /// It checks itself.
    Check,
    /// It is committed.
    Commit,
}

/// Why a plugin's code is not taken into service.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub struct LoadError {
    /// How far it came.
    pub stage: Stage,
    /// What is wrong, and what to do about it.
    pub message: String,
    /// In which of the plugin's files, where that is known.
    pub file: Option<String>,
    /// In which line, counted from 1.
    pub line: Option<u32>,
    /// In which column, counted from 1.
    pub column: Option<u32>,
}

impl LoadError {
    /// An error that is about the plugin as a whole.
    pub fn new(stage: Stage, message: impl Into<String>) -> Self {
        Self { stage, message: message.into(), file: None, line: None, column: None }
    }

    /// Says in which file it is.
    #[must_use]
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Says at which line and column it is, counted from 1.
    #[must_use]
    pub fn at(mut self, line: u32, column: Option<u32>) -> Self {
        (self.line, self.column) = (Some(line), column);
        self
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            f.write_str(file)?;
            for number in [self.line, self.column].into_iter().flatten() {
                write!(f, ":{number}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// What ended a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CallErrorKind {
    /// The plugin itself says that it failed, or, before a commit, that it refuses.
    Failed,
    /// It trapped or threw: a bug.
    Trapped,
    /// It ran for longer than it may.
    OutOfTime,
    /// It did more than it may.
    OutOfFuel,
    /// It used more memory, or a deeper stack, than it may.
    OutOfMemory,
    /// It did what it was not granted, or handed over what is not valid.
    Forbidden,
    /// It was stopped, because a newer generation is in service.
    Stopped,
    /// The host could not do what it was asked for: the store's fault, not the plugin's.
    Host,
    /// The code has no handler of that name.
    NoHandler,
}

/// Why a call did not succeed. Nothing that it wrote counts.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// What ended it.
    pub kind: CallErrorKind,
    /// What happened, with the place in the plugin's code where it is known.
    pub message: String,
    /// For [`CallErrorKind::Host`], what the host said.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl CallError {
    /// An error of the plugin.
    pub fn new(kind: CallErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }
}
