//! What a call of a script has used up.
//!
//! The engine tells of every operation and of every variable that is read, on the thread of the call; it knows no call. So the
//! meter of the call that a thread is in is lent to the thread, as the sandbox is.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::time::{Duration, Instant};

use rhai::{Dynamic, EvalAltResult, EvalContext, Map, Position};
use scoped_tls_hkt::scoped_thread_local;

use crate::runtime::Deadline;
use crate::{CallError, CallErrorKind};

/// How many operations pass between two looks at the clock. One operation may take milliseconds, if it moves a large array.
const OPERATIONS_PER_LOOK: u64 = 32;

/// How long a call runs before its variables are counted up for the first time, and at least between two times.
const COUNT_INTERVAL: Duration = Duration::from_micros(500);

/// How deep values may be nested in values. Dropping, copying and comparing them recurses.
const VALUE_DEPTH_MAX: usize = 100;

/// What a place in an array takes, and what a map takes for every eight entries, about.
const ELEMENT_BYTES: u64 = 16;
const NODE_BYTES: u64 = 512;

/// Strings up to this length are counted each time that they are met, longer ones once, however many variables share them.
const SHORT_STRING_BYTES: usize = 256;

scoped_thread_local!(static METER: Meter);

/// Whether functions of the interface may be called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Authority {
    /// There is a sandbox.
    Call,
    /// There is none.
    None,
}

/// What one call may use, and has used.
pub(super) struct Meter {
    fuel: u64,
    fuel_left: Cell<u64>,
    memory: u64,
    deadline: Deadline,
    authority: Authority,
    /// Why the call has to end. Once that is set, no operation succeeds any more.
    verdict: RefCell<Option<CallError>>,
    is_over: Cell<bool>,
    count_at: Cell<Instant>,
    is_count_due: Cell<bool>,
    /// The bytes that the variables of the functions under way had when they were last counted, with their depth of calls.
    counted: RefCell<Vec<(usize, u64)>>,
}

/// Counts an operation; a value ends the script.
pub(super) fn step() -> Option<Dynamic> {
    if METER.is_set() { METER.with(Meter::step) } else { None }
}

/// Counts up the variables in sight, if it is time to.
pub(super) fn look(context: &EvalContext<'_, '_, '_, '_, '_, '_>) -> Result<(), Box<EvalAltResult>> {
    if METER.is_set() { METER.with(|meter| meter.look(context)) } else { Ok(()) }
}

/// Lets no further operation succeed, for a reason that the sandbox has.
pub(super) fn end() {
    if METER.is_set() {
        METER.with(|meter| meter.is_over.set(true));
    }
}

/// Fails unless functions of the interface may be called.
pub(super) fn check_authority() -> Result<(), Box<EvalAltResult>> {
    if METER.is_set() && METER.with(Meter::may_call) { Ok(()) } else { Err(terminated()) }
}

/// An error that a script cannot catch.
#[expect(clippy::unnecessary_box_returns, reason = "errors of scripts are boxed")]
pub(super) fn terminated() -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorTerminated(Dynamic::UNIT, Position::NONE))
}

impl Meter {
    pub(super) fn new(fuel: u64, memory: u64, deadline: Deadline, authority: Authority) -> Self {
        Self {
            fuel,
            fuel_left: Cell::new(fuel),
            memory,
            deadline,
            authority,
            verdict: RefCell::new(None),
            is_over: Cell::new(false),
            count_at: Cell::new(Instant::now() + COUNT_INTERVAL),
            is_count_due: Cell::new(false),
            counted: RefCell::new(Vec::new()),
        }
    }

    /// Lends the meter to this thread while `run` runs.
    pub(super) fn set<T>(&self, run: impl FnOnce() -> T) -> T {
        METER.set(self, run)
    }

    pub(super) fn take_verdict(&self) -> Option<CallError> {
        self.verdict.take()
    }

    fn step(&self) -> Option<Dynamic> {
        let Some(left) = self.fuel_left.get().checked_sub(1) else {
            let message = format!("it did more than the {} operations it may (`[limits] fuel`)", self.fuel);
            self.rule(CallError::new(CallErrorKind::OutOfFuel, message));
            return Some(Dynamic::UNIT);
        };
        self.fuel_left.set(left);
        if self.is_over.get() {
            return Some(Dynamic::UNIT);
        }
        if left.is_multiple_of(OPERATIONS_PER_LOOK) {
            if let Err(error) = self.deadline.check() {
                self.rule(error);
                return Some(Dynamic::UNIT);
            }
            if Instant::now() >= self.count_at.get() {
                self.is_count_due.set(true);
            }
        }
        None
    }

    fn may_call(&self) -> bool {
        if self.authority == Authority::None {
            let message = "a function of the interface is called outside of the handlers";
            self.rule(CallError::new(CallErrorKind::Forbidden, message));
        }
        self.authority == Authority::Call
    }

    fn rule(&self, error: CallError) {
        self.is_over.set(true);
        self.verdict.borrow_mut().get_or_insert(error);
    }

    fn look(&self, context: &EvalContext<'_, '_, '_, '_, '_, '_>) -> Result<(), Box<EvalAltResult>> {
        if !self.is_count_due.get() {
            return Ok(());
        }
        self.is_count_due.set(false);
        let begin = Instant::now();
        let mut count = Count { bytes: 0, strings: HashSet::new() };
        let is_flat = context.scope().iter_raw().all(|(_, _, value)| count.add(value, 0));
        let (level, mut counted) = (context.call_level(), self.counted.borrow_mut());
        counted.retain(|(deep, _)| *deep < level);
        counted.push((level, count.bytes));
        let bytes: u64 = counted.iter().map(|(_, bytes)| bytes).sum();
        // Counting takes a fifth of the time at the most.
        let end = Instant::now();
        self.count_at.set(end + (4 * (end - begin)).max(COUNT_INTERVAL));
        let message = if !is_flat {
            format!("it nests values more than {VALUE_DEPTH_MAX} deep")
        } else if bytes > self.memory {
            let memory = self.memory;
            format!("its variables have {bytes} bytes, the most is {memory} (`[limits] memory`)")
        } else {
            return Ok(());
        };
        self.rule(CallError::new(CallErrorKind::OutOfMemory, message));
        Err(terminated())
    }
}

/// The bytes of values.
struct Count {
    bytes: u64,
    strings: HashSet<*const u8>,
}

impl Count {
    /// Returns whether the value is nested no deeper than it may be.
    fn add(&mut self, value: &Dynamic, depth: usize) -> bool {
        if depth > VALUE_DEPTH_MAX {
            return false;
        }
        self.bytes += ELEMENT_BYTES;
        if let Ok(text) = value.as_immutable_string_ref() {
            if text.len() <= SHORT_STRING_BYTES || self.strings.insert(text.as_ptr()) {
                self.bytes += text.len() as u64;
            }
        } else if let Ok(blob) = value.as_blob_ref() {
            self.bytes += blob.len() as u64;
        } else if let Ok(array) = value.as_array_ref() {
            return array.iter().all(|value| self.add(value, depth + 1));
        } else if let Ok(map) = value.as_map_ref() {
            let map: &Map = &map;
            self.bytes += (map.len() as u64 / 8 + 1) * NODE_BYTES;
            return map.values().all(|value| self.add(value, depth + 1));
        }
        true
    }
}
