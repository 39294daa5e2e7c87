use proptest::prelude::*;

use super::*;

fn a() -> Name {
    Name::new("a").expect("is a name")
}

#[test]
fn every_form_is_read_and_written_back_as_it_was() {
    let check = |line: &str, operation: Operation| {
        assert_eq!(Operation::parse(line.as_bytes()).expect(line), operation, "{line}");
        assert_eq!(serde_json::to_string(&operation).expect("can be written"), line);
    };
    let expect = |line: &str, expectation| check(line, Operation::Expect(expectation));
    let (ns, key, value, version) = (a(), b"k".to_vec(), b"v".to_vec(), Version::new(7));

    check(
        r#"{"put":{"ns":"a","key":"k","value":"v"}}"#,
        Operation::Put { ns: ns.clone(), key: key.clone(), value: value.clone(), create: false },
    );
    check(
        r#"{"put":{"ns":"a","key":"","value":{"base64":"/w=="},"create":true}}"#,
        Operation::Put { ns: ns.clone(), key: Vec::new(), value: vec![0xff], create: true },
    );
    check(r#"{"del":{"ns":"a","key":"k"}}"#, Operation::Del { ns: ns.clone(), key: key.clone() });
    expect(
        r#"{"expect":{"ns":"a","key":"k","value":"v"}}"#,
        Expectation::Value { ns: ns.clone(), key: key.clone(), value },
    );
    expect(
        r#"{"expect":{"ns":"a","key":"k","version":7}}"#,
        Expectation::KeyVersion { ns: ns.clone(), key: key.clone(), version },
    );
    expect(
        r#"{"expect":{"ns":"a","key":"k","absent":true}}"#,
        Expectation::Absent { ns: ns.clone(), key: key.clone() },
    );
    expect(r#"{"expect":{"ns":"a","key":"k","absent":false}}"#, Expectation::Present { ns: ns.clone(), key });
    expect(r#"{"expect":{"ns":"a","data_version":7}}"#, Expectation::DataVersion { ns: ns.clone(), version });
    expect(r#"{"expect":{"ns":"a","meta_version":7}}"#, Expectation::MetaVersion { ns, version });
    expect(r#"{"expect":{"version":7}}"#, Expectation::StoreVersion(version));
    let lock = |shared| Expectation::Lock { lock: "nightly".to_owned(), token: 7, shared };
    expect(r#"{"expect":{"lock":"nightly","token":7}}"#, lock(false));
    expect(r#"{"expect":{"lock":"nightly","token":7,"shared":true}}"#, lock(true));
}

#[test]
fn what_is_refused_says_where_and_why() {
    let check = |line: &str, why: &str| {
        let input = format!("\n{line}\n");
        let message = operations(input.as_bytes()).next().expect("a line").expect_err(line).to_string();
        assert!(message.starts_with("line 2: ") && message.contains(why), "{line}: {message}");
    };
    check("{}", "exactly one of `put`, `del` and `expect`: `{}`");
    check("[]", "expected an object");
    check(r#"{"del":["a","k"]}"#, "expected an object");
    check("hello", "expected value: `hello`");
    check(r#"{"del":{"ns":"a","key":"k"}"#, "EOF");
    check(r#"{"del":{"ns":"a","key":"k"}} {}"#, "trailing characters");
    check(r#"{"del":{"ns":"a","key":"k"},"put":{"ns":"a","key":"k","value":""}}"#, "exactly one");
    check(r#"{"del":{"ns":"a","key":"k"},"put":null}"#, "invalid type: null");
    check(r#"{"del":{"ns":"a","key":"k"},"del":{"ns":"a","key":"l"}}"#, "duplicate field `del`");
    check(r#"{"delete":{"ns":"a","key":"k"}}"#, "unknown field `delete`");
    check(r#"{"del":{"ns":"a"}}"#, "missing field `key`");
    check(r#"{"del":{"ns":"a","key":"k","if":1}}"#, "unknown field `if`");
    check(r#"{"del":{"ns":"a//b","key":"k"}}"#, r#"namespace name "a//b" has the segment """#);
    check(r#"{"del":{"ns":"_a","key":"k"}}"#, r#"namespace name "_a" begins with `_`"#);
    check(r#"{"put":{"ns":"a","key":"k","value":5}}"#, r#"expected a string or {"base64": "…"}"#);
    check(r#"{"put":{"ns":"a","key":"k","value":{"base64":"?"}}}"#, "not base64");
    check(r#"{"put":{"ns":"a","key":"k","value":"","create":1}}"#, "expected a boolean");
    check(r#"{"expect":{}}"#, "`version` alone");
    check(r#"{"expect":{"ns":"a"}}"#, "`version` alone");
    check(r#"{"expect":{"ns":"a","version":1}}"#, "`version` alone");
    check(r#"{"expect":{"ns":"a","key":"k"}}"#, "`version` alone");
    check(r#"{"expect":{"ns":"a","key":"k","data_version":1}}"#, "`version` alone");
    check(r#"{"expect":{"ns":"a","key":"k","absent":true,"version":1}}"#, "`version` alone");
    check(r#"{"expect":{"version":-1}}"#, "expected u64");
    check(r#"{"expect":{"lock":"nightly"}}"#, "`lock` and `token`");
    check(r#"{"expect":{"token":7}}"#, "`lock` and `token`");
    check(r#"{"expect":{"lock":"nightly","token":7,"version":1}}"#, "`lock` and `token`");
    check(&format!(r#"{{"del":{{"ns":"a","key":"{}"}}}}"#, "k".repeat(2049)), "longer than 2048 bytes");
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = prop::string::string_regex("[a-z]{1,3}(/[A-Zü]?[a-z]){0,2}").expect("is a pattern");
    let name = name.prop_map(|text| Name::new(text).expect("is a name"));
    let bytes = || prop_oneof![any::<Vec<u8>>(), any::<String>().prop_map(String::into_bytes)];
    let parts = (name, bytes(), bytes(), any::<u64>().prop_map(Version::new), any::<bool>(), 0..10);
    parts.prop_map(|(ns, key, value, version, create, form)| match form {
        0 => Operation::Put { ns, key, value, create },
        1 => Operation::Del { ns, key },
        2 => Operation::Expect(Expectation::Value { ns, key, value }),
        3 => Operation::Expect(Expectation::KeyVersion { ns, key, version }),
        4 => Operation::Expect(Expectation::Present { ns, key }),
        5 => Operation::Expect(Expectation::Absent { ns, key }),
        6 => Operation::Expect(Expectation::DataVersion { ns, version }),
        7 => Operation::Expect(Expectation::MetaVersion { ns, version }),
        8 => Operation::Expect(Expectation::StoreVersion(version)),
        _ => {
            let (lock, token) = (ns.as_str().to_owned(), version.get());
            Operation::Expect(Expectation::Lock { lock, token, shared: create })
        }
    })
}

proptest! {
    #[test]
    fn operations_survive_the_way_there_and_back(batch in prop::collection::vec(operation(), 0..8)) {
        let mut input = Vec::new();
        for operation in &batch {
            serde_json::to_writer(&mut input, operation)?;
            input.extend(b"\r\n\n");
        }
        let read: Result<Vec<_>> = operations(&input[..]).collect();
        prop_assert_eq!(read?, batch);
    }

    #[test]
    fn no_input_panics(bytes: Vec<u8>, operation in operation(), at: prop::sample::Index, byte: u8) {
        operations(&bytes[..]).for_each(drop);
        let mut line = serde_json::to_vec(&operation)?;
        let at = at.index(line.len());
        line[at] = byte;
        operations(&line[..]).for_each(drop);
    }
}
