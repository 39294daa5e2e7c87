//! The watcher that fails calls.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::fault::{Fault, Point};
use crate::random::Random;
use crate::seam::{ALL, Call, CarryOut, Watcher, path_of};

/// Fails calls that concern files below a directory.
pub(crate) struct Injector {
    root: PathBuf,
    state: Mutex<State>,
}

struct State {
    plans: Vec<Plan>,
    is_off: bool,
    random: Random,
    hits: Vec<Hit>,
    /// What could not be removed because of a fault.
    kept: BTreeSet<PathBuf>,
}

struct Plan {
    point: Point,
    /// How many calls that could fail in this way there were, since the plan before it was met.
    seen: u64,
    is_met: bool,
}

/// A call that was failed.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) call: &'static str,
    /// Below the directory.
    pub(crate) path: PathBuf,
    pub(crate) thread: String,
}

impl Injector {
    /// Fails calls at the first point, and, once that was met, at the one after it.
    pub(crate) fn new(root: &Path, points: &[Point], seed: u64) -> Self {
        let plans = points.iter().map(|point| Plan { point: *point, seen: 0, is_met: false }).collect();
        let state = State {
            plans,
            is_off: false,
            random: Random::new(seed),
            hits: Vec::new(),
            kept: BTreeSet::new(),
        };
        Self { root: root.to_owned(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails nothing any more.
    pub(crate) fn mend(&self) {
        self.state().is_off = true;
    }

    pub(crate) fn hits(&self) -> Vec<Hit> {
        self.state().hits.clone()
    }

    /// Whether every point was met.
    pub(crate) fn is_met(&self) -> bool {
        self.state().plans.iter().all(|plan| plan.is_met)
    }

    /// How many calls there were that the first point's fault fits.
    pub(crate) fn seen(&self) -> u64 {
        self.state().plans.first().map_or(0, |plan| plan.seen)
    }

    pub(crate) fn kept(&self) -> BTreeSet<PathBuf> {
        self.state().kept.clone()
    }

    /// Decides what becomes of a call: which fault it meets, and whether that is the first time.
    fn decide(&self, call: &Call<'_>, path: &Path) -> Option<(Fault, bool)> {
        let mut state = self.state();
        if state.is_off {
            return None;
        }
        for plan in &mut state.plans {
            let Point { fault, k, for_ever } = plan.point;
            if fault.fits(call) {
                let n = plan.seen;
                plan.seen += 1;
                let is_due = if for_ever {
                    n >= k && (fault != Fault::Eintr || (n - k).is_multiple_of(2))
                } else {
                    n == k
                };
                if is_due {
                    let is_first = !plan.is_met;
                    plan.is_met = true;
                    if removes(call) {
                        state.kept.insert(path.to_owned());
                    }
                    if is_first || state.hits.len() < 8 {
                        let below = path.strip_prefix(&self.root).unwrap_or(path).to_owned();
                        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
                        state.hits.push(Hit { call: name(call), path: below, thread });
                    }
                    return Some((fault, is_first && for_ever));
                }
            }
            if !plan.is_met {
                // What comes after it is not due yet.
                break;
            }
        }
        None
    }
}

impl Watcher for Injector {
    fn meet(&self, call: Call<'_>, carry_out: &CarryOut<'_>) -> i64 {
        if let Call::Random { out } = call {
            let mut state = self.state();
            for piece in out.chunks_mut(8) {
                let bytes = state.random.next().to_le_bytes();
                piece.copy_from_slice(&bytes[..piece.len()]);
            }
            return i64::try_from(out.len()).expect("a buffer's length fits");
        }
        let Some(path) = concerned(&call) else { return carry_out(ALL) };
        if !path.starts_with(&self.root) {
            return carry_out(ALL);
        }
        let Some((fault, begins)) = self.decide(&call, &path) else { return carry_out(ALL) };
        let half = match &call {
            Call::Read { len, .. } => len / 2,
            Call::Write { data, .. } => data.len() / 2,
            _ => 0,
        };
        match fault {
            Fault::ShortRead | Fault::ShortWrite => carry_out(half),
            Fault::Enospc if begins && half > 0 => carry_out(half),
            _ => {
                if let Call::Close { .. } = call {
                    // It is closed whatever the kernel says.
                    carry_out(ALL);
                }
                -i64::from(fault.errno().expect("what has no number was done above"))
            }
        }
    }
}

/// Whether a call may be part of removing a file, or a directory with what is in it.
fn removes(call: &Call<'_>) -> bool {
    match call {
        Call::Open { flags, .. } => flags & libc::O_DIRECTORY != 0,
        Call::Unlink { .. } | Call::RemoveDir { .. } | Call::List { .. } | Call::Examine { .. } => true,
        _ => false,
    }
}

/// Returns which file a call is about.
fn concerned(call: &Call<'_>) -> Option<PathBuf> {
    match call {
        Call::Open { path, .. }
        | Call::Unlink { path }
        | Call::MakeDir { path }
        | Call::RemoveDir { path }
        | Call::List { path }
        | Call::Examine { path }
        | Call::Protect { path } => Some((*path).to_owned()),
        Call::Rename { to, .. } | Call::Link { to, .. } => Some((*to).to_owned()),
        Call::Duplicate { fd }
        | Call::Close { fd }
        | Call::Read { fd, .. }
        | Call::Write { fd, .. }
        | Call::Sync { fd, .. }
        | Call::Truncate { fd, .. }
        | Call::Lock { fd, .. }
        | Call::Map { fd, .. } => Some(path_of(*fd)),
        Call::Random { .. } => None,
    }
}

fn name(call: &Call<'_>) -> &'static str {
    match call {
        Call::Open { .. } => "open",
        Call::Duplicate { .. } => "duplicate",
        Call::Close { .. } => "close",
        Call::Read { .. } => "read",
        Call::Write { .. } => "write",
        Call::Sync { .. } => "sync",
        Call::Truncate { .. } => "truncate",
        Call::Rename { .. } => "rename",
        Call::Link { .. } => "link",
        Call::Unlink { .. } => "unlink",
        Call::MakeDir { .. } => "mkdir",
        Call::RemoveDir { .. } => "rmdir",
        Call::List { .. } => "list",
        Call::Examine { .. } => "examine",
        Call::Protect { .. } => "chmod",
        Call::Lock { .. } => "lock",
        Call::Map { .. } => "map",
        Call::Random { .. } => "random",
    }
}
