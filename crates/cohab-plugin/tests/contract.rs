//! One suite for all tiers and languages: what a plugin is handed, what comes of what it asks for, and how it is stopped.
//!
//! Each subject is the same plugin, the contract plugin: in WebAssembly by hand (`guests/wat`), as a script (`guests/script`), and
//! compiled from whatever languages there are compilers for. `COHAB_GUESTS` lists the directories of those, each with a
//! `plugin.toml` and the `plugin.wasm`, with colons between.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by it, and shows what it did")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cohab_core::{Timestamp, Version};
use cohab_plugin::{Bundle, Call, CallErrorKind, ChangeRef, Changes, Code, Level, Manifest, Tier};

use self::common::{Maps, NOW, Running, assert_error};

struct Subject {
    name: String,
    bundle: Bundle,
}

impl Subject {
    fn manifest(&self) -> Manifest {
        Manifest::of(&self.bundle).unwrap()
    }

    fn code_with(&self, change: impl FnOnce(&mut Manifest)) -> Code {
        let mut manifest = self.manifest();
        change(&mut manifest);
        Code::compile(manifest, &self.bundle).unwrap()
    }

    fn run(&self) -> Running {
        self.run_with(|_| {})
    }

    fn run_with(&self, change: impl FnOnce(&mut Manifest)) -> Running {
        Running::new(&self.code_with(change)).unwrap()
    }
}

fn subjects() -> Vec<Subject> {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
    let mut subjects = Vec::new();
    if cfg!(feature = "wasm") {
        let module = wat::parse_file(guests.join("wat/plugin.wat")).unwrap();
        let manifest = std::fs::read(guests.join("wat/plugin.toml")).unwrap();
        let bundle = common::bundle([("plugin.toml", manifest), ("plugin.wasm", module)]);
        subjects.push(Subject { name: "wat".into(), bundle });
    }
    let script = guests.join("script");
    if script.join("plugin.rhai").exists() {
        subjects.push(Subject { name: "script".into(), bundle: Bundle::read(&script).unwrap() });
    }
    if cfg!(feature = "wasm") {
        for dir in std::env::var("COHAB_GUESTS").unwrap_or_default().split(':').filter(|dir| !dir.is_empty())
        {
            subjects.push(Subject { name: dir.into(), bundle: Bundle::read(Path::new(dir)).unwrap() });
        }
    }
    subjects
}

/// Runs a case for all subjects, and tells of all that fail.
#[track_caller]
fn all(case: impl Fn(&Subject)) {
    let mut failed = Vec::new();
    for subject in subjects() {
        println!("{}", subject.name);
        if catch_unwind(AssertUnwindSafe(|| case(&subject))).is_err() {
            failed.push(subject.name);
        }
    }
    assert!(failed.is_empty(), "it failed for {failed:?}");
}

fn change<'a>(key: &'a [u8], before: Option<&'a [u8]>, after: Option<&'a [u8]>) -> ChangeRef<'a> {
    let (version, time) = (Version::new(7), Timestamp::from_micros(NOW));
    ChangeRef { version, time, namespace: "in", key, before, after }
}

fn changes(list: &[ChangeRef<'_>]) -> Changes {
    let mut changes = Changes::new();
    for change in list {
        changes.push(*change);
    }
    changes
}

#[test]
fn a_request_is_handed_over_and_replied_to() {
    all(|subject| {
        let mut running = subject.run();
        assert_eq!(running.reply("echo hello, world"), "hello, world");
        assert_eq!(running.reply("echo "), "");
        assert_eq!(running.reply("echo  two  blanks "), " two  blanks ");
        assert_eq!(running.reply("echo Größe €"), "Größe €");
        let long = "0123456789".repeat(20_000);
        assert_eq!(running.reply(&format!("echo {long}")), long);
        assert_eq!(running.reply("echo short again"), "short again");
        let error = running.error("");
        assert_eq!(error.kind, CallErrorKind::Failed);
        assert!(!running.instance.is_spent());
    });
}

#[test]
fn values_are_put_and_got_and_deleted() {
    all(|subject| {
        let mut running = subject.run();
        assert_error(&running.error("get out k"), CallErrorKind::Failed, "absent");
        assert_eq!(running.reply("put out k a value"), "");
        assert_eq!(running.host, Maps::of(&[("out", "k", "a value")]));
        assert_eq!(running.reply("get out k"), "a value");
        assert_eq!(running.reply("put out k "), "");
        assert_eq!(running.host.value("out", "k"), Some(&b""[..]));
        assert_eq!(running.reply("get out k"), "");
        assert_eq!(running.reply("delete out k"), "1");
        assert_eq!(running.reply("delete out k"), "0");
        assert_eq!(running.host.value("out", "k"), None);
        assert_error(&running.error("get out k"), CallErrorKind::Failed, "absent");
        running.host.set("in", "k", "theirs");
        assert_eq!(running.reply("get in k"), "theirs");
        let large = "x".repeat(1_000_000);
        running.host.set("in", "large", &large);
        assert_eq!(running.reply("get in large"), large);
    });
}

#[test]
fn its_own_state_needs_no_grant() {
    all(|subject| {
        let mut running = subject.run_with(|manifest| manifest.grants = cohab_plugin::Grants::default());
        assert_eq!(running.reply("put - k v"), "");
        assert_eq!(running.host, Maps::of(&[("", "k", "v")]));
        assert_eq!(running.reply("get - k"), "v");
        assert_eq!(running.reply("scan - - 0"), "k=v\n");
        for count in 1..=12 {
            assert_eq!(running.reply("count"), count.to_string());
        }
        assert_eq!(running.host.value("", "n"), Some(&b"12"[..]));
        assert_eq!(running.reply("delete - k"), "1");
    });
}

#[test]
fn entries_are_scanned_in_order() {
    all(|subject| {
        let mut running = subject.run();
        assert_eq!(running.reply("scan in - 10"), "");
        running.host = Maps::of(&[("in", "b1", "2"), ("in", "a", "1"), ("in", "b2", ""), ("in", "c", "4")]);
        assert_eq!(running.reply("scan in - 10"), "a=1\nb1=2\nb2=\nc=4\n");
        assert_eq!(running.reply("scan in - 2"), "a=1\nb1=2\n");
        assert_eq!(running.reply("scan in b 10"), "b1=2\nb2=\n");
        assert_eq!(running.reply("scan in b 1"), "b1=2\n");
        assert_eq!(running.reply("scan in x 10"), "");
        for key in 0..20_000 {
            running.host.set("in", format!("n{key:05}"), "v");
        }
        let reply = running.reply("scan in n 0");
        assert_eq!(reply.lines().count(), 10_000);
        assert!(reply.ends_with("n09999=v\n"));
        assert_eq!(running.reply("scan in n 20000").lines().count(), 10_000);
        let large = "x".repeat(400_000);
        for key in ["l1", "l2", "l3", "l4", "l5"] {
            running.host.set("in", key, &large);
        }
        assert_eq!(running.reply("scan in l 0").lines().count(), 3, "about a MiB, and whole entries");
    });
}

#[test]
fn the_cache_is_shared_and_forgets_in_time() {
    all(|subject| {
        let code = subject.code_with(|_| {});
        let mut running = Running::new(&code).unwrap();
        assert_error(&running.error("cache-get k"), CallErrorKind::Failed, "absent");
        assert_eq!(running.reply("cache-put k 0 a value"), "");
        assert_eq!(running.reply("cache-get k"), "a value");
        assert_eq!(running.reply("cache-put k 60000 another"), "");
        running.instance = code.instantiate().unwrap();
        assert_eq!(running.reply("cache-get k"), "another");
        assert_eq!(running.reply("cache-put brief 30 v"), "");
        thread::sleep(Duration::from_millis(60));
        assert_error(&running.error("cache-get brief"), CallErrorKind::Failed, "absent");
        assert_eq!(running.reply("cache-get k"), "another");
        assert_eq!(running.host, Maps::default());
        let mut other = Running::new(&code).unwrap();
        assert_error(&other.error("cache-get k"), CallErrorKind::Failed, "absent");
    });
}

#[test]
fn lines_are_logged_and_bounded() {
    all(|subject| {
        let mut running = subject.run();
        let logs = running.logs("log all is well");
        assert_eq!(logs.len(), 1);
        assert_eq!((logs[0].level, logs[0].text.as_str()), (Level::Info, "all is well"));
        let logs = running.logs(&format!("log {}", "ä".repeat(100_000)));
        assert!((4000..4200).contains(&logs[0].text.len()), "{}", logs[0].text.len());
        assert!(running.logs("echo x").is_empty());
        let mut mute = subject.run_with(|manifest| manifest.grants.log = false);
        assert_error(&mute.error("log x"), CallErrorKind::Forbidden, "`[grants] log`");
    });
}

#[test]
fn the_clock_is_granted() {
    all(|subject| {
        assert_eq!(subject.run().reply("now"), NOW.to_string());
        let mut timeless = subject.run_with(|manifest| manifest.grants.clock = false);
        assert_error(&timeless.error("now"), CallErrorKind::Forbidden, "`[grants] clock`");
    });
}

#[test]
fn what_is_not_granted_is_refused_by_name() {
    all(|subject| {
        let code = subject.code_with(|_| {});
        let host = Maps::of(&[("in", "k", "v"), ("secret", "k", "v"), ("out/more", "k", "v")]);
        for (text, piece) in [
            ("get secret k", "reads namespace `secret`"),
            ("scan secret - 10", "reads namespace `secret`"),
            ("get out/more k", "reads namespace `out/more`"),
            ("put secret k v", "writes to namespace `secret`"),
            ("put in k v", "writes to namespace `in`"),
            ("delete in k", "writes to namespace `in`"),
        ] {
            let mut running = Running::new(&code).unwrap();
            running.host = host.clone();
            let error = running.error(text);
            assert_error(&error, CallErrorKind::Forbidden, piece);
            assert_eq!(running.host, host);
            assert!(running.instance.is_spent());
        }
    });
}

#[test]
fn a_failure_is_told_and_an_instance_goes_on() {
    all(|subject| {
        let mut running = subject.run();
        let error = running.error("fail no more apples");
        assert_error(&error, CallErrorKind::Failed, "no more apples");
        assert!(!running.instance.is_spent());
        assert_eq!(running.reply("echo on"), "on");
        let error = running.error(&format!("fail {}", "x".repeat(100_000)));
        assert!(error.message.len() < 5000);
    });
}

#[test]
fn what_the_host_says_ends_the_call() {
    all(|subject| {
        for text in ["get in k", "put out k v", "delete out k", "scan in - 0"] {
            let mut running = subject.run();
            running.host.failure = Some("the disk is gone");
            assert_error(&running.error(text), CallErrorKind::Host, "the disk is gone");
        }
    });
}

#[test]
fn commits_are_decoded() {
    all(|subject| {
        let mut running = subject.run();
        running.host.set("out", "gone", "there");
        let all = changes(&[
            change(b"a", None, Some(b"1")),
            change(b"gone", Some(b"there"), None),
            change(b"empty", Some(b"before"), Some(b"")),
            change(b"was empty", Some(b""), Some(b"2")),
            change(b"bytes", None, Some(&[0, 255, 128, 0])),
            change(&[255, 0, 1], None, Some(b"by bytes")),
            change("schlüssel".as_bytes(), None, Some("Größe".as_bytes())),
            change(b"", None, Some(b"the empty key")),
        ]);
        running.commit(&all).unwrap();
        let mut expected = Maps::of(&[("out", "a", "1"), ("out", "empty", ""), ("out", "was empty", "2")]);
        expected.set("out", "bytes", [0, 255, 128, 0]);
        expected.set("out", [255, 0, 1], "by bytes");
        expected.set("out", "schlüssel", "Größe");
        expected.set("out", "", "the empty key");
        assert_eq!(running.host, expected);
        running.commit(&Changes::new()).unwrap();
        assert_eq!(running.host, expected);
        let keys: Vec<_> = (0..3000).map(|key| format!("many{key}").into_bytes()).collect();
        let many: Vec<_> = keys.iter().map(|key| change(key, None, Some(key))).collect();
        running.commit(&changes(&many)).unwrap();
        assert_eq!(running.host.namespaces["out"].len(), 3007);
        assert_eq!(running.host.value("out", "many2999"), Some(&b"many2999"[..]));
    });
}

#[test]
fn a_transaction_is_refused_with_the_plugins_words() {
    all(|subject| {
        let mut running = subject.run();
        let good = [change(b"a", Some(b"bad"), Some(b"good")), change(b"b", Some(b"bad"), None)];
        running.before_commit(&changes(&good)).unwrap();
        running.before_commit(&changes(&[])).unwrap();
        let bad = [good[0], change(b"k1", None, Some(b"bad")), change(b"k2", None, Some(b"bad"))];
        let error = running.before_commit(&changes(&bad)).unwrap_err();
        assert_error(&error, CallErrorKind::Failed, "k1 is bad");
        assert!(!running.instance.is_spent());
        running.before_commit(&changes(&good)).unwrap();
        assert_eq!(running.host, Maps::default());
    });
}

#[test]
fn schedules_and_migrations_and_checks_are_called() {
    all(|subject| {
        let mut running = subject.run();
        let due = Timestamp::from_micros(1_234_567_890_123_456);
        running.call(Call::Schedule(due)).result.unwrap();
        assert_eq!(running.host, Maps::of(&[("", "due", "1234567890123456")]));
        running.call(Call::Migrate { from: 3 }).result.unwrap();
        assert_eq!(running.host.value("", "migrated"), Some(&b"3"[..]));
        let error = running.call(Call::Migrate { from: 99 }).result.unwrap_err();
        assert_error(&error, CallErrorKind::Failed, "no way from 99");
        running.call(Call::Check).result.unwrap();
        running.host.set("", "broken", "");
        let error = running.call(Call::Check).result.unwrap_err();
        assert_error(&error, CallErrorKind::Failed, "broken");
        assert!(!running.instance.is_spent());
    });
}

#[test]
fn a_loop_ends_in_time() {
    all(|subject| {
        let limit = Duration::from_millis(300);
        let code = subject.code_with(|manifest| {
            manifest.limits.time = limit;
            manifest.limits.fuel = Some(1_000_000_000_000);
        });
        let mut running = Running::new(&code).unwrap();
        let begin = Instant::now();
        let error = running.error("loop");
        let took = begin.elapsed();
        assert_error(&error, CallErrorKind::OutOfTime, "300ms");
        assert!(limit <= took && took < 2 * limit, "{took:?}");
        assert!(running.instance.is_spent());

        let mut running = Running::new(&code).unwrap();
        let stop = running.stop.clone();
        let stopper = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            stop.stop();
        });
        let begin = Instant::now();
        assert_error(&running.error("loop"), CallErrorKind::Stopped, "stopped");
        assert!(begin.elapsed() < Duration::from_millis(200), "{:?}", begin.elapsed());
        stopper.join().unwrap();
    });
}

#[test]
fn a_loop_ends_when_its_fuel_does() {
    all(|subject| {
        let mut running = subject.run_with(|manifest| manifest.limits.fuel = Some(200_000));
        assert_error(&running.error("loop"), CallErrorKind::OutOfFuel, "`[limits] fuel`");
        assert!(running.instance.is_spent());
    });
}

#[test]
fn memory_and_stack_are_bounded() {
    all(|subject| {
        let mut running = subject.run();
        assert_error(&running.error("grow"), CallErrorKind::OutOfMemory, "`[limits] memory`");
        assert!(running.instance.is_spent());
        assert!(running.instance.memory_bytes() <= (16 << 20) + (1 << 20));
        let mut running = subject.run();
        assert_error(&running.error("recurse"), CallErrorKind::OutOfMemory, "");
        assert!(running.instance.is_spent());
    });
}

#[test]
fn a_bug_is_told_with_its_place() {
    all(|subject| {
        let code = subject.code_with(|_| {});
        let mut running = Running::new(&code).unwrap();
        let error = running.error("trap");
        assert_error(&error, CallErrorKind::Trapped, code.manifest().entry.as_str());
        assert!(running.instance.is_spent());
        if subject.name == "wat" {
            assert_error(&error, CallErrorKind::Trapped, "plugin.wasm: wasm function `trap`, called from ");
        }
        assert_eq!(Running::new(&code).unwrap().reply("echo on"), "on");
    });
}

#[test]
fn replies_are_bounded() {
    all(|subject| {
        let code = subject.code_with(|manifest| manifest.limits.memory = 128 << 20);
        let mut running = Running::new(&code).unwrap();
        let reply = running.reply("huge 1000000");
        assert!(reply.len() == 1_000_000 && reply.bytes().all(|byte| byte == b'0'));
        let error = running.error("huge 17000000");
        match code.tier() {
            Tier::Wasm => assert_error(&error, CallErrorKind::Forbidden, "17000000 bytes"),
            _ => assert!([CallErrorKind::Forbidden, CallErrorKind::OutOfMemory].contains(&error.kind)),
        }
    });
}

#[test]
fn writes_are_bounded() {
    all(|subject| {
        let mut running = subject.run_with(|manifest| manifest.limits.writes = 1000);
        assert_eq!(running.reply(&format!("put out k {}", "x".repeat(950))), "");
        assert_eq!(running.reply(&format!("put out l {}", "x".repeat(950))), "", "it is by the call");
        let error = running.error(&format!("put out m {}", "x".repeat(1000)));
        assert_error(&error, CallErrorKind::Forbidden, "`[limits] writes`");
        assert_eq!(running.host.value("out", "m"), None);
    });
}
