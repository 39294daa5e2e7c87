//! What a target's inputs are bounded to, and what one of them may cost.

/// Bounds of one target. Time and memory are libFuzzer's to watch; what reaches those has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bounds {
    /// The longest input that is made, in bytes. Longer ones are slower and reach nothing that shorter ones do not.
    pub(super) input_bytes: u64,
    /// How long one input may take on a busy machine.
    pub(super) seconds: u64,
    /// The most memory that is allocated in one piece.
    pub(super) piece_mib: u64,
    /// The most memory that the process has.
    pub(super) process_mib: u64,
    /// How many inputs are committed at the most: all of them run in the gate.
    pub(super) inputs: usize,
    /// Whether what is not freed after an input is lost. A plugin's thread is not waited for when a store is closed, and while it
    /// ends it looks like that.
    pub(super) finds_leaks: bool,
}

impl Bounds {
    /// Returns the bounds of a target.
    pub(super) fn of(target: &str) -> Self {
        let input_bytes = match target {
            "schedule" => 96,
            "catalog" | "counters" | "keys" => 256,
            "bundle" | "deb822" | "hostile_store" | "jsonl" | "log_record" | "operations" | "page" => 512,
            "store_ops" => 4096,
            _ => 1024,
        };
        match target {
            // They have whole stores, and threads that wait for each other.
            "store_ops" => Self { seconds: 60, process_mib: 4096, ..Self::of_store(input_bytes) },
            "hostile_files" | "hostile_store" => Self::of_store(input_bytes),
            "hostile_plugins" => Self { finds_leaks: false, ..Self::of_store(input_bytes) },
            _ => Self {
                input_bytes,
                seconds: 10,
                piece_mib: 64,
                process_mib: 1024,
                inputs: 400,
                finds_leaks: true,
            },
        }
    }

    const fn of_store(input_bytes: u64) -> Self {
        Self { input_bytes, seconds: 30, piece_mib: 256, process_mib: 2048, inputs: 80, finds_leaks: true }
    }
}
