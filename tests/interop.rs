//! The example server as its users meet it: a process, and clients that this crate did not write.
//!
//! `cargo test` builds the examples; `cargo test --test interop` alone takes them as they are.

#![cfg(unix)]

#[path = "support/process.rs"]
mod process;

use process::{Ended, ServerProcess, TempDir, example, finish, has, run, run_well};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Each test, once on each backend.
macro_rules! on_each_backend {
    ($($test:ident)*) => {
        on_each_backend!(@ threads "threads" $($test)*);
        on_each_backend!(@ pool_2 "pool:2" $($test)*);
        on_each_backend!(@ event_loop "event-loop" $($test)*);
        on_each_backend!(@ event_loop_1 "event-loop:1" $($test)*);
    };
    (@ $name:ident $backend:literal $($test:ident)*) => {
        mod $name {
            $(#[test] fn $test() { super::$test($backend); })*
        }
    };
}

on_each_backend! {
    clients_of_all_kinds_at_once
    large_transfers_come_back_equal
    half_close_after_a_mebibyte
    a_hundred_active_among_nineteen_hundred_idle
    sigterm_lets_the_busy_finish
    a_second_sigterm_stops
    a_port_in_use_is_one_line_and_code_1
}

/// What the Python clients share. An address is `HOST PORT` or `unix PATH`.
const PYTHON: &str = r#"
import hashlib, resource, selectors, socket, sys, threading
def connect():
    host, port = sys.argv[1:3]
    if host == 'unix':
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(50)
        s.connect(port)
        return s
    return socket.create_connection((host, int(port)), 50)
def until_eof(s):
    while data := s.recv(65536):
        yield data
"#;

/// The client of every tutorial.
const PLAIN: &str = r#"
s = connect()
s.sendall(b'Hello, world')
data = b''
while len(data) < 12:
    data += s.recv(1024)
s.close()
print('Received', repr(data))
"#;

/// Sends as fast as it can, receives meanwhile, and compares.
const LARGE: &str = r#"
s = connect()
total, sent, got, n = int(sys.argv[3]), hashlib.sha256(), hashlib.sha256(), 0
block = bytes(range(251)) * 1049
def send():
    left = total
    while left:
        part = block[:min(left, len(block))]
        sent.update(part)
        s.sendall(part)
        left -= len(part)
    s.shutdown(socket.SHUT_WR)
sender = threading.Thread(target=send)
sender.start()
for data in until_eof(s):
    got.update(data)
    n += len(data)
sender.join()
assert n == total, f'{n} of {total} bytes came back'
assert sent.digest() == got.digest(), 'the bytes are not the same'
print(got.hexdigest())
"#;

/// Reads nothing before it has sent everything.
const HALF_CLOSE: &str = r#"
import os
s = connect()
data = os.urandom(1 << 20)
s.sendall(data)
s.shutdown(socket.SHUT_WR)
assert b''.join(until_eof(s)) == data
assert s.recv(1) == b''
print('all of it, and EOF')
"#;

/// Many connections, most of which say nothing until the end.
const MANY: &str = r#"
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
idle = [connect() for _ in range(1900)]
active = [connect() for _ in range(100)]
def exchange(s, text):
    s.sendall(text)
    got = b''
    while len(got) < len(text):
        part = s.recv(1024)
        assert part, f'EOF after {got!r}'
        got += part
    assert got == text, (got, text)
for turn in range(20):
    for number, s in enumerate(active):
        s.sendall(b'%d of %d\n' % (turn, number))
    for number, s in enumerate(active):
        text = b'%d of %d\n' % (turn, number)
        got = b''
        while len(got) < len(text):
            part = s.recv(1024)
            assert part, f'EOF after {got!r}'
            got += part
        assert got == text, (got, text)
for number, s in enumerate(idle):
    exchange(s, b'idle %d' % number)
print(len(idle), len(active))
"#;

fn python(script: &str, args: &[&str]) -> String {
    let program = format!("{PYTHON}{script}");
    let mut all = vec!["-c", &program];
    all.extend(args);
    String::from_utf8(run_well("python3", &all, b"")).unwrap()
}

/// The first four are what a user would type; all are in one server.
fn serve_everywhere(backend: &str, dir: &TempDir) -> ServerProcess {
    let unix = format!("unix:{}", dir.file("echo.sock").display());
    let listen = ["127.0.0.1:0", "0.0.0.0:0", &unix, "[::1]:0", "[::]:0"];
    let listen = if has_ipv6() { &listen[..] } else { &listen[..3] };
    ServerProcess::echo(backend, listen, &["--idle-timeout", "off"])
}

fn has_ipv6() -> bool {
    let has = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        process::skip("this machine has no IPv6");
    }
    has
}

/// Where a client reaches each of a server's addresses: host (or `unix`), and port (or path).
fn reach(server: &ServerProcess) -> Vec<(String, String)> {
    let reach = |(n, addr): (usize, &String)| match addr.strip_prefix("unix:") {
        Some(path) => ("unix".to_owned(), path.to_owned()),
        None if addr.starts_with('[') => ("::1".to_owned(), server.port(n).to_string()),
        None => ("127.0.0.1".to_owned(), server.port(n).to_string()),
    };
    server.addrs.iter().enumerate().map(reach).collect()
}

fn clients_of_all_kinds_at_once(backend: &str) {
    let dir = TempDir::new();
    let server = serve_everywhere(backend, &dir);
    let text: String = (0..2000).map(|n| format!("line {n}\n")).collect();
    let (text, has_python, has_nc, has_socat) = (&text, has("python3"), has("nc"), has("socat"));
    thread::scope(|scope| {
        for (host, port) in reach(&server) {
            let (host2, port2) = (host.clone(), port.clone());
            if has_python {
                scope.spawn(move || {
                    let said = python(PLAIN, &[&host, &port]);
                    assert_eq!(said, "Received b'Hello, world'\n", "{host} {port}");
                });
            }
            let (host, port) = (host2, port2);
            scope.spawn(move || {
                let unix = format!("unix:{port}");
                let (addr, nc, socat) = match &*host {
                    "unix" => (unix, vec!["-NU", &port], format!("UNIX-CONNECT:{port}")),
                    "::1" => (
                        format!("[::1]:{port}"),
                        vec!["-N", &host, &port],
                        format!("TCP:[::1]:{port}"),
                    ),
                    _ => (
                        format!("{host}:{port}"),
                        vec!["-N", &host, &port],
                        format!("TCP:{host}:{port}"),
                    ),
                };
                let client = run_well(example("client"), &[&addr], text.as_bytes());
                assert_eq!(String::from_utf8(client).unwrap(), *text, "client to {addr}");
                let client = run_well(example("client"), &[&addr, "two", "words"], b"");
                assert_eq!(client, b"two words\n", "client to {addr}");
                let client = run_well(example("client"), &["--recv-once", &addr, "one"], b"");
                assert_eq!(client, b"one\n", "client --recv-once to {addr}");
                if has_nc {
                    let said = run_well("nc", &nc, text.as_bytes());
                    assert_eq!(String::from_utf8(said).unwrap(), *text, "nc to {addr}");
                }
                if has_socat {
                    let said = run_well("socat", &["-t30", "-", &socat], text.as_bytes());
                    assert_eq!(String::from_utf8(said).unwrap(), *text, "socat to {addr}");
                }
            });
        }
    });
    check_clean_end(server.terminate());
    assert_eq!(dir.names(), [""; 0], "the server has left files behind");
}

/// What a server says that nobody needs any more.
fn check_clean_end(ended: Ended) {
    let Ended { code, stdout, stderr, took } = ended;
    assert_eq!(code, Some(0), "{stdout:?} {stderr:?}");
    let [report] = &stdout[..] else { panic!("expected one report: {stdout:?} {stderr:?}") };
    assert!(
        report.starts_with("drained in ") && report.ends_with(" 0 killed, 0 stuck"),
        "{report}"
    );
    assert!(took < Duration::from_secs(10), "the drain took {took:?}");
    assert!(stderr.iter().all(|line| line.starts_with("polyserve: draining")), "{stderr:?}");
}

fn large_transfers_come_back_equal(backend: &str) {
    let dir = TempDir::new();
    let server = serve_everywhere(backend, &dir);
    if !has("python3") {
        return;
    }
    const TOTAL: &str = "67108864";
    let hashes: Vec<String> = thread::scope(|scope| {
        let each = reach(&server).into_iter().filter(|(host, _)| host != "::1").take(3);
        let started: Vec<_> = each
            .map(|(host, port)| scope.spawn(move || python(LARGE, &[&host, &port, TOTAL])))
            .collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(hashes.len(), 3);
    assert!(hashes.iter().all(|hash| hash.len() == 65 && *hash == hashes[0]), "{hashes:?}");
    check_clean_end(server.terminate());
}

fn half_close_after_a_mebibyte(backend: &str) {
    let dir = TempDir::new();
    let server = serve_everywhere(backend, &dir);
    if !has("python3") {
        return;
    }
    // A Unix socket holds less than this client sends before it reads: that one cannot succeed.
    for (host, port) in reach(&server).into_iter().filter(|(host, _)| host != "unix") {
        assert_eq!(python(HALF_CLOSE, &[&host, &port]), "all of it, and EOF\n");
    }
    // Our own client reads while it writes, so it can.
    let data: Vec<u8> =
        (0..1 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for addr in &server.addrs {
        let addr = addr.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]");
        assert!(run_well(example("client"), &[&addr], &data) == data, "client to {addr}");
    }
    check_clean_end(server.terminate());
}

fn a_hundred_active_among_nineteen_hundred_idle(backend: &str) {
    let server = ServerProcess::echo(
        backend,
        &["127.0.0.1:0"],
        &["--idle-timeout", "off", "--first-byte-timeout", "off"],
    );
    if !has("python3") {
        return;
    }
    let port = server.port(0).to_string();
    assert_eq!(python(MANY, &["127.0.0.1", &port]), "1900 100\n");
    check_clean_end(server.terminate());
}

/// What was sent before the signal is answered in full, and then comes an orderly end.
fn sigterm_lets_the_busy_finish(backend: &str) {
    let server = ServerProcess::echo(backend, &["127.0.0.1:0"], &[]);
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", server.port(0))).unwrap();
        stream.set_read_timeout(Some(process::PATIENCE)).unwrap();
        stream.set_write_timeout(Some(process::PATIENCE)).unwrap();
        stream
    };
    let mut idle = connect();
    idle.write_all(b"x").unwrap();
    idle.read_exact(&mut [0]).unwrap();
    let mut busy = connect();
    let data: Vec<u8> = (0..1 << 19).map(|n: u32| (n / 7) as u8).collect();
    busy.write_all(&data).unwrap();
    wait_until_arrived(&busy);
    let ended = thread::scope(|scope| {
        let ended = scope.spawn(|| server.terminate());
        assert_eq!(idle.read(&mut [0]).unwrap(), 0, "the idle one is closed in order");
        let mut got = Vec::new();
        busy.read_to_end(&mut got).unwrap();
        assert!(got == data, "{} of {} bytes were answered", got.len(), data.len());
        drop(busy);
        ended.join().unwrap()
    });
    check_clean_end(ended);
}

/// Waits until all that was written has come to the other end, if only to the system there: until then
/// it is in a queue of our own system's, of which proc_net_tcp(5) tells.
fn wait_until_arrived(stream: &TcpStream) {
    let Ok(SocketAddr::V4(addr)) = stream.local_addr() else { panic!("not over IPv4") };
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(addr.ip().octets()), addr.port());
    let until = Instant::now() + process::PATIENCE;
    loop {
        let Ok(table) = fs::read_to_string("/proc/net/tcp") else { return };
        let line = table.lines().find(|line| line.split_whitespace().nth(1) == Some(&local));
        let queues = line.and_then(|line| line.split_whitespace().nth(4)).expect("it is connected");
        if queues.starts_with("00000000:") {
            return;
        }
        assert!(Instant::now() < until, "still on the way: {queues}");
        thread::yield_now();
    }
}

/// A client that neither reads nor leaves holds up a drain, but not a stop.
fn a_second_sigterm_stops(backend: &str) {
    let server = ServerProcess::echo(backend, &["127.0.0.1:0"], &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port(0))).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    while stream.write_all(&[7; 1 << 16]).is_ok() {}
    let pid = server.pid();
    thread::scope(|scope| {
        let ended = scope.spawn(|| server.terminate());
        // The listener is closed early in the drain: from then on it is one.
        wait_for_refusal(stream.peer_addr().unwrap());
        process::signal(pid, rustix::process::Signal::TERM);
        let ended = ended.join().unwrap();
        assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
        assert!(ended.took < Duration::from_secs(10), "the stop took {:?}", ended.took);
        let [report] = &ended.stdout[..] else { panic!("{:?}", ended.stdout) };
        assert!(report.ends_with("1 killed, 0 stuck"), "{report}");
    });
}

fn wait_for_refusal(addr: SocketAddr) {
    let until = Instant::now() + process::PATIENCE;
    while let Ok(mut stream) = TcpStream::connect(addr) {
        assert!(Instant::now() < until, "{addr} is still listened on");
        // It is served, or it was in the backlog and is told of the end: either way this ends. Its
        // byte makes it one that a drain does not wait for.
        let _ = stream.write_all(b"x");
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

fn a_port_in_use_is_one_line_and_code_1(backend: &str) {
    let first = ServerProcess::echo(backend, &["127.0.0.1:0"], &[]);
    let line = fails(&["--backend", backend, "--listen", &first.addrs[0]], 1);
    assert!(line.contains(&first.addrs[0]) && line.contains("in use"), "{line}");
    // The first of two binds is given back when the second fails.
    let dir = TempDir::new();
    let unix = format!("unix:{}", dir.file("echo.sock").display());
    fails(&["--backend", backend, "--listen", &unix, "--listen", &first.addrs[0]], 1);
    assert_eq!(dir.names(), [""; 0]);
    let mut stream = TcpStream::connect(&first.addrs[0]).unwrap();
    stream.write_all(b"still here").unwrap();
    stream.read_exact(&mut [0; 10]).unwrap();
}

/// Runs the example `echo`, which must fail: with this code, and one line on standard error.
fn fails(args: &[&str], code: i32) -> String {
    let output = run(example("echo"), args, b"");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{args:?}: {:?}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
    assert!(stderr.starts_with("error: "), "{args:?}: {stderr}");
    stderr.trim_end().to_owned()
}

#[test]
fn bad_usage_is_one_line_and_code_2() {
    let cases: [(&[&str], &str); 11] = [
        (&["--backend", "fibers"], "fibers"),
        (&["--backend", "pool:0"], "pool:0"),
        (&["--backend", "event-loop:0"], "event-loop:0"),
        (&["--backend", "threads:4"], "threads:4"),
        (&["--backend"], "--backend"),
        (&["--idle-timeout", "soon"], "soon"),
        (&["--max-connections", "many"], "many"),
        (&["--listen", "nowhere"], "nowhere"),
        (&["--listen", "127.0.0.1:99999"], "99999"),
        (&["--listen", "127.0.0.1:0", "--max-connections", "0"], "0 connections"),
        (&["--frobnicate"], "--frobnicate"),
    ];
    for (args, named) in cases {
        let line = fails(args, 2);
        assert!(line.contains(named), "{args:?}: {line}");
    }
}

#[test]
fn what_the_system_refuses_is_one_line_and_code_1() {
    let line = fails(&["--listen", "192.0.2.1:0"], 1);
    assert!(line.contains("192.0.2.1:0"), "{line}");
    let line = fails(&["--listen", "no-such-host.invalid:0"], 1);
    assert!(line.contains("no-such-host.invalid"), "{line}");
}

#[test]
fn a_file_in_the_way_of_a_unix_socket_is_left_as_it_was() {
    let dir = TempDir::new();
    let path = dir.file("echo.sock");
    fs::write(&path, "precious").unwrap();
    let line = fails(&["--listen", &format!("unix:{}", path.display())], 1);
    assert!(line.contains("not a socket") && line.contains("echo.sock"), "{line}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_eq!(dir.names(), ["echo.sock"]);
}

#[test]
fn what_a_killed_server_left_is_replaced_and_a_live_one_is_not() {
    let dir = TempDir::new();
    let unix = format!("unix:{}", dir.file("echo.sock").display());
    let listen = [&*unix];
    drop(ServerProcess::echo("event-loop", &listen, &[])); // killed, so that its file stays
    assert!(dir.names().contains(&"echo.sock".to_owned()));
    let server = ServerProcess::echo("pool:2", &listen, &[]);
    let line = fails(&["--listen", &unix], 1);
    assert!(line.contains("in use"), "{line}");
    let mut stream = UnixStream::connect(dir.file("echo.sock")).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    drop(stream);
    check_clean_end(server.terminate());
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn the_client_talks_to_a_python_echo_server() {
    const ECHO: &str = r#"
import socket, threading
def serve(s):
    with s:
        while data := s.recv(1024):
            s.sendall(data)
with socket.create_server(('127.0.0.1', 0)) as listener:
    listener.settimeout(60)
    print(listener.getsockname()[1], flush=True)
    for _ in range(3):
        threading.Thread(target=serve, args=(listener.accept()[0],)).start()
"#;
    if !has("python3") {
        return;
    }
    let mut server =
        Command::new("python3").args(["-c", ECHO]).stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let addr = format!("127.0.0.1:{}", port.trim());
    assert_eq!(run_well(example("client"), &[&addr, "hello"], b""), b"hello\n");
    assert_eq!(run_well(example("client"), &["--recv-once", &addr, "hello"], b""), b"hello\n");
    let data: Vec<u8> = (0..4 << 20).map(|n: u32| (n / 251) as u8).collect();
    assert!(run_well(example("client"), &[&addr], &data) == data);
    assert!(finish(server, "the Python server").status.success());
}
