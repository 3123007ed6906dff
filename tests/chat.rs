//! The example `chat` as its users meet it: a process, and people who type, listen, fall silent or
//! do not read.
//!
//! `cargo test` builds the examples; `cargo test --test chat` alone takes them as they are.

#![cfg(unix)]

#[path = "support/process.rs"]
mod process;

use process::{ServerProcess, finish, has};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Each test, once on each backend.
macro_rules! on_each_backend {
    ($($test:ident)*) => {
        on_each_backend!(@ threads "threads" $($test)*);
        on_each_backend!(@ pool_4 "pool:4" $($test)*);
        on_each_backend!(@ event_loop_1 "event-loop:1" $($test)*);
        on_each_backend!(@ event_loop_2 "event-loop:2" $($test)*);
    };
    (@ $name:ident $backend:literal $($test:ident)*) => {
        mod $name {
            $(#[test] fn $test() { super::$test($backend); })*
        }
    };
}

on_each_backend! {
    two_people_with_nc_can_talk
    names_are_unique_and_rooms_are_apart
    what_is_no_line_is_not_passed_on
    silent_members_stay
    a_thousand_members_hear_the_same_in_the_same_order
    who_never_reads_is_dropped_and_disturbs_nobody
    who_is_never_pushed_to_pays_nothing
}

/// How long anybody may wait for a line.
const PATIENCE: Duration = Duration::from_secs(30);

fn chat(backend: &str, more: &[&str]) -> ServerProcess {
    ServerProcess::example("chat", backend, &["127.0.0.1:0"], more)
}

/// Somebody in the lobby, without a terminal.
struct Member(BufReader<TcpStream>);

impl Member {
    fn connect(server: &ServerProcess) -> Self {
        Self::over(TcpStream::connect(server.addrs[0].as_str()).unwrap())
    }

    /// As nobody else is called.
    fn called(name: &str, server: &ServerProcess) -> Self {
        let mut member = Self::connect(server);
        member.say(&format!("/nick {name}"));
        member.wait_for(&format!("is now {name}"));
        member
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut member = Self(BufReader::new(stream));
        member.wait_for("* you are in lobby");
        member
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        let n = self.0.read_line(&mut line).expect("a line comes in time");
        assert!(n > 0, "the server has closed the connection");
        line.trim_end().to_owned()
    }

    /// Reads up to a line in which this occurs.
    #[track_caller]
    fn wait_for(&mut self, what: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(what) {
                return line;
            }
        }
    }

    /// The next line that is no notice of the server.
    #[track_caller]
    fn heard(&mut self) -> String {
        loop {
            let line = self.line();
            if !line.starts_with("* ") {
                return line;
            }
        }
    }
}

/// Somebody at a terminal: the real `nc`, whose lines are read as they come.
struct Nc {
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: Receiver<String>,
}

impl Nc {
    fn new(server: &ServerProcess) -> Self {
        let port = server.port(0).to_string();
        let mut child = Command::new("nc")
            .args(["127.0.0.1", &port])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, screen) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            output.lines().map_while(Result::ok).for_each(|line| drop(send.send(line)));
        });
        Self { keyboard: child.stdin.take(), child, screen }
    }

    fn types(&mut self, text: &str) {
        let keyboard = self.keyboard.as_mut().unwrap();
        keyboard.write_all(format!("{text}\n").as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }

    #[track_caller]
    fn sees(&self, what: &str) {
        let mut before = Vec::new();
        loop {
            match self.screen.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(what) => return,
                Ok(line) => before.push(line),
                Err(error) => panic!("`{what}` did not come ({error}) after {before:?}"),
            }
        }
    }

    /// Ends the program: not every `nc` tells the other end that its keyboard is closed.
    fn leaves(mut self) {
        self.types("/quit");
        self.keyboard = None;
        assert!(finish(self.child, "nc").status.success());
    }
}

fn two_people_with_nc_can_talk(backend: &str) {
    if !has("nc") {
        return;
    }
    let server = chat(backend, &[]);
    let mut ann = Nc::new(&server);
    ann.sees("you are in lobby, with 0 others");
    ann.types("/nick ann");
    ann.sees("is now ann");
    let mut bob = Nc::new(&server);
    bob.sees("you are in lobby, with 1 others");
    ann.sees("has joined lobby");
    bob.types("/nick bob");
    ann.sees("is now bob");
    for n in 0..5 {
        ann.types(&format!("hello {n}"));
        bob.sees(&format!("ann: hello {n}"));
        bob.types(&format!("yes {n}"));
        ann.sees(&format!("bob: yes {n}"));
    }
    bob.leaves();
    ann.sees("* bob has left lobby");
    ann.leaves();
    assert_eq!(server.terminate().code, Some(0));
}

fn names_are_unique_and_rooms_are_apart(backend: &str) {
    let server = chat(backend, &[]);
    let [mut ann, mut bob, mut eve] =
        ["ann", "bob", "eve"].map(|name| Member::called(name, &server));
    for taken in ["ann", "ANN"] {
        eve.say(&format!("/nick {taken}"));
        eve.wait_for("! that nickname is taken");
    }
    for bad in ["", "two words", "é", "far-too-long-for-a-name"] {
        eve.say(&format!("/nick {bad}"));
        eve.wait_for("! a name has 1 to 20");
    }
    bob.say("/nick bobby"); // which sets the old one free
    eve.wait_for("* bob is now bobby");
    eve.say("/nick bob");
    eve.wait_for("* eve is now bob");

    ann.say("/join kitchen");
    ann.wait_for("* you are in kitchen, with 0 others");
    eve.wait_for("* ann has left lobby");
    bob.say("/join Kitchen");
    bob.wait_for("* you are in kitchen, with 1 others");
    ann.wait_for("* bobby has joined kitchen");
    eve.wait_for("* bobby has left lobby");
    ann.say("the soup is ready");
    assert_eq!(bob.heard(), "ann: the soup is ready");
    eve.say("anybody here?");
    eve.say("/rooms");
    assert_eq!(eve.wait_for("kitchen"), "*   kitchen (2)");
    assert_eq!(eve.line(), "*   lobby (1)");
    ann.say("/who");
    ann.wait_for("* 2 in kitchen:");
    assert_eq!([ann.line(), ann.line()], ["*   ann", "*   bobby"]);

    drop(ann);
    bob.wait_for("* ann has left kitchen");
    bob.say("/join lobby");
    eve.wait_for("* bobby has joined lobby");
    eve.say("/rooms");
    assert_eq!(eve.wait_for("rooms:"), "* 1 rooms:");
    assert_eq!(server.terminate().code, Some(0));
}

fn what_is_no_line_is_not_passed_on(backend: &str) {
    let server = chat(backend, &[]);
    let [mut ann, mut bob] = ["ann", "bob"].map(|name| Member::called(name, &server));
    ann.say("a bell: \x07");
    ann.wait_for("! control characters are not passed on");
    ann.say("/sing");
    ann.wait_for("! no such command");
    ann.say(&"x".repeat(1000));
    assert_eq!(bob.heard(), format!("ann: {}", "x".repeat(1000)));
    ann.say(&"x".repeat(1001));
    ann.wait_for("! a frame of");
    bob.wait_for("* ann has left lobby: the peer broke the protocol");
    bob.0.get_mut().write_all(b"half a l").unwrap();
    drop((ann, bob));
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
}

fn silent_members_stay(backend: &str) {
    let server = chat(backend, &["--idle-timeout", "200ms", "--first-byte-timeout", "200ms"]);
    let [mut ann, mut bob] = [(); 2].map(|()| Member::connect(&server));
    ann.wait_for("has joined lobby");
    // Six times as long as anybody else may be silent.
    for member in [&mut ann, &mut bob] {
        let stream = member.0.get_mut();
        stream.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
        let end = stream.read(&mut [0]);
        assert!(
            matches!(&end, Err(e) if e.kind() == ErrorKind::WouldBlock),
            "silence was answered by {end:?}"
        );
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    ann.say("still here?");
    assert!(bob.heard().ends_with(": still here?"));
    bob.say("yes");
    assert!(ann.heard().ends_with(": yes"));
    assert_eq!(server.terminate().code, Some(0));
}

/// Lets this process have as many connections as it needs.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

fn a_thousand_members_hear_the_same_in_the_same_order(backend: &str) {
    const MEMBERS: usize = 1000;
    const SPEAKERS: usize = 3;
    const LINES: usize = 20;
    raise_descriptor_limit();
    let server = chat(backend, &[]);
    let mut members: Vec<Member> = (0..MEMBERS).map(|_| Member::connect(&server)).collect();
    members[0].say("/who");
    members[0].wait_for(&format!("* {MEMBERS} in lobby:"));

    let began = Instant::now();
    for (speaker, member) in members.iter_mut().take(SPEAKERS).enumerate() {
        let all: Vec<String> = (0..LINES).map(|n| format!("{speaker} {n}")).collect();
        member.say(&all.join("\n"));
    }
    let mut heard: Vec<Vec<String>> = Vec::new();
    for (number, member) in members.iter_mut().enumerate() {
        let others = SPEAKERS - usize::from(number < SPEAKERS);
        let lines = (0..others * LINES).map(|_| member.heard());
        heard.push(lines.map(|line| line.split_once(": ").unwrap().1.to_owned()).collect());
    }
    let took = began.elapsed();
    println!("{backend}: {MEMBERS} members heard {} lines in {took:?}", SPEAKERS * LINES);

    let all = &heard[SPEAKERS];
    for (speaker, own_lines) in heard.iter().enumerate().take(SPEAKERS) {
        let own = |line: &&String| line.starts_with(&format!("{speaker} "));
        let expected: Vec<String> = (0..LINES).map(|n| format!("{speaker} {n}")).collect();
        assert!(all.iter().filter(own).eq(&expected), "{speaker} was heard as {all:?}");
        let others: Vec<&String> = all.iter().filter(|line| !own(line)).collect();
        assert!(own_lines.iter().eq(others), "{speaker} heard {own_lines:?}");
    }
    for (number, lines) in heard.iter().enumerate().skip(SPEAKERS) {
        assert_eq!(lines, all, "what {number} heard");
    }
    drop(members);
    assert_eq!(server.terminate().code, Some(0));
}

fn who_never_reads_is_dropped_and_disturbs_nobody(backend: &str) {
    /// Lines that are said at once; then it is waited until all have heard them.
    const AT_ONCE: usize = 16;
    /// The systems at both ends take some megabytes before the server has to hold anything.
    const ENOUGH: usize = 32 * 1024 * 1024;
    let server = chat(backend, &[]);
    let mut members: Vec<Member> = (0..20).map(|_| Member::connect(&server)).collect();
    let mut slow = Member::over(connect_small(&server));
    slow.say("/nick slow");
    slow.wait_for("is now slow");

    let memory = resident(&server);
    let (mut said, mut longest, mut dropped) = (0, Duration::ZERO, None);
    while dropped.is_none_or(|at| said < at + 10 * AT_ONCE) {
        let began = Instant::now();
        let text: Vec<String> = (said..said + AT_ONCE).map(numbered).collect();
        assert!(said * text[0].len() < ENOUGH, "{} KiB were held for one", resident(&server));
        members[0].say(&text.join("\n"));
        for member in &mut members[1..] {
            let mut next = said;
            while next < said + AT_ONCE {
                let line = member.line();
                if line.starts_with("* slow has left lobby: the peer did not keep up") {
                    dropped.get_or_insert(said);
                } else if !line.starts_with("* ") {
                    let text = line.split_once(": ").unwrap().1;
                    assert!(text == numbered(next), "{} came, not line {next}", &text[..9]);
                    next += 1;
                }
            }
        }
        longest = longest.max(began.elapsed());
        said += AT_ONCE;
    }
    let grown = resident(&server).saturating_sub(memory);
    println!("{backend}: {said} lines, {longest:?} at most for {AT_ONCE}, {grown} KiB more");
    assert!(longest < Duration::from_secs(10), "somebody waited for {longest:?}");
    // The hard mark is 1 MiB, for one member; in debug, nothing gives memory back to the system.
    assert!(grown < 16 * 1024, "the server has grown by {grown} KiB");

    members[0].wait_for("* slow has left lobby: the peer did not keep up");
    let end = slow.0.get_mut().read_to_end(&mut Vec::new());
    assert!(matches!(&end, Err(e) if e.kind() == ErrorKind::ConnectionReset), "it saw {end:?}");
    let stderr = server.terminate().stderr.join("\n");
    assert!(stderr.contains("the peer did not keep up"), "nobody was told: {stderr}");
}

fn numbered(n: usize) -> String {
    format!("{n:08} {}", "x".repeat(900))
}

/// A connection whose system takes few bytes that nobody reads.
fn connect_small(server: &ServerProcess) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let addr: SocketAddr = server.addrs[0].parse().unwrap();
    socket.connect(&SockAddr::from(addr)).unwrap();
    socket.into()
}

/// The most memory that the server has had, in KiB. Where nobody tells, zero.
fn resident(server: &ServerProcess) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse().unwrap())
}

/// A connection that nobody has a sender of: its socket is its only descriptor, and an exchange makes
/// no other calls than where senders are unheard of.
fn who_is_never_pushed_to_pays_nothing(backend: &str) {
    const CONNECTIONS: usize = 20;
    /// As many as there are loops at most: who is answered by each has seen it made all it needs.
    const FIRST: usize = 2;
    if !cfg!(target_os = "linux") || !has("strace") {
        return;
    }
    let descriptors = |server: &ServerProcess| {
        std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
    };
    let echo = ServerProcess::echo(backend, &["127.0.0.1:0"], &[]);
    let connect = |n: usize| -> Vec<_> {
        let connect = |_| TcpStream::connect(echo.addrs[0].as_str()).unwrap();
        let mut clients: Vec<_> = (0..n).map(connect).collect();
        clients.iter_mut().for_each(|client| exchange(client, 3));
        clients
    };
    let _first = connect(FIRST);
    let before = descriptors(&echo);
    let mut clients = connect(CONNECTIONS);
    assert_eq!(descriptors(&echo), before + CONNECTIONS, "an echo server");

    let trace = process::TempDir::new();
    let log = trace.file("calls");
    // What senders need: a bell that is rung and read, and a wait for it beside the socket.
    let calls = "eventfd2,poll,ppoll,read,write";
    let pid = echo.pid().to_string();
    let mut strace = Command::new("strace")
        .args(["-f", "-e", &format!("trace={calls}"), "-o"])
        .arg(&log)
        .args(["-p", &pid])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It says so when it is attached, once for all threads.
    let mut said = BufReader::new(strace.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    if !line.contains("attached") {
        let _ = finish(strace, "strace");
        return process::skip(&format!("strace cannot attach: {line}"));
    }
    exchange(&mut clients[0], 100);
    process::signal(strace.id(), rustix::process::Signal::INT);
    finish(strace, "strace");
    let traced = std::fs::read_to_string(log).unwrap();
    let made: Vec<&str> = traced.lines().filter(|line| calls_one_of(line, calls)).collect();
    // Threads that wait for something else are found in such a call, and left in it.
    assert!(made.len() < 10, "100 echoes made these calls besides: {made:#?}");
    drop(clients);

    // With senders, a thread has a bell, which shows that this test would see one.
    let chat = chat(backend, &[]);
    let connect = |n: usize| (0..n).map(|_| Member::connect(&chat)).collect::<Vec<_>>();
    let _first = connect(FIRST);
    let before = descriptors(&chat);
    let _members = connect(CONNECTIONS);
    let bells = if backend == "threads" { CONNECTIONS } else { 0 };
    assert_eq!(descriptors(&chat), before + CONNECTIONS + bells, "a chat server");
}

fn calls_one_of(line: &str, calls: &str) -> bool {
    calls.split(',').any(|call| line.contains(&format!(" {call}(")))
}

fn exchange(client: &mut TcpStream, times: usize) {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..times {
        client.write_all(b"ping").unwrap();
        let mut reply = [0; 4];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"ping");
    }
}
