//! Plugins that are dropped leave no memory behind. In a process of its own, whose memory is measured.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by it, and shows what it did")]
#![cfg(target_os = "linux")]

mod common;

use cohab_plugin::{Code, Manifest};

use self::common::Running;

const MANIFEST: &str = r#"
name = "plugin"
api = 1
entry = "plugin.wasm"
[[trigger]]
on = "request"
"#;

/// How much of this process is in memory, in bytes.
fn resident() -> u64 {
    let numbers = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = numbers.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn cycle(nth: usize) {
    // Each another module, as after a reload.
    let module = format!(
        r#"(module
            (import "cohab" "reply" (func $reply (param i32 i32)))
            (memory (export "memory") 2)
            (data (i32.const 0) "{nth:08}")
            (func (export "cohab_api") (result i32) (i32.const 1))
            (func (export "cohab_alloc") (param i32) (result i32) (i32.const 65536))
            (func (export "on_request") (param i32 i32) (result i32)
                (memory.fill (i32.const 65536) (i32.const 1) (i32.const 65536))
                (call $reply (i32.const 0) (i32.const 8))
                (i32.const 0)))"#
    );
    let module = wat::parse_str(module).unwrap();
    let bundle = common::bundle([("plugin.toml", MANIFEST.into()), ("plugin.wasm", module)]);
    let code = Code::compile(Manifest::of(&bundle).unwrap(), &bundle).unwrap();
    for _ in 0..3 {
        assert_eq!(Running::new(&code).unwrap().reply("x"), format!("{nth:08}"));
    }
}

#[test]
fn plugins_that_are_dropped_leave_no_memory_behind() {
    let cycles = if cfg!(debug_assertions) { 500 } else { 3_000 };
    (0..100).for_each(cycle);
    let before = resident();
    (100..cycles).for_each(cycle);
    let grown = resident().saturating_sub(before);
    println!("{} KiB more after {cycles} modules", grown >> 10);
    assert!(grown <= 2 << 20, "{grown} bytes more after {cycles} modules");
}
