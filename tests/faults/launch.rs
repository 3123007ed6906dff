//! Starting the server, watching it, and ending it.

use crate::lines::{Lines, PATIENCE};
use crate::strace::{self, Log};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How to start a server.
pub(crate) struct Launch {
    backend: String,
    listen: String,
    args: Vec<String>,
    wrapper: Vec<String>,
    log: Option<Log>,
}

impl Launch {
    pub(crate) fn new(backend: &str) -> Self {
        Self {
            backend: backend.to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            args: Vec::new(),
            wrapper: Vec::new(),
            log: None,
        }
    }

    pub(crate) fn listen(mut self, addr: &str) -> Self {
        self.listen = addr.to_owned();
        self
    }

    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    pub(crate) fn option(self, name: &str, value: impl ToString) -> Self {
        self.arg(name).arg(&value.to_string())
    }

    /// Starts it by way of this command.
    pub(crate) fn wrapped(mut self, command: &[&str]) -> Self {
        self.wrapper = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts it under strace, with faults from its very beginning.
    pub(crate) fn traced(mut self, trace: &str, inject: Option<&str>) -> Self {
        let log = Log::new();
        self.wrapper = strace::command(&log, trace, inject);
        self.wrapper.extend(["-f".to_owned(), "--seccomp-bpf".to_owned()]);
        self.log = Some(log);
        self
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn start(self) -> Server {
        self.try_start().unwrap_or_else(|failed| {
            panic!("the server ended before it listened: {}", failed.said);
        })
    }

    /// Starts it, and waits until it has failed to.
    pub(crate) fn start_in_vain(self) -> Failed {
        match self.try_start() {
            Ok(server) => panic!("the server has started, on {}", server.addr),
            Err(failed) => failed,
        }
    }

    /// Starts it, and waits until it listens, or has ended.
    pub(crate) fn try_start(self) -> Result<Server, Failed> {
        let began = Instant::now();
        let mut server = self.begin();
        let heard = server.out.find("the server to listen", |lines| {
            lines.iter().find_map(|line| line.strip_prefix("listening on ").map(str::to_owned))
        });
        if let Some(addr) = heard {
            server.addr = addr.parse().unwrap_or(server.addr);
            return Ok(server);
        }
        let status = server.exit();
        let took = began.elapsed();
        let log = server.log.take().map_or_else(String::new, |log| log.read());
        Err(Failed { status, said: server.err.all().join("\n"), took, log })
    }

    fn begin(self) -> Server {
        let this = std::env::current_exe().expect("this program has a path");
        let mut words = self.wrapper;
        words.push(this.to_str().expect("a path of UTF-8").to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("serve").args(["--backend", &self.backend]);
        command.args(["--listen", &self.listen]).args(self.args);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {words:?}: {error}"));
        let out = Lines::of(child.stdout.take().expect("it is piped"));
        let err = Lines::of(child.stderr.take().expect("it is piped"));
        let outer = child.id();
        let (ended, end) = channel();
        std::thread::spawn(move || ended.send(child.wait()));
        let addr = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Server { pid: 0, outer, addr, out, err, end, status: None, log: self.log };
        let pid = server.out.find("the number of the process", |lines| {
            lines.iter().find_map(|line| number(line, "pid"))
        });
        server.pid = pid.map_or(0, |pid| pid as u32);
        server
    }
}

/// A server that did not start.
pub(crate) struct Failed {
    pub(crate) status: ExitStatus,
    pub(crate) said: String,
    pub(crate) took: Duration,
    pub(crate) log: String,
}

/// A server that runs.
pub(crate) struct Server {
    /// The server itself; 0 if it ended before it said so.
    pub(crate) pid: u32,
    /// What was started: the server, or strace.
    outer: u32,
    pub(crate) addr: SocketAddr,
    pub(crate) out: Lines,
    pub(crate) err: Lines,
    end: Receiver<std::io::Result<ExitStatus>>,
    status: Option<ExitStatus>,
    log: Option<Log>,
}

impl Server {
    /// All events of a kind so far.
    pub(crate) fn events(&self, name: &str) -> Vec<String> {
        self.out.so_far().into_iter().filter(|line| is(line, name)).collect()
    }

    /// Waits until there are this many events of a kind.
    pub(crate) fn wait_for(&self, name: &str, count: usize) {
        let what = format!("{count} events {name}");
        let seen = self.out.find(&what, |lines| {
            (lines.iter().filter(|line| is(line, name)).count() >= count).then_some(())
        });
        assert!(
            seen.is_some(),
            "the server ended before there were {what}: {:?}",
            self.err.so_far()
        );
    }

    /// Waits until the connection of this client is open: its number, and its thread's.
    pub(crate) fn opened(&self, client: SocketAddr) -> (u64, u32) {
        let client = client.to_string();
        let opened = self.out.find("the connection to be opened", |lines| {
            let mut opened = lines.iter().filter(|line| is(line, "opened"));
            // The port may have been another's before.
            let line = opened.rfind(|line| text(line, "peer").as_ref() == Some(&client))?;
            Some((number(line, "id")?, number(line, "tid")? as u32))
        });
        opened.unwrap_or_else(|| panic!("the server ended: {:?}", self.err.so_far()))
    }

    /// Waits until a connection has ended, and tells why.
    pub(crate) fn reason(&self, id: u64) -> String {
        let what = format!("the end of connection {id}");
        let reason = self.out.find(&what, |lines| {
            let line = lines.iter().find(|l| is(l, "closed") && number(l, "id") == Some(id))?;
            text(line, "reason")
        });
        reason.unwrap_or_else(|| panic!("the server ended without {what}"))
    }

    /// The processor time that it has used.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        // After the name, which is in brackets: state is field 3; utime 14 and stime 15 (proc(5)).
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10) // USER_HZ is 100 on every Linux that Rust knows
    }

    /// How much memory it has in use now, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.status("VmRSS:") << 10
    }

    /// Waits until the system has stopped all threads after SIGSTOP.
    pub(crate) fn wait_until_stopped(&self) {
        let deadline = Instant::now() + PATIENCE;
        let tasks = format!("/proc/{}/task", self.pid);
        let is_stopped = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
            stat.rsplit(')').next().unwrap().trim_start().starts_with('T')
        };
        while !std::fs::read_dir(&tasks).unwrap().all(is_stopped) {
            assert!(Instant::now() < deadline, "SIGSTOP has not stopped it");
            std::thread::yield_now();
        }
    }

    /// Its descriptors and threads.
    pub(crate) fn held(&self) -> (usize, usize) {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count();
        (descriptors, self.status("Threads:"))
    }

    /// Waits until it has no more than before, for two seconds at most.
    pub(crate) fn holds_again(&self, before: &(usize, usize)) {
        let deadline = Instant::now() + Duration::from_secs(2);
        let holds_more = || {
            let now = self.held();
            now.0 > before.0 || now.1 > before.1
        };
        while holds_more() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(!holds_more(), "descriptors, threads: {:?} now, {before:?} before", self.held());
    }

    fn status(&self, field: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect(field);
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Measures for one second, and asserts that the server used less than 5 % of a core. Nothing
    /// happens that could be waited for: time itself is the measure. It is the process's own time
    /// on a processor, so that others who keep the machine busy do not count.
    pub(crate) fn assert_no_spin(&self) {
        let (_never, nothing) = channel::<()>();
        let (began, before) = (Instant::now(), self.cpu());
        let _ = nothing.recv_timeout(Duration::from_secs(1));
        let used = self.cpu() - before;
        let took = began.elapsed();
        crate::results::figure(
            "cpu",
            100.0 * used.as_secs_f64() / took.as_secs_f64(),
            "% of a core",
        );
        assert!(used < took / 20, "used {used:?} of {took:?}");
    }

    /// Waits until the process ends by itself.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        let status = self.end.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            panic!("the server did not end; it said {:?} {:?}", self.out.last(), self.err.last())
        });
        *self.status.insert(status.expect("a child can be waited for"))
    }

    /// Ends it by SIGTERM, as its operator would, and checks how it went: exit code 0, soon, every
    /// connection closed once, no panic. Returns the log of a server that was traced.
    pub(crate) fn finish(mut self) -> String {
        assert!(self.status.is_none(), "the server has ended: {:?}", self.err.so_far());
        let began = Instant::now();
        self.signal(Signal::TERM);
        let status = self.exit();
        let took = began.elapsed();
        assert!(status.success(), "{status}: {:?}", self.err.all());
        assert!(took < Duration::from_secs(3), "the end took {took:?}");
        let said = self.err.all().join("\n");
        assert!(!said.contains("panicked"), "{said}");
        self.check_ends();
        self.log.take().map_or_else(String::new, |log| log.read())
    }

    /// Every connection that was opened was closed, once.
    pub(crate) fn check_ends(&mut self) {
        let lines = self.out.all();
        let mut ends: HashMap<u64, usize> = HashMap::new();
        for id in lines.iter().filter(|l| is(l, "closed")).map(|l| number(l, "id").unwrap()) {
            *ends.entry(id).or_default() += 1;
        }
        for id in lines.iter().filter(|l| is(l, "opened")).map(|l| number(l, "id").unwrap()) {
            assert!(ends.contains_key(&id), "connection {id} has not ended: {lines:#?}");
        }
        assert!(ends.values().all(|&n| n == 1), "a connection has ended twice: {lines:#?}");
        assert_eq!(lines.iter().filter(|l| is(l, "drained")).count(), 1, "{lines:#?}");
        let counters = lines.iter().find(|l| is(l, "counters")).expect("the counters");
        let [accepted, refused, open, closed] = ["accepted", "refused", "open", "closed"]
            .map(|name| number(counters, name).expect("a counter"));
        assert_eq!(accepted, open + closed + refused, "{counters}");
        assert_eq!((open, closed), (0, ends.len() as u64), "{counters}");
        assert_eq!(refused, lines.iter().filter(|l| is(l, "refused")).count() as u64);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if self.status.is_none() && self.pid != 0 {
            kill(self.pid, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.status.is_none() && self.end.try_recv().is_err() {
            self.signal(Signal::KILL);
            if self.outer != self.pid {
                // strace ends with its child; one that never had a child must be ended.
                if self.end.recv_timeout(Duration::from_secs(2)).is_err() {
                    kill(self.outer, Signal::KILL);
                }
            }
        }
    }
}

/// Signals a process that we started, or a thread of it.
pub(crate) fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

pub(crate) fn is(line: &str, event: &str) -> bool {
    line.starts_with(&format!("{{\"event\":\"{event}\""))
}

/// The number under this key.
pub(crate) fn number(line: &str, key: &str) -> Option<u64> {
    let (_, rest) = line.split_once(&format!("\"{key}\":"))?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The text under this key.
pub(crate) fn text(line: &str, key: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("\"{key}\":\""))?;
    rest.split('"').next().map(str::to_owned)
}
