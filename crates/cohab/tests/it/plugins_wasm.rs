//! Plugins of WebAssembly beside the data.

use std::fs;

use cohab::{AddPlugin, Kind, Result};

use crate::Scratch;
use crate::plugins::{Folder, open, wait_for};

const MANIFEST: &str = r#"name = "sum"
api = 1
entry = "main.wasm"

[[trigger]]
on = "commit"
namespaces = ["orders"]

[[trigger]]
on = "request"
"#;

/// A module that adds up, in its own state, how many calls of `on_commit` there were, by so much each, and replies with that.
fn module(step: u32) -> Vec<u8> {
    let text = format!(
        r#"(module
  (import "cohab" "get" (func $get (param i32 i32 i32 i32) (result i64)))
  (import "cohab" "put" (func $put (param i32 i32 i32 i32 i32 i32)))
  (import "cohab" "take" (func $take (param i32 i32) (result i32)))
  (import "cohab" "reply" (func $reply (param i32 i32)))
  (memory (export "memory") 17)
  (data (i32.const 8) "sum")
  (func (export "cohab_api") (result i32) (i32.const 1))
  (func (export "cohab_alloc") (param i32) (result i32) (i32.const 1024))
  (func $load
    (i32.store8 (i32.const 16) (i32.const 0))
    (drop (call $get (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 3)))
    (drop (call $take (i32.const 16) (i32.const 1))))
  (func (export "on_commit") (param i32 i32) (result i32)
    (call $load)
    (i32.store8 (i32.const 16) (i32.add (i32.load8_u (i32.const 16))
      (i32.mul (i32.const {step}) (i32.load (local.get 0)))))
    (call $put (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 3) (i32.const 16) (i32.const 1))
    (i32.const 0))
  (func (export "on_request") (param i32 i32) (result i32)
    (if (i32.eq (local.get 1) (i32.const 4)) (then (loop $for_ever (br $for_ever))))
    (call $load)
    (call $reply (i32.const 16) (i32.const 1))
    (i32.const 0)))"#
    );
    wat::parse_str(text).expect("is a module's text")
}

#[test]
fn a_module_follows_commits_is_replaced_and_is_cut_off_when_it_loops() -> Result<()> {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let folder = Folder::new(&scratch, "sum", "", "");
    folder.write("plugin.toml", MANIFEST);
    let save = |module: Vec<u8>| fs::write(folder.path().join("main.wasm"), module).expect("can be written");
    save(module(1));
    store.plugins().add(folder.path(), AddPlugin::new())?;
    let has_seen = |sum: u8| store.plugins().call("sum", b"").expect("answers")[..] == [sum];
    store.write(|tx| tx.put("orders", "1", "x"))?;
    store.write(|tx| {
        tx.put("orders", "2", "x")?;
        tx.put("orders", "3", "x")
    })?;
    wait_for("three changes", || has_seen(3));
    save(module(10));
    wait_for("the second generation", || {
        store.plugins().show("sum").expect("is there").record.generation == 2
    });
    store.write(|tx| tx.put("orders", "4", "x"))?;
    wait_for("a change by ten", || has_seen(13));
    let error = store.plugins().call("sum", b"loop").unwrap_err();
    assert_eq!(error.kind(), Kind::Plugin);
    assert!(error.to_string().starts_with("plugin `sum`: it "), "{error}");
    assert!(has_seen(13), "serves on");
    save(module(3)[..100].to_vec());
    wait_for("the refusal", || store.plugins().show("sum").expect("is there").record.failure.is_some());
    assert!(has_seen(13), "serves on");
    Ok(())
}
