use std::time::{Duration, Instant};

use cohab_registry::{Description, Event, Result, Watch};

use crate::Scratch;
use crate::life::start;

fn next(watch: &mut Watch) -> Result<Event> {
    Ok(watch.next_timeout(Duration::from_mins(1))?.expect("something happens"))
}

#[test]
fn coming_and_going_is_seen_however_it_goes() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    let me = registry.register(Description::new("first"))?;
    let mut watch = registry.watch();
    assert!(matches!(next(&mut watch)?, Event::Came(instance) if instance.id == me.id()));
    let begin = Instant::now();
    assert_eq!(watch.next_timeout(Duration::from_millis(150))?, None);
    assert!(begin.elapsed() >= Duration::from_millis(150));

    let (child, _, id) = start(scratch.path());
    assert!(
        matches!(next(&mut watch)?, Event::Came(instance) if instance.id == id && instance.record.role == "child")
    );
    child.kill().expect("can be killed");
    let killed = Instant::now();
    assert!(matches!(next(&mut watch)?, Event::Went(instance) if instance.id == id));
    assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
    drop(me);
    assert!(
        matches!(watch.next(), Some(Ok(Event::Went(instance))) if instance.record.role == "first"),
        "as an iterator"
    );
    Ok(())
}
