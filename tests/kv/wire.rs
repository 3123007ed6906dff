//! Connections to either server, and replies as bytes.

use crate::process::PATIENCE;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// Where a server listens.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Port(u16),
    Path(PathBuf),
}

impl Place {
    /// How redis-cli and redis-benchmark are told.
    pub(crate) fn options(&self) -> [String; 2] {
        match self {
            Place::Port(port) => ["-p".into(), port.to_string()],
            Place::Path(path) => ["-s".into(), path.to_str().unwrap().into()],
        }
    }

    pub(crate) fn connect(&self) -> Connection {
        let socket = match self {
            Place::Port(port) => {
                let socket = TcpStream::connect(("127.0.0.1", *port)).unwrap();
                socket.set_nodelay(true).unwrap();
                Socket::Tcp(socket)
            }
            Place::Path(path) => Socket::Unix(UnixStream::connect(path).unwrap()),
        };
        socket.set_timeout(PATIENCE);
        Connection { socket, received: Vec::new() }
    }
}

/// A socket of either kind.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn set_timeout(&self, timeout: Duration) {
        let timeout = Some(timeout);
        match self {
            Socket::Tcp(socket) => {
                socket.set_read_timeout(timeout).and(socket.set_write_timeout(timeout))
            }
            Socket::Unix(socket) => {
                socket.set_read_timeout(timeout).and(socket.set_write_timeout(timeout))
            }
        }
        .unwrap();
    }

    fn twin(&self) -> Socket {
        match self {
            Socket::Tcp(socket) => Socket::Tcp(socket.try_clone().unwrap()),
            Socket::Unix(socket) => Socket::Unix(socket.try_clone().unwrap()),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.read(buf),
            Socket::Unix(socket) => socket.read(buf),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.write(buf),
            Socket::Unix(socket) => socket.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection of a client that knows just enough of the protocol to tell replies apart.
pub(crate) struct Connection {
    socket: Socket,
    received: Vec<u8>,
}

impl Connection {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Sends this in pieces of that size, while replies may be read here.
    pub(crate) fn send_meanwhile(&self, bytes: &[u8], size: usize) -> thread::JoinHandle<()> {
        let mut twin = self.socket.twin();
        let bytes = bytes.to_vec();
        thread::spawn(move || {
            for piece in bytes.chunks(size) {
                // A server that closes takes no more; what it answered is what counts.
                if twin.write_all(piece).is_err() {
                    return;
                }
            }
        })
    }

    /// The next reply, as it stands.
    pub(crate) fn reply(&mut self) -> Vec<u8> {
        loop {
            if let Some(length) = reply_length(&self.received) {
                return self.received.drain(..length).collect();
            }
            let n = self.read().unwrap_or_else(|error| panic!("waiting for a reply: {error}"));
            assert!(n > 0, "the connection ended within {:?}", show(&self.received));
        }
    }

    pub(crate) fn ask(&mut self, line: &str) -> Vec<u8> {
        self.send(&request(&words(line)));
        self.reply()
    }

    pub(crate) fn replies(&mut self, n: usize) -> Vec<Vec<u8>> {
        (0..n).map(|_| self.reply()).collect()
    }

    /// All that comes until the server closes, and whether it closed in order.
    pub(crate) fn rest(mut self) -> (Vec<u8>, bool) {
        loop {
            match self.read() {
                Ok(0) => return (self.received, true),
                Ok(_) => (),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return (self.received, false);
                }
                Err(error) => {
                    panic!("waiting for the end after {:?}: {error}", show(&self.received))
                }
            }
        }
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut buf = [0; 64 * 1024];
        let n = self.socket.read(&mut buf)?;
        self.received.extend_from_slice(&buf[..n]);
        Ok(n)
    }
}

/// The length of the reply that `bytes` begin with, if all of it is there.
pub(crate) fn reply_length(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let after = line + 2;
    let number = || std::str::from_utf8(&bytes[1..line]).unwrap().parse::<i64>().unwrap();
    match bytes[0] {
        b'+' | b'-' | b':' => Some(after),
        b'$' => {
            let whole = usize::try_from(number()).map_or(after, |length| after + length + 2);
            (bytes.len() >= whole).then_some(whole)
        }
        b'*' => {
            let mut at = after;
            for _ in 0..number() {
                at += reply_length(&bytes[at..])?;
            }
            Some(at)
        }
        other => panic!("a reply of kind {:?}: {:?}", char::from(other), show(bytes)),
    }
}

/// The elements of a reply that is an array.
pub(crate) fn elements(reply: &[u8]) -> Vec<&[u8]> {
    assert_eq!(reply[0], b'*', "no array: {:?}", show(reply));
    let mut at = reply.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
    let mut elements = Vec::new();
    while at < reply.len() {
        let length = reply_length(&reply[at..]).unwrap();
        elements.push(&reply[at..at + length]);
        at += length;
    }
    elements
}

/// The number in a reply that is one.
pub(crate) fn integer(reply: &[u8]) -> i64 {
    let text = reply.strip_prefix(b":").and_then(|text| text.strip_suffix(b"\r\n"));
    let text = text.unwrap_or_else(|| panic!("no number: {:?}", show(reply)));
    std::str::from_utf8(text).unwrap().parse().unwrap()
}

/// The words of a line in the notation of redis-cli.
pub(crate) fn words(line: &str) -> Vec<Vec<u8>> {
    let (bytes, ranges) = crate::resp::unquote(line.as_bytes()).expect(line);
    ranges.into_iter().map(|range| bytes[range].to_vec()).collect()
}

/// A request as a program sends it.
pub(crate) fn request(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

pub(crate) fn show(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(400)];
    format!("{} ({} bytes)", shown.escape_ascii(), bytes.len())
}
