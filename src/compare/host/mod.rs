//! The servers that are measured: each in a process of its own, or in this one.

pub(super) mod clock;
pub(super) mod perf;
pub(super) mod profile;

use crate::backend::Backend;
use crate::net::Addr;
use crate::server::ServerHandle;
use clock::{Usage, process_cpu};
use crossbeam_channel::{Receiver, unbounded};
use profile::{Profile, Stopwatch};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Names the server that a process is to become: `case/contender/plain` or `/timed`, by numbers.
const ROLE: &str = "POLYSERVE_COMPARE_SERVER";

/// What begins each line of a server's process that is meant for us. A program may print others.
const MARK: &str = "polyserve-compare ";

/// How long a server's process may take to start, and to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts the server of a case: with a backend, on any port, with a stopwatch around its handlers
/// if there is one.
pub(crate) type Spawn<'a> =
    Box<dyn Fn(Box<dyn Backend>, Option<Arc<Stopwatch>>) -> Result<ServerHandle, String> + 'a>;

/// Which server a process is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) case: usize,
    pub(crate) contender: usize,
    pub(crate) is_timed: bool,
}

impl Role {
    /// What this process is to be, if it was started by a comparison.
    pub(crate) fn of_process() -> Option<Self> {
        Self::parse(&std::env::var(ROLE).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let mut number = || parts.next()?.parse().ok();
        let (case, contender) = (number()?, number()?);
        Some(Self { case, contender, is_timed: parts.next()? == "timed" })
    }

    fn text(self) -> String {
        let watch = if self.is_timed { "timed" } else { "plain" };
        format!("{}/{}/{watch}", self.case, self.contender)
    }
}

/// A server that runs.
pub(crate) enum Host {
    Process(Process),
    Thread { handle: ServerHandle, watch: Option<Arc<Stopwatch>> },
}

/// This very program, as a server. Dropping it ends it.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    addr: Addr,
}

impl Host {
    /// Starts a server within this process.
    pub(crate) fn thread(
        spawn: &Spawn<'_>,
        backend: Box<dyn Backend>,
        is_timed: bool,
    ) -> Result<Self, String> {
        let watch = is_timed.then(|| Arc::new(Stopwatch::new()));
        let handle = spawn(backend, watch.clone())?;
        Ok(Self::Thread { handle, watch })
    }

    /// Starts this program again, with these arguments, as a server.
    pub(crate) fn process(role: Role, args: &[OsString]) -> Result<Self, String> {
        Process::start(role, args).map(Self::Process)
    }

    pub(crate) fn addr(&self) -> Addr {
        match self {
            Self::Process(process) => process.addr.clone(),
            Self::Thread { handle, .. } => handle.local_addrs()[0].clone(),
        }
    }

    /// The process to look into, if it is one of its own.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self {
            Self::Process(process) => Some(process.child.id()),
            Self::Thread { .. } => None,
        }
    }

    /// CPU time so far, asked for in the way that costs the server least.
    pub(crate) fn cpu(&mut self) -> Result<Option<Duration>, String> {
        Ok(self.ask("cpu")?.cpu)
    }

    /// What has been spent.
    pub(crate) fn usage(&mut self) -> Result<Usage, String> {
        self.ask("usage")
    }

    /// Within this process CPU time is that of everything in it, the load included, and neither
    /// threads nor memory can be told apart.
    fn ask(&mut self, what: &str) -> Result<Usage, String> {
        match self {
            Self::Process(process) => {
                let line = process.ask(what)?;
                parse_usage(&line).ok_or_else(|| format!("said {line:?} of its {what}"))
            }
            Self::Thread { .. } => Ok(Usage { cpu: process_cpu(), ..Usage::default() }),
        }
    }

    /// What its handlers do with their time, if it was started to find that out.
    pub(crate) fn profile(&mut self) -> Result<Option<Profile>, String> {
        match self {
            Self::Process(process) => Ok(parse_profile(&process.ask("profile")?)),
            Self::Thread { watch, .. } => Ok(watch.as_ref().and_then(|watch| watch.profile())),
        }
    }
}

impl Process {
    fn start(role: Role, args: &[OsString]) -> Result<Self, String> {
        let failed = |error: io::Error| format!("could not be started: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .args(args)
            .env(ROLE, role.text())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let stdin = child.stdin.take();
        let lines = child.stdout.take().map(marked_lines).ok_or("has no output")?;
        let nowhere = Addr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        // From here on it is ended with this value.
        let mut this = Self { child, stdin, lines, addr: nowhere };
        let line = this.answer("where it listens")?;
        let addr = line.strip_prefix("listening ").ok_or_else(|| format!("failed: {line}"))?;
        let addr: std::net::SocketAddr = addr.parse().map_err(|_| format!("listens on {addr}"))?;
        this.addr = addr.into();
        Ok(this)
    }

    fn ask(&mut self, what: &str) -> Result<String, String> {
        let stdin = self.stdin.as_mut().ok_or("has no input")?;
        writeln!(stdin, "{what}").map_err(|error| format!("has ended: {error}"))?;
        self.answer(what)
    }

    fn answer(&self, what: &str) -> Result<String, String> {
        let problem = |_| match self.lines.is_empty() {
            true => format!("did not say {what} within {PATIENCE:?}, or has ended"),
            false => format!("did not say {what}"),
        };
        self.lines.recv_timeout(PATIENCE).map_err(problem)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The end of its input would end it as well; this does not wait for its handlers.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines that are meant for us, without their mark.
fn marked_lines(from: impl io::Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = unbounded();
    thread::spawn(move || {
        let lines = BufReader::new(from).lines().map_while(Result::ok);
        for line in lines {
            // A program may have printed something without an end of line before.
            if let Some((_, line)) = line.split_once(MARK)
                && send.send(line.to_owned()).is_err()
            {
                break;
            }
        }
    });
    receive
}

/// The server's part: serves, answers questions, and never returns. It ends with its input, so also
/// when the comparison is gone.
pub(crate) fn serve(spawn: &Spawn<'_>, backend: Box<dyn Backend>, is_timed: bool) -> ! {
    let watch = is_timed.then(|| Arc::new(Stopwatch::new()));
    let handle = match spawn(backend, watch.clone()) {
        Ok(handle) => handle,
        Err(error) => {
            say(&error);
            std::process::exit(1);
        }
    };
    say(&format!("listening {}", handle.local_addrs()[0]));
    for line in io::stdin().lines().map_while(Result::ok) {
        match line.as_str() {
            "cpu" => say(&usage_text(Usage { cpu: process_cpu(), ..Usage::default() })),
            "usage" => say(&usage_text(Usage::of_process())),
            "profile" => say(&profile_text(watch.as_ref().and_then(|watch| watch.profile()))),
            _ => say("does not understand"),
        }
    }
    // Without a drain: there is nobody left to wait for it.
    std::process::exit(0)
}

fn say(text: &str) {
    let mut out = io::stdout().lock();
    // Where nobody listens any more, the end of the input comes next.
    let _ = writeln!(out, "\n{MARK}{}", text.replace('\n', " ")).and_then(|()| out.flush());
}

fn usage_text(usage: Usage) -> String {
    let number = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
    let cpu = usage.cpu.map(|cpu| cpu.as_nanos() as u64);
    format!("{} {} {}", number(cpu), number(usage.threads), number(usage.peak_memory))
}

fn parse_usage(text: &str) -> Option<Usage> {
    let mut parts = text.split(' ').map(|part| match part {
        "-" => Some(None),
        number => number.parse::<u64>().ok().map(Some),
    });
    let mut next = || parts.next()?;
    let (cpu, threads, peak_memory) = (next()?, next()?, next()?);
    Some(Usage { cpu: cpu.map(Duration::from_nanos), threads, peak_memory })
}

fn profile_text(profile: Option<Profile>) -> String {
    let text = |n: Profile| format!("{} {}", n.cpu.as_nanos(), n.waits.as_nanos());
    profile.map_or("-".to_owned(), text)
}

fn parse_profile(text: &str) -> Option<Profile> {
    let (cpu, waits) = text.split_once(' ')?;
    let nanos = |text: &str| text.parse().ok().map(Duration::from_nanos);
    Some(Profile { cpu: nanos(cpu)?, waits: nanos(waits)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_is_told_and_says_is_read_back() {
        let role = Role { case: 2, contender: 11, is_timed: true };
        assert_eq!(Role::parse(&role.text()), Some(role));
        assert_eq!(Role::parse("1"), None);
        let usage =
            Usage { cpu: Some(Duration::from_nanos(5)), threads: None, peak_memory: Some(7) };
        assert_eq!(parse_usage(&usage_text(usage)), Some(usage));
        assert_eq!(parse_usage("x y z"), None);
        let profile = Profile { cpu: Duration::from_nanos(3), waits: Duration::from_nanos(4) };
        assert_eq!(parse_profile(&profile_text(Some(profile))), Some(profile));
        assert_eq!(parse_profile(&profile_text(None)), None);
    }

    #[test]
    fn lines_of_the_program_itself_are_passed_over() {
        let lines = marked_lines(&b"hello\nrunning 1 test ... polyserve-compare one\nx\n"[..]);
        assert_eq!(lines.iter().collect::<Vec<_>>(), ["one"]);
    }
}
