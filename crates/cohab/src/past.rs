//! Earlier versions, read as the present one and what has changed since.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::iter::{Peekable, Rev};
use std::ops::Bound;

use cohab_core::{Epoch, Name, NamespaceId, Timestamp, Version};
use cohab_log::{Header, Image, Net, NetChange, NetNamespace, Sides, record_start};
use cohab_namespace::catalog::{Root, Stored};
use cohab_namespace::{Contents, Record};

use crate::layout::LOG;
use crate::namespaces::index_key;
use crate::snapshot::State;
use crate::view::Direction;
use crate::walk::{self, Span};
use crate::{Error, Kind, Result, Snapshot};

/// What an earlier version had different from the one that is pinned.
#[derive(Debug)]
pub(crate) struct Past {
    /// The store's own row of the version that is pinned.
    pub(crate) tip: Root,
    net: Net,
    /// The rows by which namespaces were found that changed since, and were there.
    pub(crate) names: BTreeMap<Vec<u8>, NamespaceId>,
}

impl Past {
    fn new(tip: Root, net: Net) -> Result<Self> {
        let mut names = BTreeMap::new();
        for (id, namespace) in net.namespaces() {
            if let Some(record) = namespace.record.as_ref().and_then(|record| record.before.as_ref()) {
                names.insert(index_key(&Record::decode(record)?), id);
            }
        }
        Ok(Self { tip, net, names })
    }

    /// Returns whether a namespace's record was another one, or none.
    pub(crate) fn renames(&self, id: NamespaceId) -> bool {
        self.net.namespace(id).is_some_and(|namespace| namespace.record.is_some())
    }

    /// Returns a namespace's record, if it was another one.
    pub(crate) fn record(&self, id: NamespaceId) -> Result<Option<Record>> {
        let Some(record) = self.net.namespace(id).and_then(|namespace| namespace.record.as_ref()) else {
            return Ok(None);
        };
        let before = record.before.as_ref().ok_or_else(|| {
            Error::new(Kind::NotFound, format!("namespace #{id} was made by a later version"))
        })?;
        Ok(Some(Record::decode(before)?))
    }

    /// Returns whether a namespace had a record, if it was another one.
    pub(crate) fn had_record(&self, id: NamespaceId) -> Option<bool> {
        self.net.namespace(id)?.record.as_ref().map(|record| record.before.is_some())
    }

    /// Returns the first namespace behind another one that was there and is no more.
    pub(crate) fn next_purged(&self, after: Option<NamespaceId>) -> Option<NamespaceId> {
        let was_there = |namespace: &NetNamespace| !namespace.is_new() && namespace.is_purged();
        let mut behind = self.net.namespaces().filter(|(id, _)| after.is_none_or(|after| *id > after));
        behind.find(|(_, namespace)| was_there(namespace)).map(|(id, _)| id)
    }

    /// Returns whether a namespace was made since.
    pub(crate) fn is_later(&self, id: NamespaceId) -> bool {
        self.net.namespace(id).is_some_and(NetNamespace::is_new)
    }

    /// Returns what a namespace held, if that was something else.
    pub(crate) fn contents(&self, id: NamespaceId) -> Option<Contents> {
        self.net.namespace(id)?.contents.map(|(before, _)| before)
    }

    /// Returns what is different about a namespace's data, or refuses one whose data is not known.
    pub(crate) fn data(&self, id: NamespaceId, name: &Name) -> Result<Option<&NetNamespace>> {
        let Some(namespace) = self.net.namespace(id) else { return Ok(None) };
        match lost(name.as_str(), namespace) {
            Some(error) => Err(error),
            None => Ok(Some(namespace)),
        }
    }
}

/// Why the data that a namespace held is not known, if so.
pub(crate) fn lost(name: &str, namespace: &NetNamespace) -> Option<Error> {
    let (why, hint) = if namespace.is_purged() {
        ("was purged since, with its data", "a backup from before has it")
    } else if namespace.is_unrecorded {
        (
            "was changed since with its history off",
            "what it holds now can be read; with its history `full` its past is kept from then on",
        )
    } else {
        return None;
    };
    let message = format!("namespace `{name}` {why}: what it held is not known");
    Some(Error::new(Kind::NoHistory, message).hint(hint))
}

impl Snapshot {
    /// Returns the oldest version that [`at`](Self::at) can show. Cost: none.
    pub fn oldest_readable(&self) -> Version {
        oldest_readable(self.state().tip())
    }

    /// Returns the store as it was at an earlier version, to read from as from any other snapshot.
    ///
    /// What has changed since is read from the log and kept in memory; everything else is read from the present. It pins
    /// no more than this snapshot does, and the writer goes on meanwhile. Cost: proportional to what was changed since,
    /// in time and memory, whatever the store holds. Reads then take a look at what changed besides that of any read;
    /// they do not go through the cache.
    ///
    /// ```
    /// # use cohab::{Store, Version};
    /// # let dir = tempfile::tempdir()?;
    /// # let store = Store::open(dir.path().join("store"))?;
    /// store.write(|tx| tx.create_namespace("flags"))?;
    /// let before = store.write(|tx| tx.put("flags", "dark-mode", "off"))?.version;
    /// store.write(|tx| tx.put("flags", "dark-mode", "on"))?;
    ///
    /// let past = store.snapshot()?.at(before)?;
    /// assert_eq!(past.get("flags", "dark-mode")?.as_deref(), Some(&b"off"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Kind::TooOld`] with the oldest version there is; [`Kind::NotFound`] for one that is later than this snapshot.
    /// [`Kind::NoHistory`] comes later, from reading a namespace whose data then is not known.
    pub fn at(&self, version: Version) -> Result<Self> {
        if version == self.version() {
            return Ok(self.clone());
        }
        let state = self.state();
        check_reach(&state.root, version)?;
        let tip = state.tip();
        let net = net(state, version, tip.version, Net::new(Sides::Before))?;
        let mut root = tip.clone();
        let created = net.namespaces().find(|(_, namespace)| namespace.is_new());
        if let Some((id, _)) = created {
            root.next_namespace = Some(id);
        }
        root.version = version;
        root.chain = chain_at(state, version)?.to_bytes();
        root.epoch =
            if version < tip.log_oldest { Epoch::ZERO } else { record_header(state, version)?.epoch };
        Ok(Self::of(state.earlier(root, Past::new(tip.clone(), net)?)))
    }

    /// Returns the store as it was at a time: at the newest version that was committed then or earlier, by the clock of
    /// whoever committed it.
    ///
    /// Where the clock was set back, several versions lie around a time, and it is the newest of them. Cost: that of
    /// [`at`](Self::at), and a look at every version since.
    ///
    /// # Errors
    ///
    /// [`Kind::TooOld`] if the log does not reach back that far.
    pub fn at_time(&self, time: Timestamp) -> Result<Self> {
        self.at(self.version_at(time)?)
    }

    /// Returns which version [`at_time`](Self::at_time) shows. Cost: a look at every version since.
    ///
    /// # Errors
    ///
    /// As for [`at_time`](Self::at_time).
    pub fn version_at(&self, time: Timestamp) -> Result<Version> {
        for record in self.log(..).rev() {
            let record = record?;
            if record.time() <= time {
                return Ok(record.version());
            }
        }
        let oldest = self.oldest_readable();
        if oldest == Version::ZERO && self.created_at() <= time {
            return Ok(Version::ZERO);
        }
        let message = format!("the log does not reach back to {time}; its oldest version is {oldest}");
        Err(Error::too_old(Version::ZERO, oldest).because(message))
    }
}

/// Refuses a version that is yet to come.
pub(crate) fn check_there(root: &Root, version: Version) -> Result<()> {
    if version <= root.version {
        return Ok(());
    }
    let message = format!("version {version} is not there; the last one is {}", root.version);
    Err(Error::new(Kind::NotFound, message))
}

/// Refuses a version that is yet to come, or that the log does not reach back to.
pub(crate) fn check_reach(root: &Root, version: Version) -> Result<()> {
    check_there(root, version)?;
    let oldest = oldest_readable(root);
    if version >= oldest { Ok(()) } else { Err(Error::too_old(version, oldest)) }
}

pub(crate) fn oldest_readable(tip: &Root) -> Version {
    if tip.log_oldest.get() <= 1 { Version::ZERO } else { tip.log_oldest }
}

/// Takes together what the versions after one and up to another have changed.
pub(crate) fn net(state: &State, after: Version, through: Version, net: Net) -> Result<Net> {
    let span = Span::new(after, through);
    span.fold(state.engine()?.range(LOG, span.bounds(), Direction::Forward)?, net)
}

/// Returns the header of a version's record.
pub(crate) fn record_header(state: &State, version: Version) -> Result<Header> {
    walk::header(version, state.engine()?.get(LOG, &record_start(version))?.as_deref())
}

/// Returns the log's chain through a version, of which the next one has a record, or which is pinned.
pub(crate) fn chain_at(state: &State, version: Version) -> Result<cohab_log::Chain> {
    let tip = state.tip();
    if version == tip.version {
        return Ok(cohab_log::Chain::from_bytes(tip.chain));
    }
    Ok(record_header(state, version.next())?.previous)
}

/// Between two keys of which nothing lies.
const NOTHING: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(&[]), Bound::Excluded(&[]));

/// Whether the end lies before the start, which a range of the engine bears and a map's does not.
fn is_empty(bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match bounds {
        (Bound::Excluded(start), Bound::Excluded(end)) => start >= end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
            start > end
        }
        _ => false,
    }
}

/// The keys of a range that were different, in the order of reading.
#[derive(Debug)]
pub(crate) struct Overlay<'s>(Peekable<Keys<'s>>);

type Changes<'s> = btree_map::Range<'s, Box<[u8]>, NetChange>;

#[derive(Debug)]
enum Keys<'s> {
    Forward(Changes<'s>),
    Reverse(Rev<Changes<'s>>),
}

impl<'s> Iterator for Keys<'s> {
    type Item = (&'s [u8], Option<&'s Image>);

    fn next(&mut self) -> Option<Self::Item> {
        let next = match self {
            Self::Forward(keys) => keys.next(),
            Self::Reverse(keys) => keys.next(),
        };
        next.map(|(key, change)| (&**key, change.before.as_ref()))
    }
}

impl<'s> Overlay<'s> {
    pub(crate) fn new(
        namespace: &'s NetNamespace,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
    ) -> Self {
        let keys = namespace.range(if is_empty(bounds) { NOTHING } else { bounds });
        Self(
            match direction {
                Direction::Forward => Keys::Forward(keys),
                Direction::Reverse => Keys::Reverse(keys.rev()),
            }
            .peekable(),
        )
    }

    pub(crate) fn peek(&mut self) -> Option<&'s [u8]> {
        self.0.peek().map(|(key, _)| *key)
    }

    pub(crate) fn next(&mut self) -> Option<(&'s [u8], Option<&'s Image>)> {
        self.0.next()
    }

    /// Leaves out what is left.
    pub(crate) fn end(&mut self) {
        while self.next().is_some() {}
    }
}
