//! A server in a process of its own, and what the system knows of that process.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(20);

/// The server's process. Dropping it ends it.
pub struct Child {
    process: Mutex<process::Child>,
    /// Becomes readable when the process has ended.
    pidfd: OwnedFd,
    pid: u32,
    pub addr: SocketAddr,
    said: Said,
}

/// The first lines of a stream, and whether it has ended.
type Said = Arc<(Mutex<(Vec<String>, bool)>, Condvar)>;

impl Child {
    /// Starts a command that says `listening on ADDR`, and waits until it does.
    ///
    /// # Errors
    /// It cannot be started, or ends or falls silent before it listens.
    pub fn start(command: &[String]) -> Result<Self, String> {
        let mut process = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let pid = process.id();
        let pidfd = pidfd_open(Pid::from_child(&process), PidfdFlags::empty())
            .expect("the child has not been waited for");
        let out = first_line(process.stdout.take().expect("it is piped"));
        let said = first_lines(process.stderr.take().expect("it is piped"));
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut child = Self { process: Mutex::new(process), pidfd, pid, addr: unknown, said };
        let line = out.recv_timeout(START).unwrap_or_default();
        let addr = line.strip_prefix("listening on ").and_then(|addr| addr.parse().ok());
        child.addr = addr.ok_or_else(|| {
            format!("{command:?} said {line:?} and {:?}, and does not listen", child.said())
        })?;
        Ok(child)
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it told first, on standard error: in full if it has ended.
    pub fn said(&self) -> Vec<String> {
        let (state, changed) = &*self.said;
        let mut state = state.lock().expect("the reader does not panic");
        if self.exited(Duration::ZERO).is_some() {
            let until_ended = |state: &mut (Vec<String>, bool)| !state.1;
            let waited = changed.wait_timeout_while(state, Duration::from_secs(1), until_ended);
            state = waited.expect("the reader does not panic").0;
        }
        state.0.clone()
    }

    /// Waits until it has ended, for so long.
    pub fn exited(&self, patience: Duration) -> Option<ExitStatus> {
        let timeout = Timespec::try_from(patience).expect("some seconds");
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&timeout)).expect("one descriptor can be waited for");
        if ready == 0 {
            return None;
        }
        let mut process = self.process.lock().expect("no panic while it is locked");
        Some(process.wait().expect("a child can be waited for"))
    }

    /// Processor time of the whole process, those of its threads included that have ended: proc(5).
    pub fn cpu(&self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // After the name, which is in brackets: state is field 3; utime 14 and stime 15.
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Duration::from_millis(ticks * 10)) // USER_HZ is 100 on every Linux that Rust knows
    }

    /// Processor time of the threads that are there, to the nanosecond.
    pub fn cpu_of_threads(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten();
        let nanos = tasks.flatten().filter_map(|task| {
            let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
            stat.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// Anonymous memory in use: heap and stacks, not the program's file. In bytes.
    pub fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    }

    /// How many descriptors and threads it has.
    pub fn holds(&self) -> (usize, usize) {
        let count = |folder: &str| {
            let entries = fs::read_dir(format!("/proc/{}/{folder}", self.pid));
            entries.map_or(0, Iterator::count)
        };
        (count("fd"), count("task"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Ok(process) = self.process.get_mut() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The first line, when it comes. What follows is read, so that nobody waits to write it.
fn first_line(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(source).lines().map_while(Result::ok);
        if let Some(line) = lines.next() {
            let _ = sender.send(line);
        }
        lines.for_each(drop);
    });
    receiver
}

/// The first lines so far. What follows them is read and forgotten.
fn first_lines(source: impl Read + Send + 'static) -> Said {
    let said = Said::default();
    let writer = Arc::clone(&said);
    thread::spawn(move || {
        let state = || writer.0.lock().expect("no panic while it is locked");
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            let mut state = state();
            if state.0.len() < 10 {
                state.0.push(line);
            }
        }
        state().1 = true;
        writer.1.notify_all();
    });
    said
}
