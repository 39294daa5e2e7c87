//! Comparing two stores: a replica and its source, a backup and what it was made of.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use cohab_core::NamespaceId;

use crate::verify::Difference;
use crate::view::NamespaceView;
use crate::{NamespaceInfo, Result, Snapshot};

/// The keys of a namespace that are not the same on both sides.
#[derive(Default)]
struct Differing {
    here_only: u64,
    there_only: u64,
    otherwise: u64,
    span: Option<(Vec<u8>, Vec<u8>)>,
}

impl Differing {
    fn note(&mut self, key: &[u8]) {
        match &mut self.span {
            Some((_, last)) => {
                last.clear();
                last.extend_from_slice(key);
            }
            None => self.span = Some((key.to_vec(), key.to_vec())),
        }
    }

    fn count(&self) -> u64 {
        self.here_only + self.there_only + self.otherwise
    }
}

impl Snapshot {
    /// Says what is different in another store, or in another version of this one: namespaces, by their identity, what is
    /// said of them, and what they hold.
    ///
    /// Versions and times are not compared: a replica counts its own. Cost: none for namespaces whose digests are the
    /// same, whatever they hold; of others both are read, up to the last key. That the digests are those of what is
    /// there is for [`verify`](Self::verify) to say. In the differences *here* is this snapshot, *there* the other.
    ///
    /// # Errors
    ///
    /// [`Kind::Corrupt`](crate::Kind::Corrupt) if one of the two is damaged where it is read.
    pub fn compare(&self, other: &Self) -> Result<Vec<Difference>> {
        let (here, there) = (infos(self)?, infos(other)?);
        let ids: std::collections::BTreeSet<_> = here.keys().chain(there.keys()).collect();
        let mut differences = Vec::new();
        for id in ids {
            match (here.get(id), there.get(id)) {
                (Some(here), Some(there)) => {
                    compare_infos(here, there, &mut differences);
                    if (here.keys, here.bytes, here.digest) != (there.keys, there.bytes, there.digest) {
                        let views = (self.namespace_by_id(*id)?, other.namespace_by_id(*id)?);
                        differences.push(compare_data(&views.0, &views.1)?);
                    }
                }
                (Some(info), None) => differences.push(lonely(info, "is here and not there")),
                (None, Some(info)) => differences.push(lonely(info, "is there and not here")),
                (None, None) => {}
            }
        }
        Ok(differences)
    }
}

fn infos(snapshot: &Snapshot) -> Result<BTreeMap<NamespaceId, NamespaceInfo>> {
    let all = snapshot.namespaces()?.chain(snapshot.dropped_namespaces()?);
    all.map(|info| info.map(|info| (info.id, info))).collect()
}

fn place(info: &NamespaceInfo) -> String {
    format!("namespace `{}`", info.name)
}

fn lonely(info: &NamespaceInfo, problem: &str) -> Difference {
    Difference::new(place(info), format!("{problem}, with {} keys", info.keys), None)
}

/// Compares what people say of a namespace.
fn compare_infos(here: &NamespaceInfo, there: &NamespaceInfo, differences: &mut Vec<Difference>) {
    let place = place(here);
    let mut note = |problem: String| differences.push(Difference::new(&place, problem, None));
    if here.name != there.name {
        note(format!("is called `{}` there", there.name));
    }
    match (here.dropped.is_some(), there.dropped.is_some()) {
        (true, false) => note("was dropped here and not there".into()),
        (false, true) => note("was dropped there and not here".into()),
        _ => {}
    }
    let same = [
        ("title", here.title == there.title),
        ("description", here.description == there.description),
        ("labels", here.labels == there.labels),
        ("protection", here.protected == there.protected),
        ("history", here.history == there.history),
    ];
    for (what, _) in same.iter().filter(|(_, is_same)| !is_same) {
        note(format!("has another {what} there"));
    }
}

/// Goes through both, as zips close.
fn compare_data(here: &NamespaceView<'_>, there: &NamespaceView<'_>) -> Result<Difference> {
    let place = format!("namespace `{}`", here.metadata().name);
    let (mut left, mut right) = (here.all()?, there.all()?);
    let (mut ours, mut theirs) = (left.next().transpose()?, right.next().transpose()?);
    let mut found = Differing::default();
    loop {
        let order = match (&ours, &theirs) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(ours), Some(theirs)) => ours.key().cmp(theirs.key()),
        };
        match (order, &ours, &theirs) {
            (Ordering::Less, Some(entry), _) => {
                found.here_only += 1;
                found.note(entry.key());
            }
            (Ordering::Greater, _, Some(entry)) => {
                found.there_only += 1;
                found.note(entry.key());
            }
            (_, Some(ours), Some(theirs)) if ours.value() != theirs.value() => {
                found.otherwise += 1;
                found.note(ours.key());
            }
            _ => {}
        }
        if order != Ordering::Greater {
            ours = left.next().transpose()?;
        }
        if order != Ordering::Less {
            theirs = right.next().transpose()?;
        }
    }
    let count = found.count();
    let Differing { here_only, there_only, otherwise, span } = found;
    let problem = match count {
        0 => "holds the same, and its digests say otherwise: verify both".to_owned(),
        _ => format!(
            "keys that differ: {count}, of which {here_only} only here, {there_only} only there, {otherwise} with other values"
        ),
    };
    let range = span.map(|(first, last)| (Bound::Included(first), Bound::Included(last)));
    Ok(Difference::new(place, problem, range))
}
