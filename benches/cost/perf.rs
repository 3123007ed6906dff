//! Counts system calls of another process, by `perf stat`.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The calls that are told apart.
const CALLS: [&str; 9] = [
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "recvfrom",
    "read",
    "sendto",
    "write",
    "epoll_ctl",
    "poll",
];

/// A `perf stat` that is attached and does not count yet.
pub(super) struct Perf {
    process: Child,
    control: File,
    answers: BufReader<File>,
    dir: PathBuf,
}

/// How many calls were made.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) all: u64,
    pub(super) wait: u64,
    pub(super) recv: u64,
    pub(super) send: u64,
    pub(super) epoll_ctl: u64,
}

impl Counts {
    pub(super) fn other(&self) -> u64 {
        self.all.saturating_sub(self.wait + self.recv + self.send + self.epoll_ctl)
    }
}

impl Perf {
    /// Attaches to all threads of a process. `None` if `perf` is not there or may not.
    pub(super) fn attach(pid: u32) -> Option<Self> {
        let dir = std::env::temp_dir().join(format!("polyserve-cost-{}-{pid}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        let attached = Self::attach_in(&dir, pid);
        if attached.is_none() {
            let _ = fs::remove_dir_all(&dir);
        }
        attached
    }

    fn attach_in(dir: &std::path::Path, pid: u32) -> Option<Self> {
        let (control, answers) = (dir.join("control"), dir.join("answers"));
        let made = Command::new("mkfifo").args([&control, &answers]).status().ok()?;
        made.success().then_some(())?;
        // A pipe that is open in both directions does not wait for the other end to be opened.
        let open = |path| OpenOptions::new().read(true).write(true).open(path).ok();
        let (control_file, answers_file) = (open(&control)?, open(&answers)?);
        let mut command = Command::new("perf");
        command.args(["stat", "-x", ",", "-D", "-1", "-e", "raw_syscalls:sys_enter"]);
        for call in CALLS {
            command.args(["-e", &format!("syscalls:sys_enter_{call}")]);
        }
        let process = command
            .args(["-p", &pid.to_string(), "-o"])
            .arg(dir.join("counts"))
            .arg(format!("--control=fifo:{},{}", control.display(), answers.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let answers = BufReader::new(answers_file);
        let mut perf = Self { process, control: control_file, answers, dir: dir.to_owned() };
        perf.say("ping").then_some(perf)
    }

    /// Gives a command, and waits until it has been carried out. `false` if `perf` has ended.
    fn say(&mut self, command: &str) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        if writeln!(self.control, "{command}").is_err() {
            return false;
        }
        let tenth = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        loop {
            let mut fds = [PollFd::new(self.answers.get_ref(), PollFlags::IN)];
            if poll(&mut fds, Some(&tenth)).is_ok_and(|ready| ready > 0) {
                let mut answer = Vec::new();
                return self.answers.read_until(b'\n', &mut answer).is_ok();
            }
            if !matches!(self.process.try_wait(), Ok(None)) {
                return false;
            }
        }
    }

    /// Counts what happens while `measured` runs.
    pub(super) fn count(mut self, measured: impl FnOnce()) -> Counts {
        assert!(self.say("enable"), "perf has ended");
        measured();
        assert!(self.say("disable"), "perf has ended");
        self.end();
        let text = fs::read_to_string(self.dir.join("counts")).expect("perf writes its counts");
        parse(&text)
    }

    fn end(&mut self) {
        let pid = Pid::from_child(&self.process);
        // It writes its counts when it is interrupted.
        let _ = kill_process(pid, Signal::INT);
        let _ = self.process.wait();
    }
}

impl Drop for Perf {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.end();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Lines such as `1234,,syscalls:sys_enter_sendto,...`.
fn parse(text: &str) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines() {
        let mut fields = line.split(',');
        // "<not counted>" is none at all.
        let Some(n) = fields.next().map(|n| n.parse::<u64>().unwrap_or(0)) else { continue };
        let Some((_, call)) = fields.nth(1).and_then(|event| event.split_once("sys_enter")) else {
            continue;
        };
        match call.trim_start_matches('_') {
            "" => counts.all += n,
            "recvfrom" | "read" => counts.recv += n,
            "sendto" | "write" => counts.send += n,
            "epoll_ctl" => counts.epoll_ctl += n,
            _ => counts.wait += n,
        }
    }
    counts
}
