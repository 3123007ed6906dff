//! The suite's own client: blocking calls of the system, each with a deadline.

use super::stage::{Asked, Failure, OrFail, PATIENCE, check};
use crate::layer::Layer;
use crate::net::{Addr, connect_tcp};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(super) struct Client {
    socket: Socket,
    layer: Option<Layered>,
    /// What was received and not asked for yet.
    got: Vec<u8>,
    /// The server has finished sending.
    ended: bool,
    /// We have.
    finished: bool,
}

/// The client's end of a layer.
struct Layered {
    layer: Box<dyn Layer>,
    wire: Vec<u8>,
    more: bool,
    eof: bool,
    /// Writes, so that a read can answer while a write of ours is stuck.
    writer: Writer,
}

struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

enum Job {
    Write(Vec<u8>),
    Tell(mpsc::Sender<()>),
    Finish,
}

impl Client {
    pub(super) fn connect(addr: &Addr, recv_buffer: Option<usize>) -> Result<Self, Failure> {
        let socket = open(addr, recv_buffer).or_fail(&format!("a client connects to {addr}"))?;
        Ok(Self { socket, layer: None, got: Vec::new(), ended: false, finished: false })
    }

    /// Puts the client's end of a layer on, and shakes hands.
    pub(super) fn set_layer(&mut self, layer: Option<Box<dyn Layer>>) -> Asked {
        let Some(layer) = layer else { return Ok(()) };
        let socket = self.socket.try_clone().or_fail("the socket is cloned")?;
        let writer = Writer::new(socket);
        self.layer = Some(Layered { layer, wire: Vec::new(), more: false, eof: false, writer });
        let mut out = Vec::new();
        self.layered().layer.write(&[], &mut out).or_fail("the handshake begins")?;
        self.layered().writer.push(out);
        while !self.layered().layer.is_ready() {
            let got = self.fill_layered(true).or_fail("the server's part of the handshake")?;
            check!(got.is_some(), "the server ended the connection during the handshake");
        }
        Ok(())
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The client's own address.
    pub(super) fn local_addr(&self) -> Result<Addr, Failure> {
        let addr = self.socket.local_addr().or_fail("the client's own address")?;
        Ok(Addr::from_sock_addr(&addr))
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Asked {
        self.try_send(bytes).or_fail(&format!("the server takes {} bytes", bytes.len()))
    }

    /// Sends to a server that may not want it.
    pub(super) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.layer.is_none() {
            return self.socket.write_all(bytes);
        }
        self.queue(bytes)?;
        self.layered().writer.flush()
    }

    /// Has the layer's writer send, and does not wait for it.
    fn queue(&mut self, bytes: &[u8]) -> io::Result<()> {
        let layered = self.layered();
        let (mut out, mut left) = (Vec::new(), bytes);
        while !left.is_empty() {
            let n = layered.layer.write(left, &mut out).map_err(io::Error::other)?;
            if n == 0 {
                return Err(io::Error::other("the layer takes nothing"));
            }
            left = &left[n..];
        }
        layered.writer.push(out);
        Ok(())
    }

    /// Sends while the reply is read, and returns as many bytes as were sent.
    pub(super) fn exchange(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        if self.layer.is_some() {
            self.queue(bytes).or_fail("the layer takes the request")?;
            return self.read(bytes.len());
        }
        let mut writer = self.socket.try_clone().or_fail("the socket is cloned")?;
        std::thread::scope(|scope| {
            let sent = scope.spawn(move || writer.write_all(bytes));
            let reply = self.read(bytes.len());
            let sent = sent.join().unwrap_or_else(|_| Err(io::Error::other("a panic")));
            sent.or_fail("the server takes the request")?;
            reply
        })
    }

    /// Reads exactly this many bytes.
    pub(super) fn read(&mut self, n: usize) -> Result<Vec<u8>, Failure> {
        let what = |got: usize| format!("waiting for {n} bytes, of which {got} came");
        let deadline = Instant::now() + 2 * PATIENCE;
        while self.got.len() < n {
            let more = self.fill().or_fail(&what(self.got.len()))?;
            check!(more, "the connection ended {}", what(self.got.len()));
            check!(Instant::now() < deadline, "too slow {}", what(self.got.len()));
        }
        let rest = self.got.split_off(n);
        Ok(std::mem::replace(&mut self.got, rest))
    }

    /// Reads exactly these bytes.
    pub(super) fn expect(&mut self, bytes: &[u8]) -> Asked {
        let text = show(bytes);
        let got = self.read(bytes.len()).map_err(|e| Failure::new(format!("{text}: {e}")))?;
        check!(got == bytes, "expected {text}, got {}", show(&got));
        Ok(())
    }

    /// Reads up to a byte, which is left out.
    pub(super) fn read_until(&mut self, end: u8) -> Result<Vec<u8>, Failure> {
        let mut looked = 0;
        loop {
            if let Some(at) = self.got[looked..].iter().position(|b| *b == end) {
                let mut line = self.read(looked + at + 1)?;
                line.pop();
                return Ok(line);
            }
            looked = self.got.len();
            let more = self.fill().or_fail("waiting for a line")?;
            check!(more, "the connection ended within a line");
        }
    }

    /// Reads to the end of the stream, which must be a clean one.
    pub(super) fn read_to_end(&mut self) -> Result<Vec<u8>, Failure> {
        let deadline = Instant::now() + 2 * PATIENCE;
        while self.fill().or_fail("waiting for the clean end of the stream")? {
            check!(Instant::now() < deadline, "the stream does not end");
        }
        Ok(std::mem::take(&mut self.got))
    }

    /// The next thing is the clean end of the stream.
    pub(super) fn expect_end(&mut self) -> Asked {
        let rest = self.read_to_end()?;
        check!(rest.is_empty(), "expected the end, got {}", show(&rest));
        Ok(())
    }

    /// The connection ends by a reset, whatever came before.
    pub(super) fn expect_reset(&mut self) -> Asked {
        loop {
            match self.fill() {
                Ok(true) => self.got.clear(),
                Ok(false) => return Err(Failure::new("expected a reset, got a clean end")),
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                // The layer's writer may have been told of the reset; a clean end looks otherwise.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(e) => return Err(Failure::new(format!("waiting for a reset: {e}"))),
            }
        }
    }

    /// The connection ends, in whichever way, and this came before.
    pub(super) fn read_to_any_end(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            match self.fill() {
                Ok(true) => (),
                Ok(false) => break,
                Err(e) if is_timeout(&e) => {
                    return Err(Failure::new("waiting for the end of the connection in vain"));
                }
                Err(_) => break,
            }
        }
        Ok(std::mem::take(&mut self.got))
    }

    /// Says that nothing more will be sent.
    pub(super) fn finish(&mut self) -> Asked {
        self.try_finish().or_fail("the client finishes sending")
    }

    fn try_finish(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        let Some(layered) = &mut self.layer else { return self.socket.shutdown(Shutdown::Write) };
        let mut out = Vec::new();
        layered.layer.close(&mut out);
        layered.writer.push(out);
        layered.writer.finish();
        Ok(())
    }

    /// Ends the connection by a reset.
    pub(super) fn reset(mut self) -> Asked {
        self.finished = true;
        self.socket.set_linger(Some(Duration::ZERO)).or_fail("SO_LINGER")?;
        if let Some(layered) = &mut self.layer {
            layered.writer.end();
        }
        Ok(())
    }

    /// Reads once. `false` is the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let more = if self.layer.is_some() {
            self.fill_layered(false)?.is_some()
        } else {
            self.fill_plain()?
        };
        self.ended = !more;
        Ok(more)
    }

    fn fill_plain(&mut self) -> io::Result<bool> {
        let before = self.got.len();
        self.got.resize(before + 64 * 1024, 0);
        let result = retry(|| self.socket.read(&mut self.got[before..]));
        self.got.truncate(before + *result.as_ref().unwrap_or(&0));
        Ok(result? > 0)
    }

    /// Reads until the layer gave something, or until it shook hands. `None` is the end.
    fn fill_layered(&mut self, handshake: bool) -> io::Result<Option<()>> {
        let mut buf = vec![0; 64 * 1024];
        loop {
            let before = self.got.len();
            let layered = self.layer.as_mut().expect("only called with a layer");
            if !layered.wire.is_empty() || layered.more {
                let mut out = Vec::new();
                let result = layered.layer.read(&layered.wire, &mut self.got, 16 * 1024, &mut out);
                layered.writer.push(out);
                let progress = result.map_err(io::Error::other)?;
                layered.wire.drain(..progress.consumed);
                layered.more = progress.more;
                layered.eof |= progress.eof;
                let ready = handshake && layered.layer.is_ready();
                if self.got.len() > before || ready {
                    return Ok(Some(()));
                }
                if progress.consumed > 0 || progress.more {
                    continue;
                }
            }
            if layered.eof {
                // After the closing record the socket's own end must follow.
                return match retry(|| self.socket.read(&mut buf))? {
                    0 => Ok(None),
                    n => Err(io::Error::other(format!("{n} bytes after the closing record"))),
                };
            }
            let n = retry(|| self.socket.read(&mut buf))?;
            if n == 0 {
                let text = "the stream ended without its closing record";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            layered.wire.extend_from_slice(&buf[..n]);
        }
    }

    fn layered(&mut self) -> &mut Layered {
        self.layer.as_mut().expect("only called with a layer")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(layered) = &mut self.layer {
            if !self.finished {
                let mut out = Vec::new();
                layered.layer.close(&mut out);
                layered.writer.push(out);
            }
            layered.writer.end();
        }
    }
}

impl Writer {
    fn new(mut socket: Socket) -> Self {
        let (jobs, todo) = mpsc::channel();
        let work = move || {
            for job in todo {
                let result = match job {
                    Job::Write(bytes) => socket.write_all(&bytes),
                    Job::Tell(done) => {
                        let _ = done.send(());
                        Ok(())
                    }
                    Job::Finish => socket.shutdown(Shutdown::Write),
                };
                if result.is_err() {
                    return; // whoever reads will notice
                }
            }
        };
        Self { jobs: Some(jobs), thread: Some(std::thread::spawn(work)) }
    }

    fn push(&self, bytes: Vec<u8>) {
        if let (Some(jobs), false) = (&self.jobs, bytes.is_empty()) {
            let _ = jobs.send(Job::Write(bytes));
        }
    }

    /// Waits until everything is written.
    fn flush(&self) -> io::Result<()> {
        let (done, is_done) = mpsc::channel();
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job::Tell(done));
        }
        is_done.recv_timeout(2 * PATIENCE).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn finish(&self) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job::Finish);
        }
    }

    fn end(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open(addr: &Addr, recv_buffer: Option<usize>) -> io::Result<Socket> {
    let (domain, target) = match addr {
        Addr::Tcp(addr) => (Domain::for_address(*addr), SockAddr::from(*addr)),
        #[cfg(unix)]
        Addr::Unix(crate::net::UnixName::Path(path)) => (Domain::UNIX, SockAddr::unix(path)?),
        #[cfg(target_os = "linux")]
        Addr::Unix(crate::net::UnixName::Abstract(name)) => {
            use std::os::linux::net::SocketAddrExt;
            let addr = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            let stream = std::os::unix::net::UnixStream::connect_addr(&addr)?;
            return limit(stream.into());
        }
        other => return Err(io::Error::other(format!("no client for {other}"))),
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    if let Some(bytes) = recv_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    match addr {
        Addr::Tcp(_) => {
            connect_tcp(&socket, &target, PATIENCE)?;
            socket.set_tcp_nodelay(true)?;
        }
        Addr::Unix(_) => socket.connect(&target)?,
    }
    limit(socket)
}

fn limit(socket: Socket) -> io::Result<Socket> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            other => return other,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn show(bytes: &[u8]) -> String {
    match bytes.len() {
        0..=40 => format!("`{}`", bytes.escape_ascii()),
        n => format!("{n} bytes that begin with `{}`", bytes[..24].escape_ascii()),
    }
}

/// Bytes in which no piece looks like the piece before.
pub(super) fn pattern(n: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ n as u64;
    let mut bytes = Vec::with_capacity(n + 8);
    while bytes.len() < n {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(n);
    bytes
}
