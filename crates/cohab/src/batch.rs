//! Transactions as data.

use std::fmt;

use bytes::Bytes;
use cohab_core::limits::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX};
use cohab_core::{Name, NameError, Version};

use crate::layout::{check_value, data_key};
use crate::namespaces::must_exist;
use crate::transaction::{check_label, refuse_reserved};
use crate::{Error, Fence, NamespaceId, Result, Transaction};

/// Operations that happen together at one version, if the preconditions hold: what [`Store::submit`] takes.
///
/// [`Store::submit`]: crate::Store::submit
///
/// ```
/// use cohab::{Batch, Kind, Name, Precondition, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = Store::open(dir.path().join("store"))?;
/// let jobs: Name = "jobs".parse()?;
/// store.write(|tx| tx.create_namespace("jobs"))?;
///
/// let claim = |who: &'static str| {
///     Batch::new().expect(Precondition::absent(&jobs, "job-1")).put(&jobs, "job-1", who)
/// };
/// store.submit(claim("me"))?;
/// let refused = store.submit(claim("you")).unwrap_err();
/// assert_eq!(refused.kind(), Kind::Conflict);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use = "a batch does nothing until it is submitted"]
pub struct Batch {
    label: String,
    /// Whether it is cohab itself that writes, which may use the names and labels that are reserved.
    is_own: bool,
    fences: Vec<Fence>,
    preconditions: Vec<Precondition>,
    operations: Vec<Operation>,
    bytes: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Operation {
    namespace: Name,
    key: Bytes,
    action: Action,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Action {
    Put(Bytes),
    /// Like `Put`, into a namespace that is created if it is not there.
    Create(Bytes),
    Delete,
    /// Like `Delete`, from a namespace that need not be there either.
    #[cfg_attr(not(feature = "scripts"), expect(dead_code, reason = "plugins alone ask for it"))]
    Discard,
}

impl Batch {
    /// A batch of no operations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the transaction in the log.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Makes the batch fail as a whole unless this holds.
    pub fn expect(mut self, precondition: Precondition) -> Self {
        self.preconditions.push(precondition);
        self
    }

    /// Makes the batch fail as [`Kind::Fenced`](crate::Kind::Fenced) if a lock has a later holder; see
    /// [`Transaction::fence`].
    pub fn fence(mut self, fence: Fence) -> Self {
        self.fences.push(fence);
        self
    }

    /// Puts a value under a key of a namespace, which must exist.
    pub fn put(self, namespace: &Name, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.with(namespace, key.into(), Action::Put(value.into()))
    }

    /// Puts a value under a key of a namespace, creating the namespace if need be.
    pub fn put_creating(self, namespace: &Name, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.with(namespace, key.into(), Action::Create(value.into()))
    }

    /// Removes a key of a namespace, which must exist; the key need not.
    pub fn delete(self, namespace: &Name, key: impl Into<Bytes>) -> Self {
        self.with(namespace, key.into(), Action::Delete)
    }

    /// Removes a key of a namespace; neither need be there.
    #[cfg(feature = "scripts")]
    pub(crate) fn discard(self, namespace: &Name, key: impl Into<Bytes>) -> Self {
        self.with(namespace, key.into(), Action::Discard)
    }

    /// Says that it is cohab itself that writes.
    #[cfg(feature = "scripts")]
    pub(crate) fn own(mut self) -> Self {
        self.is_own = true;
        self
    }

    fn with(mut self, namespace: &Name, key: Bytes, action: Action) -> Self {
        self.bytes += key.len() + action.value().map_or(0, Bytes::len);
        self.operations.push(Operation { namespace: namespace.clone(), key, action });
        self
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Checks the batch against the limits, before it waits for its turn.
    pub(crate) fn check(&self) -> Result<()> {
        let count = self.operations.len() + self.preconditions.len() + self.fences.len();
        let hint = "split it up, or use `Store::write`, which streams";
        if count > BATCH_OPERATIONS_MAX {
            let message = format!(
                "a batch holds {count} operations and preconditions, the most is {BATCH_OPERATIONS_MAX}"
            );
            return Err(Error::invalid(message).hint(hint));
        }
        if self.bytes > BATCH_BYTES_MAX {
            let message = format!("a batch holds {} bytes, the most is {BATCH_BYTES_MAX}", self.bytes);
            return Err(Error::invalid(message).hint(hint));
        }
        check_label(&self.label)?;
        if !self.is_own {
            refuse_reserved(&self.label)?;
        }
        for operation in &self.operations {
            if operation.namespace.is_reserved() && !self.is_own {
                return Err(NameError::Reserved(operation.namespace.to_string()).into());
            }
            data_key(NamespaceId::FIRST, &operation.key)?;
            if let Some(value) = operation.action.value() {
                check_value(&operation.key, value)?;
            }
        }
        Ok(())
    }

    /// Checks everything that can refuse the batch, and changes nothing.
    pub(crate) fn admit(&self, transaction: &mut Transaction<'_, '_>) -> Result<()> {
        for fence in &self.fences {
            transaction.fence(fence)?;
        }
        let mut refusals = Vec::new();
        for precondition in &self.preconditions {
            refusals.extend(precondition.check(transaction)?);
        }
        if !refusals.is_empty() {
            return Err(Error::refused(refusals));
        }
        for operation in &self.operations {
            if matches!(operation.action, Action::Put(_) | Action::Delete) {
                must_exist(transaction, &operation.namespace)?;
            }
        }
        transaction.label_any(self.label.clone())
    }

    /// Commits the first of its operations by itself, and returns the rest.
    #[cfg(feature = "planted")]
    pub(crate) fn tear(mut self, commit: impl FnOnce(Self) -> Result<Version>) -> Result<Self> {
        if cohab_core::planted!(BatchTorn) && self.operations.len() > 1 {
            let rest = self.operations.split_off(1);
            commit(std::mem::take(&mut self))?;
            self.operations = rest;
        }
        Ok(self)
    }

    /// Lists what it would leave under which keys, the last for each.
    #[cfg(feature = "scripts")]
    pub(crate) fn outcome(&self) -> std::collections::BTreeMap<(&Name, &Bytes), Option<&Bytes>> {
        self.operations.iter().map(|it| ((&it.namespace, &it.key), it.action.value())).collect()
    }

    /// Carries the batch out. Whatever fails from here on leaves half of it done in the transaction.
    pub(crate) fn apply(&self, transaction: &mut Transaction<'_, '_>) -> Result<()> {
        transaction.whole(|transaction| {
            for Operation { namespace, key, action } in &self.operations {
                let id = match action {
                    Action::Create(_) => Some(transaction.ensure_any_namespace(namespace)?),
                    Action::Put(_) | Action::Delete => Some(must_exist(transaction, namespace)?),
                    Action::Discard => transaction.commit.find_any(namespace)?,
                };
                match (action, id) {
                    (Action::Put(value) | Action::Create(value), Some(id)) => {
                        transaction.put_in(id, key, value)?;
                    }
                    (_, Some(id)) => _ = transaction.delete_in(id, key)?,
                    (_, None) => {}
                }
            }
            Ok(())
        })
    }
}

impl Action {
    fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Put(value) | Self::Create(value) => Some(value),
            Self::Delete | Self::Discard => None,
        }
    }
}

/// What must hold for a batch to be committed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Precondition {
    /// A key has this value.
    Value {
        /// The namespace.
        namespace: Name,
        /// The key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// A key was last set by this version.
    KeyVersion {
        /// The namespace.
        namespace: Name,
        /// The key.
        key: Bytes,
        /// The version that set it.
        version: Version,
    },
    /// A key is there, or is not.
    Presence {
        /// The namespace.
        namespace: Name,
        /// The key.
        key: Bytes,
        /// Whether it is there.
        present: bool,
    },
    /// A namespace's data was last changed by this version.
    DataVersion {
        /// The namespace.
        namespace: Name,
        /// Its `data_version`.
        version: Version,
    },
    /// A namespace's metadata was last changed by this version.
    MetaVersion {
        /// The namespace.
        namespace: Name,
        /// Its `meta_version`.
        version: Version,
    },
    /// The store is at this version.
    StoreVersion(Version),
}

impl Precondition {
    /// A key has this value.
    pub fn value(namespace: &Name, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Value { namespace: namespace.clone(), key: key.into(), value: value.into() }
    }

    /// A key was last set by this version.
    pub fn key_version(namespace: &Name, key: impl Into<Bytes>, version: Version) -> Self {
        Self::KeyVersion { namespace: namespace.clone(), key: key.into(), version }
    }

    /// A key is not there. A namespace that is not there has no keys.
    pub fn absent(namespace: &Name, key: impl Into<Bytes>) -> Self {
        Self::Presence { namespace: namespace.clone(), key: key.into(), present: false }
    }

    /// A key is there.
    pub fn present(namespace: &Name, key: impl Into<Bytes>) -> Self {
        Self::Presence { namespace: namespace.clone(), key: key.into(), present: true }
    }

    /// Looks whether it holds, and returns the refusal if it does not.
    fn check(&self, transaction: &mut Transaction<'_, '_>) -> Result<Option<Refusal>> {
        let refuse = |found: Found| Ok(Some(Refusal { precondition: self.clone(), found }));
        let versions = |transaction: &mut Transaction<'_, '_>, name: &Name| -> Result<_> {
            let Some(id) = transaction.commit.find_any(name)? else { return Ok(None) };
            let open = transaction.commit.open(id);
            Ok(Some((open.contents.data_version, open.record.meta_version)))
        };
        match self {
            Self::StoreVersion(expected) => match transaction.commit.root.version {
                found if found == *expected => Ok(None),
                found => refuse(Found::Version(found)),
            },
            Self::DataVersion { namespace, version } => match versions(transaction, namespace)? {
                Some((found, _)) if found == *version => Ok(None),
                Some((found, _)) => refuse(Found::Version(found)),
                None => refuse(Found::NoNamespace),
            },
            Self::MetaVersion { namespace, version } => match versions(transaction, namespace)? {
                Some((_, found)) if found == *version => Ok(None),
                Some((_, found)) => refuse(Found::Version(found)),
                None => refuse(Found::NoNamespace),
            },
            Self::Value { namespace, key, .. }
            | Self::KeyVersion { namespace, key, .. }
            | Self::Presence { namespace, key, .. } => {
                let found = match transaction.commit.find_any(namespace)? {
                    Some(id) => transaction.get_in(id, key)?,
                    None => None,
                };
                let holds = match (self, &found) {
                    (Self::Value { value, .. }, Some(found)) => **found == **value,
                    (Self::KeyVersion { version, .. }, Some(found)) => found.version() == *version,
                    (Self::Presence { present, .. }, found) => found.is_some() == *present,
                    _ => false,
                };
                match found {
                    _ if holds => Ok(None),
                    Some(found) => refuse(Found::Version(found.version())),
                    None => refuse(Found::Absent),
                }
            }
        }
    }
}

/// A precondition that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// What was expected.
    pub precondition: Precondition,
    found: Found,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    Version(Version),
    Absent,
    NoNamespace,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &Bytes| {
            let start = &bytes[..bytes.len().min(64)];
            format!("\"{}{}\"", start.escape_ascii(), if bytes.len() > 64 { "…" } else { "" })
        };
        match &self.precondition {
            Precondition::Value { namespace, key, value } => {
                write!(f, "expected key {} of namespace `{namespace}` to be {}", text(key), text(value))?;
            }
            Precondition::KeyVersion { namespace, key, version } => {
                write!(f, "expected key {} of namespace `{namespace}` at version {version}", text(key))?;
            }
            Precondition::Presence { namespace, key, present } => {
                let state = if *present { "there" } else { "absent" };
                write!(f, "expected key {} of namespace `{namespace}` to be {state}", text(key))?;
            }
            Precondition::DataVersion { namespace, version } => {
                write!(f, "expected namespace `{namespace}` at data_version {version}")?;
            }
            Precondition::MetaVersion { namespace, version } => {
                write!(f, "expected namespace `{namespace}` at meta_version {version}")?;
            }
            Precondition::StoreVersion(version) => write!(f, "expected the store at version {version}")?,
        }
        match (self.found, &self.precondition) {
            (Found::Version(version), Precondition::Value { .. } | Precondition::Presence { .. }) => {
                write!(f, ", but version {version} set it otherwise")
            }
            (Found::Version(version), _) => write!(f, ", found {version}"),
            (Found::Absent, _) => f.write_str(", but it is not there"),
            (Found::NoNamespace, _) => f.write_str(", but there is no such namespace"),
        }
    }
}
