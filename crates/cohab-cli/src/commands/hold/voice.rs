//! What a hold says: whole lines, from any thread.

use std::io::{self, Write};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::input::Input;
use crate::failure::Failure;
use crate::terminal::Record;

/// The standard output, to which the requests' thread and the library's own speak by turns.
pub(super) struct Voice {
    /// What happened before the opening was told, which comes first; nothing once it was.
    before: Mutex<Option<Vec<u8>>>,
    /// Ends the hold when nobody listens any more.
    end: SyncSender<Input>,
}

impl Voice {
    pub(super) fn new(end: SyncSender<Input>) -> Self {
        Self { before: Mutex::new(Some(Vec::new())), end }
    }

    /// Tells that the store is open, and after that what has happened since.
    pub(super) fn open(&self, record: &Record<'_>) -> Result<(), Failure> {
        let mut before = self.before();
        let mut lines = line(record)?;
        lines.extend(before.take().unwrap_or_default());
        write(&lines)
    }

    pub(super) fn is_open(&self) -> bool {
        self.before().is_none()
    }

    /// Says a line.
    pub(super) fn say(&self, record: &Record<'_>) -> Result<(), Failure> {
        let line = line(record)?;
        match &mut *self.before() {
            Some(before) => {
                before.extend(line);
                Ok(())
            }
            // With the lock held, so that lines do not mix.
            None => write(&line),
        }
    }

    /// Says that something has happened, for somebody who cannot deal with a failure.
    pub(super) fn tell(&self, event: &'static str, fields: Record<'_>) {
        let mut record = Record::new().with("event", event);
        record.extend(fields);
        if self.say(&record).is_err() {
            _ = self.end.try_send(Input::End);
        }
    }

    fn before(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn line(record: &Record<'_>) -> Result<Vec<u8>, Failure> {
    let mut line = serde_json::to_vec(record).map_err(|error| Failure::defect(&error))?;
    line.push(b'\n');
    Ok(line)
}

fn write(lines: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(lines).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}
