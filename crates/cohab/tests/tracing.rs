//! The events and spans that a subscriber of the crate `tracing` gets.

use std::fmt::{self, Write};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cohab::testing::Storage;
use cohab::{CatchUp, History, Result, Role, Store, Update};
use cohab_testkit::{Child, child_store};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Writes down every event and span of ours, as `LEVEL name field=value …`.
#[derive(Clone, Default)]
struct Diary {
    lines: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicU64>,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = field.name();
        let written = if name == "message" {
            write!(self.0, " {value:?}")
        } else {
            write!(self.0, " {name}={value:?}")
        };
        written.expect("a string takes all text");
    }
}

impl Diary {
    fn note(&self, line: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Waits until something was written down that has all of these in it, and returns it.
    #[track_caller]
    fn tells(&self, parts: &[&str]) -> String {
        let begin = Instant::now();
        loop {
            let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(line) = lines.iter().find(|line| parts.iter().all(|part| line.contains(part))) {
                return line.clone();
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "no {parts:?} in {lines:#?}");
            drop(lines);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn count(&self) -> usize {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Subscriber for Diary {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("cohab")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let metadata = span.metadata();
        let mut line = Line(format!("{} span {}", metadata.level(), metadata.name()));
        span.record(&mut line);
        self.note(line.0);
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.note(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A disk that takes its time when it is told to.
#[derive(Debug)]
struct Slow {
    inner: Box<dyn Storage>,
    is_slow: Arc<AtomicBool>,
}

impl Storage for Slow {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.is_slow.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(800));
        }
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }
}

/// Opens the store for writing, commits, and waits to be killed.
#[test]
fn child_writes() -> Result<()> {
    let Some(path) = child_store() else { return Ok(()) };
    let store = Store::open(path)?;
    store.write(|tx| tx.put("flags", "a", "of a process that is killed"))?;
    Child::report("done").expect("the parent listens");
    _ = Child::told();
    Ok(())
}

#[test]
fn a_subscriber_hears_of_what_matters_and_of_no_read() -> Result<()> {
    let diary = Diary::default();
    tracing::subscriber::set_global_default(diary.clone()).expect("there is none yet");
    let dir = tempfile::tempdir().expect("there is room");
    let path = dir.path().join("store");
    let is_slow = Arc::new(AtomicBool::new(false));
    let slow = is_slow.clone();
    let writer = Store::options()
        .storage_layer(move |inner| Box::new(Slow { inner, is_slow: slow.clone() }))
        .on_stall(Duration::from_millis(300), |_| {})
        .open(&path)?;
    diary.tells(&["DEBUG span begin_writing", "store="]);
    writer.write(|tx| {
        tx.create_namespace("flags")?;
        tx.update_namespace("flags", &Update::new().history(History::Off))?;
        tx.put("flags", "a", "1")
    })?;

    let standby = Store::options().role(Role::Standby).catch_up(CatchUp::OnRead).open(&path)?;
    let flags = standby.cached("flags")?;
    flags.get("a")?;
    let before = diary.count();
    for _ in 0..100 {
        flags.get("a")?;
        standby.snapshot()?;
    }
    assert_eq!(diary.count(), before, "a read is no event");

    // Without history nobody knows what was written.
    writer.write(|tx| tx.put("flags", "a", "2"))?;
    assert_eq!(flags.get("a")?.as_deref(), Some(&b"2"[..]));
    diary.tells(&["INFO", "cache floor raised", "namespace=1", "since=1", "until=2"]);

    is_slow.store(true, Ordering::Relaxed);
    writer.write(|tx| tx.put("flags", "a", "3"))?;
    is_slow.store(false, Ordering::Relaxed);
    diary.tells(&["WARN", "waits for too long", "operation=\"commit\"", "waited_ms="]);

    standby.promote(Duration::from_secs(20))?;
    let (gives, takes) = (writer.instance().to_string(), standby.instance().to_string());
    diary.tells(&["INFO", "stepped down", &gives, "role=\"reader\""]);
    diary.tells(&["DEBUG span take_over", &takes]);
    diary.tells(&["INFO", "became the writer", &takes, "epoch=2"]);
    drop((flags, standby, writer));

    let mut child = Child::start("child_writes", &path).expect("starts");
    assert_eq!(child.next_report().expect("can be heard").as_deref(), Some("done"));
    child.kill().expect("can be killed");
    let reader = Store::options().role(Role::Reader).open(&path)?;
    assert_eq!(reader.snapshot()?.version().get(), 4, "nothing was lost");
    diary.tells(&["INFO span recovery", "store="]);
    diary.tells(&["INFO", "recovers the store"]);
    Ok(())
}
