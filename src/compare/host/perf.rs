//! Counts the system calls of another process, by Linux' `perf stat`.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long `perf` may take to carry out what it is told.
const PATIENCE: Duration = Duration::from_secs(5);

/// A `perf stat` that is attached and does not count yet. It is ended when this is dropped.
pub(crate) struct Perf {
    process: Child,
    control: File,
    answers: crossbeam_channel::Receiver<()>,
    dir: PathBuf,
}

impl Perf {
    /// Attaches to all threads of a process. `None` if there is no `perf`, or it may not.
    pub(crate) fn attach(pid: u32) -> Option<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("polyserve-compare-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).ok()?;
        let attached = Self::attach_in(&dir, pid);
        if attached.is_none() {
            let _ = fs::remove_dir_all(&dir);
        }
        attached
    }

    fn attach_in(dir: &Path, pid: u32) -> Option<Self> {
        let (control, answers) = (dir.join("control"), dir.join("answers"));
        let made = Command::new("mkfifo").args([&control, &answers]).status().ok()?;
        made.success().then_some(())?;
        // A pipe that is open in both directions does not wait for the other end to be opened.
        let open = |path| OpenOptions::new().read(true).write(true).open(path).ok();
        let (control_file, answers_file) = (open(&control)?, open(&answers)?);
        let process = Command::new("perf")
            .args(["stat", "-x", ",", "-D", "-1", "-e", "raw_syscalls:sys_enter"])
            .args(["-p", &pid.to_string(), "-o"])
            .arg(dir.join("counts"))
            .arg(format!("--control=fifo:{},{}", control.display(), answers.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let answers = answers_of(answers_file);
        let mut perf = Self { process, control: control_file, answers, dir: dir.to_owned() };
        perf.say("ping").then_some(perf)
    }

    /// Gives a command, and waits until it has been carried out. `false` if `perf` has ended.
    pub(crate) fn say(&mut self, command: &str) -> bool {
        if writeln!(self.control, "{command}").is_err() {
            return false;
        }
        // A `perf` that may not count ends at once, without an answer.
        let tries = PATIENCE.as_millis() / 50;
        (0..tries).any(|_| {
            self.answers.recv_timeout(Duration::from_millis(50)).is_ok()
                || !matches!(self.process.try_wait(), Ok(None))
        }) && matches!(self.process.try_wait(), Ok(None))
    }

    /// How many calls were made while it was enabled.
    pub(crate) fn count(mut self) -> Option<u64> {
        self.end();
        parse(&fs::read_to_string(self.dir.join("counts")).ok()?)
    }

    /// It writes its counts when it is interrupted.
    fn end(&mut self) {
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process};
            let _ = kill_process(Pid::from_child(&self.process), Signal::INT);
        }
        let _ = self.process.wait();
    }
}

impl Drop for Perf {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.end();
        }
        // The reader's end: a pipe that is open in both directions has none of its own.
        if let Ok(mut pipe) = OpenOptions::new().write(true).open(self.dir.join("answers")) {
            let _ = writeln!(pipe, "end");
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// One message for each answer.
fn answers_of(pipe: File) -> crossbeam_channel::Receiver<()> {
    let (send, receive) = crossbeam_channel::unbounded();
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let is_end = line.starts_with(b"end");
            line.clear();
            if is_end || send.send(()).is_err() {
                break;
            }
        }
    });
    receive
}

/// A line such as `1234,,raw_syscalls:sys_enter,...`.
fn parse(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("raw_syscalls:sys_enter"))?;
    line.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_the_first_field() {
        let text = "# started on Sun\n\n1234,,raw_syscalls:sys_enter,5,100.00,,\n";
        assert_eq!(parse(text), Some(1234));
        assert_eq!(parse("<not counted>,,raw_syscalls:sys_enter,0,0.00,,"), None);
    }
}
