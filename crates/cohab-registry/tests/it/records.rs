use std::fs;

use cohab_core::limits::{NAME_BYTES_MAX, RECORD_NAMESPACES_MAX};
use cohab_core::{InstanceId, Timestamp, Version};
use cohab_registry::{CacheRecord, Description, Instance, NamespaceCacheRecord, Result};

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

#[test]
fn what_an_instance_caches_is_read_as_far_as_it_is_understood() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    let me = registry.register(Description::new("reader"))?;
    let path = scratch.file(format!("instances/{}.json", me.id()));
    assert_eq!(registry.list()?[0].record.cache, None, "it has not said yet");
    let seen = |content: &str| -> Result<Option<CacheRecord>> {
        fs::write(&path, content).expect("can be written");
        let record = registry.list()?.remove(0).record;
        assert_eq!((&*record.role, record.pid), ("reader", 7), "the rest is read in any case");
        Ok(record.cache)
    };
    assert_eq!(seen(r#"{"schema":1,"role":"reader","pid":7}"#)?, None, "an older one");
    let newer = r#"{"role":"reader","pid":7,
        "cache":{"hits":6,"misses":2,"mood":"good","namespaces":[{"id":3,"name":"n","bytes":9,"moon":1}]}}"#;
    let cache = seen(newer)?.expect("is said");
    assert_eq!((cache.hits, cache.budget, cache.hit_rate()), (6, 0, Some(0.75)));
    let [namespace] = &cache.namespaces[..] else { panic!("there is one") };
    assert_eq!((namespace.id, &*namespace.name, namespace.bytes, namespace.hit_rate()), (3, "n", 9, None));
    for garbage in ["7", "[]", r#"{"hits":-1}"#, r#"{"namespaces":{"a":1}}"#] {
        let content = format!(r#"{{"role":"reader","cache":{garbage},"pid":7}}"#);
        assert!(seen(&content)?.is_none_or(|cache| cache == CacheRecord::default()), "{garbage}");
    }
    Ok(())
}

#[test]
fn the_longest_account_of_a_cache_can_be_read() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    let me = registry.register(Description::new("reader"))?;
    me.update(|record| {
        let mut namespace = NamespaceCacheRecord::default();
        // Every byte of it takes two in JSON.
        namespace.name = "\\".repeat(NAME_BYTES_MAX);
        namespace.horizon = Version::new(u64::MAX);
        for count in [
            &mut namespace.hits,
            &mut namespace.misses,
            &mut namespace.refusals,
            &mut namespace.evictions,
            &mut namespace.invalidations,
            &mut namespace.floors,
            &mut namespace.entries,
            &mut namespace.bytes,
            &mut namespace.lag,
        ] {
            *count = u64::MAX;
        }
        let mut cache = CacheRecord::default();
        cache.namespaces = vec![namespace; RECORD_NAMESPACES_MAX];
        record.cache = Some(cache);
    })?;
    assert_eq!(registry.list()?[0].record, me.record()?);
    Ok(())
}
