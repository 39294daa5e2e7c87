//! What becomes of a process under whose map the file is cut off, and of one that gets the same signal for another
//! reason. Each case is a process of its own, for the wrong outcome is its end.
#![expect(unsafe_code, reason = "touches memory that is not there, and installs a handler")]

use std::env;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cohab_coord::{PAGE_BYTES, Page};
use memmap2::MmapRaw;
use rustix::process::{Signal, getpid, kill_process};

use crate::{Scratch, at, ns, store, v};

/// Tells a test that it is a child, and where the page is.
const VARIABLE: &str = "COHAB_COORD_CHILD";

/// With what a handler of our own ends the process.
const HANDLED: i32 = 42;

fn child_page() -> Option<PathBuf> {
    env::var_os(VARIABLE).map(PathBuf::from)
}

fn run(test: &str) -> Output {
    let scratch = Scratch::new();
    scratch.create().raise(at(1, 1));
    let mut command = Command::new(env::current_exe().expect("is known"));
    command.args([test, "--exact", "--test-threads=1"]).env(VARIABLE, scratch.path());
    command.output().expect("starts")
}

fn cut_off(path: &Path, length: u64) {
    let file = OpenOptions::new().write(true).open(path).expect("is there");
    file.set_len(length).expect("can be cut off");
}

/// Reads from a map beyond the end of its file.
fn touch_what_is_not_there(dir: &Path) {
    let path = dir.join("another-file");
    std::fs::write(&path, [1; 100]).expect("can be written");
    let file = OpenOptions::new().read(true).write(true).open(&path).expect("is there");
    let map = MmapRaw::map_raw(&file).expect("can be mapped");
    file.set_len(0).expect("can be cut off");
    // SAFETY: it ends the process, which is the point.
    let byte = unsafe { ptr::read_volatile(map.as_ptr()) };
    unreachable!("read {byte} where nothing is");
}

fn install(handler: libc::sighandler_t, flags: i32) {
    // SAFETY: an action of all zeros is a valid one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    (action.sa_sigaction, action.sa_flags) = (handler, flags);
    // SAFETY: the handler is a function of the signature that goes with the flags, or the default.
    assert_eq!(unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) }, 0);
}

extern "C" fn plain_handler(_signal: i32) {
    // SAFETY: may be called in a handler, and does not return.
    unsafe { libc::_exit(HANDLED) }
}

extern "C" fn informed_handler(_signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel hands over a valid one.
    let code = unsafe { (*info).si_code };
    // SAFETY: may be called in a handler, and does not return.
    unsafe { libc::_exit(if code == libc::BUS_ADRERR { HANDLED } else { 1 }) }
}

#[test]
fn child_reads_while_the_file_is_cut_off() {
    let Some(path) = child_page() else { return };
    for round in 0..40u64 {
        let writer = Page::create(&path, store()).expect("can be made anew");
        let reader = Page::open_read_only(&path, store()).expect("is there");
        let untouched = Page::open(&path, store()).expect("is there");
        let bystander_path = path.with_file_name(format!("bystander-{round}"));
        let bystander = Page::create(&bystander_path, store()).expect("can be made");
        bystander.raise(at(5, 5));
        writer.raise(at(1, 1));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for page in [&writer, &reader, &reader] {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let published = page.published();
                        assert!(published.is_none_or(|published| published.version >= v(1)), "{published:?}");
                        let changed = (1..1000).map(|id| page.changed(ns(id))).min();
                        assert!(changed >= Some(v(1)), "{changed:?}");
                        let mark = page.mark();
                        page.wait(mark, Duration::from_micros(100));
                    }
                });
            }
            scope.spawn(|| {
                for version in 2.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    writer.publish(at(version, 1), v(version - 1), [ns(7)]);
                }
            });
            std::thread::sleep(Duration::from_micros(500 + round * 50));
            // By turns all of it, and the slots alone.
            cut_off(&path, if round % 2 == 0 { 0 } else { 4096 });
            std::thread::sleep(Duration::from_millis(3));
            done.store(true, Ordering::Relaxed);
        });
        for page in [&writer, &reader] {
            // Nobody may have touched the end of it since.
            assert!(page.changed(ns(1020)) >= v(1));
            assert_eq!(page.published(), None);
            assert!(!page.is_current() && !page.raise(at(1, 1)));
            page.wait(page.mark(), Duration::from_millis(1));
        }
        drop(untouched);
        drop((writer, reader));
        assert!(bystander.is_current() && bystander.published() == Some(at(5, 5)));
        std::fs::remove_file(&bystander_path).expect("is there");
    }
}

#[test]
fn child_waits_while_the_file_is_cut_off() {
    let Some(path) = child_page() else { return };
    let page = Page::open(&path, store()).expect("is there");
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| page.wait(page.mark(), Duration::MAX));
        std::thread::sleep(Duration::from_millis(50));
        cut_off(&path, 0);
    });
    assert!(begin.elapsed() < Duration::from_secs(5));
    // It was made longer again, which gives the old map, where it was not touched, pages back: empty ones.
    cut_off(&path, PAGE_BYTES);
    assert!(page.published().is_none() && !page.is_current());
}

#[test]
fn child_touches_what_is_not_there_elsewhere() {
    let Some(path) = child_page() else { return };
    let _page = Page::open(&path, store()).expect("is there");
    touch_what_is_not_there(path.parent().expect("is in a directory"));
}

#[test]
fn child_touches_what_is_not_there_without_any_handler() {
    let Some(path) = child_page() else { return };
    install(libc::SIG_DFL, 0);
    let _page = Page::open(&path, store()).expect("is there");
    touch_what_is_not_there(path.parent().expect("is in a directory"));
}

#[test]
fn child_is_sent_the_signal() {
    let Some(path) = child_page() else { return };
    install(libc::SIG_DFL, 0);
    let _page = Page::open(&path, store()).expect("is there");
    kill_process(getpid(), Signal::BUS).expect("can be sent");
    std::thread::sleep(Duration::from_secs(10));
}

#[test]
fn child_ignores_the_signal() {
    let Some(path) = child_page() else { return };
    install(libc::SIG_IGN, 0);
    let page = Page::open(&path, store()).expect("is there");
    kill_process(getpid(), Signal::BUS).expect("can be sent");
    kill_process(getpid(), Signal::BUS).expect("can be sent");
    // What can be ignored is what was sent, and our own pages are guarded still.
    cut_off(&path, 0);
    assert_eq!(page.published(), None);
}

#[test]
fn child_has_a_handler_of_its_own() {
    let Some(path) = child_page() else { return };
    install(plain_handler as *const () as libc::sighandler_t, 0);
    let page = Page::open(&path, store()).expect("is there");
    cut_off(&path, 0);
    assert_eq!(page.published(), None, "ours comes first");
    touch_what_is_not_there(path.parent().expect("is in a directory"));
}

#[test]
fn child_has_a_handler_that_is_told_why() {
    let Some(path) = child_page() else { return };
    install(informed_handler as *const () as libc::sighandler_t, libc::SA_SIGINFO);
    let _page = Page::open(&path, store()).expect("is there");
    touch_what_is_not_there(path.parent().expect("is in a directory"));
}

#[test]
fn a_file_that_is_cut_off_is_an_empty_page() {
    for child in ["child_reads_while_the_file_is_cut_off", "child_waits_while_the_file_is_cut_off"] {
        let output = run(&format!("faults::{child}"));
        assert!(output.status.success(), "{child}: {output:?}");
    }
}

#[test]
fn every_other_sigbus_goes_where_it_would_have_gone() {
    for (child, signal, code) in [
        ("child_touches_what_is_not_there_elsewhere", Some(libc::SIGBUS), None),
        ("child_touches_what_is_not_there_without_any_handler", Some(libc::SIGBUS), None),
        ("child_is_sent_the_signal", Some(libc::SIGBUS), None),
        ("child_ignores_the_signal", None, Some(0)),
        ("child_has_a_handler_of_its_own", None, Some(HANDLED)),
        ("child_has_a_handler_that_is_told_why", None, Some(HANDLED)),
    ] {
        let output = run(&format!("faults::{child}"));
        assert_eq!((output.status.signal(), output.status.code()), (signal, code), "{child}: {output:?}");
    }
}
