//! Which rig has to catch what.

use std::time::Duration;

/// A defect that is planted, and what is to come of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defect {
    /// What it is called in `cohab_core::planted`, which tells what it breaks.
    pub(super) name: &'static str,
    /// The rig that has to catch it, with the arguments that make it get there fast.
    pub(super) rig: &'static [&'static str],
    /// What the rig may say.
    pub(super) says: &'static [&'static str],
}

/// How long a rig may take. A defect that hangs a store is not caught by that.
pub(super) const LIMIT: Duration = Duration::from_mins(5);

/// How long a rig may take that has nothing to find, and goes on to its end.
pub(super) const CONTROL_LIMIT: Duration = Duration::from_mins(30);

impl Defect {
    const fn new(name: &'static str, rig: &'static [&'static str], says: &'static [&'static str]) -> Self {
        Self { name, rig, says }
    }
}

/// The session that does everything once, at some of its points, and then others.
const CRASH: &[&str] = &["crash", "--smoke"];
/// Sessions with a reader beside them: what it meets is decided by the machine as well.
const CRASH_BESIDE: &[&str] = &["crash", "--random-only", "--seed", "14", "--images", "40000"];
const FLIPS: &[&str] = &["flips", "--flips", "20", "--file", "store.redb"];
const FLIPS_MANY: &[&str] = &["flips", "--flips", "600", "--file", "store.redb"];
/// In short rounds, so that it ends soon after the defect has shown: when that is, is decided by who happens to be killed.
const KILL: &[&str] = &["kill", "--kills", "600", "--round", "60"];
/// What takes a race or a rare step to show.
const KILL_MANY: &[&str] = &["kill", "--kills", "4000", "--round", "400"];
const NO_SPACE: &[&str] = &["faults", "--scenario", "write", "--kind", "enospc", "--smoke"];
const NO_SPACE_FOR_FILES: &[&str] = &["faults", "--scenario", "open", "--kind", "enospc"];
/// A leaked descriptor keeps a lock, which others then wait for, again and again.
const NO_SPACE_FOR_LOCKS: &[&str] = &["faults", "--scenario", "locks", "--kind", "enospc", "--for", "5"];
const SHORT_WRITES: &[&str] = &["faults", "--scenario", "write", "--kind", "short-write", "--smoke"];
const SIGNALS: &[&str] = &["faults", "--scenario", "open", "--kind", "eintr"];

/// Whether a run takes seconds when there is something to be caught, so that the gate has time for it.
pub(super) fn is_fast(rig: &[&str]) -> bool {
    ![CRASH_BESIDE, FLIPS_MANY, KILL_MANY].contains(&rig)
}

/// What a read says that is not of its version.
const MISREAD: &[&str] = &["was read as", "which it did not from version"];

/// All of them, as they are listed there.
pub(super) const ALL: &[Defect] = &[
    // What is on disk.
    Defect::new("DataNotSynced", CRASH, &["store's file is damaged", "was acknowledged, and it is at"]),
    Defect::new("ReplacementNotSynced", CRASH, &["store.json is damaged"]),
    Defect::new("NamesNotSynced", CRASH, &["does not exist", "was given out again"]),
    Defect::new("CounterNotSynced", CRASH, &["was given out again", "job: token"]),
    Defect::new("ShortWriteAccepted", SHORT_WRITES, &["is damaged"]),
    Defect::new("InterruptionFails", SIGNALS, &["is not tried again: "]),
    Defect::new("UnfinishedFileLeft", NO_SPACE_FOR_FILES, &["is left behind"]),
    Defect::new("DescriptorLeaked", NO_SPACE_FOR_LOCKS, &["descriptors are left open"]),
    Defect::new("ChecksumSkipped", FLIPS, &["read without an error, and not so"]),
    Defect::new("AbsenceUnverified", FLIPS_MANY, &["read without an error, and not so"]),
    // What a commit is.
    Defect::new("FailedCommitAcknowledged", NO_SPACE, &["should be at"]),
    Defect::new("BatchTorn", KILL, &["after a commit of None"]),
    Defect::new("VersionRepeated", CRASH, &["of store has changed"]),
    Defect::new("OverwrittenStaysCounted", CRASH, &["is not sound", "with digest", "it should hold"]),
    Defect::new("FollowerPositionApart", CRASH, &["it does not hold what its source did"]),
    Defect::new("PluginCursorApart", KILL, &["which is not due", ": the effect of"]),
    Defect::new("TrimIgnoresPins", CRASH, &["does not keep version"]),
    Defect::new("UndoFromLastImage", KILL, &["was read as"]),
    // Who may write.
    Defect::new("FenceUnchecked", KILL_MANY, &["had begun", "another writer had taken over"]),
    Defect::new("StaleTokenAdmitted", KILL_MANY, &["shows token"]),
    Defect::new("EpochKept", CRASH, &["was given out again", "the epoch does not grow"]),
    Defect::new("LockFileRemoved", KILL, &["while it was held", "was given twice"]),
    // What readers see.
    Defect::new("AnnouncedEarly", KILL, &["was published before it was durable"]),
    Defect::new("UndurableShown", CRASH_BESIDE, &["was acknowledged, and it is at"]),
    Defect::new("ChangeUnmarked", KILL, MISREAD),
    Defect::new("InvalidationDropped", KILL, MISREAD),
    Defect::new("HorizonMovesFirst", KILL_MANY, MISREAD),
    Defect::new("StaleFillAccepted", KILL, MISREAD),
    Defect::new("SnapshotReadsNewer", KILL, MISREAD),
    Defect::new("LagUnsaid", CRASH, &["without a word"]),
    Defect::new("ChainUncompared", CRASH, &["goes on with a store that was put back"]),
];
