//! A process that has a store open and does what a test tells it, one line at a time.
//!
//! What it is told, it answers. What happens to it besides (it was promoted, an operation stalls) it reports as an
//! event. The words are those of [`Stage::obey`].

use std::collections::{HashMap, VecDeque};
use std::error::Error as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cohab::{
    Batch, Cached, Clock, DropMode, Error, Fence, Filter, Followed, Follower, Freshness, Holder, Kind, Lock,
    LockMode, Mapping, Options, Result, Retention, Role, RoleChange, Snapshot, Store, SystemClock, Timestamp,
    Version, Wait, WatchStop,
};
use cohab_testkit::{Child, child_store};
use rustix::process::{Pid, Signal, kill_process};

use crate::gate::{self, Gate};
use crate::ledger;

/// By when an actor has answered, unless it hangs.
const PROMPT: Duration = Duration::from_mins(2);

/// The parent's side.
pub(crate) struct Actor {
    child: Child,
    events: VecDeque<String>,
    /// As the actor itself sees it.
    pub(crate) pid: i32,
}

/// An error, as an actor told it.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) hint: String,
    pub(crate) holder: Option<Holder>,
}

impl Actor {
    pub(crate) fn start(path: &Path) -> Self {
        Self::start_through(&[], path)
    }

    /// Starts it through a command, such as one that gives it a world of its own.
    pub(crate) fn start_through(command: &[&str], path: &Path) -> Self {
        let child = Child::start_through(command, "actor::obeys", path).expect("a child can be started");
        let mut actor = Self { child, events: VecDeque::new(), pid: 0 };
        actor.pid = actor.hears("pid ").parse().expect("a number");
        actor
    }

    /// Starts it and has it open the store.
    #[track_caller]
    pub(crate) fn open(path: &Path, how: &str) -> Self {
        let mut actor = Self::start(path);
        actor.does(&format!("open {how}"));
        actor
    }

    pub(crate) fn tell(&mut self, line: &str) {
        self.child.tell(line).expect("the actor listens");
    }

    /// Tells it something and returns what it answers.
    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str) -> Result<String, Box<Refused>> {
        self.tell(line);
        self.answer()
    }

    /// Has it do something that works.
    #[track_caller]
    pub(crate) fn does(&mut self, line: &str) -> String {
        match self.ask(line) {
            Ok(answer) => answer,
            Err(refused) => panic!("`{line}`: {refused:?}"),
        }
    }

    /// Has it do something that works and answers with a number.
    #[track_caller]
    pub(crate) fn number(&mut self, line: &str) -> u64 {
        let answer = self.does(line);
        answer.parse().unwrap_or_else(|_| panic!("`{line}`: {answer:?} is no number"))
    }

    /// Has it try something that is refused.
    #[track_caller]
    pub(crate) fn fails(&mut self, line: &str, kind: Kind) -> Refused {
        match self.ask(line) {
            Ok(answer) => panic!("`{line}`: should be refused as {kind:?}, and answers {answer:?}"),
            Err(refused) if refused.kind == kind.as_str() => *refused,
            Err(refused) => panic!("`{line}`: should be refused as {kind:?}: {refused:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn answer(&mut self) -> Result<String, Box<Refused>> {
        loop {
            let line = self.next(PROMPT).expect("answers in time");
            match line.split_once(' ') {
                Some(("event", event)) => self.events.push_back(event.to_owned()),
                Some(("ok", answer)) => return Ok(answer.to_owned()),
                Some(("err", refused)) => return Err(Box::new(Refused::parse(refused))),
                _ => panic!("what does {line:?} mean?"),
            }
        }
    }

    /// Waits for the first event that begins so, and returns the rest of it. Others are kept.
    #[track_caller]
    pub(crate) fn hears(&mut self, beginning: &str) -> String {
        let heard = self.hears_within(beginning, PROMPT);
        heard.unwrap_or_else(|| panic!("event {beginning:?} does not come, but {:?}", self.events))
    }

    #[track_caller]
    pub(crate) fn hears_within(&mut self, beginning: &str, wait: Duration) -> Option<String> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(position) = self.events.iter().position(|event| event.starts_with(beginning)) {
                return Some(self.events.remove(position)?[beginning.len()..].to_owned());
            }
            let line = self.next(deadline.saturating_duration_since(Instant::now()))?;
            let event = line.strip_prefix("event ").unwrap_or_else(|| panic!("{line:?} answers nothing"));
            self.events.push_back(event.to_owned());
        }
    }

    #[track_caller]
    fn next(&mut self, wait: Duration) -> Option<String> {
        match self.child.next_report_within(wait) {
            Ok(Some(line)) => Some(line),
            Ok(None) => panic!("the actor has ended"),
            Err(_) => None,
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        signal_to(self.pid, signal);
    }

    /// Stops it, and returns when it has stopped.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        self.is_stopped_soon();
    }

    /// Waits until all of its threads are stopped.
    pub(crate) fn is_stopped_soon(&self) {
        let is_stopped = |pid: i32| {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the actor lives");
            tasks.flatten().all(|task| {
                let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
            })
        };
        let deadline = Instant::now() + PROMPT;
        while !is_stopped(self.pid) {
            assert!(Instant::now() < deadline, "the actor does not stop");
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it, and returns the events that were not heard yet.
    pub(crate) fn kill(self) -> Vec<String> {
        let reports = self.child.kill().expect("can be killed");
        let events = reports.into_iter().filter_map(|line| Some(line.strip_prefix("event ")?.to_owned()));
        self.events.into_iter().chain(events).collect()
    }

    /// Lets it close what it has open and end.
    pub(crate) fn end(self) {
        assert!(self.child.end().expect("can be waited for").success());
    }
}

pub(crate) fn signal_to(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("is a process");
    kill_process(pid, signal).expect("is there and ours");
}

/// Returns the last version that events say was acknowledged.
pub(crate) fn last_acknowledged(events: &[String]) -> Option<u64> {
    events.iter().rev().find_map(|event| event.strip_prefix("acknowledged ")?.parse().ok())
}

impl Refused {
    fn of(error: &Error) -> String {
        let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        let holder = error.holder().map(|holder| serde_json::to_string(holder).expect("is plain"));
        let (kind, hint) = (error.kind().as_str(), error.hint_text().unwrap_or_default());
        format!("{kind}\t{error}{source}\t{hint}\t{}", holder.unwrap_or_default()).replace('\n', " ")
    }

    fn parse(line: &str) -> Self {
        let parts: Vec<&str> = line.split('\t').collect();
        let &[kind, message, hint, holder] = &parts[..] else { panic!("{line:?} is no error") };
        let holder = serde_json::from_str(holder).ok();
        Self { kind: kind.into(), message: message.into(), hint: hint.into(), holder }
    }
}

#[test]
fn obeys() {
    let Some(path) = child_store() else { return };
    let mut stage = Stage::new(path);
    event(format!("pid {}", std::process::id()));
    while let Some(line) = Child::told().expect("the parent talks") {
        let answer = match stage.obey(&line) {
            Ok(answer) => format!("ok {answer}"),
            Err(error) => format!("err {}", Refused::of(&error)),
        };
        Child::report(answer).expect("the parent listens");
    }
}

fn event(event: impl std::fmt::Display) {
    // A parent that does not listen any more is about to kill us.
    let _ = Child::report(format_args!("event {event}"));
}

/// The actor's side: what it has open.
struct Stage {
    path: PathBuf,
    store: Option<Store>,
    snapshots: HashMap<String, Snapshot>,
    cached: HashMap<String, Cached>,
    locks: HashMap<String, Lock>,
    follower: Option<Follower>,
    gate: Gate,
    header: Option<File>,
    at_work: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    looks: Arc<AtomicU64>,
    stopper: Option<WatchStop>,
    threads: Vec<JoinHandle<()>>,
}

impl Stage {
    fn new(path: PathBuf) -> Self {
        let at_work = Arc::new(AtomicBool::new(true));
        let (snapshots, cached, locks) = Default::default();
        let (gate, seen, count) = Default::default();
        Self {
            path,
            store: None,
            snapshots,
            cached,
            locks,
            follower: None,
            gate,
            header: None,
            at_work,
            seen,
            looks: count,
            stopper: None,
            threads: Vec::new(),
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("the test opens the store first")
    }

    fn snapshot(&self, name: &str) -> &Snapshot {
        self.snapshots.get(name).unwrap_or_else(|| panic!("there is no snapshot {name:?}"))
    }

    #[expect(clippy::too_many_lines, reason = "a list of words, each of which is short")]
    fn obey(&mut self, line: &str) -> Result<String> {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        match &words[..] {
            ["open", how @ ..] => {
                let store = self.options(how).open(&self.path)?;
                let role = store.role().to_string();
                self.store = Some(store);
                return Ok(role);
            }
            // As `open`, while this listens on, and only to see whether it works.
            ["open-aside", how @ ..] => {
                let (options, path) = (self.options(how), self.path.clone());
                thread::spawn(move || match options.open(path) {
                    Ok(_) => event("opened"),
                    Err(error) => event(format_args!("broken open {error:?}")),
                });
            }
            ["close"] => {
                self.rest();
                self.snapshots.clear();
                self.cached.clear();
                self.store = None;
            }
            ["role"] => return Ok(self.store().role().to_string()),
            ["instances"] => return Ok(self.store().instances()?.len().to_string()),
            ["make-ledger"] => return Ok(ledger::create(self.store())?.to_string()),
            ["epoch"] => return Ok(self.store().epoch().map_or(0, cohab::Epoch::get).to_string()),
            ["instance"] => return Ok(self.store().instance().to_string()),
            ["promote", ms] => self.store().promote(millis(ms))?,
            ["step-down"] => self.store().step_down()?,
            ["reopen"] => return Ok(self.store().reopen()?.to_string()),
            ["compact"] => return Ok(self.store().compact()?.to_string()),
            ["bytes"] => return Ok(self.store().file_bytes()?.to_string()),

            ["commit"] => return Ok(ledger::commit(self.store())?.to_string()),
            ["commit", count] => {
                for _ in 1..number(count) {
                    ledger::commit(self.store())?;
                }
                return Ok(ledger::commit(self.store())?.to_string());
            }
            // As `commit`, while this listens on.
            ["commit-aside"] => self.keep(|store, _| match ledger::commit(store) {
                Ok(version) => event(format_args!("committed {version}")),
                Err(error) => event(format_args!("broken commit {error:?}")),
            }),
            // Applies a delta that lies in a file, while this listens on.
            ["apply-aside", file] => {
                let delta = std::fs::read(file).expect("is there");
                self.keep(move |store, _| {
                    match cohab::Delta::from_bytes(delta).and_then(|delta| store.apply(&delta)) {
                        Ok(applied) => event(format_args!("applied {}", applied.upstream.version)),
                        Err(error) => event(format_args!("broken apply {error:?}")),
                    }
                });
            }
            // Applies deltas that lie in a directory under the versions from which they lead, for as long as there are.
            ["keep-applying", dir] => {
                let dir = PathBuf::from(dir);
                self.keep(move |store, at_work| keep_applying(store, at_work, &dir));
            }
            // A transaction that takes its time.
            ["commit-slowly", ms] => {
                let slowly = self.store().write(|tx| {
                    event("inside");
                    thread::sleep(millis(ms));
                    ledger::enter(tx)
                });
                return Ok(slowly?.version.to_string());
            }
            // A transaction that also takes up space.
            ["commit-bulk", kib, count] => {
                let bulk = vec![7; usize::try_from(number(kib)).expect("is small") << 10];
                let mut version = Version::ZERO;
                for _ in 0..number(count) {
                    let put = |tx: &mut cohab::Transaction<'_, '_>| {
                        tx.put("bulk", "bulk", &bulk)?;
                        ledger::enter(tx)
                    };
                    version = self.store().write(put)?.version;
                }
                return Ok(version.to_string());
            }
            ["put", namespace, key] => {
                return Ok(self.store().write(|tx| tx.put(namespace, key, "v"))?.version.to_string());
            }
            ["set", namespace, key, value] => {
                return Ok(self.store().write(|tx| tx.put(namespace, key, value))?.version.to_string());
            }
            ["create", namespace] => {
                self.store().write(|tx| tx.create_namespace(namespace))?;
            }
            ["drop-namespace", namespace] => {
                self.store().write(|tx| tx.drop_namespace(namespace, DropMode::WithContents))?;
            }
            ["undrop", namespace] => {
                self.store().write(|tx| tx.undrop_namespace(namespace))?;
            }
            // Reads through a handle of the cache that is kept under a name.
            ["cached-as", name, namespace, key] => {
                if !self.cached.contains_key(*name) {
                    self.cached.insert((*name).into(), self.store().cached(namespace)?);
                }
                let value = self.cached[*name].get(key)?;
                return Ok(value.map_or("none".into(), |value| String::from_utf8_lossy(&value).into_owned()));
            }
            ["rename", from, to] => {
                return Ok(self.store().write(|tx| tx.rename_namespace(from, to))?.version.to_string());
            }
            // Shows a fencing token with a write, and with a batch.
            ["commit-fenced", lock, token] => {
                let fence = Fence::new(*lock, number(token));
                let fenced = |tx: &mut cohab::Transaction<'_, '_>| {
                    tx.fence(&fence)?;
                    ledger::enter(tx)
                };
                return Ok(self.store().write(fenced)?.version.to_string());
            }
            ["submit-fenced", lock, token] => {
                let bulk = "bulk".parse()?;
                let batch = Batch::new().fence(Fence::new(*lock, number(token))).put(
                    &bulk,
                    "fenced",
                    token.to_string(),
                );
                return Ok(self.store().submit(batch)?.to_string());
            }
            // Commits whenever this is the writer, until it is told to rest.
            ["keep-committing"] => self.keep(keep_committing),
            // Looks at what is new for as long as it is not told to rest.
            ["keep-looking"] => {
                let (seen, looks) = (self.seen.clone(), self.looks.clone());
                self.keep(move |store, at_work| keep_looking(store, at_work, &seen, &looks));
            }
            ["looks"] => return Ok(self.looks.load(Ordering::SeqCst).to_string()),
            ["seen"] => return Ok(self.seen.load(Ordering::SeqCst).to_string()),
            ["rest"] => self.rest(),

            ["look", how @ ..] => return Ok(ledger::check(&self.look(how)?)?.to_string()),
            ["keep", name, how @ ..] => {
                let snapshot = self.look(how)?;
                let version = ledger::check(&snapshot)?;
                self.snapshots.insert((*name).into(), snapshot);
                return Ok(version.to_string());
            }
            ["check", name] => return Ok(ledger::check(self.snapshot(name))?.to_string()),
            ["verify"] => {
                let snapshot = self.store().snapshot()?;
                let report = snapshot.verify(|_| ())?;
                assert!(report.is_sound(), "{:?}", report.differences);
                return Ok(snapshot.version().to_string());
            }
            ["drop", name] => drop(self.snapshots.remove(*name)),
            ["token"] => return Ok(self.store().snapshot()?.token().to_string()),

            ["lock", name, ms] => {
                let lock = self.store().lock(name, LockMode::Exclusive, Wait::For(millis(ms)))?;
                let token = lock.token();
                self.locks.insert((*name).into(), lock);
                return Ok(token.to_string());
            }
            ["unlock", name] => drop(self.locks.remove(*name)),

            // Opens this as the replica of another store.
            ["follow", source, how @ ..] => {
                let (ours, theirs) = (self.options(how), Store::options());
                self.follower = Some(Follower::open_with(source, theirs, &self.path, ours, |_| ())?);
            }
            // Both while this listens on.
            ["follow-aside", source] => {
                let (source, path) = (source.to_string(), self.path.clone());
                thread::spawn(move || match Follower::open(source, path, |_| ()) {
                    Ok(_) => event("followed"),
                    Err(error) => event(format_args!("broken follow {error:?}")),
                });
            }
            ["catch-up-aside"] => {
                let mut follower = self.follower.take().expect("the test has it follow first");
                thread::spawn(move || caught(follower.catch_up()));
            }
            ["keep-following"] => {
                let mut follower = self.follower.take().expect("the test has it follow first");
                let at_work = self.at_work.clone();
                at_work.store(true, Ordering::Relaxed);
                self.threads.push(thread::spawn(move || {
                    while at_work.load(Ordering::Relaxed) {
                        let more = follower.wait(Duration::from_millis(50));
                        if more.unwrap_or(true) {
                            caught(follower.catch_up());
                        }
                    }
                }));
            }
            ["watch", how @ ..] => self.watch(how)?,
            #[cfg(feature = "scripts")]
            ["plugins", words @ ..] => return self.plugins(words),
            // At the n-th operation of a kind from now on, does something.
            ["arm", act, operation, count] => self.gate.arm(act, operation, number(count)),
            ["disarm"] => self.gate.disarm(),
            // Locks the engine's header, as a reader does while it takes a snapshot.
            ["hold-header"] => self.header = Some(gate::hold_header(&self.path.join("store.redb"))),
            ["release-header"] => self.header = None,
            ["fill-disk"] => fill_disk(&self.path),
            ["free-disk"] => std::fs::remove_file(filler(&self.path)).expect("it was filled"),
            _ => panic!("what does {line:?} mean?"),
        }
        Ok("done".into())
    }

    #[cfg(feature = "scripts")]
    fn plugins(&mut self, words: &[&str]) -> Result<String> {
        use cohab::{AddPlugin, PluginMode, ReloadPlugin};
        let told = |what: Result<String>| match what {
            Ok(what) => event(format_args!("done {what}")),
            Err(error) => event(format_args!("broken plugins {error:?}")),
        };
        match words {
            ["call", name, input] => {
                let reply = self.store().plugins().call(name, input.as_bytes())?;
                return Ok(String::from_utf8_lossy(&reply).into_owned());
            }
            // These while this listens on.
            ["catch-up-aside"] => self.keep(move |store, _| {
                told(store.plugins().catch_up(Duration::from_mins(1)).map(|behind| behind.to_string()));
            }),
            ["add-aside", directory] => {
                let directory = PathBuf::from(directory);
                self.keep(move |store, _| {
                    let options = AddPlugin::new().mode(PluginMode::Production);
                    told(store.plugins().add(directory, options).map(|added| added.value));
                });
            }
            ["reload-aside", name] => {
                let name = (*name).to_owned();
                self.keep(move |store, _| {
                    let loaded = store.plugins().reload(&name, ReloadPlugin::new());
                    told(loaded.map(|loaded| loaded.value.0.to_string()));
                });
            }
            _ => panic!("what does {words:?} mean?"),
        }
        Ok("done".into())
    }

    fn options(&self, how: &[&str]) -> Options {
        let hears_slowly = how.contains(&"hears-slowly");
        let mut options = Store::options().on_role_change(move |change| {
            match change {
                RoleChange::Promoted { epoch } => event(format_args!("promoted {epoch}")),
                RoleChange::SteppedDown { role } => event(format_args!("stepped-down {role}")),
                RoleChange::TakeOverFailed(error) => event(format_args!("take-over-failed {error:?}")),
                other => event(format_args!("role {other:?}")),
            }
            if hears_slowly {
                thread::sleep(Duration::from_millis(800));
            }
        });
        for setting in how {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            options = match name {
                "writer" => options.role(Role::Writer),
                "standby" => options.role(Role::Standby),
                "reader" => options.role(Role::Reader),
                "auto" => options.role(Role::Auto),
                "wait" => options.wait(millis(value)),
                "channel" => options.channel(value),
                "app" => options.app(value),
                "label" => options.label(value),
                "hears-slowly" => options,
                "keeps-its-role" => options.hand_over(false),
                "existing" => options.create(false),
                "unregistered" => options.register(false),
                "patience" => options.patience(millis(value)),
                "snapshots" => options.snapshot_age_max(millis(value)),
                "pinned" => options.freshness(Freshness::Pinned),
                "retain" => options.retention(Retention::default().versions(number(value))),
                "shift" => options.clock(Shifted(value.parse().expect("seconds"))),
                "gate" => self.gate.install(options),
                "unmapped" => options.mapping(Mapping::Off),
                #[cfg(feature = "scripts")]
                "idle-plugins" => options.run_plugins(false),
                "stall" => options.on_stall(millis(value), |stall| {
                    let suspects: Vec<String> =
                        stall.suspects.iter().map(|it| it.record.pid.to_string()).collect();
                    let (operation, ms) = (stall.operation, stall.waited.as_millis());
                    event(format_args!("stall {operation} {ms} {}", suspects.join(",")));
                }),
                _ => panic!("what does {setting:?} mean?"),
            };
        }
        options
    }

    fn look(&self, how: &[&str]) -> Result<Snapshot> {
        match how {
            [] => self.store().snapshot(),
            ["latest"] => self.store().snapshot_at(Freshness::Latest),
            ["refresh"] => self.store().refresh(),
            ["pinned"] => self.store().snapshot_at(Freshness::Pinned),
            ["max-age", ms] => self.store().snapshot_at(Freshness::MaxAge(millis(ms))),
            ["at-least", token, ms] => {
                let token = token.parse().expect("a token");
                self.store().snapshot_at(Freshness::AtLeast { token, wait: millis(ms) })
            }
            _ => panic!("what does {how:?} mean?"),
        }
    }

    /// Ends whatever goes on beside what it is told.
    fn rest(&mut self) {
        self.at_work.store(false, Ordering::Relaxed);
        if let Some(stopper) = self.stopper.take() {
            stopper.stop();
        }
        for thread in self.threads.drain(..) {
            thread.join().expect("does not panic");
        }
    }

    fn keep(&mut self, what: impl FnOnce(&Store, &AtomicBool) + Send + 'static) {
        let (store, at_work) = (self.store().clone(), self.at_work.clone());
        at_work.store(true, Ordering::Relaxed);
        self.threads.push(thread::spawn(move || what(&store, &at_work)));
    }

    /// Reports every version that a watch comes to.
    fn watch(&mut self, how: &[&str]) -> Result<()> {
        let mut filter = Filter::new();
        for setting in how {
            filter = match setting.split_once('=') {
                Some(("from", version)) => filter.from(Version::new(number(version))),
                Some(("namespace", name)) => filter.namespace(name),
                Some(("prefix", prefix)) => filter.prefix(prefix.as_bytes().to_vec()),
                _ => panic!("what does {setting:?} mean?"),
            };
        }
        let watch = self.store().watch(filter)?;
        self.stopper = Some(watch.stopper());
        self.threads.push(thread::spawn(move || {
            for met in watch {
                match met.and_then(|met| Ok((met.version(), met.changes()?.len()))) {
                    Ok((version, changes)) => event(format_args!("met {version} {changes}")),
                    Err(error) => {
                        let oldest = error.oldest_version().unwrap_or_default();
                        event(format_args!("met-error {} {oldest} {error}", error.kind().as_str()));
                        thread::sleep(Duration::from_millis(10));
                    }
                }
            }
            event("watched");
        }));
        Ok(())
    }
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no number"))
}

fn millis(word: &str) -> Duration {
    Duration::from_millis(number(word))
}

fn caught(followed: Result<Followed>) {
    match followed {
        Ok(Followed::Current(token)) => event(format_args!("caught {}", token.version)),
        Ok(Followed::Delta { applied, .. }) => event(format_args!("caught {}", applied.upstream.version)),
        Ok(Followed::Whole { applied, because }) => {
            event(format_args!("caught-whole {} {because}", applied.upstream.version));
        }
        Ok(other) => event(format_args!("broken caught {other:?}")),
        Err(error) => event(format_args!("refused {} {error:?}", error.kind().as_str())),
    }
}

fn keep_applying(store: &Store, at_work: &AtomicBool, dir: &Path) {
    while at_work.load(Ordering::Relaxed) {
        let at = store.snapshot().map(|it| it.upstream().map_or(0, |it| it.version.get()));
        let next = at.map(|at| std::fs::read(dir.join(at.to_string())));
        match next.map(|delta| delta.ok().map(|delta| store.apply(&cohab::Delta::from_bytes(delta)?))) {
            Ok(Some(Ok(applied))) => event(format_args!("applied {}", applied.upstream.version)),
            Ok(None) => thread::sleep(Duration::from_millis(1)),
            Ok(Some(Err(error))) | Err(error) => return event(format_args!("broken apply {error:?}")),
        }
    }
}

fn keep_committing(store: &Store, at_work: &AtomicBool) {
    while at_work.load(Ordering::Relaxed) {
        if store.role() != Role::Writer {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        match ledger::commit(store) {
            Ok(version) => event(format_args!("acknowledged {version}")),
            // It was asked to hand over in between.
            Err(error)
                if matches!(error.kind(), Kind::Busy | Kind::ReadOnly) && store.role() != Role::Writer => {}
            Err(error) => return event(format_args!("broken commit {error:?}")),
        }
    }
}

fn keep_looking(store: &Store, at_work: &AtomicBool, seen: &AtomicU64, looks: &AtomicU64) {
    while at_work.load(Ordering::Relaxed) {
        // Others want to run, too.
        let mut pause = Duration::from_millis(1);
        match store.snapshot().and_then(|snapshot| ledger::check(&snapshot)) {
            Ok(version) => {
                looks.fetch_add(1, Ordering::SeqCst);
                let before = seen.fetch_max(version.get(), Ordering::SeqCst);
                if version.get() < before {
                    return event(format_args!("broken look: {version} after {before}"));
                }
                if version.get() > before {
                    pause = Duration::from_micros(100);
                }
            }
            Err(error) if error.kind() == Kind::Stalled => {}
            Err(error) => return event(format_args!("broken look {error:?}")),
        }
        thread::sleep(pause);
    }
}

/// A clock that is off by so many seconds.
#[derive(Debug)]
struct Shifted(i64);

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().as_micros();
        Timestamp::from_micros(now.saturating_add_signed(self.0 * 1_000_000))
    }
}

fn filler(store: &Path) -> PathBuf {
    store.with_file_name("filler")
}

/// Leaves no byte on the file system.
fn fill_disk(store: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(filler(store)).expect("can be made");
    for size in [1 << 16, 1 << 12, 1 << 9] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}
