//! Plugins that are replaced while they are called.
//!
//! `COHAB_RELOADS` says how often; the default is 40. With 1,000 and more, memory is measured as well.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cohab::{
    AddPlugin, Batch, Follower, Kind, Name, PluginMode, PluginSource, ReloadPlugin, Result, Role, Store,
};

use crate::plugins::{Folder, value, wait_for};
use crate::plugins_killed::write_numbered;
use crate::{Random, Scratch};

const REQUEST: &str = "[limits]\ntime = \"20s\"\n[[trigger]]\non = \"request\"\n";

/// Counts, and answers with what the code says in two places that it is.
fn counter(marker: u64) -> String {
    r#"
fn marker() { "MARKER" }
fn on_request(input) {
    let n = get("n");
    let n = if n == () { 1 } else { n.parse_int() + 1 };
    put("n", n.to_string());
    "MARKER:" + marker() + ":" + n
}
fn check() { if get("stop") != () { throw "stop"; } }
"#
    .replace("MARKER", &marker.to_string())
}

fn manifest(name: &str) -> String {
    format!("name = \"{name}\"\napi = 1\nentry = \"main.rhai\"\n{REQUEST}")
}

/// Saves as editors do: in place, by renaming over, or all at once by a symbolic link.
struct Editor {
    folder: Folder,
    link: std::path::PathBuf,
    saves: u64,
}

impl Editor {
    fn new(scratch: &Scratch) -> Self {
        let folder = Folder::new(scratch, "count-0", REQUEST, &counter(1));
        folder.write("plugin.toml", &manifest("count"));
        let link = scratch.file("linked");
        std::os::unix::fs::symlink(folder.path(), &link).expect("can be made");
        Self { folder, link, saves: 0 }
    }

    fn save(&mut self, random: &mut Random, script: &str) {
        self.saves += 1;
        match random.below(4) {
            0 => {
                let next = self.folder.path().join(".main.rhai.swp");
                fs::write(&next, script).expect("can be written");
                fs::rename(&next, self.folder.path().join("main.rhai")).expect("can be renamed");
            }
            1 => {
                let dir = self.link.with_file_name(format!("plugin-count-{}", self.saves));
                fs::create_dir(&dir).expect("can be made");
                fs::write(dir.join("plugin.toml"), manifest("count")).expect("can be written");
                fs::write(dir.join("main.rhai"), script).expect("can be written");
                let next = self.link.with_extension("next");
                std::os::unix::fs::symlink(&dir, &next).expect("can be made");
                fs::rename(&next, &self.link).expect("can be renamed");
                let before = std::mem::replace(&mut self.folder, Folder::at(&dir));
                fs::remove_dir_all(before.path()).expect("can be removed");
            }
            2 => {
                // Twice within a moment, and only the second counts.
                self.folder.write("main.rhai", &script.replace("let n", "let m"));
                self.folder.write("main.rhai", script);
            }
            _ => self.folder.write("main.rhai", script),
        }
    }

    fn break_it(&mut self, random: &mut Random) {
        match random.below(4) {
            0 => self.folder.write("main.rhai", "fn on_request(input) {\n  put(\n"),
            1 => self.folder.write("plugin.toml", &manifest("another")),
            2 => self
                .folder
                .write("main.rhai", "fn on_request(input) { input } fn check() { throw \"unfit\"; }"),
            _ => self.folder.write("main.rhai", "fn on_something(input) { input }"),
        }
    }

    fn mend(&mut self, script: &str) {
        self.folder.write("plugin.toml", &manifest("count"));
        self.folder.write("main.rhai", script);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Used {
    fds: usize,
    maps: usize,
    rss_kib: u64,
}

fn used() -> Used {
    let fds = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let maps = fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss_kib = rss.and_then(|rss| rss.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0);
    Used { fds, maps, rss_kib }
}

/// What one caller was told.
fn told(reply: &[u8]) -> (u64, u64) {
    let reply = String::from_utf8_lossy(reply);
    let parts: Vec<u64> = reply.split(':').map(|part| part.parse().expect("a number")).collect();
    assert_eq!(parts[0], parts[1], "a mixture: {reply}");
    (parts[0], parts[2])
}

#[test]
fn calls_are_answered_and_counted_once_while_their_code_is_replaced_again_and_again() -> Result<()> {
    let reloads = std::env::var("COHAB_RELOADS").map_or(40, |it| it.parse().expect("a number"));
    let scratch = Scratch::new();
    // Little for the store's own pages, so that what grows is not they.
    let store = Store::options().cache_bytes(1 << 20).open(scratch.path())?;
    let mut editor = Editor::new(&scratch);
    store.plugins().add(&editor.link, AddPlugin::new())?;
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Random(seed);
    let is_over = AtomicBool::new(false);
    let counts = Mutex::new(Vec::new());
    let mut at_the_100th = None;
    std::thread::scope(|scope| {
        let call = || {
            let (mut last, mut mine) = (0, Vec::new());
            while !is_over.load(Ordering::Relaxed) {
                let (marker, count) = told(&store.plugins().call("count", b"").expect("is answered"));
                assert!(marker >= last, "{marker} after {last}");
                last = marker;
                mine.push(count);
                // Others want to run, too.
                std::thread::sleep(Duration::from_micros(500));
            }
            counts.lock().expect("is whole").extend(mine);
        };
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(call)).collect();
        let edit = || -> Result<()> {
            for n in 2..reloads + 2 {
                let script = counter(n);
                if n % 10 == 0 {
                    editor.break_it(&mut random);
                    std::thread::sleep(Duration::from_millis(random.below(150)));
                    editor.mend(&script);
                } else {
                    editor.save(&mut random, &script);
                }
                if random.below(3) > 0 {
                    // Of edits that follow each other fast, the last one counts.
                    let served = || told(&store.plugins().call("count", b"").expect("is answered"));
                    wait_for(&format!("edit {n}"), || {
                        let (marker, count) = served();
                        counts.lock().expect("is whole").push(count);
                        marker == n
                    });
                }
                if n % 100 == 0 {
                    let now = used();
                    println!("after {n} edits: {now:?}");
                    at_the_100th.get_or_insert(now);
                }
            }
            let served = || told(&store.plugins().call("count", b"").expect("is answered"));
            wait_for("the last edit", || {
                let (marker, count) = served();
                counts.lock().expect("is whole").push(count);
                marker == reloads + 1
            });
            Ok(())
        };
        // Also if it fails, so that the callers end.
        let edited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(edit));
        is_over.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.join().expect("does not panic");
        }
        edited.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let counts = counts.into_inner().expect("is whole");
    let distinct: BTreeSet<u64> = counts.iter().copied().collect();
    assert_eq!(distinct.len(), counts.len(), "a count was given twice");
    assert_eq!(distinct.last().copied(), Some(counts.len() as u64), "a count was given to nobody");
    wait_for("the last generation to be alone", || {
        store.plugins().show("count").expect("is there").generations_alive == 1
    });
    let status = store.plugins().show("count")?;
    assert_eq!((status.record.failure.as_ref(), status.source_state), (None, PluginSource::InService));
    let last = used();
    println!(
        "{} calls, {} generations, {at_the_100th:?} to {last:?}",
        counts.len(),
        status.record.generation
    );
    if let Some(first) = at_the_100th.filter(|_| reloads >= 1000) {
        assert!(last.fds <= first.fds + 2 && last.maps <= first.maps + 40, "{first:?} {last:?}");
        assert!(last.rss_kib <= first.rss_kib + (3 << 10), "{first:?} {last:?}");
    }
    Ok(())
}

#[test]
fn an_edit_shows_in_calls_within_a_second() -> Result<()> {
    let edits = std::env::var("COHAB_RELOADS").map_or(20, |it| it.parse::<u64>().expect("a number"));
    let scratch = Scratch::new();
    let store = scratch.store();
    let folder = Folder::new(&scratch, "count", REQUEST, &counter(1));
    store.plugins().add(folder.path(), AddPlugin::new())?;
    let mut times = Vec::new();
    for n in 2..edits + 2 {
        folder.write("main.rhai", &counter(n));
        let begin = Instant::now();
        while told(&store.plugins().call("count", b"")?).0 != n {
            assert!(begin.elapsed() < Duration::from_secs(20), "edit {n} does not show");
            std::thread::sleep(Duration::from_millis(1));
        }
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("{edits} edits: p50 {p50:?}, p99 {p99:?}");
    assert!(p99 < Duration::from_secs(1), "{p99:?}");
    Ok(())
}

#[test]
fn a_reader_never_mixes_code_and_state_nor_goes_back() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    let folder = Folder::new(&scratch, "state", REQUEST, "");
    write_numbered(&folder, "state", 1);
    store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
    let reader = Store::options().role(Role::Reader).open(scratch.path())?;
    let is_over = AtomicBool::new(false);
    let call = |store: &Store| {
        let mut last = 0;
        let mut calls = 0;
        while !is_over.load(Ordering::Relaxed) {
            let reply = store.plugins().call("state", b"").expect("is answered");
            let reply = String::from_utf8_lossy(&reply).into_owned();
            let (code, of_state) = reply.split_once(':').expect("two parts");
            assert_eq!(code, of_state, "code and state are of one version");
            let code: u64 = code.parse().expect("a number");
            assert!(code >= last, "{code} after {last}");
            (last, calls) = (code, calls + 1);
        }
        assert!(calls > 3, "only {calls} calls");
    };
    std::thread::scope(|scope| -> Result<()> {
        let (reader, store, call) = (&reader, &store, &call);
        let callers: Vec<_> = [reader, reader, reader, store]
            .map(|store| scope.spawn(move || call(store)))
            .into_iter()
            .collect();
        let edited = (2..40).try_for_each(|number| {
            write_numbered(&folder, "state", number);
            let loaded = store.plugins().reload("state", ReloadPlugin::new())?;
            assert_eq!(loaded.value, (number, true));
            Ok(())
        });
        is_over.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.join().expect("does not panic");
        }
        edited
    })?;
    assert_eq!(reader.plugins().call("state", b"")?, "39:39");
    Ok(())
}

#[test]
fn a_reader_that_calls_a_plugin_which_writes_is_told_that_it_may_not() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    let folder = Folder::new(&scratch, "count", REQUEST, &counter(1));
    store.plugins().add(folder.path(), AddPlugin::new())?;
    let reader = Store::options().role(Role::Reader).open(scratch.path())?;
    assert_eq!(reader.plugins().call("count", b"").unwrap_err().kind(), Kind::ReadOnly);
    let standby = Store::options().role(Role::Standby).open(scratch.path())?;
    assert_eq!(standby.plugins().call("count", b"").unwrap_err().kind(), Kind::Busy);
    let missing = reader.plugins().call("nobody", b"").unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
    assert_eq!(reader.plugins().add(folder.path(), AddPlugin::new()).unwrap_err().kind(), Kind::ReadOnly);
    assert_eq!(store.plugins().call("count", b"")?, "1:1:1");
    Ok(())
}

#[test]
fn what_was_refused_before_a_restart_is_known_as_refused_after_it() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    let folder = Folder::new(&scratch, "count", REQUEST, &counter(1));
    store.plugins().add(folder.path(), AddPlugin::new())?;
    folder.write("main.rhai", "fn on_request(input) {");
    wait_for("the failure", || store.plugins().show("count").expect("is there").record.failure.is_some());
    drop(store);
    let store = scratch.store();
    let state = || store.plugins().show("count").expect("is there").source_state;
    wait_for("word of it", || state() == PluginSource::Refused);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(state(), PluginSource::Refused);
    assert!(store.plugins().show("count")?.stale_since.is_some());
    assert_eq!(store.plugins().call("count", b"")?, "1:1:1");
    Ok(())
}

#[test]
fn files_that_come_back_as_they_were_are_in_service_as_they_were() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    let folder = Folder::new(&scratch, "count", REQUEST, &counter(1));
    store.plugins().add(folder.path(), AddPlugin::new())?;
    let state = || store.plugins().show("count").expect("is there").source_state;
    let aside = scratch.file("aside");
    fs::rename(folder.path(), &aside).expect("can be renamed");
    wait_for("word of the loss", || state() == PluginSource::Missing);
    fs::rename(&aside, folder.path()).expect("can be renamed");
    wait_for("word of its return", || state() == PluginSource::InService);
    assert_eq!(store.plugins().show("count")?.record.generation, 1);
    Ok(())
}

#[test]
fn calls_count_each_once_also_in_a_namespace_that_the_first_of_them_makes() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    let manifest = format!("{REQUEST}[grants]\nwrite = [\"count/*\"]\n");
    let script = r#"fn on_request(input) { let at = "count/" + input; let n = get(at, "n"); let n = if n == () { 1 } else { n.parse_int() + 1 }; put(at, "n", n.to_string()); n.to_string() }"#;
    let folder = Folder::new(&scratch, "count", &manifest, script);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    for round in 0..20 {
        let input = format!("n{round}");
        let barrier = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    store.plugins().call("count", input.as_bytes()).expect("is counted")
                });
            }
        });
        assert_eq!(value(&store, &format!("count/{input}"), "n").as_deref(), Some("4"), "round {round}");
    }
    Ok(())
}

/// Refuses numbers below zero, and an address that another user has.
const GUARD: &str = r#"
fn before_commit(changes) {
    for change in changes {
        if change.after == () { continue; }
        if change.namespace == "numbers" && change.after.parse_int() < 0 { throw "negative"; }
        if change.namespace == "users" {
            for user in scan("users", "") {
                if user.value == change.after && user.key != change.key { throw "taken"; }
            }
        }
    }
}
"#;

#[test]
fn nothing_that_a_guard_refuses_is_ever_there_however_many_write() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.write(|tx| {
        tx.create_namespace("numbers")?;
        tx.create_namespace("users")
    })?;
    let manifest = "[limits]\nbefore-commit-time = \"1s\"\n[[trigger]]\non = \"before-commit\"\nnamespaces = [\"numbers\", \"users\"]\n";
    let folder = Folder::new(&scratch, "guard", manifest, GUARD);
    store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
    let (numbers, users): (Name, Name) = ("numbers".parse()?, "users".parse()?);
    let barrier = std::sync::Barrier::new(16);
    let write = |thread: u64| {
        let mut random = Random(thread);
        let mut admitted = Vec::new();
        for round in 0..10u64 {
            let number = if random.below(3) == 0 { "-1" } else { "1" };
            let key = format!("{thread}-{round}");
            let result = if random.below(2) == 0 {
                store.write(|tx| tx.put("numbers", &key, number)).map(drop)
            } else {
                store.submit(Batch::new().put(&numbers, key, number)).map(drop)
            };
            let refused = result.as_ref().map_err(cohab::Error::kind).err();
            assert_eq!(refused, (number == "-1").then_some(Kind::Refused));
            // All want the same address, at the same time.
            barrier.wait();
            let (user, address) = (format!("user{thread}-{round}"), format!("address{round}"));
            let claimed = if thread.is_multiple_of(4) {
                store.write(|tx| tx.put("users", &user, &address)).map(drop)
            } else {
                store.submit(Batch::new().put(&users, user, address)).map(drop)
            };
            match claimed {
                Ok(()) => admitted.push(round),
                Err(error) => assert_eq!(error.kind(), Kind::Refused),
            }
        }
        admitted
    };
    let mut admitted: Vec<u64> = std::thread::scope(|scope| {
        let write = &write;
        let threads: Vec<_> = (0..16).map(|thread| scope.spawn(move || write(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("does not panic")).collect()
    });
    admitted.sort_unstable();
    assert_eq!(admitted, (0..10).collect::<Vec<_>>(), "of those who claim an address one has it");
    let snapshot = store.refresh()?;
    for entry in snapshot.namespace("numbers")?.all()? {
        assert_eq!(entry?.value(), b"1");
    }
    assert_eq!(snapshot.namespace("users")?.count(), 10);
    Ok(())
}

#[test]
fn plugins_are_not_changed_from_within_a_transaction() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    let folder = Folder::new(&scratch, "count", REQUEST, &counter(1));
    store.plugins().add(folder.path(), AddPlugin::new())?;
    let other = Folder::new(&scratch, "other", REQUEST, &counter(1));
    // Somebody else loads at the same time, and waits for the transaction.
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 2.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                folder.write("main.rhai", &counter(n));
                let _ = store.plugins().reload("count", ReloadPlugin::new());
            }
        });
        for _ in 0..10 {
            let done = store.write(|_| {
                std::thread::sleep(Duration::from_millis(60));
                let plugins = store.plugins();
                let kinds = [
                    plugins.add(other.path(), AddPlugin::new()).unwrap_err().kind(),
                    plugins.reload("count", ReloadPlugin::new()).unwrap_err().kind(),
                    plugins.remove("count", false).unwrap_err().kind(),
                    plugins.call("count", b"").unwrap_err().kind(),
                    plugins.catch_up(Duration::from_secs(1)).unwrap_err().kind(),
                ];
                assert_eq!(kinds, [Kind::Reentrant; 5]);
                Ok(())
            });
            done.expect("nothing was done");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    Ok(())
}

#[test]
#[expect(clippy::redundant_closure_for_method_calls, reason = "the method itself is not general enough")]
fn calls_are_consistent_when_the_store_is_rolled_back_over_a_migration_and_undone() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    let before_all = store.write(|tx| tx.create_namespace("data"))?.version;
    let folder = Folder::new(&scratch, "state", REQUEST, "");
    write_numbered(&folder, "state", 1);
    let first = store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?.version;
    let reader = Store::options().role(Role::Reader).open(scratch.path())?;
    let check = |expected: &str| {
        assert_eq!(store.plugins().call("state", b"").expect("is answered"), expected);
        reader.refresh().expect("can be read");
        assert_eq!(reader.plugins().call("state", b"").expect("is answered"), expected);
    };
    check("1:1");
    write_numbered(&folder, "state", 2);
    store.plugins().reload("state", ReloadPlugin::new())?;
    check("2:2");
    store.write(|tx| tx.rollback(first))?;
    check("1:1");
    store.write(|tx| tx.undo())?;
    check("2:2");
    // To before there was any.
    store.write(|tx| tx.rollback(before_all))?;
    for store in [&store, &reader] {
        store.refresh()?;
        assert_eq!(store.plugins().call("state", b"").unwrap_err().kind(), Kind::NotFound);
        assert_eq!(store.plugins().list()?, []);
    }
    store.write(|tx| tx.undo())?;
    check("2:2");
    assert!(store.refresh()?.verify(|_| ())?.is_sound());
    // Code without its state.
    write_numbered(&folder, "state", 3);
    store.plugins().reload("state", ReloadPlugin::new())?;
    check("3:3");
    drop(store);
    let store = scratch.store();
    assert_eq!(store.plugins().call("state", b"")?, "3:3");
    Ok(())
}

#[test]
fn a_replica_has_the_plugins_and_runs_none_until_it_is_promoted() -> Result<()> {
    let (ours, theirs) = (Scratch::new(), Scratch::new());
    let store = ours.store();
    store
        .write(|tx| ["data", "hits"].into_iter().try_for_each(|name| tx.create_namespace(name).map(drop)))?;
    let manifest = "[[trigger]]\non = \"commit\"\nnamespaces = [\"data\"]\n[[trigger]]\non = \"schedule\"\nevery = \"100ms\"\n[[trigger]]\non = \"request\"\n[grants]\nwrite = [\"hits\"]\n";
    let script = r#"fn on_commit(changes) { for change in changes { put("hits", change.key, "1"); } } fn on_schedule(due) { } fn on_request(input) { "here" }"#;
    let folder = Folder::new(&ours, "hits", manifest, script);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    store.write(|tx| tx.put("data", "a", "1"))?;
    let mut follower = Follower::open(ours.path(), theirs.path(), |_| ())?;
    follower.catch_up()?;
    folder.write("main.rhai", &script.replace("here", "there"));
    std::thread::sleep(Duration::from_millis(400));
    let replica = follower.replica();
    assert_eq!(replica.plugins().show("hits")?.record.name, "hits");
    assert!(
        ["here", "there"]
            .iter()
            .any(|it| replica.plugins().call("hits", b"").is_ok_and(|reply| reply == *it))
    );
    let lines = replica.plugins().log("hits");
    assert_eq!(lines, [], "a replica does nothing of its own accord");
    wait_for("the effect", || value(&store, "hits", "a").is_some());
    store.plugins().disable("hits")?;
    follower.catch_up()?;
    assert_eq!(value(follower.replica(), "hits", "a").as_deref(), Some("1"));
    drop(follower);
    drop(store);
    let replica = Store::open(theirs.path())?;
    replica.promote_replica()?;
    replica.plugins().enable("hits")?;
    replica.write(|tx| tx.put("data", "b", "1"))?;
    // It counts versions of its own now.
    wait_for("word of it", || replica.plugins().show("hits").expect("is there").stalled.is_some());
    replica.plugins().reload("hits", ReloadPlugin::new().rescan())?;
    replica.write(|tx| tx.put("data", "c", "1"))?;
    wait_for("the effects", || {
        value(&replica, "hits", "c").is_some() && value(&replica, "hits", "b").is_some()
    });
    assert!(replica.refresh()?.verify(|_| ())?.is_sound());
    Ok(())
}

#[test]
fn a_backup_holds_the_plugins_and_says_what_they_need() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.write(|tx| tx.create_namespace("data"))?;
    let folder = Folder::new(&scratch, "state", REQUEST, "");
    write_numbered(&folder, "state", 1);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    let file = scratch.file("backup");
    store.backup(&file, |_| ())?;
    drop(store);
    fs::remove_dir_all(folder.path()).expect("can be removed");
    let restored = Store::restore(&file, scratch.file("restored"), |_| ())?;
    assert_eq!(restored.plugins().call("state", b"")?, "1:1");
    assert!(restored.refresh()?.verify(|_| ())?.is_sound());
    let reader = Store::options().role(Role::Reader).open(Path::new(&file))?;
    assert_eq!(reader.plugins().call("state", b"")?, "1:1");
    Ok(())
}

/// A hand-over while a plugin is at work, back and forth: nobody waits for ever.
#[test]
fn a_plugin_at_work_does_not_keep_a_handle_from_stepping_down_and_coming_back() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.write(|tx| tx.create_namespace("data"))?;
    let manifest = "[[trigger]]\non = \"commit\"\nnamespaces = [\"data\"]\n";
    let script = r#"fn on_commit(changes) { let n = get("n"); let n = if n == () { 0 } else { n.parse_int() }; put("n", (n + changes.len()).to_string()); }"#;
    let folder = Folder::new(&scratch, "count", manifest, script);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    let is_over = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let write = || {
            let mut written = 0;
            while !is_over.load(Ordering::Relaxed) {
                match store.write(|tx| tx.put("data", format!("{written}"), "v")) {
                    Ok(_) => written += 1,
                    Err(error) => assert!(matches!(error.kind(), Kind::ReadOnly | Kind::Busy), "{error:?}"),
                }
            }
            written
        };
        let writer = scope.spawn(write);
        for _ in 0..30 {
            std::thread::sleep(Duration::from_millis(5));
            store.step_down().expect("steps down");
            store.promote(Duration::from_secs(10)).expect("is promoted");
        }
        is_over.store(true, Ordering::Relaxed);
        writer.join().expect("does not panic")
    });
    assert_eq!(store.plugins().catch_up(Duration::from_secs(30))?, 0);
    assert_eq!(value(&store, "_plugins/count", "n"), Some(written.to_string()));
    Ok(())
}
