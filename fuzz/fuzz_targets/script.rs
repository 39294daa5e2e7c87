//! A script plugin: no source, no request and no change makes it panic, outlive its time, or outgrow its memory.

#![no_main]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use cohab_core::{Timestamp, Version};
use cohab_fuzz::{caught, unwind_from};
use cohab_plugin::{Bundle, Call, ChangeRef, Changes, Code, GuestCache, Host, HostError, Manifest, Stop};
use libfuzzer_sys::fuzz_target;

/// Tight, so that a run is short: a call may do a two-thousandth of what it may by default, in a fifth of the time.
const MANIFEST: &str = r#"
name = "p"
api = 1
entry = "p.rhai"

[[trigger]]
on = "request"

[grants]
read = ["a"]
write = ["b"]
log = true
clock = true

[limits]
fuel = 5000
memory = "1MiB"
time = "200ms"
before-commit-time = "200ms"
migrate-time = "200ms"
writes = "64KiB"
cache = "64KiB"
"#;

/// How long all of a run may take: calls and compilation are bounded to a fifth of that together, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(10);

fuzz_target!(
    init: unwind_from(&["rhai"]),
    |input: &[u8]| caught(|| run(input))
);

/// The source, and behind a zero byte the request.
fn run(input: &[u8]) {
    static CHECKED: OnceLock<Manifest> = OnceLock::new();
    let begin = Instant::now();
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let (source, request) = (parts.next().unwrap_or_default(), parts.next().unwrap_or(b"echo 1"));
    let files = [(Manifest::FILE, MANIFEST.as_bytes()), ("p.rhai", source)];
    let bundle = Bundle::of(files.map(|(name, content)| (name.to_owned(), content.to_vec().into())));
    let manifest = CHECKED.get_or_init(|| Manifest::of(&bundle).expect("is a manifest"));
    if let Ok(code) = Code::compile(manifest.clone(), &bundle) {
        call_all(&code, request);
    }
    assert!(begin.elapsed() < PATIENCE, "it took {:?}", begin.elapsed());
}

/// A key, and what it held before and after.
type Shown<'a> = (&'a [u8], Option<&'a [u8]>, Option<&'a [u8]>);

fn call_all(code: &Code, request: &[u8]) {
    let mut changes = Changes::new();
    let time = Timestamp::from_micros(1_767_268_800_000_000);
    let shown: [Shown<'_>; 3] =
        [(b"k", None, Some(b"v")), (b"", Some(b"v"), None), (b"\xff", Some(b""), Some(request))];
    for (key, before, after) in shown {
        changes.push(ChangeRef { version: Version::new(7), time, namespace: "a", key, before, after });
    }
    let mut host = Memory::default();
    let cache = GuestCache::new(64 << 10);
    for call in [
        Call::Request(request),
        Call::Commit(&changes),
        Call::BeforeCommit(&changes),
        Call::Schedule(time),
        Call::Migrate { from: 1 },
        Call::Check,
    ] {
        let before = host.clone();
        let mut instance = code.instantiate().expect("a script has nothing to fail with");
        let outcome = instance.call(call, &mut host, &code.manifest().grants, &cache, &Stop::new());
        let is_read_only = matches!(call, Call::BeforeCommit(_) | Call::Check);
        assert!(!is_read_only || host == before, "{call:?} has written");
        assert!(outcome.logs.len() <= 64 && outcome.logs.iter().all(|line| line.text.len() <= 4 << 10));
        match outcome.result {
            Ok(reply) => assert!(reply.len() <= 16 << 20),
            Err(error) => assert!(error.to_string().len() <= 16 << 10, "the message is longer than allowed"),
        }
        let written: usize = host.bytes() - before.bytes().min(host.bytes());
        assert!(written <= 64 << 10, "{written} bytes were written");
        assert!(host.0.keys().all(|(namespace, _)| matches!(&**namespace, "" | "b")), "{host:?}");
    }
}

/// Namespaces in memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Memory(BTreeMap<(String, Vec<u8>), Vec<u8>>);

impl Memory {
    fn bytes(&self) -> usize {
        self.0.iter().map(|((_, key), value)| key.len() + value.len()).sum()
    }
}

impl Host for Memory {
    fn get(&mut self, namespace: &str, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, HostError> {
        let value = self.0.get(&(namespace.to_owned(), key.to_owned()));
        Ok(value.map(|value| found(value)).is_some())
    }

    fn put(&mut self, namespace: &str, key: &[u8], value: &[u8]) -> Result<(), HostError> {
        self.0.insert((namespace.to_owned(), key.to_owned()), value.to_owned());
        Ok(())
    }

    fn delete(&mut self, namespace: &str, key: &[u8]) -> Result<bool, HostError> {
        Ok(self.0.remove(&(namespace.to_owned(), key.to_owned())).is_some())
    }

    fn scan(
        &mut self,
        namespace: &str,
        prefix: &[u8],
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), HostError> {
        for ((of, key), value) in &self.0 {
            let is_in = of == namespace && key.starts_with(prefix) && key.as_slice() >= from;
            if is_in && visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn now(&mut self) -> Timestamp {
        Timestamp::from_micros(1_767_268_800_000_000)
    }
}
