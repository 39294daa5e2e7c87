//! Plugins that mean harm, or are broken: each ends as the error that it is, and a plugin that behaves goes on in the same process.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::format_collect,
    reason = "a test fails by it, shows what it did, and is a table"
)]

mod common;

use std::time::{Duration, Instant};

use cohab_core::{Timestamp, Version};
use cohab_plugin::{Call, CallErrorKind, ChangeRef, Changes, Code, Manifest, Stage};

use self::common::{Maps, Running, assert_error};

/// A plugin, and what is to come of it.
struct Row {
    name: String,
    files: Vec<(&'static str, Vec<u8>)>,
    expect: Expect,
}

/// What comes of a plugin, and a piece of what is said about it.
#[derive(Clone, Copy, Debug)]
enum Expect {
    /// It is not compiled.
    Refused(Stage, &'static str),
    /// No instance can be made.
    Stillborn(CallErrorKind, &'static str),
    /// A request ends it.
    Ends(CallErrorKind, &'static str),
    /// It lives: this is what it replies.
    Replies(&'static str),
}

use Expect::{Ends, Refused, Replies, Stillborn};

/// The longest that a row may take; its calls have a tenth of a second.
const ROW_TIME_MAX: Duration = Duration::from_secs(5);

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    #[cfg(feature = "wasm")]
    rows.extend(modules::rows());
    rows.extend(scripts::rows());
    rows
}

fn manifest(entry: &str) -> String {
    format!(
        r#"
        name = "hostile"
        api = 1
        entry = "{entry}"
        [[trigger]]
        on = "request"
        [grants]
        read = ["in"]
        write = ["out"]
        log = true
        clock = true
        [limits]
        fuel = 1_000_000_000_000
        time = "100ms"
        before-commit-time = "100ms"
        writes = "1 MiB"
        cache = "64 KiB"
        "#
    )
}

fn code(files: &[(&'static str, Vec<u8>)]) -> Result<Code, cohab_plugin::LoadError> {
    let bundle = common::bundle(files.iter().cloned());
    Code::compile(Manifest::of(&bundle)?, &bundle)
}

#[test]
fn nothing_that_a_plugin_does_gets_any_further_than_it() {
    let good =
        rows().into_iter().find(|row| row.name.starts_with("good")).map(|row| code(&row.files).unwrap());
    let mut failed = Vec::new();
    for row in rows() {
        let begin = Instant::now();
        let what = outcome(&row);
        let took = begin.elapsed();
        println!("{took:>12?} {}", row.name);
        if let Err(what) = what {
            failed.push(format!("{}: expected {:?}, but {what}", row.name, row.expect));
        }
        if took > ROW_TIME_MAX {
            failed.push(format!("{}: it took {took:?}", row.name));
        }
        if let Some(good) = &good {
            assert_eq!(Running::new(good).unwrap().reply("x"), "good", "after {}", row.name);
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Says what came of a row, unless it is what was expected.
fn outcome(row: &Row) -> Result<(), String> {
    let fits = |is: bool, message: &str, piece: &str| {
        if message.len() > 8 << 10 {
            return Err(format!("the message has {} bytes", message.len()));
        }
        if is && message.contains(piece) { Ok(()) } else { Err(String::new()) }
    };
    let code = match code(&row.files) {
        Ok(code) => code,
        Err(error) => {
            let is = matches!(row.expect, Refused(stage, piece) if fits(error.stage == stage, &error.to_string(), piece).is_ok());
            return if is { Ok(()) } else { Err(format!("{:?}: {error}", error.stage)) };
        }
    };
    let mut running = match Running::new(&code) {
        Ok(running) => running,
        Err(error) => {
            let is = matches!(row.expect, Stillborn(kind, piece) if fits(error.kind == kind, &error.message, piece).is_ok());
            return if is { Ok(()) } else { Err(format!("{:?}: {error}", error.kind)) };
        }
    };
    running.host = Maps::of(&[("in", "k", "v"), ("secret", "k", "v")]);
    let outcome = running.call(Call::Request(b"x"));
    if outcome.logs.len() > 65 || outcome.logs.iter().any(|line| line.text.len() > 5000) {
        return Err(format!("it logged {} lines", outcome.logs.len()));
    }
    if running.instance.memory_bytes() > 18 << 20 {
        return Err(format!("it has {} bytes", running.instance.memory_bytes()));
    }
    match (outcome.result, row.expect) {
        (Ok(reply), Replies(expected)) if reply == expected.as_bytes() => Ok(()),
        (Ok(reply), _) => Err(format!("it replied {:?}", String::from_utf8_lossy(&reply))),
        (Err(error), Ends(kind, piece)) if fits(error.kind == kind, &error.message, piece).is_ok() => {
            if !running.instance.is_spent() && kind != CallErrorKind::Failed {
                return Err("the instance is not spent".into());
            }
            Ok(())
        }
        (Err(error), _) => Err(format!("{:?}: {error}", error.kind)),
    }
}

mod scripts {
    use super::Row;

    pub(super) fn rows() -> Vec<Row> {
        Vec::new()
    }
}

#[cfg(feature = "wasm")]
mod modules {
    use std::fmt::Write as _;

    use cohab_plugin::CallErrorKind::{Forbidden, OutOfMemory, OutOfTime, Trapped};
    use cohab_plugin::Stage::Validate;

    use super::{Ends, Expect, Refused, Replies, Row, Stillborn, manifest};

    const IMPORTS: &str = r#"
        (import "cohab" "get" (func $get (param i32 i32 i32 i32) (result i64)))
        (import "cohab" "put" (func $put (param i32 i32 i32 i32 i32 i32)))
        (import "cohab" "delete" (func $delete (param i32 i32 i32 i32) (result i32)))
        (import "cohab" "scan" (func $scan (param i32 i32 i32 i32 i32 i32 i32) (result i64)))
        (import "cohab" "take" (func $take (param i32 i32) (result i32)))
        (import "cohab" "cache_get" (func $cache_get (param i32 i32) (result i64)))
        (import "cohab" "cache_put" (func $cache_put (param i32 i32 i32 i32 i64)))
        (import "cohab" "log" (func $log (param i32 i32 i32)))
        (import "cohab" "now" (func $now (result i64)))
        (import "cohab" "reply" (func $reply (param i32 i32)))
        (import "cohab" "fail" (func $fail (param i32 i32)))"#;
    const MEMORY: &str = r#"(memory (export "memory") 1)"#;
    const API: &str = r#"(func (export "cohab_api") (result i32) (i32.const 1))"#;
    const ALLOC: &str = r#"(func (export "cohab_alloc") (param i32) (result i32) (i32.const 4096))"#;

    fn row(name: impl Into<String>, module: impl Into<Vec<u8>>, expect: Expect) -> Row {
        let files = vec![("plugin.toml", manifest("plugin.wasm").into()), ("plugin.wasm", module.into())];
        Row { name: name.into(), files, expect }
    }

    fn text(name: impl Into<String>, text: impl AsRef<str>, expect: Expect) -> Row {
        let name = name.into();
        let module = match wat::parse_str(format!("(module {})", text.as_ref())) {
            Ok(module) => module,
            Err(error) => panic!("{name}: {error}"),
        };
        row(name, module, expect)
    }

    /// A module whose `on_request` does this.
    fn request(name: impl Into<String>, body: impl AsRef<str>, expect: Expect) -> Row {
        beside(name, "", body, expect)
    }

    /// A module whose `on_request` does this, and that has something beside.
    fn beside(name: impl Into<String>, more: &str, body: impl AsRef<str>, expect: Expect) -> Row {
        let handler = format!(
            r#"(func $on_request (export "on_request") (param i32 i32) (result i32) {} (i32.const 0))"#,
            body.as_ref()
        );
        text(name, format!("{IMPORTS} {MEMORY} {API} {ALLOC} {more} {handler}"), expect)
    }

    /// A module of which a part is another.
    fn with(name: &str, parts: [&str; 3], more: &str, expect: Expect) -> Row {
        let [memory, api, alloc] = parts;
        let handler = r#"(func (export "on_request") (param i32 i32) (result i32) (i32.const 0))"#;
        text(name, format!("{IMPORTS} {memory} {api} {alloc} {handler} {more}"), expect)
    }

    pub(super) fn rows() -> Vec<Row> {
        let mut rows = vec![beside(
            "good",
            r#"(data (i32.const 0) "good")"#,
            "(call $reply (i32.const 0) (i32.const 4))",
            Replies("good"),
        )];
        rows.extend(endless());
        rows.extend(broken());
        rows.extend(pointers());
        rows.extend(floods());
        rows.extend(liars());
        rows.extend(not_modules());
        rows.extend(bombs());
        rows
    }

    fn endless() -> Vec<Row> {
        let spin = "(loop $more (br $more))";
        let start = format!("(func $spin {spin}) (start $spin)");
        let initialize = format!(r#"(func (export "_initialize") {spin})"#);
        let api = format!(r#"(func (export "cohab_api") (result i32) {spin} (i32.const 1))"#);
        let alloc = format!(r#"(func (export "cohab_alloc") (param i32) (result i32) {spin} (i32.const 1))"#);
        let grow = "(loop $more (drop (memory.grow (i32.const 1))) (br $more))";
        let grow_or_trap = "(loop $more (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable)) (br $more))";
        let recurse =
            "(func $recurse (param i32) (result i32) (i32.add (call $recurse (local.get 0)) (i32.const 1)))";
        let enough = "(block $done (loop $more
            (br_if $done (i32.eq (memory.grow (i32.const 1)) (i32.const -1))) (br $more)))
            (i32.store (i32.const 0) (i32.const 0x6b6f)) (call $reply (i32.const 0) (i32.const 2))";
        vec![
            request("loop in on_request", spin, Ends(OutOfTime, "100ms")),
            with("loop in start", [MEMORY, API, ALLOC], &start, Stillborn(OutOfTime, "100ms")),
            with("loop in _initialize", [MEMORY, API, ALLOC], &initialize, Stillborn(OutOfTime, "100ms")),
            with("loop in cohab_api", [MEMORY, &api, ALLOC], "", Stillborn(OutOfTime, "100ms")),
            with("loop in cohab_alloc", [MEMORY, API, &alloc], "", Ends(OutOfTime, "100ms")),
            request("grow for ever", grow, Ends(OutOfTime, "100ms")),
            request(
                "grow until it traps",
                grow_or_trap,
                Ends(OutOfMemory, "the 16 MiB of memory it may (`[limits] memory`)"),
            ),
            request("grow and be content", enough, Replies("ok")),
            beside(
                "recurse",
                recurse,
                "(drop (call $recurse (i32.const 0)))",
                Ends(OutOfMemory, "512 KiB of stack"),
            ),
            with(
                "recurse in start",
                [MEMORY, API, ALLOC],
                &format!("{recurse} (func $start (drop (call $recurse (i32.const 0)))) (start $start)"),
                Stillborn(OutOfMemory, "512 KiB of stack"),
            ),
            beside(
                "grow a table for ever",
                "(table $t 1 funcref)",
                "(loop $more (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $more))",
                Ends(OutOfTime, "100ms"),
            ),
        ]
    }

    fn broken() -> Vec<Row> {
        let null = "(type $f (func)) (table 1 funcref)";
        vec![
            request("unreachable", "unreachable", Ends(Trapped, "plugin.wasm: wasm function `on_request`: ")),
            request(
                "divide by zero",
                "(drop (i32.div_s (i32.const 1) (i32.const 0)))",
                Ends(Trapped, "divide by zero"),
            ),
            request(
                "overflow",
                "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
                Ends(Trapped, "overflow"),
            ),
            request("read outside", "(drop (i32.load (i32.const 65533)))", Ends(Trapped, "out of bounds")),
            request(
                "read far outside",
                "(drop (i32.load offset=0xffffffff (i32.const -1)))",
                Ends(Trapped, "out of bounds"),
            ),
            request(
                "write outside",
                "(i64.store (i32.const -1) (i64.const 0))",
                Ends(Trapped, "out of bounds"),
            ),
            request(
                "fill outside",
                "(memory.fill (i32.const 1) (i32.const 0) (i32.const -1))",
                Ends(Trapped, "out of bounds"),
            ),
            request(
                "truncate a nan",
                "(drop (i32.trunc_f32_s (f32.const nan)))",
                Ends(Trapped, "conversion"),
            ),
            beside(
                "call nothing",
                null,
                "(call_indirect (type $f) (i32.const 0))",
                Ends(Trapped, "uninitialized element"),
            ),
            beside(
                "call outside of a table",
                null,
                "(call_indirect (type $f) (i32.const 7))",
                Ends(Trapped, "out of bounds table"),
            ),
            with(
                "data outside",
                [MEMORY, API, ALLOC],
                r#"(data (i32.const 65535) "ab")"#,
                Stillborn(Trapped, "out of bounds"),
            ),
            with(
                "elements outside",
                [MEMORY, API, ALLOC],
                "(table 1 funcref) (elem (i32.const 1) $get)",
                Stillborn(Trapped, "out of bounds table"),
            ),
            with(
                "trap in start",
                [MEMORY, API, ALLOC],
                "(func $s unreachable) (start $s)",
                Stillborn(Trapped, "`s`"),
            ),
            with(
                "an import in start",
                [MEMORY, API, ALLOC],
                "(func $s (call $log (i32.const 1) (i32.const 0) (i32.const 0))) (start $s)",
                Stillborn(Forbidden, "`cohab.log`"),
            ),
            with(
                "an import in _initialize",
                [MEMORY, API, ALLOC],
                r#"(func (export "_initialize") (drop (call $now)))"#,
                Stillborn(Forbidden, "`cohab.now`"),
            ),
            with(
                "start is an import",
                [MEMORY, API, ALLOC],
                "(func $s (drop (call $cache_get (i32.const 0) (i32.const 0)))) (start $s)",
                Stillborn(Forbidden, "`cohab.cache_get`"),
            ),
        ]
    }

    /// Each pointer of each import, everywhere where it may not be.
    fn pointers() -> Vec<Row> {
        let bad =
            [(-1, 1), (65_536, 1), (65_535, 2), (-16, 32), (0, -1), (i32::MIN, 0), (i32::MAX, i32::MAX)];
        let mut rows = Vec::new();
        // What a function takes: `p` is an address with a length, `i` and `l` are numbers.
        for (name, takes, gives) in [
            ("get", "pp", true),
            ("put", "ppp", false),
            ("delete", "pp", true),
            ("scan", "pppi", true),
            ("take", "p", true),
            ("cache_get", "p", true),
            ("cache_put", "ppl", false),
            ("log", "ip", false),
            ("reply", "p", false),
            ("fail", "p", false),
        ] {
            for place in (0..takes.len()).filter(|&place| takes.as_bytes()[place] == b'p') {
                for (at, len) in bad {
                    let mut body = format!("(call ${name}");
                    for (nth, kind) in takes.bytes().enumerate() {
                        let (at, len) = if nth == place { (at, len) } else { (0, 0) };
                        match kind {
                            b'p' => write!(body, " (i32.const {at}) (i32.const {len})").unwrap(),
                            b'i' => body += " (i32.const 1)",
                            _ => body += " (i64.const 1)",
                        }
                    }
                    body += ")";
                    if gives {
                        body = format!("(drop {body})");
                    }
                    let name = format!("{name}: {len} bytes at {at} for {place}");
                    rows.push(request(name, body, Ends(Forbidden, "outside of its memory of 65536 bytes")));
                }
            }
        }
        for (at, kind, piece) in [
            (-1, Forbidden, "outside of its memory"),
            (65_536, Forbidden, "outside of its memory"),
            (i32::MIN, Forbidden, "outside of its memory"),
            (0, OutOfMemory, "no room for 1 bytes"),
        ] {
            let alloc = format!(r#"(func (export "cohab_alloc") (param i32) (result i32) (i32.const {at}))"#);
            rows.push(with(&format!("room at {at}"), [MEMORY, API, &alloc], "", Ends(kind, piece)));
        }
        let alloc = r#"(func (export "cohab_alloc") (param i32) (result i32)
            (i32.shl (memory.grow (i32.const 1)) (i32.const 16)))"#;
        rows.push(with("room that is new", [MEMORY, API, alloc], "", Replies("")));
        let alloc = r#"(func (export "cohab_alloc") (param i32) (result i32)
            (i32.and (memory.grow (i32.const 60000)) (i32.const 0)))"#;
        rows.push(with(
            "too much for room",
            [MEMORY, API, alloc],
            "",
            Ends(OutOfMemory, "`[limits] memory`"),
        ));
        let bytes = r#"(data (i32.const 0) "\ff\fe") (data (i32.const 16) "out")"#;
        for (name, body, piece) in [
            (
                "a namespace of bytes",
                "(drop (call $get (i32.const 0) (i32.const 2) (i32.const 0) (i32.const 0)))",
                "UTF-8",
            ),
            ("a log of bytes", "(call $log (i32.const 1) (i32.const 0) (i32.const 2))", "UTF-8"),
            ("a failure of bytes", "(call $fail (i32.const 0) (i32.const 2))", "UTF-8"),
            (
                "a log of zeros, at level 7",
                "(call $log (i32.const 7) (i32.const 9) (i32.const 1))",
                "level 7",
            ),
            (
                "a time before now",
                "(call $cache_put (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1) (i64.const -5))",
                "-5 ms",
            ),
            (
                "a long name to read",
                "(drop (call $get (i32.const 32) (i32.const 60000) (i32.const 0) (i32.const 0)))",
                "60000 bytes",
            ),
            (
                "a long name to write",
                "(drop (call $delete (i32.const 32) (i32.const 60000) (i32.const 0) (i32.const 0)))",
                "60000 bytes",
            ),
            (
                "a long key to read",
                "(drop (call $get (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 60000)))",
                "a key of 60000 bytes",
            ),
            (
                "a long key to write",
                "(call $put (i32.const 16) (i32.const 3) (i32.const 0) (i32.const 60000) (i32.const 0) (i32.const 0))",
                "a key of 60000 bytes",
            ),
            (
                "a long prefix",
                "(drop (call $scan (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 60000) (i32.const 0) (i32.const 0) (i32.const 0)))",
                "a key of 60000 bytes",
            ),
        ] {
            rows.push(beside(name, bytes, body, Ends(Forbidden, piece)));
        }
        rows
    }

    fn floods() -> Vec<Row> {
        let more = r#"(data (i32.const 0) "out") (data (i32.const 8) "in")
            (global $n (mut i32) (i32.const 0)) (func $next (i32.store (i32.const 16) (global.get $n))
                (global.set $n (i32.add (global.get $n) (i32.const 1))))"#;
        let mut rows = Vec::new();
        for (name, body, expect) in [
            (
                "a flood of lines",
                "(call $log (i32.const 1) (i32.const 4096) (i32.const 60000))",
                Ends(OutOfTime, "100ms"),
            ),
            (
                "a flood of writes",
                "(call $put (i32.const 0) (i32.const 3) (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 65536))",
                Ends(Forbidden, "`[limits] writes`"),
            ),
            (
                "a flood of deletions",
                "(drop (call $delete (i32.const 0) (i32.const 3) (i32.const 4096) (i32.const 2000)))",
                Ends(Forbidden, "`[limits] writes`"),
            ),
            (
                "a flood for the cache",
                "(call $cache_put (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 9999) (i64.const 0))",
                Ends(OutOfTime, "100ms"),
            ),
            (
                "more than the cache",
                "(call $cache_put (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 65536) (i64.const 0))",
                Ends(OutOfTime, "100ms"),
            ),
            (
                "a flood of reads",
                "(drop (call $get (i32.const 8) (i32.const 2) (i32.const 16) (i32.const 4)))",
                Ends(OutOfTime, "100ms"),
            ),
            ("a flood of replies", "(call $reply (i32.const 0) (i32.const 65536))", Ends(OutOfTime, "100ms")),
            (
                "a flood of failures",
                "(call $fail (i32.const 24) (i32.const 60000))",
                Ends(OutOfTime, "100ms"),
            ),
            (
                "a refusal that is passed over",
                "(call $put (i32.const 8) (i32.const 2) (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 0))",
                Ends(Forbidden, "writes to namespace `in`"),
            ),
        ] {
            rows.push(beside(name, more, format!("(loop $more (call $next) {body} (br $more))"), expect));
        }
        rows
    }

    fn liars() -> Vec<Row> {
        let lies = r#"(func (export "cohab_api") (result i32) (i32.const 2))"#;
        let traps = r#"(func (export "cohab_api") (result i32) unreachable)"#;
        let full = |import: &str| {
            format!(
                "{import} {MEMORY} {API} {ALLOC}
            (func (export \"on_request\") (param i32 i32) (result i32) (i32.const 0))"
            )
        };
        let mut rows = vec![
            with(
                "another version",
                [MEMORY, lies, ALLOC],
                "",
                Stillborn(Forbidden, "says that it is written for version 2"),
            ),
            with("no version", [MEMORY, traps, ALLOC], "", Stillborn(Trapped, "unreachable")),
            with("no memory", ["", API, ALLOC], "", Refused(Validate, "no memory")),
            with(
                "memory not exported",
                ["(memory 1)", API, ALLOC],
                "",
                Refused(Validate, "does not export `memory`"),
            ),
            with(
                "memory of another name",
                [r#"(memory (export "mem") 1)"#, API, ALLOC],
                "",
                Refused(Validate, "does not export `memory`"),
            ),
            with(
                "memory is a global",
                [r#"(memory 1) (global (export "memory") i32 (i32.const 0))"#, API, ALLOC],
                "",
                Refused(Validate, "exports `memory` as a global"),
            ),
            with("no cohab_api", [MEMORY, "", ALLOC], "", Refused(Validate, "does not export `cohab_api`")),
            with("no cohab_alloc", [MEMORY, API, ""], "", Refused(Validate, "does not export `cohab_alloc`")),
            text(
                "no on_request",
                format!("{MEMORY} {API} {ALLOC}"),
                Refused(Validate, "does not export `on_request`, which is a function (i32, i32) -> i32"),
            ),
            text(
                "on_request of another type",
                format!(r#"{MEMORY} {API} {ALLOC} (func (export "on_request") (param i32))"#),
                Refused(
                    Validate,
                    "exports `on_request` as a function (i32) -> (); it is a function (i32, i32) -> i32",
                ),
            ),
            text(
                "on_request is a table",
                format!(r#"{MEMORY} {API} {ALLOC} (table (export "on_request") 1 funcref)"#),
                Refused(Validate, "exports `on_request` as a table"),
            ),
            with(
                "check of another type",
                [MEMORY, API, ALLOC],
                r#"(func (export "check") (param i64))"#,
                Refused(Validate, "`check`"),
            ),
            with(
                "_initialize of another type",
                [MEMORY, API, ALLOC],
                r#"(func (export "_initialize") (result i32) (i32.const 0))"#,
                Refused(Validate, "`_initialize`"),
            ),
            text(
                "an unknown import",
                full(r#"(import "cohab" "open" (func (param i32)))"#),
                Refused(
                    Validate,
                    "imports `cohab.open`, which the interface does not have; from `cohab` it may import: get, put, ",
                ),
            ),
            text(
                "an import of wasi",
                full(
                    r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#,
                ),
                Refused(
                    Validate,
                    "imports `wasi_snapshot_preview1.fd_write`, which the interface does not have; a plugin has no files",
                ),
            ),
            text(
                "another module's get",
                full(r#"(import "env" "get" (func))"#),
                Refused(Validate, "imports `env.get`"),
            ),
            text(
                "an import of another type",
                full(r#"(import "cohab" "get" (func (param i32) (result i32)))"#),
                Refused(
                    Validate,
                    "imports `cohab.get` as a function (i32) -> i32; it is a function (i32, i32, i32, i32) -> i64",
                ),
            ),
            text(
                "an import that is a global",
                full(r#"(import "cohab" "get" (global i32))"#),
                Refused(Validate, "imports `cohab.get` as a global"),
            ),
            text(
                "an import of memory",
                format!(r#"(import "env" "memory" (memory 1)) {API} {ALLOC} (export "memory" (memory 0))"#),
                Refused(Validate, "imports `env.memory`"),
            ),
            text(
                "a long import",
                full(&format!(r#"(import "cohab" "{}" (func))"#, "x".repeat(90_000))),
                Refused(Validate, "imports `cohab.xxx"),
            ),
            text(
                "a wide import",
                full(&format!(r#"(import "cohab" "get" (func (param {})))"#, "i32 ".repeat(1000))),
                Refused(Validate, "i32, …) -> ()"),
            ),
        ];
        for (name, memory, piece) in [
            (
                "memory of 4 GiB",
                r#"(memory (export "memory") 65536)"#,
                "begins with 4096 MiB of memory, and may have 16 MiB",
            ),
            ("memory of a page too much", r#"(memory (export "memory") 257)"#, "`[limits] memory`"),
            ("shared memory", r#"(memory (export "memory") 1 2 shared)"#, "valid"),
            ("memory of 64 bits", r#"(memory (export "memory") i64 1)"#, "valid"),
            ("two memories", r#"(memory (export "memory") 1) (memory 1)"#, "valid"),
        ] {
            rows.push(with(name, [memory, API, ALLOC], "", Refused(Validate, piece)));
        }
        rows.push(with(
            "memory of all pages",
            [r#"(memory (export "memory") 256)"#, API, ALLOC],
            "",
            Replies(""),
        ));
        for (name, more, piece) in [
            ("a table of 2^32", "(table 0xffffffff funcref)", "4294967295"),
            ("many tables", &"(table 1 funcref)".repeat(90), "tables"),
            ("a table of externref", "(table 1 externref)", "valid"),
            ("vectors", "(func (drop (v128.const i32x4 0 0 0 0)))", "valid"),
            ("tail calls", "(func $t return_call $t)", "valid"),
            ("exceptions", "(tag $e) (func throw $e)", "valid"),
            ("atomics", "(func (drop (i32.atomic.load (i32.const 0))))", "valid"),
            ("structures", "(type (struct))", "valid"),
            (
                "wide arithmetic",
                "(func (result i64 i64) (i64.mul_wide_u (i64.const 1) (i64.const 1)))",
                "valid",
            ),
        ] {
            rows.push(with(name, [MEMORY, API, ALLOC], more, Refused(Validate, piece)));
        }
        rows
    }

    fn not_modules() -> Vec<Row> {
        let mut rows = vec![
            row("nothing at all", [], Refused(Validate, "plugin.wasm: it is not a module of WebAssembly")),
            row("words", *b"Hello, world", Refused(Validate, "not a module of WebAssembly")),
            row("a module's text", *b"\n(module)", Refused(Validate, "`wat2wasm`")),
            row("a component", *b"\0asm\x0d\0\x01\0", Refused(Validate, "it is a component")),
            row("a later version", *b"\0asm\x02\0\0\0", Refused(Validate, "version")),
            row("a beginning", *b"\0asm\x01\0\0\0", Refused(Validate, "no memory")),
            row("half a beginning", *b"\0asm", Refused(Validate, "valid")),
            row("too large a file", vec![0; (16 << 20) + 1], Refused(Validate, "16 MiB")),
        ];
        let good = text("", format!("{IMPORTS} {MEMORY} {API} {ALLOC}"), Replies("")).files.remove(1).1;
        for len in (9..good.len()).step_by(7) {
            rows.push(row(format!("cut to {len}"), &good[..len], Refused(Validate, "it ")));
        }
        let mut seed = 1_u32;
        let mut random = move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_le_bytes()[3]
        };
        for nth in 0..100 {
            let mut bytes = b"\0asm\x01\0\0\0".to_vec();
            bytes.extend((0..100).map(|_| random()));
            rows.push(row(format!("random bytes {nth}"), bytes, Refused(Validate, "it ")));
        }
        // Each section with a count that is as large as there are.
        for section in 1..=12_u8 {
            let mut bytes = b"\0asm\x01\0\0\0".to_vec();
            bytes.extend([section, 6, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
            rows.push(row(format!("a huge count of section {section}"), bytes, Refused(Validate, "it ")));
        }
        rows.push(row(
            "a huge section",
            *b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\x0f",
            Refused(Validate, "valid"),
        ));
        rows
    }

    /// Small modules that are a lot of work.
    fn bombs() -> Vec<Row> {
        let parts = [MEMORY, API, ALLOC];
        let wide = "i32 ".repeat(1000);
        let mut loops = String::from("(func (local i32");
        loops += &" i32".repeat(9999);
        loops += ")";
        loops += &"loop ".repeat(3_000);
        for local in 0..10_000 {
            write!(loops, "local.get {local} drop ").unwrap();
        }
        loops += &"end ".repeat(3_000);
        loops += ")";
        let mut tables = String::from("(func (param i32)");
        tables += &"block ".repeat(3000);
        for _ in 0..2000 {
            tables += "block local.get 0 br_table";
            for target in 0..3000 {
                write!(tables, " {target}").unwrap();
            }
            tables += " end ";
        }
        tables += &"end ".repeat(3000);
        tables += ")";
        vec![
            with("100,000 functions", parts, &"(func)".repeat(100_000), Refused(Validate, "functions")),
            with(
                "20,000 types",
                parts,
                &(0..20_000)
                    .map(|n| format!("(type (func (param {})))", "i32 ".repeat(n % 10)))
                    .collect::<String>(),
                Refused(Validate, "types"),
            ),
            with(
                "20,000 globals",
                parts,
                &"(global i32 (i32.const 0))".repeat(20_000),
                Refused(Validate, "globals"),
            ),
            with(
                "5,000,000 variables",
                parts,
                &format!("(func (local {}))", "i32 ".repeat(49_000)).repeat(100),
                Refused(Validate, "variables"),
            ),
            with(
                "60,000 variables in a function",
                parts,
                &format!("(func (local {}))", "i32 ".repeat(60_000)),
                Refused(Validate, "locals"),
            ),
            with("loops of variables", parts, &loops, Refused(Validate, "too large to compile")),
            with("jumps in tables", parts, &tables, Refused(Validate, "exceeds limit")),
            with(
                "blocks of 1000 values",
                parts,
                &format!(
                    "(func (param {wide}) (result {wide}) {} {})",
                    (0..1000).map(|n| format!("local.get {n} ")).collect::<String>(),
                    format!("(loop (param {wide}) (result {wide}) i32.const 1 br_if 0)").repeat(3000)
                ),
                Refused(Validate, "too large to compile"),
            ),
            with(
                "calls for 1000 values",
                parts,
                &format!(
                    "(func $w (result {wide}) unreachable) (func {})",
                    "(block call $w br 0)".repeat(9000)
                ),
                Refused(Validate, "too large to compile"),
            ),
            with(
                "100,000 blocks in each other",
                parts,
                &format!("(func {} {})", "block ".repeat(100_000), "end ".repeat(100_000)),
                Refused(Validate, "nests blocks"),
            ),
        ]
    }
}

#[cfg(feature = "wasm")]
#[test]
fn where_only_reading_is_allowed_nothing_is_written() {
    let module = r#"(module
        (import "cohab" "put" (func $put (param i32 i32 i32 i32 i32 i32)))
        (import "cohab" "delete" (func $delete (param i32 i32 i32 i32) (result i32)))
        (import "cohab" "get" (func $get (param i32 i32 i32 i32) (result i64)))
        (memory (export "memory") 1)
        (func $write
            (call $put (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0)))
        (func $read (drop (call $get (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1))))
        (func (export "cohab_api") (result i32) (i32.const 1))
        (func (export "cohab_alloc") (param i32) (result i32) (i32.const 4096))
        (func (export "on_request") (param i32 i32) (result i32) (call $write) (i32.const 0))
        (func (export "before_commit") (param i32 i32) (result i32) (call $read) (call $write) (i32.const 0))
        (func (export "check") (result i32)
            (call $read) (drop (call $delete (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1))) (i32.const 0)))"#;
    let files =
        [("plugin.toml", manifest("plugin.wasm").into()), ("plugin.wasm", wat::parse_str(module).unwrap())];
    let code = code(&files).unwrap();
    Running::new(&code).unwrap().reply("x");
    let mut changes = Changes::new();
    changes.push(ChangeRef {
        version: Version::new(1),
        time: Timestamp::from_micros(1),
        namespace: "in",
        key: b"k",
        before: None,
        after: Some(b"v"),
    });
    for (call, piece) in [(Call::BeforeCommit(&changes), "before a commit"), (Call::Check, "in its check")] {
        let mut running = Running::new(&code).unwrap();
        let error = running.call(call).result.unwrap_err();
        assert_error(&error, CallErrorKind::Forbidden, piece);
        assert_eq!(running.host, Maps::default());
        assert!(running.instance.is_spent());
    }
    let mut running = Running::new(&code).unwrap();
    let error = running.call(Call::Schedule(Timestamp::from_micros(1))).result.unwrap_err();
    assert_error(&error, CallErrorKind::NoHandler, "on_schedule");
    assert!(!running.instance.is_spent());
    let error = running.call(Call::Migrate { from: 1 }).result.unwrap_err();
    assert_error(&error, CallErrorKind::NoHandler, "migrate");
}
