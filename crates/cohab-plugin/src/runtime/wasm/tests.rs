use std::fmt::Write as _;
use std::time::Instant;

use super::Module;
use crate::{ErrorPolicy, Grants, Limits, LoadError, Manifest, Trigger};

fn manifest() -> Manifest {
    Manifest {
        name: "test".into(),
        description: String::new(),
        api: 1,
        entry: "plugin.wasm".into(),
        schema: 1,
        triggers: vec![Trigger::Request],
        grants: Grants::default(),
        limits: Limits::default(),
        on_error: ErrorPolicy::Log,
    }
}

/// A module that does nothing, with something beside.
fn module(beside: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {beside}
            (memory (export "memory") 1)
            (func (export "cohab_api") (result i32) i32.const 1)
            (func (export "cohab_alloc") (param i32) (result i32) i32.const 1024)
            (func (export "on_request") (param i32 i32) (result i32) i32.const 0))"#
    );
    wat::parse_str(text).unwrap()
}

#[test]
#[ignore = "tells how long compiling takes"]
fn the_time_of_compiling() {
    let measure = |name: &str, beside: &str| {
        let bytes = module(beside);
        let begin = Instant::now();
        let work = super::check::check(&bytes, &manifest());
        let checked = begin.elapsed();
        let begin = Instant::now();
        let r = wasmtime::Module::from_binary(&super::Host::get().unwrap().engine, &bytes).map(|_| ());
        let rss = std::fs::read_to_string("/proc/self/status").unwrap();
        let rss = rss.lines().find(|l| l.starts_with("VmHWM")).unwrap().to_owned();
        println!(
            "{name:30} {:>9} bytes, check {checked:?} {:?}; compile {:?} {:?} {rss}",
            bytes.len(),
            work,
            begin.elapsed(),
            r.err().map(|e| e.to_string())
        );
    };
    let only = std::env::var("ONLY").unwrap_or_default();
    let measure = |name: &str, beside: &str| {
        if name.starts_with(&only) {
            measure(name, beside)
        }
    };
    measure("nothing", "");
    let f = |n: usize, body: &str| {
        let mut s = String::new();
        for _ in 0..n {
            write!(s, "(func (param i32) (result i32) {body})").unwrap();
        }
        s
    };
    measure("20k tiny functions", &f(20_000, "local.get 0"));
    measure(
        "1 add 100k",
        &f(1, &format!("local.get 0 {}", "i32.const 7 i32.add local.get 0 i32.xor ".repeat(100_000))),
    );
    measure(
        "100 add 1000",
        &f(100, &format!("local.get 0 {}", "i32.const 7 i32.add local.get 0 i32.xor ".repeat(1000))),
    );
    measure("1 load 100k", &f(1, &format!("local.get 0 {}", "i32.load i32.load ".repeat(100_000))));
    measure(
        "100 store 1000",
        &f(100, &format!("{} local.get 0", "local.get 0 local.get 0 i32.store offset=16 ".repeat(1000))),
    );
    measure("1 calls 50k", &f(1, &format!("local.get 0 {}", "call 0 ".repeat(50_000))));
    measure("1 br_if 50k", &f(1, &format!("{} local.get 0", "(block local.get 0 br_if 0 )".repeat(50_000))));
    measure("1 ifs 10k x locals 1000", &{
        let mut s = String::from("(func (param i32) (result i32) ");
        for _ in 0..1000 {
            s += "(local i32)";
        }
        for i in 0..1000 {
            write!(s, "local.get 0 local.set {} ", i + 1).unwrap();
        }
        for _ in 0..10_000 {
            s += "(block local.get 0 br_if 0 )";
        }
        s += "local.get 0 ";
        for i in 0..1000 {
            write!(s, "local.get {} i32.add ", i + 1).unwrap();
        }
        s + ")"
    });
    measure("1 loops 1000 x locals 1000", &{
        let mut s = String::from("(func (param i32) (result i32) ");
        for _ in 0..1000 {
            s += "(local i32)";
        }
        for i in 0..1000 {
            write!(s, "local.get 0 local.set {} ", i + 1).unwrap();
        }
        for _ in 0..1_000 {
            s += "loop ";
        }
        for i in 0..1000 {
            write!(s, "local.get {} local.get 0 i32.add local.set {} ", i + 1, i + 1).unwrap();
        }
        for _ in 0..1_000 {
            s += "local.get 0 br_if 0 end ";
        }
        s + "local.get 0)"
    });
    measure("2 kept 1000 x 1000 blocks", &{
        let mut s = String::from("(func (param i32) (result i32) ");
        for i in 0..1000 {
            write!(s, "local.get 0 i32.const {i} i32.mul ").unwrap();
        }
        for _ in 0..1_000 {
            s += "(block local.get 0 br_if 0 )";
        }
        for _ in 0..999 {
            s += "i32.add ";
        }
        s + ")"
    });
    measure("2 br_table 100k", &{
        let mut s = String::from("(func (param i32) (result i32) (block local.get 0 br_table ");
        for _ in 0..100_000 {
            s += "0 ";
        }
        s + ") local.get 0)"
    });
    measure("2 br_table 1000 blocks x 100", &{
        let mut s = String::from("(func (param i32) (result i32) ");
        for _ in 0..1000 {
            s += "block ";
        }
        for _ in 0..100 {
            s += "block local.get 0 br_table ";
            for i in 0..1000 {
                write!(s, "{i} ").unwrap();
            }
            s += " end ";
        }
        for _ in 0..1000 {
            s += "end ";
        }
        s + "local.get 0)"
    });
    measure("2 blocks of 1000 values x 1000", &{
        let p = "i32 ".repeat(1000);
        let mut s = format!("(type $w (func (param {p}) (result {p}))) (func (param i32) (result i32) ");
        for _ in 0..1000 {
            s += "local.get 0 ";
        }
        for _ in 0..1000 {
            s += "(loop (type $w) local.get 0 br_if 0) ";
        }
        for _ in 0..999 {
            s += "i32.add ";
        }
        s + ")"
    });
    measure("2 calls of 1000 results x 1000", &{
        let p = "i32 ".repeat(1000);
        let mut s = format!("(func $w (result {p}) unreachable) (func (param i32) (result i32) ");
        for _ in 0..1000 {
            s += "(block call $w br 0) ";
        }
        s + "local.get 0)"
    });
}

fn _unused() -> Option<LoadError> {
    None
}
