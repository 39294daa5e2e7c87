//! A snapshot, compared with the state of its version.

use super::*;

/// Compares everything that a snapshot shows with the model's state of its version, where `tip` is the version that is
/// pinned.
pub(crate) fn compare(chronicle: &Chronicle, snapshot: &Snapshot, tip: Version, random: &mut Random) {
    let state = chronicle.at(snapshot.version());
    let version = state.version;
    let infos = |all: Vec<NamespaceInfo>| all;
    let live = infos(snapshot.namespaces().expect("can be listed").map(|it| it.expect("is sound")).collect());
    let trash = snapshot.dropped_namespaces().expect("can be listed").map(|it| it.expect("is sound"));
    let names = |all: &[NamespaceInfo]| -> Vec<_> { all.iter().map(|it| (it.name.clone(), it.id)).collect() };
    let told =
        |all: &[&Arc<Ns>]| -> Vec<_> { all.iter().map(|it| (it.metadata.name.clone(), it.id)).collect() };
    let trash = infos(trash.collect());
    assert_eq!(names(&live), told(&state.live()), "namespaces of version {version}, from {tip}");
    assert_eq!(names(&trash), told(&state.trash()), "trash of version {version}, from {tip}");
    for (info, ns) in live.iter().zip(state.live()).chain(trash.iter().zip(state.trash())) {
        compare_info(info, ns, &format!("version {version} from {tip}"));
        let view = snapshot.namespace_by_id(ns.id).expect("is there");
        assert_eq!(view.info(), *info);
        let is_lost = chronicle.is_lost(ns.id, version, tip);
        compare_data(&view, ns, is_lost, random, &format!("`{}` at {version} from {tip}", info.name));
        if ns.dropped.is_none() {
            let view = snapshot.namespace(&info.name).expect("is there");
            assert_eq!(view.info(), *info);
            compare_data(&view, ns, is_lost, random, &format!("`{}` at {version} from {tip}", info.name));
            let key = random.key();
            match snapshot.get(&info.name, &key) {
                Ok(found) if !is_lost => {
                    let found = found.map(|it| (it.version(), it.to_vec()));
                    assert_eq!(found.as_ref(), ns.entries.get(&key), "version {version} from {tip}");
                }
                other => assert_eq!(other.map_err(|it| it.kind()).err(), is_lost.then_some(Kind::NoHistory)),
            }
        }
    }
    for name in ["a", "a/b", "a0", "b", "c", "d"] {
        let found = snapshot.namespace(name).map(|it| it.id()).map_err(|it| it.kind());
        assert_eq!(found, state.find(name), "`{name}` at {version} from {tip}");
    }
    for id in chronicle.at(tip).namespaces.keys().filter(|id| !state.namespaces.contains_key(id)) {
        let found = snapshot.namespace_by_id(*id).map(drop).map_err(|it| it.kind());
        assert_eq!(found, Err(Kind::NotFound), "#{id} at {version} from {tip}");
    }
}

fn compare_info(info: &NamespaceInfo, ns: &Ns, what: &str) {
    let Metadata { name, title, description, labels, protected, history, .. } = &ns.metadata;
    assert_eq!(
        (&info.name, &info.title, &info.description, &info.labels, info.protected, info.history),
        (name, title, description, labels, *protected, *history),
        "{what}"
    );
    assert_eq!(
        (info.id, info.created, info.created_at, info.meta_version, info.dropped),
        (ns.id, ns.created, ns.created_at, ns.meta_version, ns.dropped),
        "`{name}`, {what}"
    );
    assert_eq!(
        (info.data_version, (info.keys, info.bytes, info.digest)),
        (ns.data_version, ns.counted()),
        "`{name}`, {what}"
    );
}

type Found = (Vec<u8>, (Version, Vec<u8>));

/// Reads a range by the iterator, by steps, or by both in turn.
fn read(mut range: cohab::Range<'_>, how: u64, random: &mut Random) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    loop {
        let by_step = match how {
            0 => true,
            1 => false,
            _ => random.one_in(2),
        };
        let found = if by_step {
            range.step()?.map(|it| (it.key().to_vec(), (it.version(), it.value().to_vec())))
        } else {
            let next = range.next().transpose()?;
            next.map(|it| (it.key().to_vec(), (it.version(), it.value().to_vec())))
        };
        let Some(found) = found else {
            assert!(range.next().is_none(), "a range that has ended stays so");
            assert!(range.step()?.is_none(), "a range that has ended stays so");
            return Ok(all);
        };
        all.push(found);
    }
}

fn within(entries: &Entries, bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Vec<Found> {
    let is_in = |key: &Vec<u8>| {
        let from = match &bounds.0 {
            Bound::Unbounded => true,
            Bound::Included(from) => key >= from,
            Bound::Excluded(from) => key > from,
        };
        let to = match &bounds.1 {
            Bound::Unbounded => true,
            Bound::Included(to) => key <= to,
            Bound::Excluded(to) => key < to,
        };
        from && to
    };
    entries.iter().filter(|(key, _)| is_in(key)).map(|(key, it)| (key.clone(), it.clone())).collect()
}

fn compare_data(view: &NamespaceView<'_>, ns: &Ns, is_lost: bool, random: &mut Random, what: &str) {
    assert_eq!((view.count(), view.id(), view.metadata()), (ns.entries.len() as u64, ns.id, &ns.metadata));
    assert_eq!(view.digest(), ns.counted().2);
    let refused = Some(Kind::NoHistory);
    if is_lost {
        let key = random.key();
        assert_eq!(view.get(&key).map_err(|it| it.kind()).err(), refused, "{what}");
        assert_eq!(view.get_bytes(&key).map_err(|it| it.kind()).err(), refused, "{what}");
        assert_eq!(view.get_many([key]).map_err(|it| it.kind()).err(), refused, "{what}");
        assert_eq!(view.all().map_err(|it| it.kind()).err(), refused, "{what}");
        assert_eq!(view.reverse(..).map_err(|it| it.kind()).err(), refused, "{what}");
        assert_eq!(view.prefix("").map_err(|it| it.kind()).err(), refused, "{what}");
        return;
    }
    let all = within(&ns.entries, &(Bound::Unbounded, Bound::Unbounded));
    for how in 0..3 {
        let found = read(view.all().expect("can be read"), how, random).expect("is sound");
        assert_eq!(found, all, "{what}, way {how}");
    }
    let mut backwards = all.clone();
    backwards.reverse();
    let how = random.below(3);
    assert_eq!(
        read(view.reverse(..).expect("can be read"), how, random).expect("is sound"),
        backwards,
        "{what}"
    );
    for _ in 0..6 {
        let bounds = (random.bound(), random.bound());
        let (mut expected, how) = (within(&ns.entries, &bounds), random.below(3));
        let lent = (bounds.0.as_ref().map(Vec::as_slice), bounds.1.as_ref().map(Vec::as_slice));
        let found = read(view.scan(lent, Direction::Forward).expect("can be read"), how, random);
        assert_eq!(found.expect("is sound"), expected, "{what}, {bounds:?}");
        let found = read(view.reverse(bounds.clone()).expect("can be read"), how, random);
        expected.reverse();
        assert_eq!(found.expect("is sound"), expected, "{what}, backwards {bounds:?}");
    }
    let prefix = random.key();
    let prefix = &prefix[..prefix.len().min(2)];
    let expected: Vec<_> = all.iter().filter(|(key, _)| key.starts_with(prefix)).cloned().collect();
    let how = random.below(3);
    assert_eq!(
        read(view.prefix(prefix).expect("can be read"), how, random).expect("is sound"),
        expected,
        "{what}"
    );
    let mut keys: Vec<Vec<u8>> = ns.entries.keys().cloned().collect();
    keys.extend((0..12).map(|_| random.key()));
    let many = view.get_many(&keys).expect("are sound");
    for (key, one) in keys.iter().zip(many) {
        let expected = ns.entries.get(key);
        assert_eq!(one.map(|it| (it.version(), it.to_vec())).as_ref(), expected, "{what}, {key:?}");
        let one = view.get(key).expect("is sound");
        assert_eq!(one.map(|it| (it.version(), it.to_vec())).as_ref(), expected, "{what}, {key:?}");
        let bytes = view.get_bytes(key).expect("is sound");
        assert_eq!(bytes.as_deref(), expected.map(|(_, value)| &**value), "{what}, {key:?}");
    }
}
