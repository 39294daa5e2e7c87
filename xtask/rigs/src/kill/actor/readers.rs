//! Those that only read: from snapshots, and through the cache.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use cohab::{Cached, Freshness, Kind, Role, Snapshot, Store, Version};

use super::{Stage, unless_stalled};
use crate::kill::history::{Asked, Event, Part, now};
use crate::kill::keys::{
    Key, LISTED, LISTS, Looked, NAMESPACES, Op, decode_list, list_key, read_all, read_lists,
};
use crate::kill::points::Point;
use crate::random::Random;

/// How long a token is waited for: longer than anybody is stopped.
const TOKEN_WAIT: Duration = Duration::from_secs(5);

/// How many reads through the cache are made without a pause.
const BURST: u64 = 64;

pub(super) fn play_snapshots(stage: &mut Stage) -> Result<()> {
    let options = stage.options().role(Role::Reader);
    let store = stage.open(&options)?;
    let mut reader = Reader::new(store);
    loop {
        reader.read(stage)?;
        stage.rest(1500);
    }
}

pub(super) fn play_cached(stage: &mut Stage) -> Result<()> {
    let options = stage.options().role(Role::Reader);
    let store = stage.open(&options)?;
    let mut reader = Reader::new(store.clone());
    let Some(handles) = Handles::open(stage, &store)? else { return Ok(()) };
    loop {
        handles.read(stage)?;
        if stage.random.one_in(8) {
            reader.read(stage)?;
        }
        stage.rest(800);
    }
}

/// Reads from snapshots, of all kinds.
pub(super) struct Reader {
    store: Store,
    kept: VecDeque<Snapshot>,
}

impl Reader {
    pub(super) fn new(store: Store) -> Self {
        Self { store, kept: VecDeque::new() }
    }

    /// Makes one read of some kind.
    pub(super) fn read(&mut self, stage: &mut Stage) -> Result<()> {
        match stage.random.below(16) {
            0..8 => {
                let invoked = now();
                let taken = self.store.snapshot();
                let Some(snapshot) = unless_stalled(stage, taken)? else { return Ok(()) };
                note_all(stage, invoked, Asked::Latest, &snapshot)?;
                self.keep(stage, snapshot);
                Ok(())
            }
            8..11 => self.honour_token(stage),
            11 => match self.kept.get(stage.random.index(4)).cloned() {
                Some(snapshot) => note_all(stage, now(), Asked::Any, &snapshot),
                None => Ok(()),
            },
            12 => self.look_back(stage),
            _ => self.read_lists(stage),
        }
    }

    fn keep(&mut self, stage: &mut Stage, snapshot: Snapshot) {
        if stage.random.one_in(16) {
            self.kept.push_back(snapshot);
        }
        if self.kept.len() > 4 {
            self.kept.pop_front();
        }
    }

    /// Reads at least what another process was told it has committed.
    fn honour_token(&self, stage: &mut Stage) -> Result<()> {
        let Some(version) = stage.scene.token().get() else { return Ok(()) };
        let (token, invoked) = (self.store.token(Version::new(version)), now());
        match self.store.snapshot_at(Freshness::AtLeast { token, wait: TOKEN_WAIT }) {
            Ok(snapshot) => note_all(stage, invoked, Asked::Token(version), &snapshot),
            Err(error) if error.kind() == Kind::TimedOut => {
                stage.journal.note(Event::TimedOut { version });
                Ok(())
            }
            other => unless_stalled(stage, other).map(drop),
        }
    }

    /// Reads a version of the past.
    fn look_back(&self, stage: &mut Stage) -> Result<()> {
        let taken = self.store.snapshot();
        let Some(snapshot) = unless_stalled(stage, taken)? else { return Ok(()) };
        let oldest = snapshot.oldest_readable().get().max(3);
        let Some(back) = snapshot.version().get().checked_sub(oldest) else { return Ok(()) };
        let version = Version::new(snapshot.version().get() - stage.random.below(back.min(200) + 1));
        let past = snapshot.at(version).map(Ok);
        let Some(past) = sound_snapshot(stage, past)? else { return Ok(()) };
        note_all(stage, now(), Asked::Any, &past)
    }

    fn read_lists(&self, stage: &mut Stage) -> Result<()> {
        let invoked = now();
        let taken = self.store.snapshot();
        let Some(snapshot) = unless_stalled(stage, taken)? else { return Ok(()) };
        stage.points.pass(Point::Snapshot);
        let read = read_lists(&snapshot);
        if let Some(lists) = sound_snapshot(stage, read)? {
            stage.journal.note(Event::Lists { invoked, lists });
        }
        Ok(())
    }
}

/// Reads all keys of a snapshot and writes down what they held.
pub(super) fn note_all(stage: &mut Stage, invoked: u64, asked: Asked, snapshot: &Snapshot) -> Result<()> {
    stage.points.pass(Point::Snapshot);
    // The cache and the file are to say the same.
    let is_cached = stage.random.one_in(2);
    let read = read_all(snapshot, is_cached);
    if let Some(values) = sound_snapshot(stage, read)? {
        stage.journal.note(Event::Read { invoked, asked, version: snapshot.version().get(), values });
    }
    Ok(())
}

/// Takes what was read of a snapshot. Those that a handle took as the writer end when it hands over.
#[track_caller]
fn sound_snapshot<T>(stage: &Stage, read: cohab::Result<Looked<T>>) -> Result<Option<T>> {
    match read {
        Err(error) if error.kind() == Kind::Closed && stage.part == Part::Writer => Ok(None),
        read => sound(stage, read),
    }
}

/// Takes what was read, or writes down that it is nothing that could have been.
#[track_caller]
fn sound<T>(stage: &Stage, read: cohab::Result<Looked<T>>) -> Result<Option<T>> {
    Ok(match unless_stalled(stage, read)? {
        Some(Ok(value)) => Some(value),
        Some(Err(broken)) => {
            stage.journal.broken(broken.0);
            None
        }
        None => None,
    })
}

/// Reads through the cache.
pub(super) struct Handles {
    namespaces: Vec<Cached>,
    lists: Cached,
}

impl Handles {
    pub(super) fn open(stage: &Stage, store: &Store) -> Result<Option<Self>> {
        let mut namespaces = Vec::new();
        for name in NAMESPACES {
            let Some(handle) = unless_stalled(stage, store.cached(name))? else { return Ok(None) };
            namespaces.push(handle);
        }
        let Some(lists) = unless_stalled(stage, store.cached(LISTED))? else { return Ok(None) };
        Ok(Some(Self { namespaces, lists }))
    }

    /// Makes a burst of reads.
    pub(super) fn read(&self, stage: &mut Stage) -> Result<()> {
        let (invoked, mut reads) = (now(), Vec::new());
        for _ in 0..BURST {
            stage.points.pass(Point::Cached);
            let key = any_key(&mut stage.random);
            let handle = &self.namespaces[key.namespace_number()];
            let after = u32::try_from(now() - invoked).unwrap_or(u32::MAX);
            let found = if stage.random.one_in(4) {
                handle.get_with(key.name(), |value| key.op(value))
            } else {
                handle.get(key.name()).map(|value| key.op(value.as_deref()))
            };
            if let Some(Op(op)) = sound(stage, found)? {
                reads.push((after, u8::try_from(key.number()).expect("there are few"), op));
            }
            if after > 50_000_000 {
                // It was stopped; what follows is another burst.
                break;
            }
        }
        stage.journal.note(Event::Singles { invoked, reads });
        if stage.random.one_in(4) {
            let (invoked, number) = (now(), stage.random.index(LISTS));
            let found = self.lists.get(list_key(number)).map(|value| decode_list(value.as_deref()));
            if let Some(list) = sound(stage, found)? {
                stage.journal.note(Event::List {
                    invoked,
                    number: u8::try_from(number).expect("there are few"),
                    list,
                });
            }
        }
        Ok(())
    }
}

/// Mostly one that is written all the time.
fn any_key(random: &mut Random) -> Key {
    match random.below(16) {
        0..9 => Key::hot(random.index(4)),
        9..14 => Key::pair(random.index(12))[random.index(2)],
        14 => Key::fleeting(random.index(4)),
        _ => Key::guarded(random.index(2)),
    }
}
