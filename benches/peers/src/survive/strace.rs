//! Injecting faults into a server that runs. `when=` counts the calls of each thread on its own,
//! from the first after strace was attached: strace(1).

use super::{Failure, PATIENCE, Subject, timespec};
use crate::child::Child;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Which of them is called depends on who calls.
pub(super) const WAITS: &str = "?epoll_wait,?epoll_pwait,?epoll_pwait2,?poll,?ppoll";

pub(super) fn works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
        traced.is_ok_and(|output| output.status.success())
    })
}

pub(super) struct Attached {
    process: process::Child,
    log: PathBuf,
}

impl Attached {
    /// Lets calls of the server fail, in its threads, from now on.
    pub(super) fn to(
        server: &Child,
        calls: &str,
        fault: &str,
        subject: &Subject,
    ) -> Result<Self, Failure> {
        Self::with(&targets(server, subject), calls, fault)
    }

    /// As `to`, and whoever waits for events is interrupted.
    pub(super) fn to_all(server: &Child, calls: &str, fault: &str) -> Result<Self, Failure> {
        Self::with(&all(server), calls, fault)
    }

    /// As `to`, but only calls on the server's end of this connection.
    pub(super) fn to_connection(
        server: &Child,
        client: SocketAddr,
        calls: &str,
        fault: &str,
        subject: &Subject,
    ) -> Result<Self, Failure> {
        let socket = socket(server.addr, client).ok_or_else(|| {
            Failure::Skipped("the server's end of the connection was not found".to_owned())
        })?;
        let mut targets = targets(server, subject);
        targets.extend(["-P".to_owned(), socket]);
        Self::with(&targets, calls, fault)
    }

    fn with(targets: &[String], calls: &str, fault: &str) -> Result<Self, Failure> {
        if !works() {
            return Err(Failure::Skipped("strace is missing, or may not trace".to_owned()));
        }
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("peers-{}-{number}.strace", process::id());
        let log = std::env::temp_dir().join(name);
        let process = Command::new("strace")
            .arg("-o")
            .arg(&log)
            .args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}")])
            .args(targets)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::Skipped(format!("strace cannot be started: {error}")))?;
        let mut attached = Self { process, log };
        attached.wait_until_attached()?;
        Ok(attached)
    }

    fn wait_until_attached(&mut self) -> Result<(), Failure> {
        let mut said = Vec::new();
        let err = self.process.stderr.as_mut().expect("it is piped");
        while !String::from_utf8_lossy(&said).contains("attached") {
            let mut fds = [PollFd::new(&*err, PollFlags::IN)];
            let ready = poll(&mut fds, Some(&timespec(PATIENCE))).unwrap_or(0);
            let mut buffer = [0; 1024];
            let n = if ready == 0 { 0 } else { err.read(&mut buffer).unwrap_or(0) };
            if n == 0 {
                let said = String::from_utf8_lossy(&said).into_owned();
                return Err(Failure::Skipped(format!("strace did not attach: {said}")));
            }
            said.extend_from_slice(&buffer[..n]);
        }
        Ok(())
    }

    /// Ends the faults, and returns how many there were.
    pub(super) fn detach(mut self) -> u64 {
        self.end();
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).matches("(INJECTED)").count() as u64
    }

    fn end(&mut self) {
        // It has ended by itself if the server has. Until it is waited for, the number is its own.
        if let Ok(None) = self.process.try_wait()
            && let Ok(pidfd) = pidfd_open(Pid::from_child(&self.process), PidfdFlags::empty())
        {
            let _ = pidfd_send_signal(&pidfd, Signal::INT);
        }
        let _ = self.process.wait();
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.end();
        let _ = fs::remove_file(&self.log);
    }
}

/// All threads, and those that they start.
fn all(server: &Child) -> Vec<String> {
    ["-f", "-p", &server.pid().to_string()].map(str::to_owned).to_vec()
}

/// All threads, or those that do not wait for events.
fn targets(server: &Child, subject: &Subject) -> Vec<String> {
    if !subject.spare_waits {
        return all(server);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (waiting, others) = threads(server);
        // One of them waits, unless it was looked at between two waits.
        if !waiting.is_empty() || Instant::now() > deadline {
            return others.into_iter().flat_map(|tid| ["-p".to_owned(), tid]).collect();
        }
        std::thread::yield_now();
    }
}

/// The threads that wait for events, and the others: proc_pid_syscall(5).
fn threads(server: &Child) -> (Vec<String>, Vec<String>) {
    // epoll_wait, epoll_pwait and epoll_pwait2, on x86-64 and elsewhere.
    const EPOLL: [&str; 4] = ["232", "281", "22", "441"];
    let folder = format!("/proc/{}/task", server.pid());
    let tasks = fs::read_dir(&folder).into_iter().flatten().flatten();
    tasks.map(|task| task.file_name().to_string_lossy().into_owned()).partition(|tid| {
        let call = fs::read_to_string(format!("{folder}/{tid}/syscall")).unwrap_or_default();
        EPOLL.contains(&call.split_whitespace().next().unwrap_or_default())
    })
}

/// The server's end of a connection, as the links in /proc/PID/fd name it: proc_net_tcp(5).
fn socket(server: SocketAddr, client: SocketAddr) -> Option<String> {
    const ESTABLISHED: &str = "01";
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let port = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = port(fields.get(1)?)? == server.port()
            && port(fields.get(2)?)? == client.port()
            && *fields.get(3)? == ESTABLISHED;
        is_it.then(|| format!("socket:[{}]", fields[9]))
    })
}
