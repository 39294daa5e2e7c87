//! The rigs' own test: defects that real stores have had are planted one after the other, and a rig has to catch each.
//!
//! The sites are in `cohab_core::planted`, behind a feature that nothing else turns on. Here stands which rig is to catch what,
//! how it is run so that it gets there fast, and what it says then.

mod defects;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use self::defects::{ALL, CONTROL_LIMIT, Defect, LIMIT};
use crate::rigs;
use crate::workspace::{self, Profile, Workspace};

/// How often to look whether a rig has ended.
const LOOK: Duration = Duration::from_millis(10);

/// Which defects to plant.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Plants those that are caught within seconds, as the gate does.
    #[arg(long, conflicts_with = "only")]
    smoke: bool,
    /// Plants this defect only; may be given more than once.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Leaves out the runs without a defect, which show that the rigs find nothing where nothing is.
    #[arg(long)]
    no_control: bool,
}

/// Plants one defect after the other, and fails unless each is caught.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let wanted = wanted(arguments)?;
    plant(&wanted, arguments, &Rigs::build(workspace, Profile::Release)?)
}

fn plant(wanted: &[Defect], arguments: &Arguments, rigs: &Rigs) -> Result<()> {
    let begin = Instant::now();
    println!("{:24} {:7} {:>8}  what the rig said", "defect", "rig", "after");
    let mut missed = Vec::new();
    for defect in wanted {
        let ran = rigs.run(Some(defect.name), defect.rig, LIMIT)?;
        let (is_caught, said) = judge(defect, &ran);
        tell(defect.name, defect.rig, &ran, said);
        if !is_caught {
            println!("  NOT CAUGHT by `cohab-rigs {}`, which should have said: ", defect.rig.join(" "));
            println!("  {}", defect.says.join(", or: "));
            missed.push(defect.name);
        }
    }
    println!("{} of {} defects caught", wanted.len() - missed.len(), wanted.len());
    if !arguments.no_control {
        // What several defects are caught by is run once.
        let is_wanted = |rig: &&[&str]| defects::is_fast(rig) || !arguments.smoke;
        let controls: BTreeSet<_> = wanted.iter().map(|defect| defect.rig).filter(is_wanted).collect();
        for rig in controls {
            let ran = rigs.run(None, rig, CONTROL_LIMIT)?;
            let is_well = ran.status.is_some_and(|status| status.success());
            tell("none", rig, &ran, if is_well { "" } else { ran.last_line() });
            if !is_well {
                println!("  FAILED without a defect: `cohab-rigs {}`", rig.join(" "));
                missed.push("none");
            }
        }
    }
    println!("took {} s", begin.elapsed().as_secs());
    ensure!(missed.is_empty(), "these rigs are not what they should be: {}", missed.join(", "));
    Ok(())
}

/// Plants those that are caught within seconds; that the rigs find nothing else, their own runs have shown by then.
pub(crate) fn smoke(workspace: &Workspace) -> Result<()> {
    // What the rigs' own step has built.
    let rigs = Rigs::build(workspace, Profile::Dev)?;
    let arguments = Arguments { smoke: true, only: Vec::new(), no_control: true };
    plant(&wanted(&arguments)?, &arguments, &rigs)
}

fn wanted(arguments: &Arguments) -> Result<Vec<Defect>> {
    let find = |name: &String| {
        let known = || ALL.iter().map(|defect| defect.name).collect::<Vec<_>>().join(", ");
        let found = ALL.iter().find(|defect| defect.name == name);
        found.copied().with_context(|| format!("there is no defect {name}; there are {}", known()))
    };
    if arguments.only.is_empty() {
        let is_wanted = |defect: &&Defect| defects::is_fast(defect.rig) || !arguments.smoke;
        return Ok(ALL.iter().filter(is_wanted).copied().collect());
    }
    arguments.only.iter().map(find).collect()
}

fn tell(defect: &str, rig: &[&str], ran: &Ran, said: &str) {
    println!("{defect:24} {:7} {:6.1} s  {said}", rig[0], ran.took.as_secs_f64());
}

/// Returns whether a rig has caught a defect, and the line in which it says so, or its last one.
fn judge<'r>(defect: &Defect, ran: &'r Ran) -> (bool, &'r str) {
    let Some(status) = ran.status else { return (false, "it did not come to an end") };
    let says = |line: &&str| defect.says.iter().any(|said| line.contains(said));
    match ran.said.lines().find(says) {
        Some(line) => (status.code() == Some(1), shorten(line)),
        None => (false, ran.last_line()),
    }
}

fn shorten(line: &str) -> &str {
    let line = line.trim();
    line.char_indices().nth(150).map_or(line, |(end, _)| &line[..end])
}

/// What came of a run.
struct Ran {
    /// `None` if it was ended because it did not.
    status: Option<ExitStatus>,
    said: String,
    took: Duration,
}

impl Ran {
    fn last_line(&self) -> &str {
        shorten(self.said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing at all"))
    }
}

/// The program with all rigs, in which defects can be planted.
struct Rigs {
    program: PathBuf,
    /// Where the rigs work and leave what they have found, which goes with this.
    place: TempDir,
}

impl Rigs {
    /// Builds it, beside the one without.
    fn build(workspace: &Workspace, profile: Profile) -> Result<Self> {
        let manifest = workspace.path(rigs::MANIFEST);
        let mut cargo = workspace.cargo("build");
        cargo.args(["--quiet", "--features", "planted", "--manifest-path"]).arg(&manifest);
        workspace::run(profile.apply(&mut cargo))?;
        let target = workspace.metadata(&manifest)?.target_directory;
        let (built, own) = (target.join(profile.directory()).join("cohab-rigs"), target.join("planted"));
        fs::create_dir_all(&own)?;
        // Whoever runs a rig meanwhile builds the one without in its place.
        let program = own.join("cohab-rigs");
        let _ = fs::remove_file(&program);
        fs::copy(&built, &program).with_context(|| format!("copying {}", built.display()))?;
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
        let place = tempfile::Builder::new().prefix("cohab-planted-").tempdir_in(place)?;
        Ok(Self { program, place })
    }

    /// Runs a rig with a defect or without, for no longer than it may take.
    fn run(&self, defect: Option<&str>, arguments: &[&str], limit: Duration) -> Result<Ran> {
        let (said, own) = (tempfile::NamedTempFile::new()?, tempfile::tempdir_in(&self.place)?);
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--dir").arg(own.path());
        command.env("COHAB_PLANTED", defect.unwrap_or_default()).stdin(Stdio::null());
        // A group of its own, so that what it has started ends with it.
        let both = said.as_file();
        command.stdout(both.try_clone()?).stderr(both.try_clone()?).process_group(0);
        let begin = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot run {}", self.program.display()))?;
        let status = wait(&mut child, limit)?;
        let took = begin.elapsed();
        let said = String::from_utf8_lossy(&fs::read(said.path())?).into_owned();
        Ok(Ran { status, said, took })
    }
}

/// Waits for a process to end, and ends it with all that it has started if it does not.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let begin = Instant::now();
    while begin.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(LOOK);
    }
    let mut kill = Command::new("kill");
    workspace::output(kill.args(["-s", "KILL", "--"]).arg(format!("-{}", child.id())))?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_defect_that_can_be_planted_has_a_rig() {
        let sites = include_str!("../../crates/cohab-core/src/planted.rs");
        let (_, sites) = sites.split_once("defects! {\n").expect("they are listed");
        let (sites, _) = sites.split_once("\n}\n").expect("the list ends");
        let is_name = |line: &&str| !line.is_empty() && !line.starts_with('/');
        let mut planted: Vec<_> =
            sites.lines().map(str::trim).filter(is_name).map(|line| line.trim_end_matches(',')).collect();
        let mut caught: Vec<_> = ALL.iter().map(|defect| defect.name).collect();
        planted.sort_unstable();
        caught.sort_unstable();
        assert_eq!(planted, caught);
    }
}
