use proptest::prelude::*;

use super::*;

/// Reads everything, as `(key, section, body, line)`, and counts the repetitions.
type Read = (Vec<(String, Option<String>, String, u64)>, u64);

fn read(input: &[u8]) -> Result<Read> {
    let mut stanzas = Stanzas::new(input);
    let mut read = Vec::new();
    while let Some(Stanza { key, section, body, line }) = stanzas.next()? {
        let [key, body] = [key, body].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        read.push((key, section.map(str::to_owned), body, line));
    }
    Ok((read, stanzas.repeated()))
}

#[test]
fn a_stanza_is_what_lies_between_blank_lines() {
    let check = |input: &str, expected: &[(&str, &str, u64)]| {
        let (read, _) = read(input.as_bytes()).expect(input);
        let read: Vec<_> = read.iter().map(|(key, _, body, line)| (&key[..], &body[..], *line)).collect();
        assert_eq!(read, expected, "{input:?}");
    };
    check("", &[]);
    check("\n \n\t\n", &[]);
    check("Package: a", &[("a", "Package: a", 1)]);
    check("Package: a\n", &[("a", "Package: a", 1)]);
    check("\n\nPackage: a\n\n\n \t\nPackage:b\n\n", &[("a", "Package: a", 3), ("b", "Package:b", 7)]);
    check(
        "Package: a\r\nX: y\r\n\r\nPackage: b\r\n",
        &[("a", "Package: a\r\nX: y", 1), ("b", "Package: b", 4)],
    );
    check(
        "Description: x\n y\n .\n\tz\npackage:  a \t\n",
        &[("a", "Description: x\n y\n .\n\tz\npackage:  a \t", 1)],
    );
    check("# only a comment\n\nPackage: a\n", &[("a", "Package: a", 3)]);
    check("# c\nPackage: a\n# d\n e\n\n# f", &[("a", "# c\nPackage: a\n# d\n e", 1)]);
    check(
        "Empty:\nPackage: a\n\nPackage: Größe\n",
        &[("a", "Empty:\nPackage: a", 1), ("Größe", "Package: Größe", 4)],
    );
}

#[test]
fn keys_grow_until_they_are_free() {
    let check = |stanzas: &[&str], keys: &[&str], repeated| {
        let (read, dropped) = read(stanzas.join("\n\n").as_bytes()).expect("is well-formed");
        assert_eq!(read.iter().map(|(key, ..)| &key[..]).collect::<Vec<_>>(), keys, "{stanzas:?}");
        assert_eq!(dropped, repeated, "{stanzas:?}");
    };
    let a = "Package: a\nVersion: 1\nArchitecture: amd64";
    let other = "Package: a\nVersion: 1\nArchitecture: i386";
    let newer = "Package: a\nVersion: 2";
    let bare = "Package: a";
    check(&[a, newer], &["a", "a=2"], 0);
    check(&[a, newer, newer], &["a", "a=2"], 1);
    check(&[a, other, "Package: b"], &["a", "a=1", "b"], 0);
    check(&[newer, a, other], &["a", "a=1", "a=1:i386"], 0);
    check(&[newer, a, other, a, a, newer, other], &["a", "a=1", "a=1:i386"], 4);
    check(&[bare, bare, a], &["a", "a=1"], 1);
}

/// Found by fuzzing: only one carriage return was taken off the end of a stanza, so that a stanza with two kept one,
/// and lost it when its file was put together again and read.
#[test]
fn a_stanza_does_not_end_with_carriage_returns() {
    let (stanzas, _) = read(b"Package: a\r\r\r\n\r\r\nPackage: b\r\r").expect("is well-formed");
    let bodies: Vec<_> = stanzas.iter().map(|(_, _, body, _)| &body[..]).collect();
    assert_eq!(bodies, ["Package: a", "Package: b"]);
}

#[test]
fn the_section_is_shown() {
    let (read, _) = read(b"Package: a\nSECTION: admin\n\nPackage: b\n").expect("is well-formed");
    assert_eq!([&read[0].1, &read[1].1], [&Some("admin".to_owned()), &None]);
}

#[test]
fn what_is_refused_says_where_and_why() {
    let check = |input: &[u8], why: &str| {
        let message = read(input).expect_err(why).to_string();
        assert!(message.contains(why), "{message}");
    };
    check(b"\nSection: x\n\n", "line 2: the stanza has no `Package`: `Section: x`");
    check(b"Package:\n\n", "line 1: the stanza has no `Package`");
    check(b"Package: a\nno colon\n", "line 2: this is neither a field");
    check(b"Package: a\n: x\n", "line 2: this is neither a field");
    check(b"Package: a\nna\xefve: x\n", "line 2: this is neither a field");
    check(b"Package: a\n\n continued\n", "line 3: a line that begins with white space");
    check(b"# comment\n continued\n", "line 2: a line that begins with white space");
    check(b"Package: a\npackage: b\n", "line 2: the stanza has this field already: `package: b`");
    check(b"Package: a\nSection: \xff\n", "line 1: the stanza's `Section` is not UTF-8");
    check(b"Package: a\n\nPackage: a\nX: y\n", "line 3: an earlier and different stanza has the key `a`");
    check(format!("Package: {}\n", "a".repeat(2049)).as_bytes(), "line 1: the key `aaa");

    let mut stanzas = Stanzas::new(&b"nonsense\n\nPackage: a\n"[..]);
    assert!(stanzas.next().is_err());
    assert!(stanzas.next().expect("does not fail twice").is_none());
}

#[test]
fn a_stanza_may_be_as_long_as_a_value() {
    let check = |bytes: usize, end: &str, is_accepted: bool| {
        let mut input = "Package: a\nX:\n".to_owned();
        let line = format!(" {}\n", "x".repeat(1 << 20));
        while input.len() < bytes {
            input.push_str(&line);
        }
        input.truncate(bytes);
        input.push_str(end);
        match Stanzas::new(input.as_bytes()).next() {
            Ok(stanza) => assert!(is_accepted && stanza.is_some_and(|stanza| stanza.body.len() == bytes)),
            Err(error) => {
                let message = error.to_string();
                assert!(!is_accepted && message.starts_with("line 1: the stanza `Package: a"), "{message}");
            }
        }
    };
    check(VALUE_BYTES_MAX, "\r\n", true);
    check(VALUE_BYTES_MAX + 1, "\n", false);
    check(VALUE_BYTES_MAX + 1, "", false);
    check(VALUE_BYTES_MAX + 100, "", false);
}

/// Pieces that make stanzas more often than random bytes do.
fn input() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&[u8]; 14] = [
        b"Package: a",
        b"Package: b",
        b"Version: 1",
        b"version:2",
        b"Architecture: x",
        b"Section: s",
        b" more",
        b"\t",
        b"# note",
        b"\n",
        b"\n",
        b"\n\n",
        b"\r\n",
        b"\xff",
    ];
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_input_panics(bytes: Vec<u8>, pieces in input()) {
        _ = read(&bytes);
        _ = read(&pieces);
    }

    #[test]
    fn stanzas_joined_are_the_same_stanzas(input in input()) {
        let Ok((stanzas, _)) = read(&input) else { return Ok(()) };
        let joined: Vec<_> = stanzas.iter().map(|(_, _, body, _)| &body[..]).collect();
        let (again, repeated) = read(joined.join("\n\n").as_bytes())?;
        prop_assert_eq!(repeated, 0);
        let without_lines = |(key, section, body, _)| (key, section, body);
        prop_assert!(stanzas.into_iter().map(without_lines).eq(again.into_iter().map(without_lines)));
    }
}
