//! What a session does to its files, in the order in which it happens.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::random::Random;
use crate::seam::{ALL, Call, CarryOut, Rename, Watcher, position};

use super::promise::Promise;

/// A file, whatever it is called.
pub(super) type Node = u32;

/// Something that changes files, makes changes durable, or that somebody was told. Paths are within the session's directory.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create {
        name: PathBuf,
        node: Node,
    },
    MakeDir {
        name: PathBuf,
    },
    RemoveDir {
        name: PathBuf,
    },
    /// Gives a file another name.
    Link {
        to: PathBuf,
        node: Node,
    },
    Unlink {
        name: PathBuf,
    },
    /// Moves a file, and what had the name to the other one if they are exchanged.
    Rename {
        from: PathBuf,
        to: PathBuf,
        node: Node,
        exchanged: Option<Node>,
    },
    Write {
        node: Node,
        at: u64,
        data: Box<[u8]>,
    },
    Truncate {
        node: Node,
        len: u64,
    },
    Sync {
        node: Node,
    },
    SyncDir {
        name: PathBuf,
    },
    Promise(Promise),
}

impl Op {
    /// Returns whether the world may stop after it and be another one than before.
    pub(super) fn is_point(&self) -> bool {
        !matches!(self, Self::Promise(_))
    }

    /// Says what it is in a few words.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Write { node, at, data } => format!("write of {} bytes at {at} of file {node}", data.len()),
            other => format!("{other:?}"),
        }
    }
}

/// Watches a session and writes down what it does below one directory.
pub(super) struct Recorder {
    root: PathBuf,
    recording: Mutex<Recording>,
}

struct Recording {
    ops: Vec<Op>,
    names: BTreeMap<PathBuf, Thing>,
    open: HashMap<i32, Open>,
    nodes: Node,
    /// What identities and the like are made of, so that a session does the same each time.
    random: Random,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Thing {
    File(Node),
    Dir,
}

/// How long a sync takes, in memory as on a disk, so that a reader meets what is visible and not yet durable.
const SYNC_TAKES: Duration = Duration::from_millis(1);

#[derive(Clone, Debug)]
enum Open {
    File { node: Node, flags: i32 },
    Dir { name: PathBuf },
}

impl Recorder {
    /// Records what happens below a directory, which is empty.
    pub(super) fn new(root: &Path, random: Random) -> Self {
        let names = BTreeMap::from([(PathBuf::new(), Thing::Dir)]);
        let recording = Recording { ops: Vec::new(), names, open: HashMap::new(), nodes: 0, random };
        Self { root: root.to_owned(), recording: Mutex::new(recording) }
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what somebody was told.
    pub(super) fn promise(&self, promise: Promise) {
        self.recording().ops.push(Op::Promise(promise));
    }

    /// Returns what was recorded.
    pub(super) fn take(&self) -> Vec<Op> {
        std::mem::take(&mut self.recording().ops)
    }

    fn within(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.root).ok().map(Path::to_owned)
    }
}

impl Watcher for Recorder {
    fn meet(&self, call: Call<'_>, carry_out: &CarryOut<'_>) -> i64 {
        let all = || carry_out(ALL);
        match call {
            Call::Open { path, flags } => match self.within(path) {
                Some(name) => self.recording().open(&name, flags, all),
                None => all(),
            },
            Call::List { path } => match self.within(path) {
                Some(name) => self.recording().open(&name, libc::O_DIRECTORY, all),
                None => all(),
            },
            Call::Close { fd } => {
                let mut recording = self.recording();
                recording.open.remove(&fd);
                all()
            }
            Call::Duplicate { fd } => {
                let mut recording = self.recording();
                let made = all();
                if let (Ok(made), Some(open)) = (i32::try_from(made), recording.open.get(&fd).cloned()) {
                    recording.open.insert(made, open);
                }
                made
            }
            Call::Write { fd, at, data } => self.recording().write(fd, at, data, all),
            Call::Truncate { fd, len } => {
                let mut recording = self.recording();
                let Some(Open::File { node, .. }) = recording.open.get(&fd).cloned() else { return all() };
                recording.note(all(), || Op::Truncate { node, len })
            }
            Call::Sync { fd, .. } => {
                thread::sleep(SYNC_TAKES);
                let mut recording = self.recording();
                let op = match recording.open.get(&fd).cloned() {
                    Some(Open::File { node, .. }) => Op::Sync { node },
                    Some(Open::Dir { name }) => Op::SyncDir { name },
                    None => return all(),
                };
                recording.note(all(), || op)
            }
            Call::Rename { from, to, how } => match (self.within(from), self.within(to)) {
                (Some(from), Some(to)) => self.recording().rename(from, to, how, all),
                _ => all(),
            },
            Call::Link { from, to } => match (self.within(from), self.within(to)) {
                (Some(from), Some(to)) => self.recording().link(from, to, all),
                _ => all(),
            },
            Call::Unlink { path } => self.named(path, all, |recording, name| {
                recording.names.remove(&name);
                Op::Unlink { name }
            }),
            Call::MakeDir { path } => self.named(path, all, |recording, name| {
                recording.names.insert(name.clone(), Thing::Dir);
                Op::MakeDir { name }
            }),
            Call::RemoveDir { path } => self.named(path, all, |recording, name| {
                recording.names.remove(&name);
                Op::RemoveDir { name }
            }),
            Call::Random { out } => {
                let mut recording = self.recording();
                for bytes in out.chunks_mut(8) {
                    bytes.copy_from_slice(&recording.random.next().to_le_bytes()[..bytes.len()]);
                }
                out.len().cast_signed() as i64
            }
            // They change nothing.
            Call::Read { .. }
            | Call::Examine { .. }
            | Call::Protect { .. }
            | Call::Lock { .. }
            | Call::Map { .. } => all(),
        }
    }
}

impl Recorder {
    fn named(
        &self,
        path: &Path,
        carry_out: impl FnOnce() -> i64,
        note: impl FnOnce(&mut Recording, PathBuf) -> Op,
    ) -> i64 {
        let Some(name) = self.within(path) else { return carry_out() };
        let mut recording = self.recording();
        let done = carry_out();
        if done >= 0 {
            let op = note(&mut recording, name);
            recording.ops.push(op);
        }
        done
    }
}

impl Recording {
    fn note(&mut self, done: i64, op: impl FnOnce() -> Op) -> i64 {
        if done >= 0 {
            self.ops.push(op());
        }
        done
    }

    fn open(&mut self, name: &Path, flags: i32, carry_out: impl FnOnce() -> i64) -> i64 {
        let fd = carry_out();
        let Ok(descriptor @ 0..) = i32::try_from(fd) else { return fd };
        let open = match self.names.get(name) {
            Some(Thing::Dir) => Open::Dir { name: name.to_owned() },
            Some(&Thing::File(node)) => {
                if flags & libc::O_TRUNC != 0 {
                    self.ops.push(Op::Truncate { node, len: 0 });
                }
                Open::File { node, flags }
            }
            None => {
                let node = self.nodes;
                self.nodes += 1;
                self.names.insert(name.to_owned(), Thing::File(node));
                self.ops.push(Op::Create { name: name.to_owned(), node });
                Open::File { node, flags }
            }
        };
        self.open.insert(descriptor, open);
        fd
    }

    fn write(&mut self, fd: i32, at: Option<u64>, data: &[u8], carry_out: impl FnOnce() -> i64) -> i64 {
        let Some(&Open::File { node, flags }) = self.open.get(&fd) else { return carry_out() };
        let at = at.unwrap_or_else(|| position(fd, flags));
        let done = carry_out();
        let written = usize::try_from(done).unwrap_or(0);
        if written > 0 {
            self.ops.push(Op::Write { node, at, data: data[..written].into() });
        }
        done
    }

    fn rename(&mut self, from: PathBuf, to: PathBuf, how: Rename, carry_out: impl FnOnce() -> i64) -> i64 {
        let done = carry_out();
        if done < 0 {
            return done;
        }
        let (node, replaced) = (self.take(&from), self.names.get(&to).copied());
        self.names.insert(to.clone(), Thing::File(node));
        let exchanged = (how == Rename::Exchange).then(|| match replaced {
            Some(Thing::File(other)) => other,
            other => panic!("{} is exchanged for {other:?}", to.display()),
        });
        self.names.extend(exchanged.map(|other| (from.clone(), Thing::File(other))));
        self.ops.push(Op::Rename { from, to, node, exchanged });
        done
    }

    /// Takes a name off a file.
    fn take(&mut self, name: &Path) -> Node {
        match self.names.remove(name) {
            Some(Thing::File(node)) => node,
            other => panic!("{} is {other:?}, and files alone are moved", name.display()),
        }
    }

    fn link(&mut self, from: PathBuf, to: PathBuf, carry_out: impl FnOnce() -> i64) -> i64 {
        let done = carry_out();
        if done >= 0 {
            let node = self.take(&from);
            self.names.extend([from, to.clone()].map(|name| (name, Thing::File(node))));
            self.ops.push(Op::Link { to, node });
        }
        done
    }
}
