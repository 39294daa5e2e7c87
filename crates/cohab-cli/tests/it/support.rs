//! A place to run the command in, and what came of it.

use std::ffi::OsStr;
use std::fmt::{self, Debug};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A directory with a store in it.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A place whose store is yet to be made.
    pub(crate) fn bare() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// A place with an empty store.
    pub(crate) fn new() -> Self {
        let place = Self::bare();
        place.run(["init"]).done();
        place
    }

    /// A place whose store holds a few keys: `fruit` has `apple`, `banana` and `cherry`, of versions 1 to 3.
    pub(crate) fn with_fruit() -> Self {
        let place = Self::new();
        for (key, value) in [("apple", "red"), ("banana", "yellow"), ("cherry", "dark")] {
            place.run(["put", "fruit", key, value, "--create"]).done();
        }
        place
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Writes a file beside the store and returns its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The command, pointed to the store, knowing nothing else of the environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cohab"));
        for name in ["OUTPUT", "COLOR", "WAIT", "QUIET", "DEMO_BYTES"] {
            command.env_remove(format!("COHAB_{name}"));
        }
        command.env("COHAB_STORE", self.store()).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ran {
        Ran::of(self.command().args(arguments))
    }

    /// Runs the command with something on its standard input.
    pub(crate) fn feed<A: AsRef<OsStr>>(
        &self,
        input: impl AsRef<[u8]>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Ran {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that refuses its arguments does not read.
        _ = child.stdin.take().unwrap().write_all(input.as_ref());
        Ran::from(child.wait_with_output().unwrap(), &command)
    }

    /// What the store holds, as text.
    pub(crate) fn dump(&self) -> String {
        self.run(["dump"]).done().text()
    }

    pub(crate) fn version(&self) -> u64 {
        self.run(["info"]).done().json()["version"].as_u64().unwrap()
    }

    /// The names of the files in the store's directory.
    pub(crate) fn files(&self) -> Vec<String> {
        let names = fs::read_dir(self.store()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

/// What a process left behind.
pub(crate) struct Ran {
    command: String,
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, out) = (self.code, String::from_utf8_lossy(&self.out));
        write!(f, "{} ended with {code:?}\n--- out\n{out}\n--- err\n{}", self.command, self.err)
    }
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self::from(output, command)
    }

    fn from(output: std::process::Output, command: &impl Debug) -> Self {
        let ran = Self {
            command: format!("{command:?}"),
            code: output.status.code(),
            out: output.stdout,
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(ran.code != Some(70) && !ran.err.contains("panicked"), "a defect: {ran:?}");
        ran
    }

    /// It did what it was to do, and had nothing else to say.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert!(self.code == Some(0) && self.err.is_empty(), "{self:?}");
        self
    }

    /// It ended with this code and said this, in one line that begins with its name.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, says: &str) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.starts_with("cohab: ") && self.err.contains(says), "{says:?} is not in {self:?}");
        self
    }

    /// It ended with this code, whatever it said.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }

    /// The one JSON value that it printed.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON objects that it printed, one a line.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = self.text();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// The error that it reported as JSON.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        let error: Value =
            serde_json::from_str(&self.err).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        error["error"].clone()
    }
}
