//! The registry's tests, with real processes: two handles in one process prove nothing about processes.
#![cfg(unix)]

mod fork;
mod home;
mod hostile;
mod life;
mod ports;
mod races;
mod records;
mod watch;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cohab_core::InstanceId;
use cohab_registry::{Instance, Registry};
use cohab_testkit::Child;
use rustix::process::{Pid, Signal};

/// A directory of its own, which goes when this is dropped.
struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("there is room for a directory") }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    fn registry(&self) -> Registry {
        Registry::in_dir(self.path())
    }

    /// Tells the children that they can end.
    fn end_children(&self) {
        fs::write(self.file("end"), "").expect("can be written");
    }
}

/// Waits in a child until the parent says so, for a minute at the most.
fn until_the_end(dir: &Path) {
    assert!(comes_true(|| dir.join("end").exists()), "the parent has gone");
}

fn comes_true(condition: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_mins(1) {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// Waits until a port that was closed is free. Another test may be starting a process, which has a copy of every open
/// socket until it executes its program.
fn until_free(port: u16) {
    let refuses = |address: IpAddr| TcpStream::connect((address, port)).is_err();
    let is_free = || refuses(Ipv4Addr::LOCALHOST.into()) && refuses(Ipv6Addr::LOCALHOST.into());
    assert!(comes_true(is_free), "{port} still listens");
}

fn hears<T: std::str::FromStr>(child: &mut Child) -> T {
    let report = child.next_report().expect("can be heard").expect("has not ended");
    report.parse().ok().unwrap_or_else(|| panic!("reported {report}"))
}

fn signal(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("is a process id");
    rustix::process::kill_process(pid, signal).expect("the process is there");
}

fn ids(instances: &[Instance]) -> Vec<InstanceId> {
    instances.iter().map(|instance| instance.id).collect()
}

/// Returns how many entries a directory has; none if it is not there.
fn entries(dir: PathBuf) -> usize {
    fs::read_dir(dir).map_or(0, Iterator::count)
}
