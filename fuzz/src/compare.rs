//! Comparing everything that can be read of a snapshot with a model.

use cohab::{DropMode, Entry, Kind, NamespaceInfo, NamespaceView, Result, Snapshot};

use crate::Model;
use crate::model::{Cell, Space};

/// What a store that is sound answers with.
const SOUND: &str = "the store is sound";

impl Model {
    /// Compares a snapshot with the model.
    ///
    /// # Panics
    ///
    /// If they differ.
    pub(crate) fn compare(&self, snapshot: &Snapshot) {
        self.compare_past(snapshot, self);
    }

    /// Compares a snapshot of the past, read from a store that is like another model by now.
    ///
    /// # Panics
    ///
    /// If they differ.
    pub(crate) fn compare_past(&self, snapshot: &Snapshot, now: &Self) {
        assert_eq!(snapshot.version(), self.version);
        let live: Vec<_> = snapshot.namespaces().expect(SOUND).collect::<Result<_>>().expect(SOUND);
        assert_eq!(live.len(), self.live.len(), "namespaces: {live:?}");
        for (info, (name, space)) in live.iter().zip(&self.live) {
            assert!(info.name == *name && info.dropped.is_none(), "{info:?}");
            compare_info(info, space);
            self.compare_known(&snapshot.namespace(name).expect(SOUND), space, now);
        }
        let mut trash: Vec<_> = self.trash.iter().collect();
        // A stable sort: of one name, the one dropped last stays the last.
        trash.sort_by_key(|(name, _)| name.clone());
        let dropped: Vec<_> =
            snapshot.dropped_namespaces().expect(SOUND).collect::<Result<_>>().expect(SOUND);
        assert_eq!(dropped.len(), trash.len(), "dropped namespaces: {dropped:?}");
        for (info, (name, space)) in dropped.iter().zip(trash) {
            assert!(info.name == *name && info.dropped.is_some(), "{info:?}");
            compare_info(info, space);
            self.compare_known(&snapshot.namespace_by_id(space.id).expect(SOUND), space, now);
        }
    }

    /// Compares data, unless it may have been lost from the log since.
    fn compare_known(&self, view: &NamespaceView<'_>, space: &Space, now: &Self) {
        let is_there = |(_, other): &(_, &Space)| other.id == space.id;
        let all = now.live.iter().chain(now.trash.iter().map(|(name, space)| (name, space)));
        let may_be_lost = self.version < now.version
            && (now.forgetful.contains(&space.id) || !all.into_iter().any(|it| is_there(&it)));
        match view.all() {
            Err(error) if may_be_lost => assert_eq!(error.kind(), Kind::NoHistory, "{error}"),
            _ => compare_data(view, space),
        }
    }

    /// Compares values alone: those of a replica, and of a store that went back, have versions of their own.
    ///
    /// # Panics
    ///
    /// If they differ.
    pub(crate) fn compare_values(&self, snapshot: &Snapshot) {
        let live: Vec<_> = snapshot.namespaces().expect(SOUND).collect::<Result<_>>().expect(SOUND);
        assert_eq!(live.len(), self.live.len(), "namespaces: {live:?}");
        for (info, (name, space)) in live.iter().zip(&self.live) {
            assert!(
                info.name == *name && info.title == space.title && info.labels == space.labels,
                "{info:?}"
            );
            assert_eq!(info.protected, space.protected, "{info:?}");
            compare_values(snapshot, space);
        }
    }

    /// Compares a snapshot that may have been closed.
    pub(crate) fn compare_if_open(&self, snapshot: &Snapshot) {
        for (name, space) in &self.live {
            let read = snapshot.namespace(name).and_then(|view| {
                let entries = view.all()?.map(|entry| Ok(owned(&entry?)));
                entries.collect::<Result<Vec<_>>>()
            });
            match read {
                Ok(entries) => assert!(entries.into_iter().eq(space.entries.clone()), "`{name}` has changed"),
                Err(error) => assert_eq!(error.kind(), Kind::Closed, "{error}"),
            }
        }
    }
}

/// Verifies a snapshot from end to end.
pub(crate) fn verify(snapshot: &Snapshot) {
    let report = snapshot.verify(|_| ()).expect(SOUND);
    assert!(report.is_sound(), "{:?}", report.differences);
}

fn compare_info(info: &NamespaceInfo, space: &Space) {
    assert_eq!(
        (info.id, &info.title, &info.labels, info.protected, info.history),
        (space.id, &space.title, &space.labels, space.protected, space.history),
        "what is said about `{}`",
        info.name
    );
    assert_eq!(
        (info.created, info.meta_version, info.data_version),
        (space.created, space.meta_version, space.data_version),
        "the versions of `{}`",
        info.name
    );
    let counted = (space.entries.len() as u64, space.bytes(), space.digest());
    assert_eq!((info.keys, info.bytes, info.digest), counted, "what is counted of `{}`", info.name);
}

fn compare_data(view: &NamespaceView<'_>, space: &Space) {
    let entries = |range: cohab::Range<'_>| {
        range.map(|entry| owned(&entry.expect(SOUND))).collect::<Vec<(Vec<u8>, Cell)>>()
    };
    let expected = || space.entries.iter().map(|(key, cell)| (key.clone(), cell.clone()));
    assert!(entries(view.all().expect(SOUND)).into_iter().eq(expected()), "{view:?}: {:?}", space.entries);
    let reverse = entries(view.reverse(..).expect(SOUND));
    assert!(reverse.into_iter().eq(expected().rev()), "{view:?} in reverse: {:?}", space.entries);

    let mut lent = view.all().expect(SOUND);
    for (key, (value, version)) in &space.entries {
        let entry = lent.step().expect(SOUND).expect("there are as many entries as were iterated over");
        assert!(entry.key() == key && entry.value() == value && entry.version() == *version, "{entry:?}");
        let found = view.get(key).expect(SOUND).expect("what was iterated over is there");
        assert!(*found == **value && found.version() == *version, "{found:?}");
        let beside = [key, &b"-"[..]].concat();
        if beside.len() <= cohab::limits::KEY_BYTES_MAX {
            let found = view.get(&beside).expect(SOUND);
            assert_eq!(found.is_some(), space.entries.contains_key(&beside), "{beside:?}");
        }
    }
    assert!(lent.step().expect(SOUND).is_none());
}

/// Compares the values of a namespace.
pub(crate) fn compare_values(snapshot: &Snapshot, space: &Space) {
    let view = snapshot.namespace_by_id(space.id).expect(SOUND);
    let found = view.all().expect(SOUND).map(|entry| {
        let (key, (value, _)) = owned(&entry.expect(SOUND));
        (key, value)
    });
    let expected = space.entries.iter().map(|(key, (value, _))| (key.clone(), value.clone()));
    assert!(found.eq(expected), "{view:?}: {:?}", space.entries);
}

pub(crate) fn owned(entry: &Entry<'_>) -> (Vec<u8>, Cell) {
    (entry.key().to_vec(), (entry.value().to_vec(), entry.version()))
}

/// Says how a namespace is to be dropped.
pub(crate) fn drop_mode(with_contents: bool) -> DropMode {
    if with_contents { DropMode::WithContents } else { DropMode::IfEmpty }
}
