//! What the tests of plugins share: a host over maps, and calls with it.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use cohab_core::Timestamp;
use cohab_plugin::{
    Bundle, Call, CallError, CallErrorKind, Changes, Code, GuestCache, Host, HostError, Instance, LogLine,
    Manifest, Outcome, Stop,
};

/// What time it is in all tests.
pub(crate) const NOW: u64 = 1_700_000_000_123_456;

/// Namespaces in memory; that of the empty name is the plugin's own state.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(crate) struct Maps {
    pub(crate) namespaces: BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>,
    /// What goes wrong with everything that is asked.
    pub(crate) failure: Option<&'static str>,
}

impl Maps {
    pub(crate) fn of(entries: &[(&str, &str, &str)]) -> Self {
        let mut maps = Self::default();
        for (namespace, key, value) in entries {
            maps.set(namespace, key, value);
        }
        maps
    }

    pub(crate) fn set(&mut self, namespace: &str, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let namespace = self.namespaces.entry(namespace.into()).or_default();
        namespace.insert(key.as_ref().into(), value.as_ref().into());
    }

    pub(crate) fn value(&self, namespace: &str, key: impl AsRef<[u8]>) -> Option<&[u8]> {
        self.namespaces.get(namespace)?.get(key.as_ref()).map(Vec::as_slice)
    }

    fn check(&self) -> Result<(), HostError> {
        self.failure.map_or(Ok(()), |failure| Err(failure.into()))
    }
}

impl Host for Maps {
    fn get(&mut self, namespace: &str, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, HostError> {
        self.check()?;
        Ok(self.value(namespace, key).map(found).is_some())
    }

    fn put(&mut self, namespace: &str, key: &[u8], value: &[u8]) -> Result<(), HostError> {
        self.check()?;
        self.set(namespace, key, value);
        Ok(())
    }

    fn delete(&mut self, namespace: &str, key: &[u8]) -> Result<bool, HostError> {
        self.check()?;
        Ok(self.namespaces.get_mut(namespace).is_some_and(|namespace| namespace.remove(key).is_some()))
    }

    fn scan(
        &mut self,
        namespace: &str,
        prefix: &[u8],
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), HostError> {
        self.check()?;
        let Some(namespace) = self.namespaces.get(namespace) else { return Ok(()) };
        for (key, value) in namespace.range(prefix.max(from).to_vec()..) {
            if !key.starts_with(prefix) || visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn now(&mut self) -> Timestamp {
        Timestamp::from_micros(NOW)
    }
}

/// A plugin to be called, with what it is called with.
pub(crate) struct Running {
    pub(crate) manifest: Manifest,
    pub(crate) instance: Instance,
    pub(crate) cache: GuestCache,
    pub(crate) stop: Stop,
    pub(crate) host: Maps,
}

impl Running {
    pub(crate) fn new(code: &Code) -> Result<Self, CallError> {
        let manifest = Manifest::clone(code.manifest());
        let cache = GuestCache::new(manifest.limits.cache);
        let instance = code.instantiate()?;
        Ok(Self { manifest, instance, cache, stop: Stop::new(), host: Maps::default() })
    }

    pub(crate) fn call(&mut self, call: Call<'_>) -> Outcome {
        let Self { manifest, instance, cache, stop, host } = self;
        instance.call(call, host, &manifest.grants, cache, stop)
    }

    pub(crate) fn request(&mut self, text: impl AsRef<[u8]>) -> Result<Vec<u8>, CallError> {
        self.call(Call::Request(text.as_ref())).result
    }

    /// Calls it, and returns the reply, which is a text.
    #[track_caller]
    pub(crate) fn reply(&mut self, text: &str) -> String {
        match self.request(text) {
            Ok(reply) => String::from_utf8(reply).unwrap(),
            Err(error) => panic!("`{text}`: {:?}: {error}", error.kind),
        }
    }

    /// Calls it, and returns why it did not succeed.
    #[track_caller]
    pub(crate) fn error(&mut self, text: &str) -> CallError {
        match self.request(text) {
            Ok(reply) => panic!("`{text}` succeeded: {:?}", String::from_utf8_lossy(&reply)),
            Err(error) => error,
        }
    }

    #[track_caller]
    pub(crate) fn logs(&mut self, text: &str) -> Vec<LogLine> {
        let outcome = self.call(Call::Request(text.as_bytes()));
        outcome.result.unwrap();
        outcome.logs
    }

    pub(crate) fn commit(&mut self, changes: &Changes) -> Result<(), CallError> {
        self.call(Call::Commit(changes)).result.map(drop)
    }

    pub(crate) fn before_commit(&mut self, changes: &Changes) -> Result<(), CallError> {
        self.call(Call::BeforeCommit(changes)).result.map(drop)
    }
}

/// Checks what kind of an error it is, and for a piece of its message.
#[track_caller]
pub(crate) fn assert_error(error: &CallError, kind: CallErrorKind, piece: &str) {
    assert!(
        error.kind == kind && error.message.contains(piece),
        "{:?}, expected {kind:?}: {:?}, expected to have {piece:?}",
        error.kind,
        error.message
    );
}

/// A bundle of files.
pub(crate) fn bundle<B: Into<Vec<u8>>>(files: impl IntoIterator<Item = (&'static str, B)>) -> Bundle {
    Bundle::of(files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.into().into())))
}
