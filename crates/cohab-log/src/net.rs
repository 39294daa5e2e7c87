//! What several versions changed, taken together.

use std::collections::BTreeMap;

use bytes::Bytes;
use cohab_core::limits::NET_BYTES_MAX;
use cohab_core::{Contents, NamespaceId, Version, planted};

use crate::{Change, Item};

/// What a key takes besides its own bytes and those of its images, about.
const ENTRY_BYTES: u64 = 200;

/// Which images of a key are kept: those that nobody asks for need no memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sides {
    /// Those before the first change, to go back.
    Before,
    /// Those after the last change, to go forward.
    After,
    /// Both, to compare.
    Both,
}

/// The net effect of the versions between two points: each key once, with its image before the first change and after
/// the last, however often it changed in between.
///
/// It is fed with the items of the versions' records, in order. Memory: one entry for each key that changed, with the
/// images asked for.
///
/// ```
/// use cohab_core::{NamespaceId, Version};
/// use cohab_log::{Change, Item, Net, Sides};
///
/// let mut net = Net::new(Sides::Both);
/// let set = |value: &'static str, before: &'static str, before_version| Change::Update {
///     key: b"k", before: before.as_bytes(), before_version: Version::new(before_version), value: value.as_bytes(),
/// };
/// for (version, change) in [(7, set("b", "a", 3)), (8, set("c", "b", 7))] {
///     net.add(Version::new(version), &Item::Namespace(NamespaceId::FIRST));
///     net.add(Version::new(version), &Item::Change(change));
/// }
/// let (_, namespace) = net.namespaces().next().expect("one was touched");
/// let (key, change) = namespace.changes().next().expect("one key changed");
/// assert_eq!(key, b"k");
/// assert_eq!(change.before.as_ref().map(|image| &image.value[..]), Some(&b"a"[..]));
/// assert_eq!(change.after.as_ref().map(|image| &image.value[..]), Some(&b"c"[..]));
/// ```
#[derive(Clone, Debug)]
pub struct Net {
    sides: Sides,
    only: Option<NamespaceId>,
    namespaces: BTreeMap<NamespaceId, NetNamespace>,
    current: Option<NamespaceId>,
    bytes: u64,
    bytes_max: u64,
}

/// What became of one namespace.
#[derive(Clone, Debug, Default)]
pub struct NetNamespace {
    changes: BTreeMap<Box<[u8]>, NetChange>,
    /// Its catalogue record before and after, if that changed.
    pub record: Option<NetRecord>,
    /// What it held before and after, if its data changed.
    pub contents: Option<(Contents, Contents)>,
    /// Whether some changes are in no record, because its history was off.
    pub is_unrecorded: bool,
}

/// A namespace's catalogue record, before and after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetRecord {
    /// Before the first change; none if it was created since.
    pub before: Option<Bytes>,
    /// After the last change; none if it was purged.
    pub after: Option<Bytes>,
}

/// One key, before and after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetChange {
    /// Before the first change; none if it was not there.
    pub before: Option<Image>,
    /// After the last change; none if it was removed.
    pub after: Option<Image>,
}

/// A key's value at some time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// The version that set it.
    pub version: Version,
    /// The value; empty if its side is not kept.
    pub value: Bytes,
}

impl Net {
    /// Begins with nothing changed, and with up to [`NET_BYTES_MAX`] bytes of memory.
    pub const fn new(sides: Sides) -> Self {
        Self {
            sides,
            only: None,
            namespaces: BTreeMap::new(),
            current: None,
            bytes: 0,
            bytes_max: NET_BYTES_MAX,
        }
    }

    /// Leaves out all namespaces but one.
    #[must_use]
    pub const fn only(mut self, namespace: NamespaceId) -> Self {
        self.only = Some(namespace);
        self
    }

    /// Sets about how many bytes of memory it may take.
    #[must_use]
    pub const fn bytes_max(mut self, bytes_max: u64) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// Returns whether it keeps more than it may; whoever feeds it ends it then.
    pub const fn is_over(&self) -> bool {
        self.bytes > self.bytes_max
    }

    /// Takes the next item of a version's record in. Items come in the order of the log.
    pub fn add(&mut self, version: Version, item: &Item<'_>) {
        let wants = |namespace: NamespaceId| self.only.is_none_or(|only| only == namespace);
        match item {
            Item::Namespace(namespace) => self.current = Some(*namespace),
            Item::Change(change) => {
                if let Some(namespace) = self.current.filter(|namespace| wants(*namespace)) {
                    self.change(namespace, version, change);
                }
            }
            Item::Metadata { namespace, before, after } if wants(*namespace) => {
                let copy = |bytes: Option<&serde_bytes::Bytes>| bytes.map(|b| Bytes::copy_from_slice(b));
                let bytes = before.map_or(0, |it| it.len()) + after.map_or(0, |it| it.len());
                self.bytes += bytes as u64 + ENTRY_BYTES;
                let record = &mut self.namespaces.entry(*namespace).or_default().record;
                match record {
                    Some(record) => record.after = copy(*after),
                    None => *record = Some(NetRecord { before: copy(*before), after: copy(*after) }),
                }
            }
            Item::Unrecorded { namespace, .. } if wants(*namespace) => {
                self.namespaces.entry(*namespace).or_default().is_unrecorded = true;
            }
            Item::Summary(summary) if wants(summary.namespace) => {
                let contents = &mut self.namespaces.entry(summary.namespace).or_default().contents;
                let before = contents.map_or(summary.before, |(before, _)| before);
                *contents = Some((before, summary.after));
            }
            _ => {}
        }
    }

    fn change(&mut self, namespace: NamespaceId, version: Version, change: &Change<'_>) {
        let (sides, bytes) = (self.sides, &mut self.bytes);
        let mut image = |version: Version, value: &[u8], is_kept: bool| {
            let value = if is_kept { Bytes::copy_from_slice(value) } else { Bytes::new() };
            *bytes += value.len() as u64;
            Image { version, value }
        };
        let after = change.after().map(|value| image(version, value, sides != Sides::Before));
        let changes = &mut self.namespaces.entry(namespace).or_default().changes;
        if let Some(known) = changes.get_mut(change.key()).filter(|_| !planted!(UndoFromLastImage)) {
            *bytes -= known.after.as_ref().map_or(0, |image| image.value.len() as u64);
            known.after = after;
            return;
        }
        let before = change.before().zip(change.before_version());
        let before = before.map(|(value, version)| image(version, value, sides != Sides::After));
        *bytes += change.key().len() as u64 + ENTRY_BYTES;
        changes.insert(change.key().into(), NetChange { before, after });
    }

    /// Returns about how many bytes of memory it takes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the namespaces that something happened to, in the order of their ids.
    pub fn namespaces(&self) -> impl DoubleEndedIterator<Item = (NamespaceId, &NetNamespace)> {
        self.namespaces.iter().map(|(id, namespace)| (*id, namespace))
    }

    /// Returns what became of one namespace, if anything did.
    pub fn namespace(&self, id: NamespaceId) -> Option<&NetNamespace> {
        self.namespaces.get(&id)
    }
}

impl NetNamespace {
    /// Returns the keys that changed, in order. One that was added and removed again is among them.
    pub fn changes(&self) -> impl DoubleEndedIterator<Item = (&[u8], &NetChange)> {
        self.changes.iter().map(|(key, change)| (&**key, change))
    }

    /// Returns the keys of a range that changed, in order.
    pub fn range(
        &self,
        bounds: (std::ops::Bound<&[u8]>, std::ops::Bound<&[u8]>),
    ) -> std::collections::btree_map::Range<'_, Box<[u8]>, NetChange> {
        self.changes.range::<[u8], _>(bounds)
    }

    /// Returns what became of a key, if it changed.
    pub fn change(&self, key: &[u8]) -> Option<&NetChange> {
        self.changes.get(key)
    }

    /// Returns how many keys changed.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Returns whether no key changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Returns whether the namespace was given up for good.
    pub fn is_purged(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.after.is_none())
    }

    /// Returns whether the namespace was made since.
    pub fn is_new(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.before.is_none())
    }
}

impl NetChange {
    /// Returns whether the key holds the same bytes as before. Meaningful where both sides are kept.
    pub fn is_undone(&self) -> bool {
        let value = |image: Option<&Image>| image.map(|image| image.value.clone());
        value(self.before.as_ref()) == value(self.after.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<u8, u8>;

    const FIRST: NamespaceId = NamespaceId::FIRST;
    const OTHER: NamespaceId = NamespaceId::new(2);

    /// Feeds it with changes of both namespaces, at versions from 7 on.
    fn fed(mut net: Net, items: &[Item<'_>]) -> Net {
        for (version, item) in (7..).zip(items) {
            net.add(Version::new(version), item);
        }
        net
    }

    fn insert<'a>(key: &'a [u8], value: &'a [u8]) -> Item<'a> {
        Item::Change(Change::Insert { key, value })
    }

    fn update<'a>(key: &'a [u8], before: &'a [u8], value: &'a [u8]) -> Item<'a> {
        Item::Change(Change::Update { key, before, before_version: Version::new(3), value })
    }

    fn delete<'a>(key: &'a [u8], before: &'a [u8]) -> Item<'a> {
        Item::Change(Change::Delete { key, before, before_version: Version::new(3) })
    }

    fn image(version: u64, value: &'static [u8]) -> Image {
        Image { version: Version::new(version), value: Bytes::from_static(value) }
    }

    #[test]
    fn images_are_kept_of_the_sides_that_were_asked_for() {
        let items = [Item::Namespace(FIRST), update(b"k", b"old", b"mid"), update(b"k", b"mid", b"new")];
        let check = |sides, before, after| {
            let net = fed(Net::new(sides), &items);
            let change = net.namespace(FIRST).and_then(|namespace| namespace.change(b"k"));
            let expected = NetChange { before: Some(image(3, before)), after: Some(image(9, after)) };
            assert_eq!(change, Some(&expected), "{sides:?}");
        };
        check(Sides::Before, b"old", b"");
        check(Sides::After, b"", b"new");
        check(Sides::Both, b"old", b"new");
    }

    #[test]
    fn its_memory_is_what_it_keeps_and_bounded() {
        let inserted = [Item::Namespace(FIRST), insert(b"key", b"12345")];
        let replaced = [&inserted[..], &[update(b"key", b"12345", b"1")]].concat();
        let removed = [&inserted[..], &[delete(b"key", b"12345")]].concat();
        let (before, after) = (Some(serde_bytes::Bytes::new(b"12")), Some(serde_bytes::Bytes::new(b"123")));
        let record = [Item::Metadata { namespace: FIRST, before, after }];
        let check = |sides, items: &[Item<'_>], bytes: u64| {
            let net = fed(Net::new(sides).bytes_max(bytes), items);
            assert_eq!((net.bytes(), net.is_over()), (bytes, false), "{sides:?} of {items:?}");
            assert!(fed(Net::new(sides).bytes_max(bytes - 1), items).is_over());
        };
        check(Sides::Both, &inserted, ENTRY_BYTES + 3 + 5);
        check(Sides::Before, &inserted, ENTRY_BYTES + 3);
        check(Sides::After, &inserted, ENTRY_BYTES + 3 + 5);
        check(Sides::Both, &replaced, ENTRY_BYTES + 3 + 1);
        check(Sides::Both, &removed, ENTRY_BYTES + 3);
        check(Sides::Both, &[Item::Namespace(FIRST), update(b"k", b"12", b"3")], ENTRY_BYTES + 1 + 2 + 1);
        check(Sides::Both, &record, ENTRY_BYTES + 2 + 3);
    }

    #[test]
    fn of_a_namespace_the_first_state_and_the_last_are_known() {
        let bytes = |text: &'static str| Some(serde_bytes::Bytes::new(text.as_bytes()));
        let contents = |keys: u64| {
            let mut contents = Contents::EMPTY;
            (0..keys).for_each(|key| contents.add(&key.to_be_bytes(), b"value"));
            contents
        };
        let summary = |before, after| {
            let (before, after) = (contents(before), contents(after));
            Item::Summary(crate::Summary { namespace: FIRST, before, after })
        };
        let net = fed(
            Net::new(Sides::Both),
            &[
                Item::Metadata { namespace: FIRST, before: bytes("a"), after: bytes("b") },
                summary(1, 2),
                Item::Metadata { namespace: FIRST, before: bytes("b"), after: bytes("c") },
                summary(2, 3),
                Item::Metadata { namespace: OTHER, before: None, after: bytes("x") },
                Item::Metadata { namespace: OTHER, before: bytes("x"), after: None },
                Item::Unrecorded { namespace: OTHER, changes: 5 },
            ],
        );
        let [first, other] = [FIRST, OTHER].map(|id| net.namespace(id).expect("something happened to it"));
        let record = |before: Option<&'static str>, after: Option<&'static str>| {
            Some(NetRecord { before: before.map(Bytes::from), after: after.map(Bytes::from) })
        };
        assert_eq!(first.record, record(Some("a"), Some("c")));
        assert_eq!(first.contents, Some((contents(1), contents(3))));
        assert_eq!((first.is_new(), first.is_purged(), first.is_unrecorded), (false, false, false));
        assert_eq!(other.record, record(None, None));
        assert_eq!((other.is_new(), other.is_purged(), other.is_unrecorded), (true, true, true));
        assert_eq!(other.contents, None);
        assert_eq!(net.namespaces().map(|(id, _)| id).collect::<Vec<_>>(), [FIRST, OTHER]);
        let untouched = NetNamespace::default();
        assert_eq!((untouched.is_new(), untouched.is_purged()), (false, false));
    }

    #[test]
    fn others_than_the_one_asked_for_are_left_out() {
        let of = |namespace| {
            let summary = crate::Summary { namespace, before: Contents::EMPTY, after: Contents::EMPTY };
            [
                Item::Namespace(namespace),
                insert(b"k", b"v"),
                Item::Metadata { namespace, before: None, after: None },
                Item::Unrecorded { namespace, changes: 1 },
                Item::Summary(summary),
            ]
        };
        for skipped in 0..5 {
            let mut net = Net::new(Sides::Both).only(FIRST);
            for item in of(OTHER).iter().skip(skipped) {
                net.add(Version::new(7), item);
            }
            assert_eq!((net.namespaces().count(), net.bytes()), (0, 0), "without the first {skipped}");
        }
        let net = fed(Net::new(Sides::Both).only(FIRST), &[of(FIRST), of(OTHER)].concat());
        assert_eq!(net.namespaces().map(|(id, _)| id).collect::<Vec<_>>(), [FIRST]);
        let first = net.namespace(FIRST).expect("something happened to it");
        assert!(
            first.len() == 1 && first.record.is_some() && first.contents.is_some() && first.is_unrecorded
        );
    }

    #[test]
    fn keys_are_there_once_and_in_order() {
        let items = [Item::Namespace(FIRST), insert(b"c", b"1"), insert(b"a", b"2"), insert(b"b", b"3")];
        let net = fed(Net::new(Sides::Both), &[&items[..], &[delete(b"a", b"2")]].concat());
        let namespace = net.namespace(FIRST).expect("something happened to it");
        let keys: Vec<_> = namespace.changes().map(|(key, _)| key).collect();
        assert_eq!(keys, [b"a", b"b", b"c"]);
        assert_eq!((namespace.len(), namespace.is_empty()), (3, false));
        let undone: Vec<_> = namespace.changes().map(|(_, change)| change.is_undone()).collect();
        assert_eq!(undone, [true, false, false], "one was added and removed again");
        let bounds = (std::ops::Bound::Excluded(&b"a"[..]), std::ops::Bound::Included(&b"b"[..]));
        assert_eq!(namespace.range(bounds).map(|(key, _)| &**key).collect::<Vec<_>>(), [b"b"]);
        assert_eq!(namespace.change(b"none"), None);
        let untouched = NetNamespace::default();
        assert_eq!((untouched.len(), untouched.is_empty()), (0, true));
    }

    proptest! {
        #[test]
        fn the_net_effect_leads_from_the_first_state_to_the_last_and_back(
            first in prop::collection::btree_map(0..6u8, any::<u8>(), 0..6),
            steps in prop::collection::vec((0..6u8, prop::option::of(any::<u8>())), 0..40),
        ) {
            let mut state: Model = first.clone();
            let mut net = Net::new(Sides::Both);
            net.add(Version::new(1), &Item::Namespace(NamespaceId::FIRST));
            for (version, (key, after)) in (2..).zip(&steps) {
                let before = match after {
                    Some(value) => state.insert(*key, *value),
                    None => state.remove(key),
                };
                let (key, before_version) = (&[*key], Version::new(1));
                let (before, after) = (before.map(|b| [b]), after.map(|a| [a]));
                let change = match (&before, &after) {
                    (None, Some(value)) => Change::Insert { key, value },
                    (Some(before), Some(value)) => Change::Update { key, before, before_version, value },
                    (Some(before), None) => Change::Delete { key, before, before_version },
                    (None, None) => continue,
                };
                net.add(Version::new(version), &Item::Change(change));
            }
            let changes = net.namespace(NamespaceId::FIRST);
            let walk = |from: &Model, side: fn(&NetChange) -> &Option<Image>| {
                let mut state = from.clone();
                for (key, change) in changes.iter().flat_map(|namespace| namespace.changes()) {
                    match side(change) {
                        Some(image) => state.insert(key[0], image.value[0]),
                        None => state.remove(&key[0]),
                    };
                }
                state
            };
            prop_assert_eq!(walk(&first, |change| &change.after), state.clone());
            prop_assert_eq!(walk(&state, |change| &change.before), first.clone());
            for (key, change) in changes.iter().flat_map(|namespace| namespace.changes()) {
                prop_assert_eq!(change.is_undone(), first.get(&key[0]) == state.get(&key[0]));
            }
        }
    }
}
