//! A server in a process of its own, and what the system knows of that process.

use crate::common::servers::Contender;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{self, Command, Stdio};
use std::time::Duration;

/// The server's process. Dropping it ends it.
pub(super) struct Child {
    process: process::Child,
    pub(super) addr: SocketAddr,
}

impl Child {
    /// Starts this very program as a server, and waits until it listens.
    pub(super) fn start(contender: Contender) -> Self {
        let me = std::env::current_exe().expect("a program knows where it is");
        let mut command = if has_two_cores() { pinned("0") } else { Command::new(&me) };
        if has_two_cores() {
            command.arg(&me);
        }
        let mut process = command
            .args(["--serve", &contender.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started again");
        let mut line = String::new();
        let out = process.stdout.take().expect("its output is piped");
        BufReader::new(out).read_line(&mut line).expect("the server says where it listens");
        Self { process, addr: line.trim().parse().expect("an address") }
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Anonymous memory that is in use: heap and stacks, not the program's file. In bytes.
    pub(super) fn anonymous_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("the server is alive");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux 4.5");
        let kib = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
        kib.expect("a number of kilobytes") * 1024
    }

    /// CPU time of all its threads, user and system.
    pub(super) fn cpu_time(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it is alive");
        let nanos = tasks.flatten().filter_map(|task| {
            let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            stat.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The end of its input is the end of the server; it is not waited for in vain.
        drop(self.process.stdin.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Keeps the load off the server's core.
pub(super) fn pin_load() {
    if has_two_cores() {
        let me = process::id().to_string();
        let _ = Command::new("taskset").args(["-cp", "1", &me]).stdout(Stdio::null()).status();
    } else {
        println!("one core, or no `taskset`: server and load share it");
    }
}

fn pinned(core: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]);
    command
}

/// Whether there are two cores, and a way to choose one.
fn has_two_cores() -> bool {
    static TWO: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *TWO.get_or_init(|| {
        std::thread::available_parallelism().is_ok_and(|n| n.get() >= 2)
            && pinned("1").arg("true").status().is_ok_and(|status| status.success())
    })
}

/// Lets this process open as many sockets as the system allows it to.
pub(super) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may be raised to the hard one");
}

/// How many connections the limit leaves room for, beside those that warm a server up, and what a
/// process has open anyway.
pub(super) fn connections_allowed() -> usize {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(150)
}
