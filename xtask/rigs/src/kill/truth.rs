//! What the store says in the end that has happened: its log, version by version.

use anyhow::Result;
use cohab::{Change, LogItem, NamespaceId, Snapshot};

use super::keys::{
    EFFECTS, KEYS, Key, LISTED, LISTS, List, NAMESPACES, Op, append, decode_list, parse_effect, read_all,
    read_lists,
};

/// What one version did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Committed {
    pub(crate) version: u64,
    pub(crate) epoch: u64,
    /// The operation that made it, unless it was cohab itself or the plugin.
    pub(crate) op: Option<Op>,
    /// Which keys it put, and which it removed.
    pub(crate) puts: u64,
    pub(crate) deletes: u64,
    /// Which lists it appended to.
    pub(crate) appends: u8,
    /// The digests of the namespaces that it changed.
    pub(crate) digests: Vec<(u32, [u8; 16])>,
    /// Which changes of hot keys the plugin was shown with this as its effect.
    pub(crate) effects: Vec<(Key, u64)>,
}

/// Everything that was committed.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) commits: Vec<Committed>,
    /// From which version on the plugin follows.
    pub(crate) followed_from: u64,
    /// What contradicts itself already.
    pub(crate) violations: Vec<String>,
}

/// The state that the log leads to.
struct State {
    values: [Op; KEYS],
    lists: [List; LISTS],
}

impl Truth {
    /// Reads the log of a snapshot, which nothing was trimmed from, and compares what it leads to with what is there.
    pub(crate) fn read(snapshot: &Snapshot, followed_from: u64) -> Result<Self> {
        let mut truth = Self { followed_from, ..Self::default() };
        let mut state = State { values: [Op::NONE; KEYS], lists: Default::default() };
        let id = |name: &str| Ok::<_, cohab::Error>(snapshot.namespace(name)?.id());
        let ids = NAMESPACES.iter().map(|name| id(name)).collect::<Result<Vec<_>, _>>()?;
        // The plugin makes its own when it has something to write.
        let (lists, effects) = (id(LISTED)?, id(EFFECTS).ok());
        for record in snapshot.log(..) {
            let record = record?;
            let mut commit = Committed {
                version: record.version().get(),
                epoch: record.epoch().get(),
                op: Op::parse(record.label()),
                ..Committed::default()
            };
            record.visit(|item| {
                match item {
                    LogItem::Change { namespace, change } => {
                        let outcome = if ids.contains(&namespace) {
                            state.change(&mut commit, &ids, namespace, &change)
                        } else if namespace == lists {
                            state.append(&mut commit, &change)
                        } else if Some(namespace) == effects {
                            effect(&mut commit, &change)
                        } else {
                            Ok(())
                        };
                        if let Err(violation) = outcome {
                            truth.violations.push(format!("version {}: {violation}", commit.version));
                        }
                    }
                    LogItem::Summary(summary) => {
                        let digest = bytes(summary.after.digest);
                        commit.digests.push((summary.namespace.get(), digest));
                    }
                    _ => {}
                }
                Ok(())
            })?;
            truth.commits.push(commit);
        }
        match (read_all(snapshot, false)?, read_lists(snapshot)?) {
            (Ok(values), Ok(lists)) => {
                if values != state.values.map(|op| op.0) || lists != state.lists {
                    truth.violations.push("the log does not lead to what the store holds".into());
                }
            }
            (Err(broken), _) | (_, Err(broken)) => truth.violations.push(broken.0),
        }
        Ok(truth)
    }
}

/// A digest, as it is written down.
pub(crate) fn bytes(digest: cohab::Digest) -> [u8; 16] {
    let text = digest.to_string();
    u128::from_str_radix(&text, 16).expect("a digest is shown in hexadecimal digits").to_be_bytes()
}

impl State {
    fn change(
        &mut self,
        commit: &mut Committed,
        ids: &[NamespaceId],
        namespace: NamespaceId,
        change: &Change<'_>,
    ) -> Result<(), String> {
        let key = Key::parse(change.key()).filter(|key| ids[key.namespace_number()] == namespace);
        let key = key.ok_or_else(|| format!("a key that is nobody's: {:?}", change.key()))?;
        let (before, after) = images(change);
        let look = |value| key.op(value).map_err(|broken| broken.0);
        let (before, after) = (look(before)?, look(after)?);
        let held = std::mem::replace(&mut self.values[key.number()], after);
        if before != held {
            return Err(format!("{key:?} held {held:?}, and the log says {before:?}"));
        }
        if after == Op::NONE {
            commit.deletes |= key.bit();
        } else {
            commit.puts |= key.bit();
        }
        match commit.op {
            Some(op) if after == Op::NONE || after == op => Ok(()),
            op => Err(format!("{key:?} holds {after:?} after a commit of {op:?}")),
        }
    }

    fn append(&mut self, commit: &mut Committed, change: &Change<'_>) -> Result<(), String> {
        let list = change.key().first().map(|list| usize::from(*list)).filter(|list| *list < LISTS);
        let list = list.ok_or_else(|| format!("a list that is nobody's: {:?}", change.key()))?;
        let (before, after) = images(change);
        let look = |value| decode_list(value).map_err(|broken| broken.0);
        let (before, after) = (look(before)?, look(after)?);
        let held = std::mem::replace(&mut self.lists[list], after.clone());
        commit.appends |= 1 << list;
        let expected = append(before.clone(), commit.op.unwrap_or_default());
        if before != held || after != expected {
            return Err(format!("list {list} was {held:?}, {before:?} by the log, and is {after:?}"));
        }
        Ok(())
    }
}

fn images<'a>(change: &'a Change<'_>) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
    match change {
        Change::Insert { value, .. } => (None, Some(value)),
        Change::Update { before, value, .. } => (Some(before), Some(value)),
        Change::Delete { before, .. } => (Some(before), None),
    }
}

fn effect(commit: &mut Committed, change: &Change<'_>) -> Result<(), String> {
    let effect = parse_effect(change.key());
    let effect = effect.ok_or_else(|| format!("an effect of nothing: {:?}", change.key()))?;
    commit.effects.push(effect);
    match images(change) {
        (None, Some(b"1")) => Ok(()),
        (before, after) => Err(format!("the effect of {effect:?} goes from {before:?} to {after:?}")),
    }
}
