//! The example plugins, and the contract plugin as a script, driven with a host in memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use cohab_core::{Timestamp, Version};
use cohab_plugin::{
    Bundle, Call, CallErrorKind, ChangeRef, Changes, Code, GuestCache, Host, HostError, Instance, Manifest,
    Outcome, Stop,
};

#[derive(Default)]
struct Memory {
    entries: BTreeMap<(String, Vec<u8>), Vec<u8>>,
    now: u64,
}

impl Host for Memory {
    fn get(&mut self, namespace: &str, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, HostError> {
        let value = self.entries.get(&(namespace.to_owned(), key.to_owned()));
        Ok(value.map(|value| found(value)).is_some())
    }

    fn put(&mut self, namespace: &str, key: &[u8], value: &[u8]) -> Result<(), HostError> {
        self.entries.insert((namespace.to_owned(), key.to_owned()), value.to_owned());
        Ok(())
    }

    fn delete(&mut self, namespace: &str, key: &[u8]) -> Result<bool, HostError> {
        Ok(self.entries.remove(&(namespace.to_owned(), key.to_owned())).is_some())
    }

    fn scan(
        &mut self,
        namespace: &str,
        prefix: &[u8],
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), HostError> {
        for ((of, key), value) in &self.entries {
            let is_in = of == namespace && key.starts_with(prefix) && key.as_slice() >= from;
            if is_in && visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn now(&mut self) -> Timestamp {
        Timestamp::from_micros(self.now)
    }
}

/// A plugin in service.
struct Plugin {
    code: Code,
    instance: Instance,
    host: Memory,
    cache: GuestCache,
}

impl Plugin {
    fn load(dir: &str) -> Self {
        let bundle =
            Bundle::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)).expect("is fit for service");
        let code = Code::compile(Manifest::of(&bundle).expect("is a manifest"), &bundle)
            .unwrap_or_else(|error| panic!("{error}"));
        let instance = code.instantiate().expect("is fit for service");
        Self { code, instance, host: Memory::default(), cache: GuestCache::new(1 << 20) }
    }

    fn call(&mut self, call: Call<'_>) -> Outcome {
        let grants = self.code.manifest().asks_for();
        let outcome = self.instance.call(call, &mut self.host, &grants, &self.cache, &Stop::new());
        if self.instance.is_spent() {
            self.instance = self.code.instantiate().expect("is fit for service");
        }
        outcome
    }

    /// The reply, or what kind of error and what it says.
    fn request(&mut self, input: &str) -> Result<String, (CallErrorKind, String)> {
        match self.call(Call::Request(input.as_bytes())).result {
            Ok(reply) => Ok(String::from_utf8(reply).expect("is text")),
            Err(error) => Err((error.kind, error.message)),
        }
    }

    fn entries(&self, namespace: &str) -> Vec<String> {
        let of = |((name, key), value): (&(String, Vec<u8>), &Vec<u8>)| {
            let (key, value) = (String::from_utf8_lossy(key), String::from_utf8_lossy(value));
            (name == namespace).then(|| format!("{key}={value}"))
        };
        self.host.entries.iter().filter_map(of).collect()
    }
}

/// Changes of a namespace: keys with the values before and after.
fn changes(namespace: &str, all: &[(&str, Option<&str>, Option<&str>)]) -> Changes {
    let mut changes = Changes::new();
    for (key, before, after) in all {
        changes.push(ChangeRef {
            version: Version::new(1),
            time: Timestamp::from_micros(1),
            namespace,
            key: key.as_bytes(),
            before: before.map(str::as_bytes),
            after: after.map(str::as_bytes),
        });
    }
    changes
}

fn failed<T>(message: &str) -> Result<T, (CallErrorKind, String)> {
    Err((CallErrorKind::Failed, message.to_owned()))
}

#[test]
fn the_contract() {
    let mut plugin = Plugin::load("tests/guests/script");
    assert_eq!(plugin.request("echo a b  c").unwrap(), "a b  c");
    assert_eq!(plugin.request("get - x"), failed("absent"));
    assert_eq!(plugin.request("put - x a b").unwrap(), "");
    assert_eq!(plugin.request("get - x").unwrap(), "a b");
    assert_eq!(plugin.request("put out y 1").unwrap(), "");
    assert_eq!(plugin.request("scan - - 10").unwrap(), "x=a b\n");
    assert_eq!(plugin.request("scan out y 0").unwrap(), "y=1\n");
    assert_eq!(plugin.request("delete - x").unwrap(), "1");
    assert_eq!(plugin.request("delete - x").unwrap(), "0");
    assert_eq!(plugin.request("cache-put k 0 v w").unwrap(), "");
    assert_eq!(plugin.request("cache-get k").unwrap(), "v w");
    assert_eq!(plugin.request("cache-get l"), failed("absent"));
    plugin.host.now = 77;
    assert_eq!(plugin.request("now").unwrap(), "77");
    assert_eq!(plugin.call(Call::Request(b"log a b")).logs[0].text, "a b");
    assert_eq!(plugin.request("fail a b"), failed("a b"));
    assert_eq!(plugin.request("count").unwrap(), "1");
    assert_eq!(plugin.request("count").unwrap(), "2");
    assert_eq!(plugin.request("huge 1000000").unwrap(), "0".repeat(1_000_000));
    for (request, kinds) in [
        ("loop", &[CallErrorKind::OutOfFuel, CallErrorKind::OutOfTime][..]),
        ("grow", &[CallErrorKind::OutOfMemory]),
        ("recurse", &[CallErrorKind::OutOfMemory]),
        ("trap", &[CallErrorKind::Trapped]),
        ("get secret x", &[CallErrorKind::Forbidden]),
    ] {
        let (kind, message) = plugin.request(request).unwrap_err();
        assert!(kinds.contains(&kind), "{request}: {kind:?} {message}");
    }

    let all = changes("in", &[("k", None, Some("v")), ("y", Some("1"), None)]);
    plugin.call(Call::Commit(&all)).result.expect("is fit for service");
    assert_eq!(plugin.entries("out"), ["k=v"]);
    plugin.call(Call::BeforeCommit(&all)).result.expect("is fit for service");
    let bad = changes("in", &[("k", None, Some("bad"))]);
    let error = plugin.call(Call::BeforeCommit(&bad)).result.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (CallErrorKind::Failed, "k is bad"));
    plugin.call(Call::Schedule(Timestamp::from_micros(5))).result.expect("is fit for service");
    plugin.call(Call::Migrate { from: 1 }).result.expect("is fit for service");
    assert_eq!(plugin.entries(""), ["due=5", "migrated=1", "n=2"]);
    let error = plugin.call(Call::Migrate { from: 99 }).result.unwrap_err();
    assert_eq!(error.message, "no way from 99");
    plugin.call(Call::Check).result.expect("is fit for service");
    plugin.request("put - broken x").expect("is fit for service");
    assert_eq!(plugin.call(Call::Check).result.unwrap_err().message, "broken");
}

#[test]
fn the_index_by_customer_follows_puts_updates_and_removals() {
    let mut plugin = Plugin::load("../../examples/plugins/by-customer");
    let (ada, ben) = ("customer=ada;total=1250", "customer=ben;total=700");
    let commits = [
        (
            vec![("1", None, Some(ada)), ("2", None, Some(ben)), ("3", None, Some("nobody"))],
            "ada/1=1250 ben/2=700",
        ),
        (vec![("1", Some(ada), Some("customer=ada;total=1"))], "ada/1=1 ben/2=700"),
        (vec![("2", Some(ben), Some("customer=ada"))], "ada/1=1 ada/2="),
        (vec![("3", Some("nobody"), Some(ben)), ("1", Some(ada), None)], "ada/2= ben/3=700"),
        (vec![("4", None, Some("customer=a/b;total=1"))], "ada/2= ben/3=700"),
        // Once more: an index does not care.
        (vec![("3", Some("nobody"), Some(ben))], "ada/2= ben/3=700"),
    ];
    for (commit, expected) in commits {
        plugin.call(Call::Commit(&changes("orders", &commit))).result.expect("is fit for service");
        assert_eq!(plugin.entries("orders/by-customer").join(" "), expected);
    }
    assert_eq!(plugin.request("ben").unwrap(), "3 700\n");
    assert_eq!(plugin.request("be").unwrap(), "");
    assert_eq!(plugin.request(""), failed("the request is the name of a customer"));
}

#[test]
fn what_is_no_order_is_refused_with_a_reason() {
    let mut plugin = Plugin::load("../../examples/plugins/valid-order");
    for (order, fault) in [
        ("customer=ada;total=1250", ""),
        ("customer=ada;total=0;note=a=b", ""),
        ("customer=;total=1", "it names no customer"),
        ("total=1", "it names no customer"),
        ("customer=a/b;total=1", "a customer's name has no `/`"),
        ("customer=ada", "it has no total"),
        ("customer=ada;total=12.50", "its total `12.50` is not a number of cents"),
        ("customer=ada;total=-1", "its total `-1` is not a number of cents"),
        ("customer=ada;total=999999999", "its total 999999999 is over 100000000"),
        ("customer=ada;total=1;total=2", "`total` is there twice"),
        ("hello", "`hello` is not `name=value`"),
    ] {
        let commit =
            changes("orders", &[("2026/1", None, Some("customer=x;total=1")), ("2026/2", None, Some(order))]);
        match plugin.call(Call::BeforeCommit(&commit)).result {
            Ok(_) => assert_eq!(fault, "", "{order}"),
            Err(error) => {
                assert_eq!(error.message, format!("order 2026/2: {fault}"), "{order}");
                assert_eq!(error.kind, CallErrorKind::Failed);
            }
        }
    }
    let removal = changes("orders", &[("2026/1", Some("hello"), None)]);
    plugin.call(Call::BeforeCommit(&removal)).result.expect("is fit for service");
    let mut blob = Changes::new();
    let (version, time) = (Version::new(1), Timestamp::from_micros(1));
    blob.push(ChangeRef {
        version,
        time,
        namespace: "orders",
        key: b"k",
        before: None,
        after: Some(b"\xff"),
    });
    let error = plugin.call(Call::BeforeCommit(&blob)).result.unwrap_err();
    assert_eq!(error.message, "order k: its value is not text");
}

#[test]
fn a_day_is_summed_up() {
    let mut plugin = Plugin::load("../../examples/plugins/daily-summary");
    let mut order = |key: &str, value: &str| {
        plugin.host.entries.insert(("orders".into(), key.into()), value.into());
    };
    for i in 0..2_500 {
        order(&format!("2024-02-29/{i:04}"), "customer=ada;total=2");
    }
    order("2024-03-01/1", "customer=ben;total=5");
    order("2024-03-01/2", "total=much");
    order("2024-03-010", "total=9");
    // 2024-02-29 23:59:59.999999 UTC.
    let last = 1_709_251_199_999_999;
    let outcome = plugin.call(Call::Schedule(Timestamp::from_micros(last)));
    outcome.result.expect("is fit for service");
    assert_eq!(outcome.logs[0].text, "2024-02-29: orders=2500;total=5000");
    assert_eq!(plugin.entries("orders/summary"), ["2024-02-29=orders=2500;total=5000"]);
    assert!(plugin.call(Call::Schedule(Timestamp::from_micros(last))).logs.is_empty(), "nothing is new");
    plugin.host.now = last + 1;
    assert_eq!(plugin.request("").unwrap(), "orders=2;total=5");
    assert_eq!(plugin.request("1999-12-31").unwrap(), "orders=0;total=0");
    for (time, day) in
        [(0, "1970-01-01"), (951_868_799_999_999, "2000-02-29"), (4_107_542_400_000_000, "2100-03-01")]
    {
        plugin.host.now = time;
        plugin.request("").expect("is fit for service");
        assert!(plugin.entries("orders/summary").iter().any(|entry| entry.starts_with(day)), "{day}");
    }
}
