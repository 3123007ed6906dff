//! A client that waits with a deadline, and the probe.

use crate::launch::Server;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    patient(TcpStream::connect_timeout(&addr, PATIENCE).expect("the server listens"))
}

/// With a receive buffer of this size, so that the system takes little of what nobody reads.
pub(crate) fn connect_small(addr: SocketAddr, recv_buffer: usize) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(recv_buffer).unwrap();
    socket.connect_timeout(&addr.into(), PATIENCE).expect("the server listens");
    patient(socket.into())
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Connects, and waits until the server serves it: the number of the connection, and its thread's.
pub(crate) fn open(server: &Server) -> (TcpStream, u64, u32) {
    let mut stream = connect(server.addr);
    echo(&mut stream, "the first words");
    let (id, tid) = server.opened(stream.local_addr().unwrap());
    (stream, id, tid)
}

/// Sends a text and gets it back.
pub(crate) fn try_echo(stream: &mut (impl Read + Write), text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back)?;
    assert_eq!(String::from_utf8_lossy(&back), text);
    Ok(())
}

pub(crate) fn echo(stream: &mut (impl Read + Write), text: &str) {
    if let Err(error) = try_echo(stream, text) {
        panic!("{text:?} did not come back: {error}");
    }
}

/// Whether the server has ended the connection: in order (`Ok`), or not.
pub(crate) fn end(stream: &mut impl Read) -> io::Result<()> {
    match stream.read(&mut [0; 64])? {
        0 => Ok(()),
        n => panic!("{n} bytes came where the end was expected"),
    }
}

/// Makes the close of a socket a reset.
pub(crate) fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// An existing connection still echoes, the blocked new one is served, a later one is served.
pub(crate) fn probe(server: &Server, existing: &mut TcpStream) {
    let mut blocked = connect(server.addr);
    echo(existing, "an existing connection");
    echo(&mut blocked, "a blocked connection");
    let mut later = connect(server.addr);
    echo(&mut later, "a later connection");
    echo(existing, "an existing connection, once more");
}
