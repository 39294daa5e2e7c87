//! What became of one key, and what became of everything between two versions.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::FusedIterator;

use bytes::Bytes;
use cohab_core::{InstanceId, NamespaceId, Timestamp, Version};
use cohab_log::{Item, Net, NetNamespace, Sides};
use cohab_namespace::catalog::Stored;
use cohab_namespace::{Contents, Metadata, Record};

use crate::layout::LOG;
use crate::past::{check_reach, lost, net, record_header};
use crate::snapshot::State;
use crate::view::Direction;
use crate::walk::Span;
use crate::{Error, Kind, NamespaceView, Result, Snapshot};

/// A value that a key had.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct KeyVersion {
    /// The version that set it, or removed the key.
    pub version: Version,
    /// What it set; nothing if it removed the key.
    pub value: Option<Bytes>,
    /// Who committed it and when, unless its record was trimmed from the log.
    pub commit: Option<KeyCommit>,
}

/// The commit that changed a key.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct KeyCommit {
    /// When, by the wall clock of who did.
    pub time: Timestamp,
    /// Who.
    pub instance: InstanceId,
    /// What the application called it; may be empty.
    pub label: String,
}

/// The versions of a key, newest first. After an error it yields nothing more.
pub struct KeyHistory<'s> {
    state: &'s State,
    namespace: NamespaceId,
    name: String,
    /// The version that made the namespace: before it the key was not there.
    created: Version,
    key: Box<[u8]>,
    at: Place,
}

/// Where to look next.
enum Place {
    /// At this version the key was set so.
    Known(Version, Bytes),
    /// At this version, or an earlier one.
    Search(Version),
    End,
}

/// What a version did to a key.
#[derive(Default)]
struct Found {
    is_changed: bool,
    /// What it left behind, if it changed the key and did not remove it.
    after: Option<Bytes>,
    /// What was there before, and since when.
    before: Option<(Version, Bytes)>,
    is_unrecorded: bool,
}

impl<'s> NamespaceView<'s> {
    /// Returns what a key was, newest first, as far as the log reaches back; lazily.
    ///
    /// Each value knows the version of the one before, so the cost is a record of the log for each version that changed
    /// the key; only to find when a key was removed, all records are looked through.
    ///
    /// # Errors
    ///
    /// Those of the items: [`Kind::NoHistory`] where changes were not recorded.
    pub fn history(&self, key: impl AsRef<[u8]>) -> Result<KeyHistory<'s>> {
        let key = key.as_ref();
        let at = match self.get(key)? {
            Some(value) => Place::Known(value.version(), value.to_bytes()),
            None => Place::Search(self.state().root.version),
        };
        let name = self.metadata().name.as_str().to_owned();
        let created = self.info().created;
        Ok(KeyHistory { state: self.state(), namespace: self.id(), name, created, key: key.into(), at })
    }
}

impl KeyHistory<'_> {
    /// Returns the oldest version that the log has a record of, if the namespace is older: what the key was before that is
    /// not known.
    pub fn cut_off_at(&self) -> Option<Version> {
        let oldest = self.state.tip().log_oldest;
        (self.created < oldest).then_some(oldest)
    }

    fn look(&self, version: Version) -> Result<Found> {
        let span = Span::new(Version::new(version.get() - 1), version);
        let rows = self.state.engine()?.range(LOG, span.bounds(), Direction::Forward)?;
        let (mut found, mut namespace) = (Found::default(), None);
        span.visit(rows, |_, item| {
            match item {
                Item::Namespace(id) => namespace = Some(*id),
                Item::Unrecorded { namespace, .. } if *namespace == self.namespace => {
                    found.is_unrecorded = true;
                }
                Item::Change(change) if namespace == Some(self.namespace) && *change.key() == *self.key => {
                    if !found.is_changed {
                        let before = change.before().zip(change.before_version());
                        found.before = before.map(|(value, since)| (since, Bytes::copy_from_slice(value)));
                    }
                    found.is_changed = true;
                    found.after = change.after().map(Bytes::copy_from_slice);
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn advance(&mut self) -> Result<Option<KeyVersion>> {
        let oldest = self.state.tip().log_oldest;
        let not_recorded = |version: Version| {
            let message = format!("version {version} changed namespace `{}` without a record", self.name);
            Error::new(Kind::NoHistory, message)
                .hint("its history was off then, so what the key was before is not known")
        };
        let version = match std::mem::replace(&mut self.at, Place::End) {
            Place::End => return Ok(None),
            Place::Known(version, value) if version < oldest => {
                return Ok(Some(KeyVersion { version, value: Some(value), commit: None }));
            }
            Place::Known(version, value) => {
                let found = self.look(version)?;
                // Its history was switched in this version, so the record may not tell all that it did.
                if found.is_unrecorded {
                    self.at = Place::Search(version);
                    return Ok(Some(KeyVersion {
                        version,
                        value: Some(value),
                        commit: Some(self.commit(version)?),
                    }));
                }
                version
            }
            Place::Search(version) => version,
        };
        let mut version = version;
        while version >= oldest.max(self.created) && version > Version::ZERO {
            let found = self.look(version)?;
            let earlier = Version::new(version.get() - 1);
            if found.is_unrecorded {
                return Err(not_recorded(version));
            }
            if found.is_changed {
                let value = found.after;
                self.at = match found.before {
                    Some((since, value)) => Place::Known(since, value),
                    None => Place::Search(earlier),
                };
                return Ok(Some(KeyVersion { version, value, commit: Some(self.commit(version)?) }));
            }
            version = earlier;
        }
        Ok(None)
    }

    fn commit(&self, version: Version) -> Result<KeyCommit> {
        let header = record_header(self.state, version)?;
        Ok(KeyCommit { time: header.time, instance: header.instance, label: header.label })
    }
}

impl Iterator for KeyHistory<'_> {
    type Item = Result<KeyVersion>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().inspect_err(|_| self.at = Place::End).transpose()
    }
}

impl FusedIterator for KeyHistory<'_> {}

impl fmt::Debug for KeyHistory<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHistory(\"{}\" of namespace `{}`)", self.key.escape_ascii(), self.name)
    }
}

/// What is different between two versions, taken together: a key that changed and changed back is not in it.
#[derive(Debug)]
pub struct Diff {
    from: Version,
    to: Version,
    net: Net,
    /// What those are called whose record did not change, and whether they are live.
    names: BTreeMap<NamespaceId, (String, bool)>,
    is_reversed: bool,
}

/// What is different about one namespace.
#[derive(Clone, Copy, Debug)]
pub struct NamespaceDiff<'d> {
    diff: &'d Diff,
    id: NamespaceId,
    net: &'d NetNamespace,
}

/// A key that is different.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct KeyDiff<'d> {
    /// The key.
    pub key: &'d [u8],
    /// Its value in the first version; nothing if it was not there.
    pub before: Option<&'d [u8]>,
    /// Its value in the second; nothing if it is not there.
    pub after: Option<&'d [u8]>,
}

impl Snapshot {
    /// Returns what is different in version `to` from what it was in version `from`, which may be the later one.
    ///
    /// Cost: proportional to what was changed between the two, in time and memory.
    ///
    /// # Errors
    ///
    /// [`Kind::TooOld`], and [`Kind::NotFound`] for a version that is later than the snapshot.
    pub fn diff(&self, from: Version, to: Version) -> Result<Diff> {
        self.diff_of(from, to, Net::new(Sides::Both))
    }

    /// Returns what is different about one namespace; see [`diff`](Self::diff).
    ///
    /// # Errors
    ///
    /// Also [`Kind::NotFound`] if there is no namespace of that name, neither in the snapshot nor in one of the versions; [`Kind::NoHistory`] if it is not known.
    pub fn diff_namespace(&self, name: impl AsRef<str>, from: Version, to: Version) -> Result<Diff> {
        let name = name.as_ref();
        let id = match self.namespace(name).map(|namespace| namespace.id()) {
            // It may have been there then.
            Err(error) if error.kind() == Kind::NotFound => {
                let then = [to, from]
                    .into_iter()
                    .find_map(|version| Some(self.at(version).ok()?.namespace(name).ok()?.id()));
                then.ok_or(error)?
            }
            other => other?,
        };
        let diff = self.diff_of(from, to, Net::new(Sides::Both).only(id))?;
        match diff.net.namespace(id).and_then(|namespace| lost(name, namespace)) {
            Some(error) => Err(error),
            None => Ok(diff),
        }
    }

    fn diff_of(&self, from: Version, to: Version, into: Net) -> Result<Diff> {
        let (first, last) = (from.min(to), from.max(to));
        check_reach(&self.state().root, last)?;
        check_reach(&self.state().root, first)?;
        let net = net(self.state(), first, last, into)?;
        let mut names = BTreeMap::new();
        for (id, namespace) in net.namespaces() {
            let record =
                namespace.record.as_ref().and_then(|record| record.after.as_ref().or(record.before.as_ref()));
            let record = match record {
                Some(record) => Record::decode(record)?,
                // It was purged after the second of the versions.
                None if !self.has_record(id)? => continue,
                None => self.namespace_by_id(id)?.into_parts().0,
            };
            names.insert(id, (record.metadata.name.as_str().to_owned(), record.dropped.is_none()));
        }
        Ok(Diff { from, to, net, names, is_reversed: from > to })
    }
}

impl Diff {
    /// Returns the version that was compared with.
    pub fn from(&self) -> Version {
        self.from
    }

    /// Returns the version that was compared.
    pub fn to(&self) -> Version {
        self.to
    }

    /// Returns the namespaces that something is different about, by id.
    pub fn namespaces(&self) -> impl Iterator<Item = NamespaceDiff<'_>> {
        let all = self.net.namespaces().map(|(id, net)| NamespaceDiff { diff: self, id, net });
        all.filter(|namespace| !namespace.is_empty())
    }

    /// Returns whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.namespaces().next().is_none()
    }
}

impl<'d> NamespaceDiff<'d> {
    /// Returns the namespace's identity.
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// Returns what it is called, at the later of the two versions; its number where it is gone for good.
    pub fn name(&self) -> String {
        self.diff.names.get(&self.id).map_or_else(|| format!("#{}", self.id), |(name, _)| name.clone())
    }

    /// Returns whether all that is different is known: not where history was off, or the namespace was purged.
    pub fn is_known(&self) -> bool {
        !self.net.is_unrecorded && !self.net.is_purged()
    }

    /// Returns what was said of the namespace in the first version and in the second, if that is different; nothing where
    /// it was not there, or lay in the trash.
    pub fn metadata(&self) -> Result<Option<(Option<Metadata>, Option<Metadata>)>> {
        let Some(record) = &self.net.record else { return Ok(None) };
        let (before, after) = self.ordered(live(record.before.as_ref())?, live(record.after.as_ref())?);
        Ok((before != after).then_some((before, after)))
    }

    /// Returns what the namespace held in the first version and in the second, if its data was changed in between.
    pub fn contents(&self) -> Option<(Contents, Contents)> {
        self.net.contents.map(|(before, after)| self.ordered(before, after))
    }

    /// Returns the keys that are different, in order.
    pub fn changes(&self) -> impl Iterator<Item = KeyDiff<'d>> + use<'d> {
        let this = *self;
        this.net.changes().filter(|(_, change)| !change.is_undone()).map(move |(key, change)| {
            let (before, after) = this.ordered(&change.before, &change.after);
            let value = |image: &'d Option<cohab_log::Image>| image.as_ref().map(|image| &*image.value);
            KeyDiff { key, before: value(before), after: value(after) }
        })
    }

    fn is_empty(&self) -> bool {
        !self.is_live()
            || self.is_known() && self.changes().next().is_none() && matches!(self.metadata(), Ok(None))
    }

    /// Whether the namespace is there, outside the trash, in one of the two versions.
    fn is_live(&self) -> bool {
        match &self.net.record {
            // What does not decode is told by who asks for it.
            Some(record) => [&record.before, &record.after]
                .into_iter()
                .any(|record| !matches!(live(record.as_ref()), Ok(None))),
            None => self.diff.names.get(&self.id).is_some_and(|(_, is_live)| *is_live),
        }
    }

    fn ordered<T>(&self, before: T, after: T) -> (T, T) {
        if self.diff.is_reversed { (after, before) } else { (before, after) }
    }
}

/// What was said of a namespace, if it was there and not in the trash.
fn live(record: Option<&Bytes>) -> Result<Option<Metadata>> {
    let record = record.map(|record| Record::decode(record)).transpose()?;
    Ok(record.filter(|record| record.dropped.is_none()).map(|record| record.metadata))
}
