//! What is written: a few keys, each of whose values says which operation put it there.

use cohab::{Result, Snapshot};
use serde::{Deserialize, Serialize};

use super::history::Broken;

/// What was found, unless it is nothing that could have been.
pub(crate) type Looked<T> = std::result::Result<T, Broken>;

/// Of each side of the pair, both of which hold the same in every version.
const PAIRED: usize = 12;
/// Written by nearly everybody, and followed by the plugin.
const HOT: usize = 4;
/// Put and removed again.
const FLEETING: usize = 4;
/// Written behind a named lock each, whose token is shown.
const GUARDED: usize = 2;

/// How many keys there are.
pub(crate) const KEYS: usize = 2 * PAIRED + HOT + FLEETING + GUARDED;

/// Which lists there are.
pub(crate) const LISTS: usize = 4;
/// After how many elements a list begins anew, as the next of its key.
pub(crate) const LIST_ELEMENTS_MAX: usize = 24;

/// The namespaces of the keys, in the order of their numbers.
pub(crate) const NAMESPACES: [&str; 5] = ["left", "right", "hot", "fleeting", "guarded"];
/// The namespace of the lists.
pub(crate) const LISTED: &str = "lists";
/// The namespace that the plugin writes to.
pub(crate) const EFFECTS: &str = "effects";
/// The locks that guard a key each.
pub(crate) const LOCKS: [&str; GUARDED] = ["nightly report", "import"];

/// An operation: the process that made it, and which of its operations it is.
///
/// Zero stands for a key that is absent, so that a read is one number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Op(pub(crate) u64);

impl Op {
    pub(crate) const NONE: Self = Self(0);
    /// Makes what is written to.
    pub(crate) const SETUP: Self = Self(1);

    pub(crate) fn new(process: u32, number: u32) -> Self {
        Self(u64::from(process) << 24 | u64::from(number & 0x00ff_ffff))
    }

    pub(crate) fn process(self) -> u32 {
        u32::try_from(self.0 >> 24).expect("process numbers have 32 bits")
    }

    /// The label that its transaction has in the log.
    pub(crate) fn label(self) -> String {
        format!("op {:x}", self.0)
    }

    pub(crate) fn parse(label: &str) -> Option<Self> {
        u64::from_str_radix(label.strip_prefix("op ")?, 16).ok().map(Self)
    }
}

/// A key, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key(u8);

impl Key {
    pub(crate) fn new(number: usize) -> Self {
        assert!(number < KEYS, "there are {KEYS} keys");
        Self(u8::try_from(number).expect("there are few"))
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..KEYS).map(Self::new)
    }

    /// Both of a pair.
    pub(crate) fn pair(number: usize) -> [Self; 2] {
        [Self::new(number % PAIRED), Self::new(PAIRED + number % PAIRED)]
    }

    pub(crate) fn hot(number: usize) -> Self {
        Self::new(2 * PAIRED + number % HOT)
    }

    pub(crate) fn fleeting(number: usize) -> Self {
        Self::new(2 * PAIRED + HOT + number % FLEETING)
    }

    pub(crate) fn guarded(lock: usize) -> Self {
        Self::new(2 * PAIRED + HOT + FLEETING + lock)
    }

    /// Whether the plugin follows it.
    pub(crate) fn is_hot(self) -> bool {
        (2 * PAIRED..2 * PAIRED + HOT).contains(&self.number())
    }

    pub(crate) fn number(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) fn bit(self) -> u64 {
        1 << self.0
    }

    pub(crate) fn namespace(self) -> &'static str {
        NAMESPACES[self.namespace_number()]
    }

    pub(crate) fn namespace_number(self) -> usize {
        let ends = [PAIRED, 2 * PAIRED, 2 * PAIRED + HOT, 2 * PAIRED + HOT + FLEETING, KEYS];
        ends.iter().position(|end| self.number() < *end).expect("the last end is behind every key")
    }

    pub(crate) fn name(self) -> [u8; 2] {
        [b'k', self.0]
    }

    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        match name {
            [b'k', number] if usize::from(*number) < KEYS => Some(Self(*number)),
            _ => None,
        }
    }

    /// The value that an operation puts under it: of a length of its own, and the same in both of a pair.
    pub(crate) fn value(self, op: Op) -> Vec<u8> {
        let mut value = op.0.to_be_bytes().to_vec();
        let number = self.0 % u8::try_from(PAIRED).expect("there are few");
        let filler = op.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
        value.resize(8 + usize::try_from(filler).expect("six bits") + 1, number ^ op.0.to_be_bytes()[7]);
        value
    }

    /// Returns the operation that put a value there, if all of the value is as that operation put it.
    pub(crate) fn op(self, value: Option<&[u8]>) -> Looked<Op> {
        let Some(value) = value else { return Ok(Op::NONE) };
        let op = value.first_chunk().map(|op| Op(u64::from_be_bytes(*op)));
        match op {
            Some(op) if op != Op::NONE && value == self.value(op) => Ok(op),
            _ => Err(Broken(format!(
                "{self:?} of `{}` holds what nobody has written: {value:02x?}",
                self.namespace()
            ))),
        }
    }
}

/// A list as it was read: the how many-th of its key, and what was appended to it.
pub(crate) type List = (u32, Vec<Op>);

pub(crate) fn list_key(list: usize) -> [u8; 1] {
    [u8::try_from(list).expect("there are few")]
}

pub(crate) fn encode_list(list: &List) -> Vec<u8> {
    let mut value = list.0.to_be_bytes().to_vec();
    value.extend(list.1.iter().flat_map(|op| op.0.to_be_bytes()));
    value
}

pub(crate) fn decode_list(value: Option<&[u8]>) -> Looked<List> {
    let Some(value) = value else { return Ok((0, Vec::new())) };
    let (head, rest) = value.split_first_chunk().ok_or_else(|| Broken("a list has no number".into()))?;
    let (elements, remainder) = rest.as_chunks::<8>();
    if !remainder.is_empty() {
        return Err(Broken(format!("a list was torn: {value:02x?}")));
    }
    let elements = elements.iter().map(|op| Op(u64::from_be_bytes(*op))).collect();
    Ok((u32::from_be_bytes(*head), elements))
}

/// Appends to a list, or begins the next one if it is full.
pub(crate) fn append(mut list: List, op: Op) -> List {
    if list.1.len() >= LIST_ELEMENTS_MAX {
        list = (list.0 + 1, Vec::new());
    }
    list.1.push(op);
    list
}

/// Reads every key of a snapshot, through the cache or past it.
pub(crate) fn read_all(snapshot: &Snapshot, is_cached: bool) -> Result<Looked<Vec<u64>>> {
    let views = NAMESPACES.map(|name| snapshot.namespace(name));
    let mut values = Vec::with_capacity(KEYS);
    let [left, right, hot, fleeting, guarded] = views;
    let views = [left?, right?, hot?, fleeting?, guarded?];
    for key in Key::all() {
        let view = &views[key.namespace_number()];
        let op = if is_cached {
            key.op(view.get_bytes(key.name())?.as_deref())
        } else {
            key.op(view.get(key.name())?.as_deref())
        };
        match op {
            Ok(op) => values.push(op.0),
            Err(broken) => return Ok(Err(broken)),
        }
    }
    Ok(Ok(values))
}

/// Reads every list of a snapshot.
pub(crate) fn read_lists(snapshot: &Snapshot) -> Result<Looked<Vec<List>>> {
    let view = snapshot.namespace(LISTED)?;
    let mut lists = Vec::with_capacity(LISTS);
    for list in 0..LISTS {
        match decode_list(view.get(list_key(list))?.as_deref()) {
            Ok(list) => lists.push(list),
            Err(broken) => return Ok(Err(broken)),
        }
    }
    Ok(Ok(lists))
}

/// Which change an effect of the plugin stands for, by the effect's key.
pub(crate) fn parse_effect(effect: &[u8]) -> Option<(Key, u64)> {
    let (name, rest) = effect.split_at_checked(2)?;
    let version = std::str::from_utf8(rest.strip_prefix(b"@")?).ok()?;
    Some((Key::parse(name)?, version.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_say_who_wrote_them_and_nothing_else_does() {
        let op = Op::new(7, 12);
        assert_eq!(Op::parse(&op.label()), Some(op));
        for key in Key::all() {
            let value = key.value(op);
            assert_eq!(key.op(Some(&value)).map(Op::process).ok(), Some(7));
            assert!(key.op(Some(&value[1..])).is_err());
            assert!(key.op(Some(&[])).is_err());
            assert_eq!(Key::parse(&key.name()), Some(key));
        }
        let [left, right] = Key::pair(3);
        assert_eq!(left.value(op), right.value(op));
        assert_eq!((left.namespace(), right.namespace(), Key::guarded(1).is_hot()), ("left", "right", false));
        assert_eq!(Key::new(KEYS - 1).namespace(), "guarded");
    }

    #[test]
    fn lists_begin_anew_when_they_are_full() {
        let mut list = decode_list(None).expect("nothing is no list");
        for number in 1..=LIST_ELEMENTS_MAX + 1 {
            list = append(list, Op(number as u64));
            assert_eq!(decode_list(Some(&encode_list(&list))).ok(), Some(list.clone()));
        }
        assert_eq!(list, (1, vec![Op(LIST_ELEMENTS_MAX as u64 + 1)]));
    }
}
