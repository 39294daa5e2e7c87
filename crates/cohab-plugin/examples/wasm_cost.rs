//! What a module of WebAssembly costs: compiling a small one and a larger one, making an instance, and a hook of one change and of
//! a hundred with a read and a write each.
//!
//! ```sh
//! cargo run --release -p cohab-plugin --features wasm --example wasm_cost
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
entry = "plugin.wasm"
[[trigger]]
on = "commit"
namespaces = ["in"]
[[trigger]]
on = "request"
[grants]
read = ["in"]
write = ["out"]
"#;

/// Gets each key from `out`, and puts the value after there.
const MODULE: &str = r#"
  (import "cohab" "get" (func $get (param i32 i32 i32 i32) (result i64)))
  (import "cohab" "put" (func $put (param i32 i32 i32 i32 i32 i32)))
  (import "cohab" "take" (func $take (param i32 i32) (result i32)))
  (memory (export "memory") 4)
  (data (i32.const 0) "out")
  (global $at (mut i32) (i32.const 0))
  (func (export "cohab_api") (result i32) (i32.const 1))
  (func (export "cohab_alloc") (param i32) (result i32) (i32.const 65536))
  (func $piece (result i32 i32) (local $at i32) (local $len i32)
    (local.set $at (i32.add (global.get $at) (i32.const 4)))
    (local.set $len (i32.load (global.get $at)))
    (global.set $at (i32.add (local.get $at)
      (select (i32.const 0) (local.get $len) (i32.eq (local.get $len) (i32.const -1)))))
    (local.get $at) (local.get $len))
  (func (export "on_commit") (param $at i32) (param $len i32) (result i32)
    (local $count i32) (local $key i32) (local $key_len i32) (local $value i32) (local $value_len i32)
    (local.set $count (i32.load (local.get $at)))
    (global.set $at (i32.add (local.get $at) (i32.const 4)))
    (block $done (loop $more
      (br_if $done (i32.eqz (local.get $count)))
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (global.set $at (i32.add (global.get $at) (i32.const 16)))
      (call $piece) (drop) (drop)
      (call $piece) (local.set $key_len) (local.set $key)
      (call $piece) (drop) (drop)
      (call $piece) (local.set $value_len) (local.set $value)
      (drop (call $get (i32.const 0) (i32.const 3) (local.get $key) (local.get $key_len)))
      (drop (call $take (i32.const 1024) (i32.const 1024)))
      (call $put (i32.const 0) (i32.const 3) (local.get $key) (local.get $key_len) (local.get $value) (local.get $value_len))
      (br $more)))
    (i32.const 0))
  (func (export "on_request") (param i32 i32) (result i32) (local $i i32) (local $sum i32)
    (loop $more
      (local.set $sum (i32.add (local.get $sum) (i32.rem_u (i32.mul (local.get $i) (i32.const 2)) (i32.const 7))))
      (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100000))))
    (i32.const 0))"#;

/// A function of about a hundred bytes.
const FUNCTION: &str = "(func (param i32 i32) (result i32)
    (if (result i32) (i32.lt_s (local.get 0) (local.get 1))
      (then
        (loop $more
          (local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 31)) (i32.load (local.get 1))))
          (i32.store offset=16 (local.get 1) (i32.xor (local.get 0) (i32.const 0x55555)))
          (br_if $more (i32.gt_u (local.tee 1 (i32.sub (local.get 1) (i32.const 8))) (i32.const 8))))
        (local.get 0))
      (else (i32.add (call 4 (local.get 1) (local.get 0)) (i32.shr_u (local.get 1) (i32.const 3))))))";

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
    let bundle = |functions: usize| -> Result<_, Box<dyn Error>> {
        let module = wat::parse_str(format!("(module {MODULE} {})", FUNCTION.repeat(functions)))?;
        let manifest = Bytes::from_static(MANIFEST.as_bytes());
        Ok(Bundle::of([("plugin.toml".into(), manifest), ("plugin.wasm".into(), module.into())]))
    };
    for (functions, times) in [(0, 50), (250, 20), (10_000, 2)] {
        let bundle = bundle(functions)?;
        let manifest = Manifest::of(&bundle)?;
        let compile = median(times, || drop(black_box(Code::compile(manifest.clone(), &bundle))));
        let bytes = bundle.file("plugin.wasm").map_or(0, Bytes::len);
        println!("compile {bytes:>7} bytes {compile:>10.1?}");
    }
    let bundle = bundle(0)?;
    let manifest = Manifest::of(&bundle)?;
    let code = Code::compile(manifest, &bundle)?;
    let instantiate = median(1_000, || drop(black_box(code.instantiate())));
    println!("instantiate           {instantiate:>10.1?}");

    let grants = code.manifest().grants.clone();
    let (cache, stop, mut host) = (GuestCache::new(0), Stop::new(), Memory::default());
    let mut instance = code.instantiate()?;
    for count in [0_u32, 1, 100, 1_000] {
        let mut round = 0;
        let mut changes = Changes::new();
        let mut took = Vec::new();
        for _ in 0..2_000 {
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
        println!("hook, n={count:<5}         {:>10.1?}", took[took.len() / 2]);
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
