//! Programs that run beside a test: this crate's examples, and clients that it did not write.

// Every test binary compiles this file for itself, and uses a part of it.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// For what should take no time at all, on a machine that has other work as well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An example of this crate, beside the test that runs: `cargo test` builds all of them.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: cargo build --examples", path.display());
    path
}

/// Whether this program is installed. Where it is not, says so and skips, unless
/// `POLYSERVE_REQUIRE` is set: then the test fails.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !found {
        skip(&format!("no {program} is installed"));
    }
    found
}

/// Says why a case cannot run here.
pub(crate) fn skip(reason: &str) {
    assert!(
        std::env::var_os("POLYSERVE_REQUIRE").is_none_or(|value| value != "1"),
        "required, but {reason}"
    );
    println!("SKIP: {reason}");
}

/// A server that runs as a process of its own. It is killed when this is dropped.
pub(crate) struct ServerProcess {
    child: Option<Child>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    /// Where it listens, in the order of the `--listen` options.
    pub(crate) addrs: Vec<String>,
}

/// How a server came to its end.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// What it printed after its addresses.
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
    /// From the signal on.
    pub(crate) took: Duration,
}

impl ServerProcess {
    /// Starts the example `echo`, and waits until it has printed each address.
    pub(crate) fn echo(backend: &str, listen: &[&str], more: &[&str]) -> Self {
        Self::example("echo", backend, listen, more)
    }

    /// As [`echo`](Self::echo), for any example that serves.
    pub(crate) fn example(name: &str, backend: &str, listen: &[&str], more: &[&str]) -> Self {
        let mut command = Command::new(example(name));
        command.args(["--backend", backend]).args(more);
        for addr in listen {
            command.args(["--listen", addr]);
        }
        Self::start(command.stdin(Stdio::null()), listen.len())
    }

    /// Starts a program that prints where it listens, and waits until it has done so this often.
    pub(crate) fn start(command: &mut Command, n_addrs: usize) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        let mut this = Self { child: Some(child), stdout, stderr, addrs: Vec::new() };
        while this.addrs.len() < n_addrs {
            match this.stdout.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let addr = line.strip_prefix("listening on ").expect(&line);
                    this.addrs.push(addr.to_owned());
                }
                Err(error) => {
                    let stderr: Vec<_> = this.stderr.try_iter().collect();
                    panic!("{command:?} did not say where it listens ({error}): {stderr:?}");
                }
            }
        }
        this
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The port of the n-th address.
    pub(crate) fn port(&self, n: usize) -> u16 {
        self.addrs[n].rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// Sends SIGTERM, and waits for the end.
    #[cfg(unix)]
    pub(crate) fn terminate(mut self) -> Ended {
        let began = std::time::Instant::now();
        let child = self.child.take().unwrap();
        signal(child.id(), rustix::process::Signal::TERM);
        let output = finish(child, "the server after SIGTERM");
        let took = began.elapsed();
        // The readers end with the process, whose last lines are on their way.
        Ended {
            code: output.status.code(),
            stdout: self.stdout.iter().collect(),
            stderr: self.stderr.iter().collect(),
            took,
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            if thread::panicking() {
                self.stderr.iter().for_each(|line| eprintln!("server: {line}"));
            }
        }
    }
}

/// Sends a signal to a process that this test has started.
#[cfg(unix)]
pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn lines(source: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        let lines = BufReader::new(source).lines().map_while(Result::ok);
        lines.for_each(|line| drop(send.send(line)));
    });
    receive
}

/// Waits for the end of a process, and kills it when it takes too long.
pub(crate) fn finish(child: Child, what: &str) -> Output {
    let pid = child.id();
    let (send, ended) = channel();
    let waiter = thread::spawn(move || {
        let _ = send.send(child.wait_with_output().unwrap());
    });
    let output = ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        kill(pid);
        panic!("{what} was not over in {PATIENCE:?}")
    });
    waiter.join().unwrap();
    output
}

#[cfg(unix)]
fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

#[cfg(not(unix))]
fn kill(pid: u32) {
    let _ = Command::new("taskkill").args(["/F", "/PID", &pid.to_string()]).status();
}

/// Runs a program to its end with this input, and returns what it printed and how it ended.
pub(crate) fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[S], input: &[u8]) -> Output {
    let program = program.as_ref();
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {program:?}: {error}"));
    let feeder = feed(child.stdin.take().unwrap(), input.to_vec());
    let output = finish(child, &format!("{program:?}"));
    feeder.join().unwrap();
    output
}

/// Writes on a thread of its own: the program may answer before it has read everything.
fn feed(mut stdin: std::process::ChildStdin, input: Vec<u8>) -> JoinHandle<()> {
    thread::spawn(move || {
        // A program that has enough closes its end.
        let _ = stdin.write_all(&input);
    })
}

/// As [`run`], for what must succeed: returns its standard output.
pub(crate) fn run_well<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    args: &[S],
    input: &[u8],
) -> Vec<u8> {
    let args: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
    let output = run(program.as_ref(), &args, input);
    let (program, stderr) = (program.as_ref(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program:?} {args:?}: {}: {stderr}", output.status);
    output.stdout
}

/// A directory that is gone again at the end of the test.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("polyserve-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names of what is in it.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
