use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{Error, Result};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;
type Content = Vec<(NamespaceHeader, Entries)>;

fn write(content: &[(NamespaceHeader, Entries)]) -> Vec<u8> {
    let write = || {
        let mut dump = Writer::begin(Vec::new())?;
        for (header, entries) in content {
            dump.namespace(header)?;
            for (key, value) in entries {
                dump.entry(key, value)?;
            }
            let end = dump.end_namespace()?;
            assert_eq!((&end.name, end.keys), (&header.name, entries.len() as u64));
        }
        dump.finish()
    };
    write().expect("memory takes all bytes")
}

fn read(dump: &[u8]) -> Result<Content> {
    let mut reader = Reader::new(dump);
    let mut content = Content::new();
    let mut is_whole = false;
    while let Some(event) = reader.next()? {
        match event {
            Event::Namespace(header) => content.push((header, Entries::new())),
            Event::Entry { key, value } => {
                let (_, entries) = content.last_mut().expect("a namespace has begun");
                entries.insert(key.into_owned(), value.into_owned());
            }
            Event::EndOfNamespace(end) => {
                let (header, entries) = content.last().expect("a namespace has begun");
                assert_eq!((end.name, end.keys), (header.name.clone(), entries.len() as u64));
            }
            Event::End(totals) => {
                assert_eq!(totals.namespaces, content.len() as u64);
                is_whole = true;
            }
        }
    }
    assert!(is_whole, "what is not whole ends in an error");
    Ok(content)
}

fn header(name: &str) -> NamespaceHeader {
    NamespaceHeader::new(name.parse().expect("is a name"))
}

const DUMP: &str = concat!(
    r#"{"cohab_dump":1}"#,
    "\n",
    r#"{"namespace":{"name":"a","title":"","description":"","labels":{},"protected":false,"history":"full"}}"#,
    "\n",
    r#"{"key":"key","value":"value"}"#,
    "\n",
    r#"{"end":{"namespace":"a","keys":1,"bytes":8,"digest":"e84582f5c8fe2c1351ad8f295ea71283","header":"998cf128b98b62288b07facf7b3c54b6"}}"#,
    "\n",
    r#"{"namespace":{"name":"b","title":"B","description":"","labels":{"k":"v"},"protected":true,"history":"off"}}"#,
    "\n",
    r#"{"end":{"namespace":"b","keys":0,"bytes":0,"digest":"00000000000000000000000000000000","header":"6b2909ce3a4b72f545d46432f50a0b4d"}}"#,
    "\n",
    r#"{"end_of_dump":{"namespaces":2,"keys":1}}"#,
    "\n",
);

#[test]
fn the_dump_is_the_one_written_in_the_format_document() {
    let mut b = header("b");
    b.title = "B".to_owned();
    b.labels.insert("k".to_owned(), "v".to_owned());
    b.protected = true;
    b.history = "off".to_owned();
    let content = [(header("a"), Entries::from([(b"key".into(), b"value".into())])), (b, Entries::new())];
    assert_eq!(String::from_utf8(write(&content)).expect("is text"), DUMP);
    assert_eq!(read(DUMP.as_bytes()).expect("is whole"), content);
    assert_eq!(read(&write(&[])).expect("is whole"), []);
}

#[test]
fn what_is_refused_says_where_and_why() {
    let check = |before: &str, after: &str, why: &str| {
        assert!(DUMP.contains(before), "{before}");
        let message = read(DUMP.replacen(before, after, 1).as_bytes()).expect_err(why).to_string();
        assert!(message.contains(why), "{message}");
    };
    check(r#"{"cohab_dump":1}"#, "", "line 1: this is not the beginning of a dump");
    check(r#"{"cohab_dump":1}"#, "Package: a", "line 1: this is not the beginning of a dump");
    check(
        r#"{"cohab_dump":1}"#,
        r#"{"cohab_dump":2,"x":[]}"#,
        "line 1: the dump has format 2, this build reads format 1",
    );
    check(r#"{"cohab_dump":1}"#, r#"{"cohab_dump":1,"x":[]}"#, "line 1: unknown field `x`");
    check(r#"{"key":"key","value":"value"}"#, "", "line 3: EOF");
    check(r#"{"key":"key","value":"value"}"#, "{}", "line 3: a line holds `key` and `value`, or");
    check(r#"{"key":"key","value":"value"}"#, r#"["key","value"]"#, "line 3: invalid type: sequence");
    check(r#"{"cohab_dump":1}"#, "[1]", "line 1: this is not the beginning of a dump");
    check(r#""key":"key","#, "", "line 3: a line holds");
    check(r#""value":"value""#, r#""value":null"#, "line 3: invalid type: null");
    check(
        r#""value":"value""#,
        r#""value":"values""#,
        "line 4: the dump is damaged: it says namespace \"a\" with 1 keys, 8 bytes",
    );
    check(r#""title":"""#, r#""title":"?""#, "line 4: the dump is damaged");
    check(r#""keys":1,"#, r#""keys":2,"#, "line 4: the dump is damaged");
    check(r#""bytes":8"#, r#""bytes":9"#, "line 4: the dump is damaged");
    check(r#""end":{"namespace":"a""#, r#""end":{"namespace":"b""#, "line 4: the dump is damaged");
    check(r#""digest":"e8"#, r#""digest":"x8"#, "line 4: digest \"x84582");
    check(
        r#""name":"b""#,
        r#""name":"a""#,
        r#"line 5: the dump is damaged: namespace "a" does not come after namespace "a""#,
    );
    check(r#""name":"b""#, r#""name":"b/""#, r#"line 5: namespace name "b/" has the segment"#);
    check(
        r#""history":"off""#,
        r#""history":"none""#,
        "line 5: the dump is damaged: the history of namespace \"b\" is `none`",
    );
    check(
        r#""namespaces":2"#,
        r#""namespaces":1"#,
        "line 7: the dump is damaged: it says 1 namespaces, 1 keys, but",
    );
    check("\"keys\":1}}\n", "\"keys\":1}}\n\n", "line 8: this follows the end of the dump: `\\n`");

    let lines: Vec<_> = DUMP.lines().collect();
    let check = |lines: &[&str], why: &str| {
        let message = read((lines.join("\n") + "\n").as_bytes()).expect_err(why).to_string();
        assert!(message.contains(why), "{message}");
    };
    check(
        &[lines[0], lines[1], lines[2], lines[2]],
        "line 4: the dump is damaged: the key `key` does not come after `key`",
    );
    check(&[lines[0], lines[2]], "line 2: the dump is damaged: the key `key` belongs to no namespace");
    check(
        &[lines[0], lines[1], lines[4]],
        r#"line 3: the dump is damaged: namespace "b" begins before namespace "a" has"#,
    );
    check(&[lines[0], lines[3]], "line 2: the dump is damaged: a namespace ends that did not begin");
    check(
        &[lines[0], lines[1], lines[6]],
        r#"line 3: the dump is damaged: the dump ends before namespace "a" has"#,
    );
    check(&lines[..3], r#"the dump is cut off after line 3: the end of namespace "a" is missing"#);
    check(&lines[..6], "the dump is cut off after line 6: its end is missing");
    let message = read(b"").expect_err("is empty").to_string();
    assert_eq!(message, "the dump is cut off after line 0: there is nothing in it");
}

#[test]
fn nothing_is_read_beyond_an_error() {
    let mut reader = Reader::new(&b"{\"cohab_dump\":1}\nnonsense\n"[..]);
    assert!(matches!(reader.next(), Err(Error::Malformed { line: 2, .. })));
    assert_eq!(reader.line(), 2);
    assert!(reader.next().expect("does not fail twice").is_none());
}

#[test]
fn a_failing_writer_is_told_of() {
    let mut room = [0; 20];
    let mut dump = Writer::begin(&mut room[..]).expect("is buffered");
    dump.namespace(&header("a")).expect("is buffered");
    dump.end_namespace().expect("is buffered");
    let error = dump.finish().expect_err("does not fit");
    assert_eq!(error.to_string(), "writing failed at or before line 4");
}

#[test]
#[should_panic(expected = "the key `a` does not come after `b`")]
fn writing_out_of_order_is_a_mistake_of_the_program() {
    let mut dump = Writer::begin(Vec::new()).expect("memory takes all bytes");
    dump.namespace(&header("a")).expect("memory takes all bytes");
    dump.entry(b"b", b"").expect("memory takes all bytes");
    _ = dump.entry(b"a", b"");
}

fn content() -> impl Strategy<Value = Content> {
    let bytes = || prop_oneof![any::<Vec<u8>>(), any::<String>().prop_map(String::into_bytes)];
    let entries = prop::collection::btree_map(bytes(), bytes(), 0..6);
    let text = || any::<String>();
    let labels = prop::collection::btree_map(text(), text(), 0..3);
    let namespace = (text(), text(), labels, any::<bool>(), any::<bool>(), entries);
    prop::collection::btree_map("[a-z]{1,2}(/[a-zü]{1,2})?", namespace, 0..4).prop_map(|namespaces| {
        let namespace = |(name, (title, description, labels, protected, is_full, entries)): (String, _)| {
            let history = if is_full { "full" } else { "off" }.to_owned();
            let name = name.parse().expect("is a name");
            (NamespaceHeader { name, title, description, labels, protected, history }, entries)
        };
        namespaces.into_iter().map(namespace).collect()
    })
}

proptest! {
    #[test]
    fn what_is_dumped_and_loaded_and_dumped_is_the_same_dump(content in content()) {
        let dump = write(&content);
        let loaded = read(&dump)?;
        prop_assert_eq!(&loaded, &content);
        prop_assert_eq!(write(&loaded), dump);
    }

    #[test]
    fn a_dump_cut_off_anywhere_is_refused(content in content(), at: prop::sample::Index) {
        let dump = write(&content);
        let line_ends = dump.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        for at in line_ends.filter(|at| *at < dump.len()).chain([at.index(dump.len())]) {
            let refused = read(&dump[..at]);
            prop_assert!(matches!(refused, Err(Error::CutOff { .. })), "{}: {:?}", at, refused);
        }
    }

    #[test]
    fn a_changed_byte_is_noticed_or_changes_nothing(
        content in content(),
        at: prop::sample::Index,
        flip in 1..=255u8,
    ) {
        let mut dump = write(&content);
        let at = at.index(dump.len());
        dump[at] ^= flip;
        if let Ok(read) = read(&dump) {
            prop_assert_eq!(read, content);
        }
    }

    #[test]
    fn no_input_panics(bytes: Vec<u8>, lines in prop::collection::vec(0..7usize, 0..12)) {
        let lines: Vec<_> = lines.into_iter().filter_map(|line| DUMP.lines().nth(line)).collect();
        _ = read(&bytes);
        _ = read((lines.join("\n") + "\n").as_bytes());
        let begun = [DUMP.lines().next().unwrap_or_default().as_bytes(), b"\n", &bytes].concat();
        _ = read(&begun);
    }
}

#[test]
fn every_flipped_bit_of_a_dump_is_noticed_or_changes_nothing() {
    let content = read(DUMP.as_bytes()).expect("is whole");
    for at in 0..DUMP.len() {
        for bit in 0..8 {
            let mut dump = DUMP.as_bytes().to_vec();
            dump[at] ^= 1 << bit;
            if let Ok(read) = read(&dump) {
                assert_eq!(read, content, "bit {bit} of byte {at}");
            }
        }
    }
}
