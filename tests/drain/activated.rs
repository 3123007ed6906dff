//! Servers that are given their sockets by whoever starts them.

use crate::child::{activated, command};
use crate::process::{PATIENCE, ServerProcess, TempDir, finish, has};
use crate::trial;
use libtest_mimic::Trial;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

pub(crate) fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 7] = [
        ("tcp-and-unix", listeners_of_both_kinds),
        ("nothing-inherited", nothing_goes_on_to_children),
        ("fall-back", without_sockets_it_binds),
        ("wrong-kinds", sockets_that_do_not_listen),
        ("wrong-numbers", numbers_that_cannot_be),
        ("systemd", systemd_activates),
        ("python", another_manager_activates),
    ];
    tests.into_iter().map(|(name, test)| trial(format!("activated/{name}"), test)).collect()
}

const BACKEND: &str = "event-loop:1";

/// What a server answers to one line.
fn ask(mut stream: impl Write + std::io::Read, line: &str) -> String {
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer.trim_end().to_owned()
}

/// This program as a server that takes what it is passed.
fn server(from: &str) -> Command {
    let mut command = command(BACKEND);
    command.args(["--from", from]);
    command
}

fn with_stdin(mut command: Command, socket: impl Into<OwnedFd>) -> Command {
    command.stdin(Stdio::from(socket.into()));
    command
}

/// A TCP and a Unix listener, with names. The server leaves the file of the latter where it is.
fn listeners_of_both_kinds() {
    let dir = TempDir::new();
    let path = dir.file("s");
    let unix = UnixListener::bind(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = tcp.local_addr().unwrap();
    // The shell starts with the second listener as descriptor 4, which it got as another's standard
    // input: it opens no files here that could take the number.
    let inner =
        activated("LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=public:admin", &server("passed"));
    let mut outer = Command::new("sh");
    outer.args(["-c", "exec 4<&2 2>&1; exec \"$0\" \"$@\""]);
    outer.arg(inner.get_program()).args(inner.get_args());
    let mut child = with_stdin(outer, tcp.try_clone().unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(OwnedFd::from(unix.try_clone().unwrap())))
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("names: public,admin"));
    assert_eq!(lines.next(), Some(format!("listening on {addr}")));
    assert_eq!(lines.next(), Some(format!("listening on unix:{}", path.display())));
    assert_eq!(ask(TcpStream::connect(addr).unwrap(), "over tcp"), "OVER TCP");
    assert_eq!(ask(UnixStream::connect(&path).unwrap(), "over unix"), "OVER UNIX");
    end(child);
    assert!(path.exists(), "the file is that of whoever passed the socket");
    UnixStream::connect(&path).expect("this process still listens");
}

/// Sends SIGTERM, which must end it well.
fn end(child: Child) {
    crate::process::signal(child.id(), rustix::process::Signal::TERM);
    let output = finish(child, "the server after SIGTERM");
    assert!(output.status.success(), "{}", output.status);
}

/// A child process of the server has neither the listener nor the variables.
fn nothing_goes_on_to_children() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let command = activated("LISTEN_PID=$$ LISTEN_FDS=1", &server("127.0.0.1:0"));
    let mut command = with_stdin(command, tcp.try_clone().unwrap());
    let running = ServerProcess::start(&mut command, 1);
    let stream = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let ours = std::fs::read_link(format!("/proc/self/fd/{}", tcp.as_raw_fd())).unwrap();
    let (ours, theirs) = (ours.to_str().unwrap(), ask(&stream, "fds"));
    assert!(ours.starts_with("socket:[") && theirs.contains("/fd"), "{ours} {theirs}");
    assert!(!theirs.contains(ours), "a child of the server has {ours} open: {theirs}");
    assert_eq!(ask(&stream, "environment"), "", "what a child of the server is told");
    drop(stream);
    assert_eq!(running.terminate().code, Some(0));
}

/// Where there are no sockets, or they are another process's, it binds the address that it was given.
fn without_sockets_it_binds() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let passed = held.local_addr().unwrap().to_string();
    for (variables, falls_back) in [
        ("", true),
        ("LISTEN_FDS=0", true),
        ("LISTEN_PID=$$ LISTEN_FDS=0", true),
        ("LISTEN_PID=1 LISTEN_FDS=1", true),
        ("LISTEN_PID=$$", true),
        ("LISTEN_FDS=1", false),
        ("LISTEN_PID= LISTEN_FDS=1", false),
    ] {
        let command = activated(variables, &server("127.0.0.1:0"));
        let mut command = with_stdin(command, held.try_clone().unwrap());
        let running = ServerProcess::start(&mut command, 1);
        assert_eq!(running.addrs[0] != passed, falls_back, "{variables}");
        let addr: SocketAddr = running.addrs[0].parse().unwrap();
        assert_eq!(ask(TcpStream::connect(addr).unwrap(), "served"), "SERVED", "{variables}");
        assert_eq!(running.terminate().code, Some(0));
    }
}

/// Starts a server that cannot start, and returns what it says.
fn fails(variables: &str, socket: impl Into<OwnedFd>) -> String {
    let mut command = with_stdin(activated(variables, &server("127.0.0.1:0")), socket);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = finish(child, "a server that cannot start");
    assert_eq!(output.status.code(), Some(1), "{variables}");
    assert!(output.stdout.is_empty(), "{variables}: it has listened");
    String::from_utf8(output.stderr).unwrap().trim_end().to_owned()
}

fn sockets_that_do_not_listen() {
    const WHAT: &str = "expected a stream socket that listens";
    let named = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let packets =
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::SEQPACKET, None).unwrap();
    let wrong: [(&str, OwnedFd); 7] = [
        ("UDP", UdpSocket::bind("127.0.0.1:0").unwrap().into()),
        ("Unix datagrams", std::os::unix::net::UnixDatagram::unbound().unwrap().into()),
        ("Unix packets", packets.into()),
        ("a TCP connection", connected.into()),
        ("a Unix connection", UnixStream::pair().unwrap().0.into()),
        ("bound, not listening", bound.into()),
        ("a file", std::fs::File::open("/dev/null").unwrap().into()),
    ];
    for (kind, socket) in wrong {
        let said = fails(named, socket);
        assert!(said.contains("cannot listen on passed socket 0 (`web`): "), "{kind}: {said}");
        assert!(said.contains(WHAT), "{kind}: {said}");
    }
    let said = fails("LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=a:b", listener);
    assert!(said.contains("passed socket 1 (`b`)") && said.contains(WHAT), "not open: {said}");
}

fn numbers_that_cannot_be() {
    for given in ["two", "-1", "4097", "99999999999", "''", "1.5", "' 1'"] {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let said = fails(&format!("LISTEN_PID=$$ LISTEN_FDS={given}"), held);
        assert!(said.contains("expected a number from 0 to 4096"), "{given}: {said}");
    }
}

/// systemd's own tool, which starts the server when its first client comes.
fn systemd_activates() {
    if !has("systemd-socket-activate") {
        return;
    }
    let dir = TempDir::new();
    let path = dir.file("s");
    let mut manager = Command::new("systemd-socket-activate");
    manager.arg("--listen").arg(&path).arg("--fdname=web");
    let server = server("passed");
    manager.arg(server.get_program()).args(server.get_args());
    manager.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = manager.spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    let first = loop {
        match UnixStream::connect(&path) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < until, "nobody listens: {error}"),
        }
    };
    assert_eq!(ask(&first, "hello"), "HELLO", "who has started it is served");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("names: web"));
    assert!(lines.next().unwrap().starts_with("listening on unix:"));
    assert_eq!(ask(UnixStream::connect(&path).unwrap(), "again"), "AGAIN");
    drop(first);
    // It has become the server.
    end(child);
}

/// The same from the protocol's description alone, with a TCP port on IPv6 beside one on IPv4.
fn another_manager_activates() {
    const MANAGER: &str = "
import os, socket, sys
sockets = [socket.create_server(('127.0.0.1', 0))]
if socket.has_ipv6:
    try: sockets.append(socket.create_server(('::1', 0), family=socket.AF_INET6))
    except OSError: pass
held = [os.dup(s.fileno()) for s in sockets]
held = [os.fdopen(fd, 'rb', closefd=False).fileno() for fd in held]
for at, fd in enumerate(held): os.dup2(fd, 100 + at)
for at in range(len(held)): os.dup2(100 + at, 3 + at, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(held)))
os.execv(sys.argv[1], sys.argv[1:])
";
    if !has("python3") {
        return;
    }
    let server = server("127.0.0.1:0");
    let mut manager = Command::new("python3");
    manager.args(["-c", MANAGER]).arg(server.get_program()).args(server.get_args());
    let running = ServerProcess::start(manager.stdin(Stdio::null()), 1);
    let addr: SocketAddr = running.addrs[0].parse().unwrap();
    assert_eq!(ask(TcpStream::connect(addr).unwrap(), "hello"), "HELLO");
    let ended = running.terminate();
    assert_eq!(ended.code, Some(0));
    // IPv6 is there or is not, as the machine has it.
    let second = ended.stdout.iter().any(|line| line.starts_with("listening on [::1]:"));
    assert_eq!(second, TcpListener::bind("[::1]:0").is_ok());
}
