//! Disks that are full, and system calls that fail, for real: what faults are simulated elsewhere is confirmed here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, bail, ensure};

use super::disk::{Disk, FileSystem, run as run_command};
use super::errand;
use super::ledger::Ledger;
use super::report::Report;
use crate::random::Random;

/// The system calls, and what each is refused with.
const CALLS: [(&str, &[&str]); 12] = [
    ("pwrite64", &["EIO", "ENOSPC", "EINTR"]),
    ("write", &["EIO", "ENOSPC", "EINTR"]),
    ("fdatasync", &["EIO", "ENOSPC", "EINTR"]),
    ("fsync", &["EIO", "ENOSPC", "EINTR"]),
    ("ftruncate", &["EIO", "ENOSPC", "EINTR"]),
    ("fallocate", &["EIO", "ENOSPC", "EINTR"]),
    ("rename,renameat2,link,linkat", &["EIO", "ENOSPC"]),
    ("mkdir", &["EIO", "ENOSPC"]),
    ("flock", &["ENOLCK", "EINTR", "EIO"]),
    ("fcntl", &["ENOLCK", "EINTR", "EIO"]),
    ("mmap", &["ENOMEM"]),
    ("openat", &["EMFILE", "EIO", "ENOSPC", "ENOMEM", "EINTR"]),
];

/// By when an errand has ended, unless it hangs.
const PROMPT: Duration = Duration::from_secs(90);

/// How errands ended that were refused something.
#[derive(Default)]
pub(crate) struct Endings {
    pub(crate) runs: u64,
    /// It did what it had to all the same.
    pub(crate) done: u64,
    /// It said what was refused, and of what kind the error is.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Where it was then.
    pub(crate) stages: BTreeMap<String, u64>,
    /// The program could not even be loaded.
    pub(crate) not_begun: u64,
    /// It was ended for want of memory, as every Rust program is.
    pub(crate) out_of_memory: u64,
    /// It could not give a lock back, and waits for it for ever.
    pub(crate) locked_up: u64,
    /// It went on when there was room again.
    pub(crate) recovered: u64,
    pub(crate) acknowledged: u64,
}

/// Runs errands under `strace`, which has the K-th call of a kind fail, for K up to as many as there are.
pub(crate) fn fail_calls(
    dir: &Path,
    per_error: usize,
    seed: u64,
    until: Instant,
) -> anyhow::Result<BTreeMap<&'static str, Endings>> {
    let mut random = Random::new(seed);
    let mut all: BTreeMap<&str, Endings> = BTreeMap::new();
    let trace = dir.join("trace");
    let mut times = BTreeMap::new();
    for (calls, _) in CALLS {
        let (_, counted) = strace(dir, &trace, calls, None, random.next())?;
        times.insert(calls, counted.lines().count().max(1));
    }
    // Round by round, so that a run that is ended early has tried some of each.
    for n in 0..per_error {
        for (calls, errors) in CALLS {
            let times = times[calls];
            if n >= times {
                continue;
            }
            for error in errors {
                if Instant::now() >= until {
                    return Ok(all);
                }
                // Each thread counts for itself, so most of what is counted comes from the first.
                let when = if per_error >= times { n + 1 } else { 1 + random.index(times) };
                let injection = format!("{calls}:error={error}:when={when}");
                let seed = random.next();
                let endings = all.entry(calls).or_default();
                let ran = strace(dir, &trace, calls, Some(&injection), seed)
                    .and_then(|(ended, _)| endings.take(ended, calls));
                let ran = ran.or_else(|error| {
                    // redb takes no notice when the header's lock cannot be given back. Who reads and writes in one
                    // thread, as an errand does, waits for itself then. The kernel refuses it where it has no memory left.
                    let is_known = error.is::<Hangs>()
                        && last_refused(&trace).is_some_and(|line| line.contains("F_UNLCK"));
                    if !is_known {
                        return Err(error);
                    }
                    endings.runs += 1;
                    endings.locked_up += 1;
                    Ok(())
                });
                ran.with_context(|| format!("with inject={injection} and seed {seed}"))?;
            }
        }
    }
    Ok(all)
}

/// The last call that was refused.
fn last_refused(trace: &Path) -> Option<String> {
    let trace = fs::read_to_string(trace).ok()?;
    trace.lines().rfind(|line| line.contains("INJECTED")).map(str::to_owned)
}

fn strace(
    dir: &Path,
    trace: &Path,
    calls: &str,
    injection: Option<&str>,
    seed: u64,
) -> anyhow::Result<(Ended, String)> {
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf", "-qq", "-o"]).arg(trace).args(["-e", &format!("trace={calls}")]);
    if let Some(injection) = injection {
        command.args(["-e", &format!("inject={injection}")]);
    }
    make_anew(&dir.join("place"))?;
    let ended = Errand::start(Some(command), dir, &dir.join("place"), seed)?.end()?;
    Ok((ended, fs::read_to_string(trace)?))
}

/// Runs errands on disks that have less and less room, and makes room once they have said so.
pub(crate) fn fill_disks(
    dir: &Path,
    fills: usize,
    seed: u64,
    until: Instant,
    xfs: bool,
) -> anyhow::Result<BTreeMap<&'static str, Endings>> {
    let mut random = Random::new(seed);
    let mut all = BTreeMap::new();
    for kind in [None, Some(FileSystem::Ext4), Some(FileSystem::Xfs)] {
        if kind == Some(FileSystem::Xfs) && !xfs {
            continue;
        }
        let (disk, small);
        let mount = if let Some(kind) = kind {
            let bytes = if kind == FileSystem::Xfs { 320 << 20 } else { 48 << 20 };
            disk = Disk::make_sized(kind, dir, bytes)?;
            disk.path()
        } else {
            small = Small::make(dir)?;
            &small.0
        };
        let endings: &mut Endings = all.entry(kind.map_or("tmpfs", FileSystem::name)).or_default();
        for n in 0..fills {
            if Instant::now() >= until {
                break;
            }
            // From nothing at all to more than an errand needs.
            let room = if n % 3 == 0 { random.below(256 << 10) } else { random.below(12 << 20) };
            let seed = random.next();
            fill_once(dir, mount, room, seed, endings).with_context(|| {
                format!(
                    "with {room} bytes of room on {}, seed {seed}",
                    kind.map_or("tmpfs", FileSystem::name)
                )
            })?;
        }
    }
    Ok(all)
}

fn fill_once(dir: &Path, mount: &Path, room: u64, seed: u64, endings: &mut Endings) -> anyhow::Result<()> {
    let place = mount.join("place");
    make_anew(&place)?;
    let filler = mount.join("filler");
    {
        let file = File::create(&filler)?;
        let space = rustix::fs::statvfs(mount)?;
        let free = space.f_bfree * space.f_frsize;
        // What the file system needs for itself may not be had.
        for len in [free.saturating_sub(room), (free * 31 / 32).saturating_sub(room)] {
            if len > 0 && rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len).is_ok() {
                break;
            }
        }
    }
    let mut run = Errand::start(None, dir, &place, seed)?;
    run.make_room_after = Some(filler.clone());
    let ended = run.end()?;
    let _ = fs::remove_file(&filler);
    endings.take(ended, "a full disk")
}

/// Makes a directory empty.
fn make_anew(place: &Path) -> anyhow::Result<()> {
    if place.exists() {
        fs::remove_dir_all(place)?;
    }
    Ok(fs::create_dir_all(place)?)
}

/// A tmpfs of 32 MiB.
struct Small(PathBuf);

impl Small {
    fn make(dir: &Path) -> anyhow::Result<Self> {
        let mount = dir.join("small");
        fs::create_dir_all(&mount)?;
        run_command(Command::new("mount").args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"]).arg(&mount))?;
        Ok(Self(mount))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = run_command(Command::new("umount").arg(&self.0));
    }
}

/// An errand that is on its way.
struct Errand {
    process: Child,
    place: PathBuf,
    /// The file that takes up the room.
    make_room_after: Option<PathBuf>,
}

/// An errand has not ended in time.
#[derive(Debug)]
struct Hangs;

impl std::fmt::Display for Hangs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it hangs")
    }
}

impl std::error::Error for Hangs {}

/// What an errand came to.
struct Ended {
    status: ExitStatus,
    reports: Vec<Report>,
    stderr: String,
    place: PathBuf,
}

impl Errand {
    fn start(through: Option<Command>, dir: &Path, place: &Path, seed: u64) -> anyhow::Result<Self> {
        errand::write_plugin(dir)?;
        let program = env::current_exe()?;
        let mut command = match through {
            Some(mut command) => {
                command.arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(["power", "--part", "errand", "--seed", &seed.to_string()]);
        command.args([Path::new("--place"), place, Path::new("--mount"), dir]);
        // Of a group of its own, so that what strace has started can be ended with it.
        command.process_group(0);
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok(Self { process, place: place.to_owned(), make_room_after: None })
    }

    fn end(mut self) -> anyhow::Result<Ended> {
        let mut input = self.process.stdin.take();
        if self.make_room_after.is_none() {
            input = None;
        }
        let output = self.process.stdout.take().context("it has no output")?;
        let filler = self.make_room_after.take();
        let listens = thread::spawn(move || {
            let mut reports = Vec::new();
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(report) = serde_json::from_str::<Report>(&line) else { continue };
                if matches!(report, Report::Failed { .. })
                    && let Some(filler) = &filler
                {
                    let _ = fs::remove_file(filler);
                    let _ = input.take().map(|mut input| input.write_all(b"room\n"));
                }
                if report == Report::Stage("end".into()) {
                    input = None;
                }
                reports.push(report);
            }
            reports
        });
        let deadline = Instant::now() + PROMPT;
        let status = loop {
            if let Some(status) = self.process.try_wait()? {
                break status;
            }
            if Instant::now() >= deadline {
                let group = rustix::process::Pid::from_child(&self.process);
                rustix::process::kill_process_group(group, rustix::process::Signal::KILL)?;
                self.process.wait()?;
                return Err(anyhow::Error::new(Hangs));
            }
            thread::sleep(Duration::from_millis(2));
        };
        let mut stderr = String::new();
        if let Some(mut pipe) = self.process.stderr.take() {
            let _ = pipe.read_to_string(&mut stderr);
        }
        let reports = listens.join().ok().context("a listener panicked")?;
        Ok(Ended { status, reports, stderr, place: self.place })
    }
}

/// Prints how they ended, one line for each kind of refusal.
pub(crate) fn print(all: &[(&str, Endings)], time: Duration) {
    let head = [
        "refused",
        "runs",
        "done",
        "said so",
        "recovered",
        "not begun",
        "no memory",
        "locked up",
        "acknowledged",
    ];
    let [first, others @ ..] = head;
    print!("{first:30}");
    for name in others {
        print!("{name:>14}");
    }
    println!();
    let (mut kinds, mut stages): (BTreeMap<&str, u64>, BTreeMap<&str, u64>) = Default::default();
    let mut runs = 0;
    for (what, endings) in all {
        let said: u64 = endings.refused.values().sum();
        let counts = [
            endings.runs,
            endings.done,
            said,
            endings.recovered,
            endings.not_begun,
            endings.out_of_memory,
            endings.locked_up,
            endings.acknowledged,
        ];
        print!("{what:30}");
        for count in counts {
            print!("{count:>14}");
        }
        println!();
        endings.refused.iter().for_each(|(kind, count)| *kinds.entry(kind).or_default() += count);
        endings.stages.iter().for_each(|(stage, count)| *stages.entry(stage).or_default() += count);
        runs += endings.runs;
    }
    println!("errors by kind: {kinds:?}");
    println!("errors by what was being done: {stages:?}");
    println!("{runs} runs in {:.0} s; violations: 0", time.as_secs_f64());
}

impl Endings {
    /// Takes an errand's end into account, and looks at what it has left.
    fn take(&mut self, ended: Ended, what: &str) -> anyhow::Result<()> {
        let Ended { status, mut reports, stderr, place } = ended;
        self.runs += 1;
        let stage = reports.iter().rev().find_map(|report| match report {
            Report::Stage(stage) => Some(stage.clone()),
            _ => None,
        });
        let failed = reports.iter().find_map(|report| match report {
            Report::Failed { kind, .. } => Some(kind.clone()),
            _ => None,
        });
        if let Some(signal) = status.signal() {
            // The standard library panics where a thread has no stack for its signals, and cannot even do that.
            let lacks_stack = |said: &str| said.contains("failed to allocate an alternative stack");
            let panicked = |report: &Report| matches!(report, Report::Panicked(why) if lacks_stack(why));
            // The allocator has a way of its own to say that there is no memory.
            let is_for_memory = signal == libc::SIGABRT
                && (stderr.contains("memory allocation")
                    || lacks_stack(&stderr)
                    || reports.iter().any(panicked));
            // The dynamic linker's way.
            let is_not_loaded = signal == libc::SIGSEGV && reports.is_empty();
            ensure!(
                what == "mmap" && (is_for_memory || is_not_loaded),
                "it was ended by signal {signal}: {}",
                stderr.trim()
            );
            *if is_for_memory { &mut self.out_of_memory } else { &mut self.not_begun } += 1;
            reports.retain(|report| !panicked(report));
        } else if status.success() {
            match failed {
                None => self.done += 1,
                Some(_) => ensure!(reports.contains(&Report::Recovered), "it failed, and ended well"),
            }
        } else if stage.is_none() {
            ensure!(!stderr.trim().is_empty() || what == "write", "it ended with {status} and said nothing");
            self.not_begun += 1;
        } else {
            ensure!(
                failed.is_some() || what == "write",
                "it ended with {status} and said nothing: {}",
                stderr.trim()
            );
        }
        if let (Some(kind), Some(stage)) = (failed, stage) {
            *self.refused.entry(kind).or_default() += 1;
            *self.stages.entry(stage).or_default() += 1;
        }
        if reports.contains(&Report::Recovered) {
            self.recovered += 1;
        } else if what == "a full disk"
            && reports.iter().any(|report| matches!(report, Report::Failed { .. }))
        {
            bail!("it did not go on when there was room: {:?}", reports.last());
        }
        let mut ledger = Ledger::new(place);
        ledger.has_plugin = true;
        // Reports are written as well.
        ledger.is_deaf = what == "write";
        self.acknowledged += ledger.hear(reports)?.acknowledged;
        ledger.check(&mut Random::new(self.runs))?;
        Ok(())
    }
}
