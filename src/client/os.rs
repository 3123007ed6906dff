//! The socket itself, for what this crate does not offer: as the operating system's handle, and
//! as the standard library's stream.

use super::{Client, Raw, Timeouts};
use crate::net::{Addr, Stream};
use socket2::Socket;
use std::io;
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;

impl Client<Raw> {
    /// Takes the standard library's stream out, and the bytes that were received and not yet
    /// handed out. The stream blocks, and has no time-outs.
    ///
    /// # Errors
    /// `InvalidInput` if this is not a TCP connection.
    pub fn into_tcp(self) -> io::Result<(TcpStream, Vec<u8>)> {
        match self.peer_addr() {
            Addr::Tcp(_) => self.into_socket().map(|(socket, held)| (socket.into(), held)),
            other => Err(wrong_family(other, "TCP")),
        }
    }

    /// Takes the standard library's stream out, and the bytes that were received and not yet
    /// handed out. The stream blocks, and has no time-outs.
    ///
    /// # Errors
    /// `InvalidInput` if this is not a Unix socket.
    #[cfg(unix)]
    pub fn into_unix(self) -> io::Result<(UnixStream, Vec<u8>)> {
        match self.peer_addr() {
            Addr::Unix(_) => self.into_socket().map(|(socket, held)| (socket.into(), held)),
            other => Err(wrong_family(other, "a Unix socket")),
        }
    }

    fn into_socket(self) -> io::Result<(Socket, Vec<u8>)> {
        drop(self.writer);
        let (link, held) = self.reader.into_buffered();
        let socket = match std::sync::Arc::try_unwrap(link) {
            Ok(link) => link.stream.into_socket()?,
            Err(link) => link.stream.socket().try_clone()?,
        };
        socket.set_nonblocking(false)?;
        Ok((socket, held))
    }

    fn from_socket(socket: Socket) -> io::Result<Self> {
        let stream = Stream::new(socket);
        let peer = stream.peer_addr()?;
        stream.make_ready_for_polling()?;
        Ok(Client::new(stream, peer, Timeouts::default(), Raw))
    }
}

fn wrong_family(peer: &Addr, expected: &str) -> io::Error {
    let problem = format!("the connection to {peer} is not one by {expected}");
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}

/// A connection that was made elsewhere, with the default time-outs. Its socket options stay.
impl TryFrom<TcpStream> for Client<Raw> {
    type Error = io::Error;

    fn try_from(stream: TcpStream) -> io::Result<Self> {
        Client::from_socket(stream.into())
    }
}

/// A connection that was made elsewhere, with the default time-outs. Its socket options stay.
#[cfg(unix)]
impl TryFrom<UnixStream> for Client<Raw> {
    type Error = io::Error;

    fn try_from(stream: UnixStream) -> io::Result<Self> {
        Client::from_socket(stream.into())
    }
}

#[cfg(unix)]
impl<C> std::os::fd::AsFd for Client<C> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.reader.link.stream.socket().as_fd()
    }
}

#[cfg(windows)]
impl<C> std::os::windows::io::AsSocket for Client<C> {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.reader.link.stream.socket().as_socket()
    }
}
