//! Cuts the power of real file systems under real processes, and looks at what is left.
//!
//! An image of a file system is mounted from a loop device, in a mount namespace of the rig's own. Processes have a store
//! on it, and tell through pipes what was acknowledged to them. Then the kernel is told to shut the file system down:
//! what was not synced is lost, as with the power. The processes are killed, the file system is taken down and up
//! again, whereby it goes through its journal, and the store is compared with what was told, key by key.

mod cast;
mod crew;
mod disk;
mod errand;
mod fuse;
mod ledger;
mod plan;
mod refusals;
mod report;
mod shutdown;
mod totals;
mod work;

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, bail};

use self::cast::{Part, Script, store_path};
use self::crew::Crew;
use self::disk::{Disk, FileSystem, run as run_command};
use self::ledger::Ledger;
use self::plan::{Plan, Takeover};
use self::report::Report;
use self::totals::{Totals, print};
use crate::random::Random;

/// Says that this is the process with a mount namespace of its own.
const PRIVATE: &str = "COHAB_RIGS_PRIVATE_MOUNTS";

/// By when a process has its store open, unless it hangs.
const PROMPT: Duration = Duration::from_mins(1);

/// How many cuts one image takes. Then another file system has its turn.
const CUTS_PER_IMAGE: u64 = 40;

/// How to run it.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// How many cuts
    #[arg(long, default_value_t = 100)]
    cuts: u64,
    /// End after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// What the numbers begin with; the moments of the cuts depend on the machine as well
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The file system
    #[arg(long, value_enum, default_value_t = Choice::All)]
    fs: Choice,
    /// Fill disks and refuse system calls instead: so many times each
    #[arg(long, value_name = "TIMES", num_args = 0..=1, default_missing_value = "12")]
    full_disks: Option<usize>,
    /// Have writers sync nothing, and succeed once that is found
    #[arg(long)]
    planted: bool,
    /// A few seconds of everything
    #[arg(long)]
    smoke: bool,
    #[command(flatten)]
    script: Script,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Choice {
    Ext4,
    Xfs,
    All,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(part) = arguments.script.part {
        let went_well = cast::play(part, &arguments.script, arguments.seed);
        std::process::exit(i32::from(!went_well));
    }
    if !rustix::process::geteuid().is_root() {
        not_tested("power cuts", "mounting takes root");
        return Ok(());
    }
    if env::var_os(PRIVATE).is_none() {
        return Err(enter_private_mounts());
    }
    let file_systems = file_systems(arguments.fs);
    if file_systems.is_empty() {
        return Ok(());
    }
    if let Some(times) = arguments.full_disks {
        return refuse(arguments, times, file_systems.contains(&FileSystem::Xfs));
    }
    cut_many(arguments, &file_systems)?;
    if arguments.smoke { refuse(arguments, 1, false) } else { Ok(()) }
}

/// A directory in memory, where the images need no writing; it goes with this process's mounts.
fn memory() -> anyhow::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    run_command(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(dir.path()))?;
    Ok(dir)
}

/// Fills disks and refuses system calls.
fn refuse(arguments: &Arguments, times: usize, xfs: bool) -> anyhow::Result<()> {
    let dir = memory()?;
    let seconds = if arguments.smoke { 8 } else { arguments.seconds.unwrap_or(1200) };
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let outcome = refusals::fill_disks(
        dir.path(),
        times * 4,
        arguments.seed,
        begin + Duration::from_secs(seconds / 2),
        xfs,
    )
    .and_then(|filled| {
        let mut endings: Vec<(&str, _)> = filled.into_iter().collect();
        if install("strace", "strace") {
            endings.extend(refusals::fail_calls(dir.path(), times, arguments.seed, end)?);
        }
        Ok(endings)
    });
    match outcome {
        Ok(endings) => {
            refusals::print(&endings, begin.elapsed());
            Ok(())
        }
        Err(error) => {
            let left = keep(dir.path(), arguments.seed, 0);
            let again = format!("cargo xtask power --full-disks {times} --seed {}", arguments.seed);
            bail!("{error:#}\n  what is left: {left}\n  again: {again}")
        }
    }
}

/// Starts this program again where what it mounts is seen by nobody else, and goes with it.
fn enter_private_mounts() -> anyhow::Error {
    let again = env::current_exe().map(|program| {
        let mut command = Command::new("unshare");
        command.arg("--mount").arg(program).args(env::args_os().skip(1)).env(PRIVATE, "1");
        command.exec()
    });
    anyhow::Error::from(again.unwrap_or_else(|error| error)).context("unshare cannot be run")
}

fn file_systems(choice: Choice) -> Vec<FileSystem> {
    let all = match choice {
        Choice::Ext4 => vec![FileSystem::Ext4, FileSystem::Ext4Writeback],
        Choice::Xfs => vec![FileSystem::Xfs],
        // As many of the one as of the other.
        Choice::All => vec![FileSystem::Ext4, FileSystem::Xfs, FileSystem::Ext4Writeback, FileSystem::Xfs],
    };
    let is_there = |file_system: &FileSystem| {
        let maker = file_system.maker();
        let package = if *file_system == FileSystem::Xfs { "xfsprogs" } else { "e2fsprogs" };
        install(maker, package)
    };
    all.into_iter().filter(is_there).collect()
}

/// Installs a package for a program where that is ours to do, and says loudly where it is not.
fn install(program: &str, package: &str) -> bool {
    let is_there = || Command::new(program).arg("-V").output().is_ok();
    if !is_there() && Path::new("/etc/debian_version").exists() {
        let mut apt = Command::new("apt-get");
        let installed =
            run_command(apt.args(["install", "-y", "-q", package]).env("DEBIAN_FRONTEND", "noninteractive"));
        if let Err(error) = installed {
            eprintln!("{error:#}");
        }
    }
    let is_there = is_there();
    if !is_there {
        not_tested(program, &format!("it is not installed; on Debian it is in {package}"));
    }
    is_there
}

/// Says that something was not tried, and why.
fn not_tested(what: &str, why: &str) {
    eprintln!("\nNOT TESTED: {what}: {why}\n");
}

fn cut_many(arguments: &Arguments, file_systems: &[FileSystem]) -> anyhow::Result<()> {
    let (cuts, seconds) = if arguments.smoke { (60, Some(20)) } else { (arguments.cuts, arguments.seconds) };
    let deadline = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let is_over = |done: u64| done >= cuts || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let per_image = if arguments.smoke { 15 } else { CUTS_PER_IMAGE };
    let begin = Instant::now();
    let dir = memory()?;
    let (mut random, mut done, mut turn) = (Random::new(arguments.seed), 0, 0);
    let mut totals: BTreeMap<FileSystem, Totals> = BTreeMap::new();
    while !is_over(done) {
        let file_system = file_systems[turn % file_systems.len()];
        turn += 1;
        eprintln!("{done} cuts after {} s", begin.elapsed().as_secs());
        let totals = totals.entry(file_system).or_default();
        totals.images += 1;
        let disk = Disk::make(file_system, dir.path())?;
        fs::create_dir(disk.path().join("main"))?;
        let mut ledger = Ledger::new(disk.path().join("main"));
        for cut in 0..per_image {
            if is_over(done) || disk.is_nearly_full()? {
                break;
            }
            let mut random = random.fork();
            let mut plan = Plan::draw(&mut random);
            plan.is_checked |= cut + 1 == per_image;
            plan.skips_syncs = arguments.planted;
            let looked = cut_once(&disk, &mut ledger, &plan, &mut random, totals);
            if let Err(error) = looked {
                if arguments.planted {
                    println!("found at cut {done}, on {}: {error:#}", file_system.name());
                    return Ok(());
                }
                let again = format!(
                    "cargo xtask power --seed {} --cuts {cuts} --fs {:?}",
                    arguments.seed, arguments.fs
                );
                // It may have been given up between the cut and the start.
                let _ = disk.start_again();
                let left = keep(disk.path(), arguments.seed, done);
                bail!(
                    "cut {done}, on {}: {error:#}\n  the plan: {plan:?}\n  what is left: {left}\n  again, as far as moments repeat: {}",
                    file_system.name(),
                    again.to_lowercase()
                );
            }
            done += 1;
        }
    }
    if arguments.planted {
        bail!("nobody has synced anything, and {done} cuts have not found it");
    }
    print(&totals, begin.elapsed());
    Ok(())
}

/// Keeps what a failed look has left, and says where.
fn keep(left: &Path, seed: u64, cut: u64) -> String {
    let kept = env::temp_dir().join(format!("cohab-power-{seed}-{cut}-{}", std::process::id()));
    let copied = run_command(Command::new("cp").args(["-a", "--sparse=always"]).arg(left).arg(&kept));
    match copied {
        Ok(()) => kept.display().to_string(),
        Err(error) => format!("not to be had: {error:#}"),
    }
}

fn cut_once(
    disk: &Disk,
    ledger: &mut Ledger,
    plan: &Plan,
    random: &mut Random,
    totals: &mut Totals,
) -> anyhow::Result<()> {
    let mut new = None;
    if plan.is_new {
        let place = disk.path().join("new");
        fs::create_dir(&place)?;
        new = Some(Ledger::new(place));
    }
    let ledger = new.as_mut().unwrap_or(ledger);
    let reports = play(disk, ledger, plan, random, totals)?;
    totals.slowest_mount = totals.slowest_mount.max(disk.start_again()?);
    totals.cuts += 1;
    totals.new += u64::from(plan.is_new);
    let has_been_cut = reports.contains(&Report::Cut);
    totals.within += u64::from(has_been_cut);
    totals.add(ledger.hear(reports)?);
    if plan.is_checked || plan.is_new || ledger.pending() > 400 {
        totals.add(ledger.check(random)?);
        totals.looks += 1;
    }
    if let Some(new) = new {
        fs::remove_dir_all(new.place)?;
    }
    Ok(())
}

/// Has the processes run until the power is cut, and returns what they have reported.
fn play(
    disk: &Disk,
    ledger: &Ledger,
    plan: &Plan,
    random: &mut Random,
    totals: &mut Totals,
) -> anyhow::Result<Vec<Report>> {
    // The directory is not what is on trial.
    fs::File::open(disk.path())?.sync_all()?;
    let quiet = Script {
        part: None,
        place: ledger.place.clone(),
        mount: disk.path().to_owned(),
        cut_at: None,
        cut_after: 0,
        cut_opening: false,
        skip_syncs: plan.skips_syncs,
    };
    let mut fused = quiet.clone();
    if let Some((point, after, is_opening)) = plan.point {
        (fused.cut_at, fused.cut_after, fused.cut_opening) = (Some(point), after, is_opening);
    }
    let mut crew = Crew::new();
    let is_beginning =
        |report: &Report| matches!(report, Report::Ready | Report::Cut | Report::Failed { .. });
    crew.start(Part::Writer, if plan.is_of_replica { &quiet } else { &fused }, random.next())?;
    if !crew.hear(PROMPT, is_beginning) {
        bail!("a writer says nothing for {PROMPT:?}: {:?}", crew.heard);
    }
    let has_failed = |crew: &Crew| crew.heard.iter().any(|report| matches!(report, Report::Failed { .. }));
    let is_cut = |crew: &Crew| crew.heard.contains(&Report::Cut);
    if has_failed(&crew) && !is_cut(&crew) {
        bail!("a writer cannot begin: {:?}", crew.heard);
    }
    if plan.has_follower && !is_cut(&crew) {
        crew.start(Part::Follower, if plan.is_of_replica { &fused } else { &quiet }, random.next())?;
    }
    if plan.has_standby && !is_cut(&crew) {
        crew.start(Part::Standby, &quiet, random.next())?;
    }
    if let Some((how, before)) = plan.takeover
        && !is_cut(&crew)
        && crew.hear(PROMPT, is_beginning)
    {
        match how {
            Takeover::Promote => crew.promote_last(),
            Takeover::Kill => crew.kill_first()?,
        }
        totals.takeovers += 1;
        crew.hear(before, |report| *report == Report::Cut);
    }
    // Where an operation is cut short that never comes, it is a moment after all.
    let wait = if plan.point.is_some() { plan.moment + Duration::from_millis(400) } else { plan.moment };
    if !is_cut(&crew) && !crew.hear(wait, |report| *report == Report::Cut) {
        let alive = !has_failed(&crew);
        let strayed = disk.let_stray(plan.stray, &store_path(&ledger.place).join("store.redb"), random);
        if let Err(error) = strayed.and_then(|()| disk.cut(plan.journal))
            // Unless a process was faster.
            && !crew.hear(Duration::from_secs(1), |report| *report == Report::Cut)
        {
            return Err(error);
        }
        if !alive {
            bail!("a process failed while there was power: {:?}", crew.kill()?);
        }
    }
    thread::sleep(plan.lingers);
    crew.kill().context("the processes cannot be ended")
}
