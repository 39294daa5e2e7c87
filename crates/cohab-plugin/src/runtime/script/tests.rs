use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::thread;

use cohab_core::{Timestamp, Version};

use super::*;
use crate::runtime::Code;
use crate::{
    ChangeRef, Changes, ErrorPolicy, Grants, GuestCache, Host, HostError, Level, Limits, OnFailure, Outcome,
    Start, Trigger,
};

#[derive(Default)]
struct Memory(BTreeMap<(String, Vec<u8>), Vec<u8>>);

impl Host for Memory {
    fn get(&mut self, namespace: &str, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, HostError> {
        let value = self.0.get(&(namespace.to_owned(), key.to_owned()));
        Ok(value.map(|value| found(value)).is_some())
    }

    fn put(&mut self, namespace: &str, key: &[u8], value: &[u8]) -> Result<(), HostError> {
        if key == b"unwritable" {
            return Err("the disk is full".into());
        }
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
        Timestamp::from_micros(1_234_567)
    }
}

fn manifest() -> Manifest {
    Manifest {
        name: "test".into(),
        description: String::new(),
        api: 1,
        entry: "plugin.rhai".into(),
        schema: 1,
        triggers: vec![Trigger::Request],
        grants: Grants { read: vec!["in".into()], write: vec!["out".into()], log: true, clock: true },
        limits: Limits::default(),
        on_error: ErrorPolicy::Log,
    }
}

fn compile(manifest: Manifest, source: impl AsRef<[u8]>) -> Result<Code, LoadError> {
    let compiled = Script::compile(&manifest, source.as_ref())?;
    let compiled = Arc::new(crate::runtime::Compiled::Script(compiled));
    Ok(Code { manifest: Arc::new(manifest), compiled })
}

fn run(code: &Code, call: Call<'_>, host: &mut Memory) -> Outcome {
    let grants = code.manifest().grants.clone();
    let mut instance = code.instantiate().unwrap();
    instance.call(call, host, &grants, &GuestCache::new(0), &Stop::new())
}

/// What `on_request` with this body comes to.
fn request(body: &str) -> Result<String, CallError> {
    let source = format!("fn on_request(input) {{ {body} }}");
    let code = compile(manifest(), source).unwrap();
    run(&code, Call::Request(b"hello"), &mut Memory::default())
        .result
        .map(|reply| String::from_utf8(reply).unwrap())
}

fn refused(source: impl AsRef<[u8]>) -> LoadError {
    compile(manifest(), source).expect_err("it is refused")
}

#[track_caller]
fn ends(body: &str, kind: CallErrorKind, message: &str) {
    let error = request(body).expect_err(body);
    assert_eq!(error.kind, kind, "{body}: {error}");
    assert!(error.message.contains(message), "{body}: {error}");
}

#[test]
fn a_reply_is_what_is_returned_or_what_reply_was_given() {
    assert_eq!(request("`<${input}>`").unwrap(), "<hello>");
    assert_eq!(request("reply(input); ()").unwrap(), "hello");
    assert_eq!(request("reply(input); `more`").unwrap(), "more");
    assert_eq!(request("()").unwrap(), "");
    assert_eq!(request("let b = blob(2, 0x41); b").unwrap(), "AA");
    ends("1", CallErrorKind::Trapped, "a reply is a string or a blob");
}

#[test]
fn the_store_is_read_and_written() {
    let body = r#"
        put("a", "1"); put("out", "x", blob(1, 0xff)); put("b", "2");
        if get("nothing") != () { throw "there is nothing"; }
        if get("out", "x") != blob(1, 0xff) { throw "no blob"; }
        if !delete("b") || delete("out", "y") { throw "delete"; }
        put("c", "3");
        let all = scan("", "").map(|entry| entry.key + "=" + entry.value).reduce(|sum, x| sum + x + ";", "");
        `${all} ${scan("", "", 1).len} ${scan("", "", "b", 0)[0].key} ${now()}`
    "#;
    assert_eq!(request(body).unwrap(), "a=1;c=3; 1 c 1234567");
}

#[test]
fn changes_are_an_array_of_maps() {
    let mut manifest = manifest();
    let (namespaces, prefixes, start) = (vec!["in".to_owned()], Vec::new(), Start::Now);
    manifest.triggers = vec![Trigger::Commit { namespaces, prefixes, start }];
    let source = r#"
        const SIGN = "-";
        fn line(c) { `${c.version}${SIGN}${c.time}-${c.namespace}-${c.key}-${type_of(c.before)}-${c.after}` }
        fn on_commit(changes) { for (c, i) in changes { put("out", i.to_string(), line(c)); } }
    "#;
    let code = compile(manifest, source).unwrap();
    let mut changes = Changes::new();
    let (version, time) = (Version::new(7), Timestamp::from_micros(8));
    let first = ChangeRef { version, time, namespace: "in", key: b"k", before: None, after: Some(b"v") };
    changes.push(first);
    changes.push(ChangeRef { before: Some(b"\xff"), after: None, ..first });
    let mut host = Memory::default();
    run(&code, Call::Commit(&changes), &mut host).result.unwrap();
    let lines: Vec<_> = host.0.values().map(|value| str::from_utf8(value).unwrap()).collect();
    assert_eq!(lines, ["7-8-in-k-()-v", "7-8-in-k-blob-"]);
}

#[test]
fn a_refusal_says_what_was_thrown_and_an_error_says_where() {
    let mut manifest = manifest();
    let (namespaces, prefixes) = (vec!["in".to_owned()], Vec::new());
    manifest.triggers = vec![Trigger::BeforeCommit { namespaces, prefixes, on_failure: OnFailure::Refuse }];
    let refusal = |body: &str| {
        let source = format!("fn deep(x) {{ throw x; }}\nfn before_commit(changes) {{\n  {body} }}");
        let code = compile(manifest.clone(), source).unwrap();
        let error = run(&code, Call::BeforeCommit(&Changes::new()), &mut Memory::default());
        error.result.unwrap_err()
    };
    for (body, kind, message) in [
        ("throw \"no\";", CallErrorKind::Failed, "no"),
        ("deep(\"no\");", CallErrorKind::Failed, "no"),
        ("throw 7;", CallErrorKind::Failed, "7"),
        ("throw;", CallErrorKind::Failed, "`before_commit` says that it failed"),
        ("throw #{a: 1};", CallErrorKind::Failed, "#{\"a\": 1}"),
        ("try { deep(\"no\"); } catch (e) { throw e; }", CallErrorKind::Failed, "no"),
        ("try { [1][2]; } catch (e) { throw e; }", CallErrorKind::Failed, "Array index 2 out of bounds"),
        ("[1][2];", CallErrorKind::Trapped, "plugin.rhai:3:7: Array index 2 out of bounds"),
        ("missing(1);", CallErrorKind::Trapped, "plugin.rhai:3:3: Function not found: missing (i64)"),
        (
            "get(1);",
            CallErrorKind::Trapped,
            "plugin.rhai:3:3: Data type incorrect: i64 (expecting a string or a blob as the key; see `to_string()`)",
        ),
        ("put(\"a\", \"b\");", CallErrorKind::Forbidden, "it writes before a commit"),
    ] {
        let error = refusal(body);
        assert_eq!(error.kind, kind, "{body}: {error}");
        assert!(error.message.starts_with(message), "{body}: {error}");
    }
}

#[test]
fn what_is_denied_cannot_be_caught() {
    use CallErrorKind::{Forbidden, Host};
    ends(r#"try { get("secret", "x"); } catch {} put("a", "b"); `ok`"#, Forbidden, "`secret`");
    ends(r#"try { put("in", "x", "y"); } catch {} loop {}"#, Forbidden, "`in`");
    ends(r#"try { put("unwritable", "y"); } catch {} `ok`"#, Host, "the disk is full");
    ends(r#"for i in 0..9 { put("out", "x".repeat_(i), "y"); }"#, CallErrorKind::Trapped, "repeat_");
}

#[test]
fn without_a_grant_nothing_is_logged_and_no_time_told() {
    for (body, grant) in
        [("log(`x`)", "log"), ("print(`x`); loop {}", "log"), ("debug(1)", "log"), ("now()", "clock")]
    {
        let mut manifest = manifest();
        manifest.grants = Grants::default();
        let code = compile(manifest, format!("fn on_request(input) {{ {body}; () }}")).unwrap();
        let error = run(&code, Call::Request(b""), &mut Memory::default()).result.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Forbidden, "{error}");
        assert!(error.message.contains(&format!("(`[grants] {grant}`)")), "{error}");
    }
}

#[test]
fn lines_are_logged_with_their_level() {
    use Level::{Debug, Info, Warn};

    let source = r#"fn on_request(input) { log("a"); log("warn", "b"); print(1); debug("c"); }"#;
    let code = compile(manifest(), source).unwrap();
    let logs = run(&code, Call::Request(b""), &mut Memory::default()).logs;
    let lines: Vec<_> = logs.iter().map(|line| (line.level, line.text.as_str())).collect();
    assert_eq!(lines, [(Info, "a"), (Warn, "b"), (Info, "1"), (Debug, "\"c\"")]);
}

#[test]
fn constants_are_seen_by_functions_and_nothing_else_may_be_outside_of_them() {
    let source = "const A = 2 * 3; const B = [A, \"x\"]; fn f(x) { x + A } fn on_request(i) { `${f(1)} ${B[1]} ${[1].map(|x| x + A)}` }";
    let code = compile(manifest(), source).unwrap();
    let reply = run(&code, Call::Request(b""), &mut Memory::default()).result.unwrap();
    assert_eq!(reply, b"7 x [7]");
    for (source, message) in [
        ("let a = 1; fn on_request(i) { a }", "`a` is a variable outside of functions"),
        ("get(\"a\"); fn on_request(i) {}", "a function of the interface is called outside of the handlers"),
        ("print(\"a\"); fn on_request(i) {}", "outside of functions there may be constants only"),
        ("loop {} fn on_request(i) {}", "more than the 100000 operations"),
        ("const A = \"x\"; A += A; fn on_request(i) {}", "constant"),
    ] {
        let error = refused(source);
        assert_eq!(error.stage, Stage::Compile, "{error}");
        assert!(error.message.contains(message), "{error}");
    }
}

#[test]
fn what_is_wrong_with_a_script_is_said_before_it_runs() {
    use Stage::{Compile, Validate};
    let long = "x".repeat(10 << 20);
    let deep = format!("fn on_request(input) {{ {}1{} }}", "(".repeat(10_000), ")".repeat(10_000));
    let blocks = format!("fn on_request(input) {{ {}{} }}", "{".repeat(10_000), "}".repeat(10_000));
    let many = (0..2_000).map(|i| format!("fn f{i}() {{}}")).collect::<Vec<_>>().join(" ");
    #[expect(clippy::type_complexity, reason = "a table")]
    let rows: &[(&str, &[u8], Stage, Option<(u32, Option<u32>)>, &str)] = &[
        ("empty", b"", Validate, None, "needs `fn on_request(input)`"),
        (
            "arity",
            b"fn on_request() {}",
            Validate,
            None,
            "`on_request` has 0 parameters, and has to have 1: `fn on_request(input)`",
        ),
        ("optional arity", b"fn on_request(i) {} fn check(x) {}", Validate, None, "`check` has 1 parameters"),
        ("API", b"fn get(x) {} fn on_request(i) {}", Validate, None, "`get` is a function of the interface"),
        (
            "syntax",
            b"fn on_request(i) {\n  let a = 1;\n  let b = ;\n}",
            Compile,
            Some((3, Some(11))),
            "Unexpected ';'",
        ),
        ("bytes", b"fn on_request(i) {\n  \xff }", Compile, Some((2, Some(3))), "UTF-8"),
        ("name", b"fn on_request(i) {\n  ipnut }", Compile, Some((2, Some(3))), "Undefined variable: ipnut"),
        (
            "closure",
            b"fn on_request(i) {\n  let a = 1; [1].map(|x| x + a) }",
            Compile,
            Some((2, Some(30))),
            "Undefined variable: a",
        ),
        ("eval", b"fn on_request(i) { eval(`1`) }", Compile, Some((1, Some(20))), "'eval' is disabled"),
        ("import", b"import \"x\" as y; fn on_request(i) {}", Compile, Some((1, Some(1))), "'import'"),
        ("curry", b"fn on_request(i) { Fn(`a`).curry(1) }", Compile, Some((1, Some(20))), "'Fn' is disabled"),
        ("this", b"fn on_request(i) { this }", Compile, Some((1, Some(20))), "'this' is disabled"),
        ("long", long.as_bytes(), Compile, None, "the most is 1048576"),
        ("deep", deep.as_bytes(), Compile, Some((1, Some(54))), "maximum complexity"),
        ("blocks", blocks.as_bytes(), Compile, Some((1, Some(54))), "maximum complexity"),
        ("many", many.as_bytes(), Compile, Some((1, None)), "Number of functions defined exceeds"),
    ];
    for (name, source, stage, at, message) in rows {
        let error = refused(source);
        assert_eq!(error.stage, *stage, "{name}: {error}");
        assert!(error.message.contains(message), "{name}: {error}");
        assert_eq!(error.file.as_deref(), Some("plugin.rhai"), "{name}");
        if let Some((line, column)) = *at {
            assert_eq!(error.line, Some(line), "{name}: {error}");
            assert!(
                column.is_none_or(|column| error.column.is_some_and(|at| at.abs_diff(column) <= 40)),
                "{name}: {error}"
            );
        }
    }
}

/// Bodies of `on_request`, with functions before them, and how they end.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn hostile_scripts_end_as_errors() {
    use CallErrorKind::{OutOfFuel, OutOfMemory, OutOfTime, Trapped};
    let sum = format!("input{}", " + input".repeat(4_999));
    let ifs = "if input == `a` {} else ".repeat(5_000) + "{}";
    let variables = (0..2_000).map(|i| format!("let v{i} = {i};")).collect::<Vec<_>>().join(" ");
    let literal = format!("[{}].len.to_string()", "1,".repeat(300_000));
    let rows: &[(&str, &str, &str, &[CallErrorKind])] = &[
        ("loop", "", "loop {}", &[OutOfFuel, OutOfTime]),
        ("try", "", "loop { try { loop {} } catch {} }", &[OutOfFuel, OutOfTime]),
        ("range", "", "for i in 0..9223372036854775807 { let x = i; }", &[OutOfFuel, OutOfTime]),
        ("steps", "", "for i in range(0.0, 1.0, 0.0000000001) { let x = i; }", &[OutOfFuel, OutOfTime]),
        ("recursion", "fn f(x) { f(x + 1) + 1 }", "f(0)", &[OutOfMemory]),
        ("mutual", "fn f(x) { g(x) } fn g(x) { [1].map(|x| f(x)) }", "f(0)", &[OutOfMemory]),
        ("caught recursion", "fn f(x) { try { f(x + 1) } catch { f(x) } }", "f(0)", &[OutOfMemory]),
        ("string", "", "let s = `x`; loop { s += s; }", &[OutOfMemory]),
        (
            "strings",
            "",
            "let a = []; let s = `x`; s.pad(1000000, 'x'); let i = 0; loop { a.push(s + i); i += 1; }",
            &[OutOfMemory],
        ),
        ("array", "", "let a = [1]; loop { a += a; }", &[OutOfMemory]),
        ("arrays", "", "let a = [1]; loop { a = [a, a]; }", &[OutOfMemory]),
        ("depth", "", "let a = []; loop { a = [a]; }", &[OutOfMemory]),
        ("depth of maps", "", "let a = #{}; loop { a = #{a: a}; }", &[OutOfMemory]),
        (
            "depth in a function",
            "fn f(x) { [[[[[[x]]]]]] }",
            "let a = []; loop { a = f(f(f(f(a)))); }",
            &[OutOfMemory],
        ),
        (
            "map",
            "",
            "let m = #{}; let i = 0; loop { m[i.to_string()] = i; i += 1; }",
            &[OutOfMemory, OutOfTime],
        ),
        ("blob", "", "let b = blob(1000, 1); loop { b += b; }", &[OutOfMemory]),
        ("huge blob", "", "blob(9223372036854775807, 1)", &[OutOfMemory]),
        ("huge pad", "", "let s = ``; s.pad(9223372036854775807, 'x'); s", &[OutOfMemory]),
        ("huge array pad", "", "let a = [1]; a.pad(281474976710656, 0); `x`", &[OutOfMemory]),
        (
            "overflowing pad",
            "",
            "let b = []; b.pad(3, 0); let a = []; a.pad(4611686018427387904, b); `x`",
            &[OutOfMemory],
        ),
        ("huge blob pad", "", "let b = blob(1, 1); b.pad(9223372036854775807, 1); `x`", &[OutOfMemory]),
        (
            "replace",
            "",
            "let s = ``; s.pad(1000000, 'x'); let t = s + ``; s.replace(`x`, t); s",
            &[OutOfMemory],
        ),
        (
            "split",
            "",
            "let s = ``; s.pad(1048576, ','); let a = s.split(`,`); a.split(1); `x`",
            &[OutOfMemory],
        ),
        ("many variables", "", &variables, &[OutOfMemory]),
        (
            "large variables",
            "fn f(n) { let a = `${n}hello`; for i in 0..17 { a += a; } let b = a + n; f(n + 1); a.len + b.len }",
            "f(0)",
            &[OutOfMemory],
        ),
        (
            "many arrays",
            "fn f(n) { let a = []; a.pad(60000, n); let b = a + [1]; let c = b + [1]; f(n + 1); a.len + b.len + c.len }",
            "f(0)",
            &[OutOfMemory],
        ),
        ("sort that throws", "", "let a = [3, 2, 1]; a.sort(|a, b| a.none); `x`", &[Trapped]),
        (
            "sort that never ends",
            "",
            "let a = [3, 2, 1]; a.sort(|a, b| { loop {} }); `x`",
            &[OutOfFuel, OutOfTime],
        ),
        (
            "map that never ends",
            "",
            "let a = []; a.pad(10000, 1); a.map(|x| { for i in 0..9000000 { let y = i; } x }); `x`",
            &[OutOfFuel, OutOfTime],
        ),
        ("sleep", "", "sleep(100); `x`", &[Trapped]),
        ("overflow", "", "let a = 9223372036854775807; `${a + 1}`", &[Trapped]),
        ("division", "", "let a = 0; `${1 / a}`", &[Trapped]),
        ("deep JSON", "", "let s = ``; s.pad(100000, '['); parse_json(s); `x`", &[Trapped]),
        ("throw in a loop", "", "loop { try { throw #{a: [1]} } catch (e) { } }", &[OutOfFuel, OutOfTime]),
        ("long sum", "", &sum, &[OutOfMemory]),
        ("long if", "", &ifs, &[]),
        ("literal", "", &literal, &[]),
    ];
    let mut wrong = Vec::new();
    for (name, functions, body, kinds) in rows {
        let source = format!("{functions} fn on_request(input) {{ {body} }}");
        // What is too deep is not even loaded.
        let Ok(code) = compile(manifest(), source) else {
            assert!(name.starts_with("long"), "{name} is not loaded");
            continue;
        };
        let begin = Instant::now();
        let result = run(&code, Call::Request(b"hello"), &mut Memory::default()).result;
        let took = begin.elapsed();
        // On a busy machine the time may be over before the memory is.
        let is_expected = result.as_ref().map_or_else(
            |error| kinds.contains(&error.kind) || error.kind == OutOfTime,
            |_| kinds.is_empty(),
        );
        if !is_expected || took > Duration::from_secs(10) {
            wrong.push((*name, took, result.map_err(|error| error.message)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_comparison_that_is_no_order_sorts_somehow() {
    let body = "let a = []; for i in 0..500 { a.push((i * 7919) % 500); } a.sort(|a, b| if (a * b) % 3 == 0 { 1 } else { -1 }); a.sort(|a, b| a - b); `${a[0]} ${a[499]} ${a.len}`";
    assert_eq!(request(body).unwrap(), "0 499 500");
    assert_eq!(request("let a = [3, 1, 2]; a.sort(|a, b| a < b); `${a}`").unwrap(), "[1, 2, 3]");
    assert_eq!(request("`${[3, 1, 2].order(|a, b| b - a)}`").unwrap(), "[3, 2, 1]");
}

#[test]
fn a_stop_ends_a_call() {
    let mut manifest = manifest();
    manifest.limits.fuel = Some(u64::MAX);
    manifest.limits.time = Duration::from_mins(1);
    let code = compile(manifest, "fn on_request(input) { loop { try { loop {} } catch {} } }").unwrap();
    let stop = Stop::new();
    let outcome = thread::scope(|threads| {
        let running = threads.spawn(|| {
            let mut instance = code.instantiate().unwrap();
            instance.call(
                Call::Request(b""),
                &mut Memory::default(),
                &Grants::default(),
                &GuestCache::new(0),
                &stop,
            )
        });
        thread::sleep(Duration::from_millis(20));
        stop.stop();
        running.join().unwrap()
    });
    assert_eq!(outcome.result.unwrap_err().kind, CallErrorKind::Stopped);
    assert!(outcome.took < Duration::from_secs(2), "{:?}", outcome.took);
}

#[test]
fn json_and_numbers_are_read() {
    let body = r#"let o = parse_json(`{"a": [1, 2.5, null], "b": "x"}`); `${o.a[0] + o.a[1]} ${o.b} ${parse_int("12") + 1}`"#;
    assert_eq!(request(body).unwrap(), "3.5 x 13");
}

#[test]
fn handlers_that_are_not_there() {
    let code = compile(manifest(), "fn on_request(input) {}").unwrap();
    run(&code, Call::Check, &mut Memory::default()).result.unwrap();
    let error = run(&code, Call::Migrate { from: 1 }, &mut Memory::default()).result.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::NoHandler);
}
