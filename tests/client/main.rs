//! The client against servers that this crate did not write. Only loopback and Unix sockets; every
//! wait is bounded, and none is a sleep.

mod bytes;
mod messages;
mod phases;
mod pool;
#[cfg(target_os = "linux")]
mod ports;
#[cfg(target_os = "linux")]
#[path = "../support/process.rs"]
mod process;
mod reconnect;
#[path = "../support/results.rs"]
mod results;

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// For what should never pass.
const LONG: Duration = Duration::from_secs(60);
/// For what is to pass.
const SHORT: Duration = Duration::from_millis(60);

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// A server for one connection.
fn serve<T: Send + 'static>(
    handler: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let (listener, addr) = listen();
    let server = thread::spawn(move || handler(listener.accept().unwrap().0));
    (addr, server)
}

fn echo(stream: TcpStream) {
    let mut writer = stream.try_clone().unwrap();
    // The peer may leave at any time.
    let _ = io::copy(&mut &stream, &mut writer);
    let _ = stream.shutdown(Shutdown::Write);
}

/// A port on which nobody listens, and nobody can while the socket lives that holds it.
fn closed_port() -> (SocketAddr, socket2::Socket) {
    let holder = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    holder.bind(&any_port.into()).unwrap();
    (holder.local_addr().unwrap().as_socket().unwrap(), holder)
}

/// A listener that answers nobody: its backlog is full. It lives as long as what is returned.
fn black_hole() -> (SocketAddr, Vec<socket2::Socket>) {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let new = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let listener = new();
    listener.bind(&any_port.into()).unwrap();
    listener.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut sockets = vec![listener];
    for _ in 0..8 {
        let filler = new();
        let timeout = Duration::from_millis(20);
        let full = filler.connect_timeout(&addr, timeout).is_err();
        sockets.push(filler);
        if full {
            return (addr.as_socket().unwrap(), sockets);
        }
    }
    panic!("the backlog never got full");
}

#[track_caller]
fn assert_took(start: Instant, at_least: Duration) {
    let took = start.elapsed();
    assert!(took >= at_least, "{took:?} is less than {at_least:?}");
    assert!(took < at_least + Duration::from_secs(20), "{took:?}");
}

/// Lookups have four places in the whole process, and one test takes them all.
fn lookups() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner())
}

/// A server for any number of connections, each with its number from 0.
fn serve_all(handler: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let (listener, addr) = listen();
    accept_all(listener, handler);
    addr
}

fn accept_all(listener: TcpListener, handler: impl Fn(usize, TcpStream) + Send + Sync + 'static) {
    let handler = Arc::new(handler);
    thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let (handler, stream) = (Arc::clone(&handler), stream.unwrap());
            thread::spawn(move || handler(n, stream));
        }
    });
}

/// The lines of a stream, until it ends in any way.
fn lines(stream: &TcpStream) -> impl Iterator<Item = String> {
    BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok)
}

/// Writes a line in one piece: the second of two would wait for the first one's acknowledgement.
fn say(mut stream: &TcpStream, line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes())
}

/// Makes the close of a socket a reset.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}
