//! Injecting faults by strace, at the start of a process or while it runs.
//!
//! `when=` counts the calls of each thread on its own (strace(1)). That of a server which is
//! traced while it runs begins with the first call after it was attached.

use crate::launch::kill;
use crate::lines::{Lines, PATIENCE};
use rustix::process::Signal;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};

/// Which of them is called depends on the version of rustix and on the architecture.
pub(crate) const WAITS: &str = "?epoll_wait,?epoll_pwait,?epoll_pwait2";
/// As for [`WAITS`].
pub(crate) const POLLS: &str = "?poll,?ppoll";

/// Whether strace is there, and may trace.
pub(crate) fn works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
        traced.is_ok_and(|output| output.status.success())
    })
}

/// A file that strace writes to; removed at the end.
pub(crate) struct Log(PathBuf);

impl Log {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        std::fs::create_dir_all(&dir).expect("the directory for temporary files can be made");
        Self(dir.join(format!("faults-{pid}-{number}.strace")))
    }

    pub(crate) fn read(&self) -> String {
        let bytes = std::fs::read(&self.0).expect("strace has written its log");
        let log = String::from_utf8_lossy(&bytes).into_owned();
        if log.contains("(INJECTED)") {
            crate::results::injected(injected(&log));
        }
        log
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// How many calls a fault was injected into.
pub(crate) fn injected(log: &str) -> usize {
    log.matches("(INJECTED)").count()
}

/// The command, but for what it is to trace.
pub(crate) fn command(log: &Log, trace: &str, inject: Option<&str>) -> Vec<String> {
    let mut words = vec!["strace".to_owned(), "-o".to_owned()];
    words.push(log.0.to_str().expect("a path of UTF-8").to_owned());
    words.extend(["-e".to_owned(), format!("trace={trace}")]);
    if let Some(inject) = inject {
        words.extend(["-e".to_owned(), format!("inject={inject}")]);
    }
    words
}

/// A strace that traces a server which was there before.
pub(crate) struct Attached {
    pid: u32,
    end: Receiver<()>,
    log: Log,
    said: Lines,
}

impl Attached {
    /// Traces all threads of a process, and those that it starts.
    pub(crate) fn to_process(pid: u32, trace: &str, inject: Option<&str>) -> Self {
        Self::to(&["-f", "-p", &pid.to_string()], trace, inject)
    }

    /// Traces one thread alone.
    pub(crate) fn to_thread(tid: u32, trace: &str, inject: Option<&str>) -> Self {
        Self::to(&["-p", &tid.to_string()], trace, inject)
    }

    fn to(target: &[&str], trace: &str, inject: Option<&str>) -> Self {
        let log = Log::new();
        let words = command(&log, trace, inject);
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .args(target)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace was there before");
        let pid = child.id();
        let said = Lines::of(child.stderr.take().expect("it is piped"));
        let (ended, end) = channel();
        std::thread::spawn(move || {
            let _ = child.wait();
            let _ = ended.send(());
        });
        let attached = Self { pid, end, log, said };
        let seen = attached.said.find("strace to attach", |lines| {
            lines.iter().any(|line| line.contains("attached")).then_some(())
        });
        assert!(seen.is_some(), "strace did not attach: {:?}", attached.said.so_far());
        attached
    }

    /// Lets the server go on without faults, and returns what was logged.
    ///
    /// A call that is on its way then may fail with ENOSYS, if a fault was due: strace has put a
    /// call that does not exist in its place. A call that a thread waits in is begun anew.
    pub(crate) fn detach(self) -> String {
        kill(self.pid, Signal::INT);
        self.ended()
    }

    /// As [`detach`](Self::detach), and asserts that something was injected.
    pub(crate) fn detach_injected(self) -> String {
        let log = self.detach();
        assert!(injected(&log) > 0, "nothing was injected: {log}");
        log
    }

    /// Waits until the server has ended, and returns what was logged.
    pub(crate) fn ended(self) -> String {
        self.end.recv_timeout(PATIENCE).expect("strace ends with what it traces, or by a signal");
        self.log.read()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // It has ended, unless a test has failed half-way. A second signal does no harm: nobody
        // else has the number before its end was received.
        if self.end.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            kill(self.pid, Signal::INT);
        }
    }
}
