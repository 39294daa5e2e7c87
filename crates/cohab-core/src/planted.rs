//! Defects that are planted, for the test of the tests: each is a mistake that a real store has made, and one of the
//! rigs has to catch it.
//!
//! A defect is chosen by its name in the environment variable `COHAB_PLANTED`, and there is none without. Without the
//! feature `planted`, which nothing but that test turns on, [`planted!`](crate::planted!) is `false` and this module is not there.

use std::sync::OnceLock;

/// Names the defects, each with what it breaks.
macro_rules! defects {
    ($($(#[$what:meta])* $name:ident,)*) => {
        /// A defect.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Defect { $($(#[$what])* $name,)* }

        const ALL: &[(&str, Defect)] = &[$((stringify!($name), Defect::$name),)*];
    };
}

defects! {
    // What is on disk.

    /// The data file is never synced.
    DataNotSynced,
    /// A small file takes the place of another before its content is synced.
    ReplacementNotSynced,
    /// Names that were created or changed are not synced.
    NamesNotSynced,
    /// A number that was given out is not synced.
    CounterNotSynced,
    /// A write that came out short counts as done.
    ShortWriteAccepted,
    /// A call that a signal has interrupted counts as failed.
    InterruptionFails,
    /// The unfinished file stays where it could not be written.
    UnfinishedFileLeft,
    /// The descriptor of a counter that could not be written stays open.
    DescriptorLeaked,
    /// What is read is not compared with its checksum.
    ChecksumSkipped,
    /// A key that is not found is taken for absent, whatever stands beside the gap.
    AbsenceUnverified,

    // What a commit is.

    /// A commit that failed is acknowledged.
    FailedCommitAcknowledged,
    /// A batch is committed in two transactions.
    BatchTorn,
    /// A batch that is refused takes the version of the one before it along.
    VersionRepeated,
    /// What a key held before stays in its namespace's counts and digest.
    OverwrittenStaysCounted,
    /// Where a replica stands is committed after what it holds.
    FollowerPositionApart,
    /// Where a plugin stands is committed after what it wrote.
    PluginCursorApart,
    /// The log is trimmed past who still needs it.
    TrimIgnoresPins,
    /// Of several changes the image before the last counts as the one before all.
    UndoFromLastImage,

    // Who may write.

    /// A writer does not look whether another one has taken over.
    FenceUnchecked,
    /// A stale fencing token is admitted.
    StaleTokenAdmitted,
    /// A writer takes over without a new epoch.
    EpochKept,
    /// A lock's file is removed when the lock is let go of, and whoever had it open locks what nobody else finds.
    LockFileRemoved,

    // What readers see.

    /// A commit is announced before it is made.
    AnnouncedEarly,
    /// A reader acts on what is visible and not yet durable.
    UndurableShown,
    /// The page does not say which namespaces a commit has changed.
    ChangeUnmarked,
    /// What others have written stays in the cache.
    InvalidationDropped,
    /// The cache counts as caught up before the keys are dropped.
    HorizonMovesFirst,
    /// What was read from an old snapshot is cached as if it were new.
    StaleFillAccepted,
    /// An old snapshot is answered from the cache with what was written since.
    SnapshotReadsNewer,
    /// A watcher that has fallen behind passes over versions and does not say so.
    LagUnsaid,
    /// A delta is applied to a history that it does not continue.
    ChainUncompared,
}

/// Returns whether this is the chosen defect.
pub fn is_chosen(defect: Defect) -> bool {
    static CHOSEN: OnceLock<Option<Defect>> = OnceLock::new();
    *CHOSEN.get_or_init(chosen) == Some(defect)
}

fn chosen() -> Option<Defect> {
    let name = std::env::var("COHAB_PLANTED").ok().filter(|name| !name.is_empty())?;
    let known = ALL.iter().find(|(known, _)| *known == name);
    Some(known.unwrap_or_else(|| panic!("COHAB_PLANTED={name}: there is no such defect")).1)
}
