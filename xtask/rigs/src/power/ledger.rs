//! What is known of a store from outside, and whether the store that a power cut has left agrees.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use cohab::{Fence, Follower, Integrity, Kind, LockMode, LogItem, Role, Snapshot, Store, Version, Wait};

use super::cast::{LOCKS, options, replica_path, store_path};
use super::report::Report;
use super::work::{FIRST, Model, Work};
use crate::random::Random;

/// What was acknowledged of one store, and what it should hold.
pub(crate) struct Ledger {
    /// The directory of the store and its replica.
    pub(crate) place: PathBuf,
    /// What it holds at `version`.
    model: Model,
    version: u64,
    /// The transactions that were acknowledged since.
    done: BTreeMap<u64, u64>,
    /// Those that were begun since.
    tried: BTreeSet<u64>,
    epoch: u64,
    /// The last token that was given for each lock, and the last that was shown in a transaction that was acknowledged.
    tokens: BTreeMap<String, u64>,
    shown: BTreeMap<String, u64>,
    backups: BTreeMap<String, u64>,
    followed: u64,
    /// Whether a plugin makes versions of its own.
    pub(crate) has_plugin: bool,
    /// Whether reports may have been lost on their way.
    pub(crate) is_deaf: bool,
}

/// What a look at a store after a cut has covered.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Found {
    pub(crate) acknowledged: u64,
    /// Transactions that nobody was told of, and that are there as a whole.
    pub(crate) whole: u64,
    /// Those that are not there at all.
    pub(crate) absent: u64,
    pub(crate) tokens: u64,
    pub(crate) epochs: u64,
    pub(crate) replicas: u64,
    pub(crate) backups: u64,
    pub(crate) past: u64,
    pub(crate) keys: u64,
    /// Times that the accounting of free pages was rebuilt.
    pub(crate) repaired: u64,
    /// How long it took to open the store.
    pub(crate) opening: Duration,
    /// How many files there are in the store's directory.
    pub(crate) files: u64,
}

impl Ledger {
    pub(crate) fn new(place: PathBuf) -> Self {
        Self {
            place,
            model: Model::default(),
            version: 0,
            done: BTreeMap::new(),
            tried: BTreeSet::new(),
            epoch: 0,
            tokens: BTreeMap::new(),
            shown: BTreeMap::new(),
            backups: BTreeMap::new(),
            followed: 0,
            has_plugin: false,
            is_deaf: false,
        }
    }

    /// How many transactions were acknowledged since the last look.
    pub(crate) fn pending(&self) -> usize {
        self.done.len()
    }

    /// Takes note of what the processes have reported. Their order is known within each process only.
    pub(crate) fn hear(&mut self, reports: Vec<Report>) -> anyhow::Result<Found> {
        let mut found = Found::default();
        let (mut epochs, mut tokens) = (BTreeSet::new(), BTreeSet::new());
        for report in reports {
            match report {
                Report::Epoch(epoch) => {
                    ensure!(epoch > self.epoch, "epoch {epoch} was given after epoch {}", self.epoch);
                    ensure!(epochs.insert(epoch), "epoch {epoch} was given twice");
                }
                Report::Try(number) => _ = self.tried.insert(number),
                Report::Done { version, number } => {
                    ensure!(
                        version > self.version,
                        "version {version} was given again, after {}",
                        self.version
                    );
                    if let Some(other) = self.done.insert(version, number) {
                        bail!("version {version} was given twice, to {other} and {number}");
                    }
                    found.acknowledged += 1;
                }
                Report::Token { lock, token } => {
                    let last = self.tokens.get(&lock).copied().unwrap_or(0);
                    ensure!(token > last, "token {token} of {lock:?} was given after {last}");
                    ensure!(
                        tokens.insert((token, lock.clone())),
                        "token {token} of {lock:?} was given twice"
                    );
                }
                Report::Fenced { lock, token } => {
                    let shown = self.shown.entry(lock).or_default();
                    *shown = token.max(*shown);
                }
                Report::Backup { file, version } => drop(self.backups.insert(file, version)),
                Report::Followed(version) => self.followed = version.max(self.followed),
                Report::Panicked(message) => bail!("a process panicked: {message}"),
                Report::Failed { kind, message } => {
                    // A process that is cut off says so, and with a kind that fits.
                    let fits = ["io", "commit_unknown", "poisoned", "corrupt", "timed_out", "busy", "fenced"];
                    // The plugin is a sound one, so nothing but a refusal keeps it from being taken into service.
                    let is_unreadable = kind == "plugin" && message.contains("(os error ");
                    ensure!(
                        fits.contains(&&*kind) || is_unreadable,
                        "a process failed otherwise than it may: {kind}: {message}"
                    );
                }
                Report::Ready | Report::Cut | Report::Stage(_) | Report::Recovered => {}
            }
        }
        (found.epochs, found.tokens) = (epochs.len() as u64, tokens.len() as u64);
        self.epoch = epochs.pop_last().unwrap_or(self.epoch);
        // In ascending order, so that the last is kept.
        self.tokens.extend(tokens.into_iter().map(|(token, lock)| (lock, token)));
        Ok(found)
    }

    /// Opens what there is, and compares it with what is known. Goes on from there.
    pub(crate) fn check(&mut self, random: &mut Random) -> anyhow::Result<Found> {
        let mut found = Found::default();
        let path = store_path(&self.place);
        let last = self.done.keys().next_back().copied().unwrap_or(self.version);
        if random.one_in(4) && (last > 0 || path.join("store.json").exists()) {
            check_as_reader(&path, last)?;
        }
        let begin = Instant::now();
        let store = options()
            .role(Role::Writer)
            .run_plugins(false)
            .open(&path)
            .context("the store cannot be opened")?;
        found.opening = begin.elapsed();
        let epoch = store.epoch().context("the writer has no epoch")?.get();
        ensure!(epoch > self.epoch, "epoch {epoch} was given again, after {}", self.epoch);
        self.epoch = epoch;

        let snapshot = store.snapshot()?;
        self.check_versions(&snapshot, last, random, &mut found)?;
        let report = snapshot.verify(|_| ())?;
        ensure!(report.is_sound(), "the store is not sound: {:?}", report.differences);
        drop(snapshot);
        self.check_locks(&store, &mut found)?;
        self.check_backups(&mut found)?;
        if replica_path(&self.place).exists() {
            self.check_replica(random, &mut found).context("the replica")?;
        }
        if random.one_in(4) && store.check()? == Integrity::Repaired {
            found.repaired += 1;
        }
        self.go_on(&store, random)?;
        if self.has_plugin {
            check_plugin(&store)?;
        }
        found.files = count_files(&path)?;
        Ok(found)
    }

    fn check_versions(
        &mut self,
        snapshot: &Snapshot,
        last: u64,
        random: &mut Random,
        found: &mut Found,
    ) -> anyhow::Result<()> {
        let version = snapshot.version().get();
        ensure!(version >= last, "version {last} was acknowledged, and {version} is the last that is there");
        let sample = (!self.done.is_empty())
            .then(|| *self.done.keys().nth(random.index(self.done.len())).expect("is below the length"));
        let mut expected = self.version;
        for record in snapshot.log(Version::new(self.version + 1)..) {
            let record = record?;
            expected += 1;
            let at = record.version().get();
            ensure!(at == expected, "the log has version {at} after {}", expected - 1);
            if self.has_plugin && Work::id_of(record.label()).is_none() {
                // It writes to a namespace of its own.
                continue;
            }
            let number = Work::id_of(record.label()).context("the log has a transaction of nobody")?;
            match self.done.remove(&at) {
                Some(done) => ensure!(done == number, "version {at} is {number}, and was {done}"),
                None => found.whole += 1,
            }
            let was_tried = self.tried.remove(&number) || self.is_deaf;
            ensure!(was_tried, "version {at} is {number}, which nobody has tried");
            self.model.apply(&Work::of(number));
            if Some(at) == sample && at < version {
                self.model.compare(&snapshot.at(Version::new(at))?)?;
                found.past += 1;
            }
        }
        ensure!(expected == version, "the log ends at version {expected}, the store at {version}");
        found.keys += self.model.compare(snapshot)?;
        found.absent += self.tried.len() as u64;
        self.tried.clear();
        self.version = version;
        Ok(())
    }

    fn check_locks(&mut self, store: &Store, found: &mut Found) -> anyhow::Result<()> {
        for name in LOCKS {
            let lock = store.lock(name, LockMode::Exclusive, Wait::Try).context("a lock is not free")?;
            let last = self.tokens.insert(name.into(), lock.token()).unwrap_or(0);
            ensure!(lock.token() > last, "token {} of {name:?} was given again, after {last}", lock.token());
            found.tokens += 1;
            if let Some(&shown) = self.shown.get(name)
                && let Some(token) = shown.checked_sub(1)
            {
                let late = Fence::new(name, token);
                match store.write(|tx| tx.fence(&late)) {
                    Err(error) if error.kind() == Kind::Fenced => {}
                    other => {
                        bail!("token {shown} of {name:?} was shown, and now {token} is let in: {other:?}")
                    }
                }
            }
        }
        Ok(())
    }

    /// A backup that was reported is there, and whatever has the name of one is complete.
    fn check_backups(&mut self, found: &mut Found) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.place)? {
            let entry = entry?;
            let file = entry.file_name().to_string_lossy().into_owned();
            if !file.starts_with("backup-") {
                continue;
            }
            let version = self.backups.remove(&file);
            let backup = options().role(Role::Reader).open(entry.path());
            let snapshot = backup.context("a backup cannot be opened")?.snapshot()?;
            let holds = snapshot.version().get();
            ensure!(version.is_none_or(|version| version == holds), "{file} holds {holds}, not {version:?}");
            ensure!(snapshot.verify(|_| ())?.is_sound(), "{file} is not sound");
            found.backups += 1;
            fs::remove_file(entry.path())?;
        }
        ensure!(self.backups.is_empty(), "backups are not there: {:?}", self.backups);
        Ok(())
    }

    fn check_replica(&mut self, random: &mut Random, found: &mut Found) -> anyhow::Result<()> {
        let (source, replica) = (store_path(&self.place), replica_path(&self.place));
        let mut follower = Follower::open_with(source, options(), replica, options(), |_| ())?;
        let present = follower.source().snapshot()?;
        let snapshot = follower.replica().snapshot()?;
        let at = snapshot.upstream().map_or(0, |upstream| upstream.version.get());
        ensure!(at >= self.followed, "it reported {}, and is at {at}", self.followed);
        ensure!(at <= self.version, "it is at {at}, and its source at {}", self.version);
        let past = Version::new(at);
        if at > 0 && past >= present.oldest_version() {
            let differences = snapshot.compare(&present.at(past)?)?;
            ensure!(differences.is_empty(), "it is not what its source was at {at}: {differences:?}");
        }
        ensure!(snapshot.verify(|_| ())?.is_sound(), "it is not sound");
        drop(snapshot);
        if random.one_in(2) {
            follower.catch_up()?;
            let snapshot = follower.replica().snapshot()?;
            let differences = snapshot.compare(&present)?;
            ensure!(differences.is_empty(), "it has caught up, and differs: {differences:?}");
            self.model.compare(&snapshot)?;
            self.followed = self.version;
        }
        found.replicas += 1;
        Ok(())
    }

    /// Versions go on without a gap.
    fn go_on(&mut self, store: &Store, random: &mut Random) -> anyhow::Result<()> {
        let number = if self.version == 0 { FIRST } else { random.next() };
        let work = Work::of(number);
        let version = work.commit(store, None)?.get();
        ensure!(version == self.version + 1, "the next version after {} is {version}", self.version);
        self.model.apply(&work);
        self.version = version;
        Ok(())
    }
}

fn count_files(dir: &Path) -> anyhow::Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { count_files(&entry.path())? } else { 1 };
    }
    Ok(count)
}

/// A reader that comes first finds the same, or says that somebody who may write has to open the store.
fn check_as_reader(path: &Path, last: u64) -> anyhow::Result<()> {
    let store = match options().role(Role::Reader).open(path) {
        // It was never finished.
        Err(error) if error.kind() == Kind::NotFound && last == 0 => return Ok(()),
        store => store.context("a reader cannot open the store")?,
    };
    let version = store.snapshot()?.version().get();
    ensure!(version >= last, "a reader finds version {version}, and {last} was acknowledged");
    Ok(())
}

/// The plugin has counted each change since it was added once, whatever was refused in between.
fn check_plugin(store: &Store) -> anyhow::Result<()> {
    if store.plugins().list()?.is_empty() {
        return Ok(());
    }
    store.plugins().catch_up(Duration::from_secs(30))?;
    let snapshot = store.snapshot()?;
    let accounts = snapshot.namespace("accounts")?.id();
    let (mut is_added, mut due) = (false, 0);
    for record in snapshot.log(..) {
        let record = record?;
        if is_added {
            record.visit(|item| {
                let is_one = matches!(item, LogItem::Change { namespace, .. } if namespace == accounts);
                due += u64::from(is_one);
                Ok(())
            })?;
        }
        is_added |= record.label() == "plugin:count";
    }
    let counted = snapshot.get("_plugins/count", "n")?;
    let counted = counted.map_or(Ok(0), |n| String::from_utf8_lossy(&n).parse::<u64>())?;
    ensure!(counted == due, "the plugin has counted {counted} changes of {due}");
    Ok(())
}
