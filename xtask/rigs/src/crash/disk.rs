//! A disk that loses power: what of a session's writes has to be there afterwards, and what may be.
//!
//! The model is the least that POSIX promises. Only `fsync` and `fdatasync` of a file make its bytes and its length durable, only
//! `fsync` of a directory its names; a file that was synced may be nowhere to be found, because its name was not. Until then each
//! write, length and name may have reached the disk or not, whatever came before or after it, and of a write any of its sectors.
//! Real file systems promise more; the rig with real power cuts tests what they do.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::survival::Survival;
use super::trace::{Node, Op};

/// What a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;

/// How many changes may wait before the oldest are written, as the system does by and by. Only what nobody ever syncs gets there.
const PENDING_MAX: usize = 40;

/// A change that is not durable yet: its index in the trace.
type Change = usize;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Thing {
    File(Node),
    Dir,
}

/// The disk, at some point of a trace.
#[derive(Clone)]
pub(super) struct Disk<'t> {
    ops: &'t [Op],
    names: BTreeMap<PathBuf, Thing>,
    contents: HashMap<Node, Vec<u8>>,
    pending: Vec<Change>,
    /// Under which name each file began.
    places: HashMap<Node, &'t Path>,
    /// Counts how often something has become durable.
    durable: u64,
}

impl<'t> Disk<'t> {
    pub(super) fn new(ops: &'t [Op]) -> Self {
        let (names, contents, places) = Default::default();
        Self { ops, names, contents, pending: Vec::new(), places, durable: 0 }
    }

    /// Goes on to after the next operation.
    pub(super) fn advance(&mut self, index: usize) {
        match &self.ops[index] {
            Op::Promise(_) => {}
            Op::Sync { node } => self.settle(|op| written_node(op) == Some(*node)),
            Op::SyncDir { name } => self.settle(|op| names_in(op, name)),
            op => {
                if let Op::Create { name, node } = op {
                    self.places.insert(*node, name);
                }
                self.pending.push(index);
                if self.pending.len() > PENDING_MAX {
                    let oldest = self.pending.remove(0);
                    self.apply(oldest);
                    self.durable += 1;
                }
            }
        }
    }

    /// How many changes may or may not be there.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether some pending change is one of a file that began under this directory, or of a name in it.
    pub(super) fn is_pending_below(&self, directory: &str) -> bool {
        self.pending.iter().any(|&index| match written_node(&self.ops[index]) {
            Some(node) => self.places.get(&node).is_some_and(|place| place.starts_with(directory)),
            None => names_of(&self.ops[index]).iter().flatten().any(|name| name.starts_with(directory)),
        })
    }

    /// Returns how many sectors the last pending change has, if it is a write.
    pub(super) fn last_sectors(&self) -> usize {
        match self.pending.last().map(|&index| &self.ops[index]) {
            Some(Op::Write { at, data, .. }) => sectors(*at, data.len()).count(),
            _ => 0,
        }
    }

    /// Makes some pending changes durable, in their order.
    fn settle(&mut self, which: impl Fn(&Op) -> bool) {
        let (settled, pending): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|&index| which(&self.ops[index]));
        self.pending = pending;
        for index in settled {
            self.apply(index);
        }
        self.durable += 1;
    }

    fn apply(&mut self, index: usize) {
        let op = &self.ops[index];
        match op {
            Op::Write { node, at, data } => put(self.contents.entry(*node).or_default(), *at, data),
            Op::Truncate { node, len } => {
                self.contents.entry(*node).or_default().resize(size(*len), 0);
            }
            _ => rename(&mut self.names, op),
        }
    }

    /// Identifies an image, so that it need not be looked at twice.
    pub(super) fn identify(&self, survival: &Survival) -> u64 {
        let mut hasher = rapidhash::fast::RapidHasher::default();
        self.durable.hash(&mut hasher);
        for (position, &index) in self.pending.iter().enumerate() {
            let op = &self.ops[index];
            match op {
                Op::Write { at, data, .. } => {
                    for (number, _) in sectors(*at, data.len()).enumerate() {
                        if survival.keeps_sector(position, number) {
                            (index, number).hash(&mut hasher);
                        }
                    }
                }
                _ if survival.keeps(position) => index.hash(&mut hasher),
                _ => {}
            }
        }
        hasher.finish()
    }

    /// Puts what has survived below a directory, which is empty.
    pub(super) fn restore(&self, survival: &Survival, root: &Path) -> io::Result<()> {
        let mut names = self.names.clone();
        let mut changed: HashMap<Node, Vec<(usize, &Op)>> = HashMap::new();
        for (position, &index) in self.pending.iter().enumerate() {
            let op = &self.ops[index];
            match written_node(op) {
                Some(node) => changed.entry(node).or_default().push((position, op)),
                None if survival.keeps(position) => rename(&mut names, op),
                None => {}
            }
        }
        let mut written: HashMap<Node, PathBuf> = HashMap::new();
        for (name, thing) in &names {
            let path = root.join(name);
            match thing {
                Thing::Dir if name.as_os_str().is_empty() => {}
                // What lies in a directory that was lost is lost.
                Thing::Dir => lost(fs::create_dir(&path))?,
                Thing::File(node) => {
                    if let Some(other) = written.get(node) {
                        lost(fs::hard_link(other, &path))?;
                        continue;
                    }
                    let file = match File::create_new(&path) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        created => created?,
                    };
                    written.insert(*node, path);
                    if let Some(content) = self.contents.get(node) {
                        fill(&file, content)?;
                    }
                    for (position, op) in changed.get(node).into_iter().flatten() {
                        survive(&file, op, survival, *position)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Gives a file its content, without room for the pages of it that are zero: a young store has many.
fn fill(file: &File, content: &[u8]) -> io::Result<()> {
    const PAGE: usize = 4096;
    const BLANK: [u8; PAGE] = [0; PAGE];
    file.set_len(content.len() as u64)?;
    let (mut from, mut at) = (0, 0);
    for page in content.chunks(PAGE) {
        if *page == BLANK[..page.len()] {
            file.write_all_at(&content[from..at], from as u64)?;
            from = at + page.len();
        }
        at += page.len();
    }
    file.write_all_at(&content[from..], from as u64)
}

fn lost(made: io::Result<()>) -> io::Result<()> {
    match made {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        made => made,
    }
}

/// Does to a file what has survived of a change of it.
fn survive(file: &File, op: &Op, survival: &Survival, position: usize) -> io::Result<()> {
    match op {
        Op::Write { at, data, .. } => {
            let mut kept: Option<(u64, usize, usize)> = None;
            for (number, (from, to)) in sectors(*at, data.len()).enumerate() {
                match (&mut kept, survival.keeps_sector(position, number)) {
                    (Some((_, _, end)), true) => *end = to,
                    (none @ None, true) => *none = Some((*at + from as u64, from, to)),
                    (_, false) => {
                        if let Some((at, from, to)) = kept.take() {
                            file.write_all_at(&data[from..to], at)?;
                        }
                    }
                }
            }
            kept.map_or(Ok(()), |(at, from, to)| file.write_all_at(&data[from..to], at))
        }
        Op::Truncate { len, .. } if survival.keeps(position) => file.set_len(*len),
        _ => Ok(()),
    }
}

/// Returns the parts of a write that lie in one sector each, as bounds within its data.
fn sectors(at: u64, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let within = usize::try_from(at % SECTOR as u64).expect("is less than a sector");
    let mut from = 0;
    std::iter::from_fn(move || {
        let begin = from;
        let end = if begin == 0 { SECTOR - within } else { begin + SECTOR }.min(len);
        from = end;
        (begin < len).then_some((begin, end))
    })
}

fn put(content: &mut Vec<u8>, at: u64, data: &[u8]) {
    let (at, end) = (size(at), size(at) + data.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(data);
}

fn size(len: u64) -> usize {
    usize::try_from(len).expect("files of a session are small")
}

fn written_node(op: &Op) -> Option<Node> {
    match op {
        Op::Write { node, .. } | Op::Truncate { node, .. } => Some(*node),
        _ => None,
    }
}

/// Returns the names that a change is about, if it is one of names.
fn names_of(op: &Op) -> [Option<&Path>; 2] {
    match op {
        Op::Create { name, .. } | Op::MakeDir { name } | Op::RemoveDir { name } | Op::Unlink { name } => {
            [Some(name), None]
        }
        Op::Link { to, .. } => [Some(to), None],
        Op::Rename { from, to, .. } => [Some(from), Some(to)],
        _ => [None, None],
    }
}

/// Returns whether a change is one of names in a directory.
fn names_in(op: &Op, directory: &Path) -> bool {
    names_of(op).iter().flatten().any(|name| name.parent() == Some(directory))
}

/// Does a change of names. A name is of a file, and not of the name that it had before: whether that was durable is no matter.
fn rename(names: &mut BTreeMap<PathBuf, Thing>, op: &Op) {
    match op {
        Op::Create { name, node } => _ = names.insert(name.clone(), Thing::File(*node)),
        Op::MakeDir { name } => _ = names.entry(name.clone()).or_insert(Thing::Dir),
        Op::RemoveDir { name } | Op::Unlink { name } => _ = names.remove(name),
        Op::Link { to, node } => _ = names.insert(to.clone(), Thing::File(*node)),
        Op::Rename { from, to, node, exchanged } => {
            names.remove(from);
            names.insert(to.clone(), Thing::File(*node));
            names.extend(exchanged.map(|other| (from.clone(), Thing::File(other))));
        }
        _ => {}
    }
}
