//! The cases by name, and what is reported of each.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::metric::{Metric, Source, Unit};

/// A case, in the order in which they run: nothing is read from a store after commits have made it another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Case {
    /// All rows in one transaction into a new store.
    BulkLoad,
    /// The same, without history where there is one.
    BulkLoadNohistory,
    /// Random look-ups in one snapshot.
    GetHeld,
    /// Random look-ups in a new snapshot each.
    GetFresh,
    /// Ten rows from a random start.
    Scan10,
    /// A thousand rows from a random start.
    Scan1000,
    /// All rows in order.
    ScanAll,
    /// Random look-ups in a reader's process, in one snapshot, while the writer's process is idle.
    ReaderGetHeld,
    /// Skewed look-ups in a reader's process, each of the latest state, while the writer's process is idle.
    ReaderGetQuiet,
    /// Random look-ups, each of the latest state, in a process that has just begun, and with small caches of pages and
    /// none of values.
    ReaderGetUncached,
    /// Random look-ups in a reader's process of what was all read before: of the latest state each through a cache of
    /// values, and in one snapshot where there is none.
    GetUniformWarm,
    /// Random look-ups, each of the latest state, through a cache in which hardly anything is found, and without it.
    GetMiss,
    /// Skewed look-ups, each of the latest state, by two threads of a reader's process, and by one.
    ReaderGet2Threads,
    /// The same by two processes, and by one.
    ReaderGet2Processes,
    /// What an entry of a cache of values takes beside its key and value.
    CacheMemory,
    /// What a full cache of values takes of its budget.
    CacheBudget,
    /// Opening a reader, and reading a row.
    OpenReader,
    /// What each of many readers has in memory for itself.
    ReaderMemory,
    /// Making a copy of the store: a replica, or what comes nearest to one.
    RestoreFull,
    /// One row in a durable transaction.
    Commit1,
    /// The same from sixteen threads.
    Commit1x16,
    /// A thousand rows in a durable transaction.
    Commit1000,
    /// One row in a durable transaction, with history and without.
    Commit1Nohistory,
    /// A thousand rows in a durable transaction, with history and without.
    Commit1000Nohistory,
    /// Skewed look-ups in a reader's process, each of the latest state, while the writer commits a row a hundred times a
    /// second in another namespace.
    ReaderGetOtherNs,
    /// The same while it commits ten rows each time in the namespace that is read, as skewed as the look-ups.
    ReaderGetSameNs,
    /// One row in a durable transaction, alone, while eight processes take snapshots as fast as they can, and while
    /// eight processes only compute.
    CommitBeside8Readers,
    /// From the return of a commit until a reader in another process that waits for it has read from it.
    Wake,
    /// Opening a small store whose process was killed in a transaction, and reading a row.
    OpenAfterKill10k,
    /// The same with all rows.
    OpenAfterKill,
    /// From the kill of the writer in a transaction to the first commit of the process that stood by.
    Takeover,
    /// Renaming a namespace of a few rows.
    RenameSmall,
    /// Renaming a namespace of all rows.
    RenameLarge,
    /// Bringing a replica up to date after ten commits of a hundred rows each.
    Refresh1000,
    /// The same of a small store.
    Refresh1000Small,
    /// Bringing a reader with all rows in its cache of values up to date after ten commits of a hundred rows each.
    RefreshView1000,
    /// The same of a small store.
    RefreshView1000Small,
    /// What a delta of ten commits of a hundred rows each weighs, by the keys and values that changed.
    DeltaBytes,
    /// Applying a delta of a hundred thousand rows to a store that has none, and loading as many.
    Apply100k,
    /// Having the store ready to read as it was a thousand versions ago, each of which changed a row.
    At1000,
    /// The same, each of which changed ten rows.
    At1000x10,
    /// Random look-ups in such a past of ten rows a version, and in the present.
    AtGet,
    /// A thousand rows from a random start in that past, and in the present.
    AtScan1000,
    /// Going back by ten thousand rows that were written in a hundred commits.
    Rollback10k,
    /// Going back by as many that were written in one.
    Rollback10kSingle,
    /// From the return of a commit, of which there are a hundred a second, until a reader of a replica has it that
    /// another process keeps; and what the commits take with that process and without.
    FollowLag,
    /// The same of commits of ten rows.
    FollowLag10,
    /// Whether a plugin's files have changed: asked before it is time to look, looking, and in a call.
    PluginCheck,
    /// Calls of a plugin, for changes in memory and for requests.
    PluginCall,
    /// How far a plugin lags behind commits of one key, and what they take with it and without.
    PluginFollow,
    /// From the save of a plugin's file to the first call that shows it.
    PluginReload,
    /// Reloads of a script, some of them of a broken one, while four threads call it.
    PluginReloadScript,
    /// The same of a module.
    PluginReloadModule,
}

impl Case {
    /// All cases, in order.
    pub const ALL: &[Self] = &[
        Self::BulkLoad,
        Self::BulkLoadNohistory,
        Self::GetHeld,
        Self::GetFresh,
        Self::Scan10,
        Self::Scan1000,
        Self::ScanAll,
        Self::ReaderGetHeld,
        Self::ReaderGetQuiet,
        Self::ReaderGetUncached,
        Self::GetUniformWarm,
        Self::GetMiss,
        Self::ReaderGet2Threads,
        Self::ReaderGet2Processes,
        Self::CacheMemory,
        Self::CacheBudget,
        Self::OpenReader,
        Self::ReaderMemory,
        Self::RestoreFull,
        Self::Commit1,
        Self::Commit1x16,
        Self::Commit1000,
        Self::Commit1Nohistory,
        Self::Commit1000Nohistory,
        Self::ReaderGetOtherNs,
        Self::ReaderGetSameNs,
        Self::CommitBeside8Readers,
        Self::Wake,
        Self::OpenAfterKill10k,
        Self::OpenAfterKill,
        Self::Takeover,
        Self::RenameSmall,
        Self::RenameLarge,
        Self::Refresh1000,
        Self::Refresh1000Small,
        Self::RefreshView1000,
        Self::RefreshView1000Small,
        Self::DeltaBytes,
        Self::Apply100k,
        Self::At1000,
        Self::At1000x10,
        Self::AtGet,
        Self::AtScan1000,
        Self::Rollback10k,
        Self::Rollback10kSingle,
        Self::FollowLag,
        Self::FollowLag10,
        Self::PluginCheck,
        Self::PluginCall,
        Self::PluginFollow,
        Self::PluginReload,
        Self::PluginReloadScript,
        Self::PluginReloadModule,
    ];

    /// The name as it is typed and reported.
    pub fn name(self) -> &'static str {
        match self {
            Self::BulkLoad => "bulk-load",
            Self::BulkLoadNohistory => "bulk-load-nohistory",
            Self::GetHeld => "get-held",
            Self::GetFresh => "get-fresh",
            Self::Scan10 => "scan-10",
            Self::Scan1000 => "scan-1000",
            Self::ScanAll => "scan-all",
            Self::ReaderGetHeld => "reader-get-held",
            Self::ReaderGetQuiet => "reader-get-quiet",
            Self::ReaderGetUncached => "reader-get-uncached",
            Self::GetUniformWarm => "get-uniform-warm",
            Self::GetMiss => "get-miss",
            Self::ReaderGet2Threads => "reader-get-2-threads",
            Self::ReaderGet2Processes => "reader-get-2-processes",
            Self::CacheMemory => "cache-memory",
            Self::CacheBudget => "cache-budget",
            Self::OpenReader => "open-reader",
            Self::ReaderMemory => "reader-memory",
            Self::RestoreFull => "restore-full",
            Self::Commit1 => "commit-1",
            Self::Commit1x16 => "commit-1x16",
            Self::Commit1000 => "commit-1000",
            Self::Commit1Nohistory => "commit-1-nohistory",
            Self::Commit1000Nohistory => "commit-1000-nohistory",
            Self::ReaderGetOtherNs => "reader-get-other-ns",
            Self::ReaderGetSameNs => "reader-get-same-ns",
            Self::CommitBeside8Readers => "commit-beside-8-readers",
            Self::Wake => "wake",
            Self::OpenAfterKill10k => "open-after-kill-10k",
            Self::OpenAfterKill => "open-after-kill",
            Self::Takeover => "takeover",
            Self::RenameSmall => "rename-small",
            Self::RenameLarge => "rename-large",
            Self::Refresh1000 => "refresh-1000",
            Self::Refresh1000Small => "refresh-1000-small",
            Self::RefreshView1000 => "refresh-view-1000",
            Self::RefreshView1000Small => "refresh-view-1000-small",
            Self::DeltaBytes => "delta-bytes",
            Self::Apply100k => "apply-100k",
            Self::At1000 => "at-1000",
            Self::At1000x10 => "at-1000x10",
            Self::AtGet => "at-get",
            Self::AtScan1000 => "at-scan-1000",
            Self::Rollback10k => "rollback-10k",
            Self::Rollback10kSingle => "rollback-10k-single",
            Self::FollowLag => "follow-lag",
            Self::FollowLag10 => "follow-lag-10",
            Self::PluginCheck => "plugin-check",
            Self::PluginCall => "plugin-call",
            Self::PluginFollow => "plugin-follow",
            Self::PluginReload => "plugin-reload",
            Self::PluginReloadScript => "plugin-reload-script",
            Self::PluginReloadModule => "plugin-reload-module",
        }
    }

    /// What an operation is.
    pub fn operation(self) -> &'static str {
        match self {
            Self::BulkLoad
            | Self::BulkLoadNohistory
            | Self::Scan10
            | Self::Scan1000
            | Self::ScanAll
            | Self::AtScan1000 => "row",
            Self::GetHeld
            | Self::GetFresh
            | Self::ReaderGetHeld
            | Self::ReaderGetQuiet
            | Self::ReaderGetUncached
            | Self::GetUniformWarm
            | Self::GetMiss
            | Self::ReaderGet2Threads
            | Self::ReaderGet2Processes
            | Self::ReaderGetOtherNs
            | Self::ReaderGetSameNs
            | Self::AtGet => "get",
            Self::Commit1
            | Self::Commit1x16
            | Self::Commit1000
            | Self::Commit1Nohistory
            | Self::Commit1000Nohistory
            | Self::CommitBeside8Readers
            | Self::Wake
            | Self::FollowLag
            | Self::FollowLag10
            | Self::PluginFollow => "commit",
            Self::OpenReader | Self::OpenAfterKill10k | Self::OpenAfterKill => "opening",
            Self::ReaderMemory => "process",
            Self::RestoreFull => "copy",
            Self::CacheMemory => "entry",
            Self::CacheBudget => "cache",
            Self::Takeover => "take-over",
            Self::RenameSmall | Self::RenameLarge => "rename",
            Self::Refresh1000
            | Self::Refresh1000Small
            | Self::RefreshView1000
            | Self::RefreshView1000Small => "refresh",
            Self::DeltaBytes | Self::Apply100k => "key",
            Self::At1000 | Self::At1000x10 => "version",
            Self::Rollback10k | Self::Rollback10kSingle => "roll-back",
            Self::PluginCheck | Self::PluginCall => "call",
            Self::PluginReload | Self::PluginReloadScript | Self::PluginReloadModule => "reload",
        }
    }

    /// The figure that counts, and those beside it.
    pub fn metrics(self) -> &'static [Metric] {
        use Source::{
            Alone, Commits, Counted, Cpu, Crowded, Growth, Hits, OfOne, OfTwo, Sample, Scaling, ToAlone,
            ToCrowded, Wall,
        };
        match self {
            Self::Commit1x16 => const { &[of(Wall, Unit::CommitsPerSecond), of(Cpu, Unit::Nanos)] },
            Self::OpenAfterKill10k | Self::OpenAfterKill => {
                const { &[of(Wall, Unit::Millis), of(Cpu, Unit::Millis)] }
            }
            Self::RenameSmall | Self::RenameLarge | Self::OpenReader => {
                const { &[of(Wall, Unit::Micros), of(Cpu, Unit::Micros)] }
            }
            Self::ReaderMemory => const { &[of(Sample(50), Unit::Megabytes)] },
            Self::ReaderGetQuiet | Self::GetUniformWarm | Self::GetMiss => {
                const { &[of(Cpu, Unit::Nanos), of(Wall, Unit::Nanos), of(Hits, Unit::Percent)] }
            }
            Self::ReaderGet2Threads | Self::ReaderGet2Processes => {
                const {
                    &[
                        of(OfTwo, Unit::GetsPerSecond),
                        of(OfOne, Unit::GetsPerSecond),
                        of(Scaling, Unit::Times),
                        of(Cpu, Unit::Nanos),
                    ]
                }
            }
            Self::CacheMemory => const { &[of(Growth, Unit::Bytes), of(Counted, Unit::Bytes)] },
            Self::CacheBudget => const { &[of(Growth, Unit::Percent), of(Counted, Unit::Percent)] },
            Self::ReaderGetOtherNs | Self::ReaderGetSameNs => {
                const {
                    &[
                        of(Cpu, Unit::Nanos),
                        of(Wall, Unit::Nanos),
                        of(Hits, Unit::Percent),
                        of(Commits, Unit::CommitsPerSecond),
                        of(Sample(50), Unit::Millis),
                    ]
                }
            }
            Self::CommitBeside8Readers => {
                const {
                    &[
                        of(Sample(99), Unit::Millis),
                        of(Sample(50), Unit::Millis),
                        of(Alone(99), Unit::Millis),
                        of(Alone(50), Unit::Millis),
                        of(Crowded(99), Unit::Millis),
                        of(Crowded(50), Unit::Millis),
                        of(ToAlone(99), Unit::Times),
                        of(ToCrowded(99), Unit::Times),
                        of(Commits, Unit::Count),
                    ]
                }
            }
            Self::Wake => {
                const {
                    &[
                        of(Sample(50), Unit::Micros),
                        of(Sample(99), Unit::Micros),
                        of(Sample(0), Unit::Micros),
                        of(Sample(100), Unit::Micros),
                    ]
                }
            }
            Self::Takeover => const { &[of(Wall, Unit::Millis)] },
            other => other.metrics_of_history(),
        }
    }

    fn metrics_of_history(self) -> &'static [Metric] {
        use Source::{Cpu, Figure, Sample, Wall};
        match self {
            Self::RestoreFull
            | Self::Refresh1000
            | Self::Refresh1000Small
            | Self::RefreshView1000
            | Self::RefreshView1000Small => const { &[of(Cpu, Unit::Millis), of(Wall, Unit::Millis)] },
            Self::At1000 | Self::At1000x10 => const { &[of(Wall, Unit::Millis), of(Cpu, Unit::Millis)] },
            Self::DeltaBytes => {
                const {
                    &[
                        of(Figure("plain"), Unit::Times),
                        of(Figure("compressed"), Unit::Times),
                        of(Cpu, Unit::Nanos),
                    ]
                }
            }
            Self::Apply100k => {
                const {
                    &[
                        of(Figure("applied"), Unit::KeysPerSecond),
                        of(Figure("loaded"), Unit::KeysPerSecond),
                        of(Figure("loaded sorted"), Unit::KeysPerSecond),
                        of(Figure("to loaded"), Unit::Times),
                        of(Figure("to loaded sorted"), Unit::Times),
                    ]
                }
            }
            Self::AtGet | Self::AtScan1000 => {
                const {
                    &[
                        of(Figure("past"), Unit::Nanos),
                        of(Figure("present"), Unit::Nanos),
                        of(Figure("to present"), Unit::Times),
                        of(Figure("changed to present"), Unit::Times),
                    ]
                }
            }
            Self::Rollback10k | Self::Rollback10kSingle => {
                const {
                    &[
                        of(Figure("rolled back"), Unit::Millis),
                        of(Figure("written"), Unit::Millis),
                        of(Figure("to written"), Unit::Times),
                        of(Figure("wall"), Unit::Millis),
                        of(Figure("written, wall"), Unit::Millis),
                        of(Figure("to written, wall"), Unit::Times),
                    ]
                }
            }
            Self::FollowLag | Self::FollowLag10 => {
                const {
                    &[
                        of(Sample(50), Unit::Millis),
                        of(Sample(99), Unit::Millis),
                        of(Sample(100), Unit::Millis),
                        of(Figure("commit alone"), Unit::Micros),
                        of(Figure("commit beside"), Unit::Micros),
                        of(Figure("commit to alone"), Unit::Times),
                    ]
                }
            }
            other => other.metrics_of_plugins(),
        }
    }

    fn metrics_of_plugins(self) -> &'static [Metric] {
        use Source::{Cpu, Figure, Wall};
        match self {
            Self::PluginCheck => {
                const {
                    &[
                        of(Figure("not due"), Unit::Nanos),
                        of(Figure("looking"), Unit::Nanos),
                        of(Figure("in development"), Unit::Nanos),
                        of(Figure("in production"), Unit::Nanos),
                        of(Figure("to production"), Unit::Times),
                    ]
                }
            }
            Self::PluginCall => {
                const {
                    &[
                        of(Figure("wasm n=1"), Unit::Micros),
                        of(Figure("script n=1"), Unit::Micros),
                        of(Figure("wasm n=100"), Unit::Micros),
                        of(Figure("script n=100"), Unit::Micros),
                        of(Figure("wasm n=1000"), Unit::Micros),
                        of(Figure("script n=1000"), Unit::Micros),
                        of(Figure("wasm request"), Unit::Micros),
                        of(Figure("script request"), Unit::Micros),
                        of(Figure("wasm requests"), Unit::CallsPerSecond),
                        of(Figure("script requests"), Unit::CallsPerSecond),
                    ]
                }
            }
            Self::PluginFollow => {
                const {
                    &[
                        of(Figure("wasm"), Unit::Seconds),
                        of(Figure("script"), Unit::Seconds),
                        of(Figure("wasm in all"), Unit::Seconds),
                        of(Figure("script in all"), Unit::Seconds),
                        of(Figure("alone"), Unit::Micros),
                        of(Figure("beside wasm"), Unit::Micros),
                        of(Figure("beside script"), Unit::Micros),
                        of(Figure("wasm to alone"), Unit::Times),
                        of(Figure("script to alone"), Unit::Times),
                    ]
                }
            }
            Self::PluginReload => {
                const {
                    &[
                        of(Figure("script p50"), Unit::Millis),
                        of(Figure("script p99"), Unit::Millis),
                        of(Figure("script max"), Unit::Millis),
                        of(Figure("module p50"), Unit::Millis),
                        of(Figure("module p99"), Unit::Millis),
                        of(Figure("module max"), Unit::Millis),
                        of(Figure("script calls"), Unit::Count),
                        of(Figure("module calls"), Unit::Count),
                    ]
                }
            }
            Self::PluginReloadScript | Self::PluginReloadModule => {
                const {
                    &[
                        of(Figure("reload p50"), Unit::Millis),
                        of(Figure("reload p99"), Unit::Millis),
                        of(Figure("good"), Unit::Count),
                        of(Figure("broken"), Unit::Count),
                        of(Figure("calls"), Unit::Count),
                        of(Figure("dropped"), Unit::Count),
                        of(Figure("doubled"), Unit::Count),
                        of(Figure("refused"), Unit::Count),
                        of(Figure("memory"), Unit::Megabytes),
                        of(Figure("files"), Unit::Count),
                        of(Figure("maps"), Unit::Count),
                    ]
                }
            }
            _ => const { &[of(Cpu, Unit::Nanos), of(Wall, Unit::Nanos)] },
        }
    }
}

const fn of(source: Source, unit: Unit) -> Metric {
    Metric { source, unit }
}

impl ValueEnum for Case {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}
