use std::fs;

use cohab_core::{InstanceId, Timestamp, Version};
use cohab_registry::{Description, Instance, Result};

use crate::Scratch;

#[test]
fn a_record_that_cannot_be_read_hides_nobody() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    let me = registry.register(Description::new("writer"))?;
    let path = scratch.file(format!("instances/{}.json", me.id()));
    let seen = |content: &[u8]| -> Result<Instance> {
        fs::write(&path, content).expect("can be written");
        let [instance] = <[Instance; 1]>::try_from(registry.list()?).expect("one is there");
        assert_eq!(instance.id, me.id());
        Ok(instance)
    };
    let huge = vec![b' '; 1 << 20];
    for content in [&b""[..], b"{\"role\":\"wri", b"\0\xff", b"[1,2]", &huge] {
        let instance = seen(content)?;
        assert_eq!((&*instance.record.role, instance.record.pid), ("", 0));
        assert_eq!(instance.to_string(), format!("an instance (instance {})", me.id()));
    }
    let other = InstanceId::generate();
    let newer =
        format!(r#"{{"schema":7,"id":"{other}","role":"writer","ports":"none","moon":{{"full":true}}}}"#);
    assert_eq!(seen(newer.as_bytes())?.record.role, "writer");
    fs::remove_file(&path).expect("is there");
    assert_eq!(registry.list()?[0].id, me.id(), "no record at all");

    me.update(|record| record.version = Some(Version::new(7)))?;
    assert_eq!(registry.list()?[0].record, me.record()?, "the next update writes it anew");
    Ok(())
}

#[test]
fn an_instance_says_what_it_does() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    let id = InstanceId::generate();
    let description =
        Description::new("reader").id(id).app("shop").channel("nightly").app_version("1.2").label("left");
    let me = registry.register(description)?;
    me.update(|record| {
        record.id = None;
        record.schema = 99;
        record.version = Some(Version::new(12));
        record.snapshot_since = Some(Timestamp::from_micros(5));
        record.snapshot_version = Some(Version::new(11));
    })?;
    let seen = registry.list()?.remove(0);
    let record = &seen.record;
    assert_eq!((record.schema, record.id, record.pid), (1, Some(id), std::process::id()));
    assert_eq!((&*record.role, &*record.app, &*record.channel), ("reader", "shop", "nightly"));
    assert_eq!((&*record.app_version, record.label.as_deref()), ("1.2", Some("left")));
    assert_eq!((record.version, record.snapshot_version), (Some(Version::new(12)), Some(Version::new(11))));
    assert!(record.started > Timestamp::default() && !record.host.is_empty());
    let text = seen.to_string();
    assert!(text.starts_with("reader of shop/nightly (process "), "{text}");
    assert!(registry.register(Description::new("x").label("../x")).is_err(), "a label is part of a path");
    Ok(())
}
