//! What a script costs: compiling it, making an instance, and a hook of one change and of a hundred with a read and a write each.
//!
//! ```sh
//! cargo run --release -p cohab-plugin --example script_cost
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cohab_core::{Timestamp, Version};
use cohab_plugin::{Bundle, Call, ChangeRef, Changes, Code, GuestCache, Host, HostError, Manifest, Stop};

const MANIFEST: &str = r#"
name = "cost"
api = 1
entry = "plugin.rhai"
[[trigger]]
on = "commit"
namespaces = ["in"]
[[trigger]]
on = "request"
[grants]
read = ["in"]
write = ["out"]
"#;

const SCRIPT: &str = r#"
fn on_commit(changes) {
    for change in changes {
        let old = get("out", change.key);
        if old != change.after { put("out", change.key, change.after); }
    }
}

fn on_request(input) {
    let sum = 0;
    for i in 0..100000 { sum += i * 2 % 7; }
    sum.to_string()
}
"#;

#[derive(Default)]
struct Memory(HashMap<Vec<u8>, Vec<u8>>);

impl Host for Memory {
    fn get(&mut self, _: &str, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, HostError> {
        Ok(self.0.get(key).map(|value| found(value)).is_some())
    }

    fn put(&mut self, _: &str, key: &[u8], value: &[u8]) -> Result<(), HostError> {
        self.0.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn delete(&mut self, _: &str, key: &[u8]) -> Result<bool, HostError> {
        Ok(self.0.remove(key).is_some())
    }

    fn scan(
        &mut self,
        _: &str,
        _: &[u8],
        _: &[u8],
        _: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), HostError> {
        Ok(())
    }

    fn now(&mut self) -> Timestamp {
        Timestamp::from_micros(0)
    }
}

#[expect(clippy::print_stdout, reason = "an example")]
fn main() -> Result<(), Box<dyn Error>> {
    let file = |text: &'static str| Bytes::from_static(text.as_bytes());
    let bundle = Bundle::of([("plugin.toml".into(), file(MANIFEST)), ("plugin.rhai".into(), file(SCRIPT))]);
    let manifest = Manifest::of(&bundle)?;
    let compile = median(200, || drop(black_box(Code::compile(manifest.clone(), &bundle))));
    println!("compile       {compile:>10.1?}");
    let code = Code::compile(manifest, &bundle)?;
    let instantiate = median(1_000, || drop(black_box(code.instantiate())));
    println!("instantiate   {instantiate:>10.1?}");

    let grants = code.manifest().grants.clone();
    let (cache, stop, mut host) = (GuestCache::new(0), Stop::new(), Memory::default());
    let mut instance = code.instantiate()?;
    for count in [0_u32, 1, 100, 1_000] {
        let mut round = 0;
        let mut changes = Changes::new();
        let mut took = Vec::new();
        for _ in 0..500 {
            round += 1;
            changes.clear();
            for i in 0..count {
                changes.push(ChangeRef {
                    version: Version::new(round),
                    time: Timestamp::from_micros(round),
                    namespace: "in",
                    key: format!("order/{i:08}").as_bytes(),
                    before: Some(b"customer=ada;total=1000"),
                    after: Some(format!("customer=ada;total={round}").as_bytes()),
                });
            }
            let outcome = instance.call(Call::Commit(&changes), &mut host, &grants, &cache, &stop);
            outcome.result?;
            took.push(outcome.took);
        }
        took.sort_unstable();
        println!("hook, n={count:<5} {:>10.1?}", took[took.len() / 2]);
    }
    let outcome = instance.call(Call::Request(b""), &mut host, &grants, &cache, &stop);
    outcome.result?;
    println!("100,000 rounds of a loop {:.1?}", outcome.took);
    Ok(())
}

fn median(times: usize, mut run: impl FnMut()) -> Duration {
    let mut took: Vec<_> = (0..times)
        .map(|_| {
            let begin = Instant::now();
            run();
            begin.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[times / 2]
}
