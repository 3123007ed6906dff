//! Unix: flags of the call say that it must not wait, so that sockets stay in blocking mode and a
//! thread may still block in `recv`.

use crate::net::Interest;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{RecvFlags, SendFlags};
use socket2::{SockAddr, Socket};
use std::io;
use std::time::Instant;

// Apple has no MSG_NOSIGNAL; socket2 sets SO_NOSIGPIPE on the sockets that it makes there.
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: SendFlags = SendFlags::empty();

pub(crate) const SHUTDOWN_ENDS_READS: bool = true;

// Each is called in few places, and once for each request: a call would cost 60 instructions of 1,000.
#[inline(always)]
pub(crate) fn recv(socket: &Socket, buf: &mut [u8], may_block: bool) -> io::Result<usize> {
    let flags = if may_block { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
    loop {
        match rustix::net::recv(socket, &mut *buf, flags) {
            Ok((_, n)) => return Ok(n),
            // A read that may wait would wait for its whole time-out once more.
            Err(rustix::io::Errno::INTR) if !may_block => (),
            Err(e) => return Err(e.into()),
        }
    }
}

pub(crate) fn recv_append(socket: &Socket, buf: &mut Vec<u8>) -> io::Result<usize> {
    debug_assert!(buf.capacity() > buf.len(), "a read needs room");
    loop {
        let room = rustix::buffer::spare_capacity(buf);
        match rustix::net::recv(socket, room, RecvFlags::DONTWAIT) {
            Ok((n, _)) => return Ok(n),
            Err(rustix::io::Errno::INTR) => (),
            Err(e) => return Err(e.into()),
        }
    }
}

#[inline(always)]
pub(crate) fn send(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::net::send(socket, bytes, SendFlags::DONTWAIT | NO_SIGNAL) {
            Ok(n) => return Ok(n),
            Err(rustix::io::Errno::INTR) => (),
            Err(e) => return Err(e.into()),
        }
    }
}

pub(crate) fn make_ready_for_polling(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

/// Takes one connection. The listener is in non-blocking mode; on Linux the new socket does not
/// inherit that, on BSD and Apple it does, and is set back.
pub(crate) fn accept(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    let (socket, addr) = listener.accept()?;
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        socket.set_nonblocking(false)?;
    }
    Ok((socket, addr))
}

/// Has a listener turn away whoever comes from now on. Who has come already is still accepted.
///
/// Of TCP, the first packet of each new connection is dropped, so that its sender tries again a
/// second later, and finds the socket closed. A connection whose first packet was taken before can
/// finish its handshake.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn refuse_newcomers(listener: &Socket, is_tcp: bool) {
    if is_tcp {
        // Where no filter can be set, those who come between the last accept and close are reset.
        let _ = listener.attach_filter(&DROP_SYN);
    } else {
        // unix(7) sockets are connected by connect, which looks at this, and then are in the backlog.
        let _ = listener.shutdown(std::net::Shutdown::Read);
    }
}

/// A packet filter (the kernel's networking/filter.rst), which is shown the TCP header: of its
/// flags, the byte at 13, SYN without ACK (RFC 9293, section 3.1) drops the packet.
#[cfg(any(target_os = "linux", target_os = "android"))]
static DROP_SYN: [socket2::SockFilter; 5] = [
    socket2::SockFilter::new(BPF_LOAD_BYTE, 0, 0, 13),
    socket2::SockFilter::new(BPF_AND, 0, 0, 0x12),
    socket2::SockFilter::new(BPF_JUMP_IF_EQUAL, 0, 1, 0x02),
    socket2::SockFilter::new(BPF_RETURN, 0, 0, 0),
    socket2::SockFilter::new(BPF_RETURN, 0, 0, u32::MAX),
];
#[cfg(any(target_os = "linux", target_os = "android"))]
const BPF_LOAD_BYTE: u16 = 0x30;
#[cfg(any(target_os = "linux", target_os = "android"))]
const BPF_AND: u16 = 0x54;
#[cfg(any(target_os = "linux", target_os = "android"))]
const BPF_JUMP_IF_EQUAL: u16 = 0x15;
#[cfg(any(target_os = "linux", target_os = "android"))]
const BPF_RETURN: u16 = 0x06;

// Others have filters of their own or none; there is a moment in which a newcomer is reset.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn refuse_newcomers(_listener: &Socket, _is_tcp: bool) {}

/// What another thread rings to end a wait. Several rings may become one.
#[derive(Debug)]
pub(crate) struct WakeFd {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    event: OwnedFd,
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pipe: (OwnedFd, OwnedFd),
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl WakeFd {
    pub(crate) fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { event })
    }

    pub(crate) fn ring(&self) {
        // It can only fail when the counter is full, and then it is readable already.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    fn clear(&self) {
        let _ = rustix::io::read(&self.event, &mut [0u8; 8]);
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl AsFd for WakeFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl WakeFd {
    pub(crate) fn new() -> io::Result<Self> {
        let (read, write) = std::os::unix::net::UnixStream::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        Ok(Self { pipe: (read.into(), write.into()) })
    }

    pub(crate) fn ring(&self) {
        // A full pipe is readable already.
        let _ = rustix::io::write(&self.pipe.1, &[1]);
    }

    fn clear(&self) {
        while matches!(rustix::io::read(&self.pipe.0, &mut [0u8; 64]), Ok(n) if n == 64) {}
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl AsFd for WakeFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.0.as_fd()
    }
}

/// Waits until one of the sockets is ready for what it is wanted for, the bell rings, or the
/// deadline has passed. The bell is cleared. Returns whether any socket is ready for anything.
pub(crate) fn wait_any(
    sources: &[(&Socket, Interest)],
    wake: Option<&WakeFd>,
    deadline: Option<Instant>,
) -> io::Result<bool> {
    let (ready, rung) = match (sources, wake) {
        // What threads wait for, without an allocation.
        ([socket], Some(wake)) => wait_for(&mut [of_socket(socket), of_bell(wake)], 1, deadline),
        ([socket], None) => wait_for(&mut [of_socket(socket)], 1, deadline),
        ([], Some(wake)) => wait_for(&mut [of_bell(wake)], 0, deadline),
        (sockets, wake) => {
            let sockets = sockets.iter().map(of_socket);
            let mut fds: Vec<PollFd<'_>> = sockets.chain(wake.map(of_bell)).collect();
            wait_for(&mut fds, sources.len(), deadline)
        }
    }?;
    if let Some(wake) = wake.filter(|_| rung) {
        wake.clear();
    }
    Ok(ready)
}

/// New bytes of a socket that was shut down for reading. poll(2) takes it for readable for ever;
/// an edge-triggered epoll tells only what is new. Linux goes on taking bytes after a
/// shutdown(SHUT_RD) of a TCP socket.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[derive(Debug)]
pub(crate) struct EdgeWatch {
    epoll: OwnedFd,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl EdgeWatch {
    /// The first wait ends at once.
    pub(crate) fn new(socket: &Socket) -> io::Result<Option<Self>> {
        use rustix::event::epoll::{CreateFlags, EventData, EventFlags, add, create};
        let epoll = create(CreateFlags::CLOEXEC)?;
        add(&epoll, socket, EventData::new_u64(0), EventFlags::IN | EventFlags::ET)?;
        Ok(Some(Self { epoll }))
    }

    /// As `wait_any` does, for this socket. Whoever is told must read until nothing is left.
    pub(crate) fn wait(
        &self,
        socket: &Socket,
        writes: bool,
        wake: &WakeFd,
        deadline: Option<Instant>,
    ) -> io::Result<bool> {
        let edge = PollFd::new(&self.epoll, PollFlags::IN);
        let write = PollFd::new(socket, PollFlags::OUT);
        // A socket that is not to be written would end the wait by its end alone.
        let (ready, rung) = if writes {
            wait_for(&mut [edge, write, of_bell(wake)], 2, deadline)
        } else {
            wait_for(&mut [edge, of_bell(wake)], 1, deadline)
        }?;
        if rung {
            wake.clear();
        }
        if ready {
            let mut seen = [rustix::event::epoll::Event {
                flags: rustix::event::epoll::EventFlags::empty(),
                data: rustix::event::epoll::EventData::new_u64(0),
            }];
            rustix::event::epoll::wait(&self.epoll, &mut seen, Some(&Timespec::default()))?;
        }
        Ok(ready)
    }
}

/// Other systems drop what comes after a shutdown for reading.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[derive(Debug)]
pub(crate) enum EdgeWatch {}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl EdgeWatch {
    pub(crate) fn new(_socket: &Socket) -> io::Result<Option<Self>> {
        Ok(None)
    }

    pub(crate) fn wait(
        &self,
        _socket: &Socket,
        _writes: bool,
        _wake: &WakeFd,
        _deadline: Option<Instant>,
    ) -> io::Result<bool> {
        match *self {}
    }
}

fn of_socket<'a>((socket, interest): &(&'a Socket, Interest)) -> PollFd<'a> {
    PollFd::new(*socket, poll_flags(*interest))
}

fn of_bell(wake: &WakeFd) -> PollFd<'_> {
    PollFd::new(wake, PollFlags::IN)
}

/// Whether any of the first `sockets` is ready, and whether any of the rest is.
fn wait_for(
    fds: &mut [PollFd<'_>],
    sockets: usize,
    deadline: Option<Instant>,
) -> io::Result<(bool, bool)> {
    let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
    loop {
        match poll(fds, timespec_until(deadline).as_ref()) {
            Ok(_) => {
                let (sockets, bells) = fds.split_at(sockets);
                return Ok((sockets.iter().any(is_ready), bells.iter().any(is_ready)));
            }
            Err(rustix::io::Errno::INTR) => (),
            Err(e) => return Err(e.into()),
        }
    }
}

fn poll_flags(interest: Interest) -> PollFlags {
    let mut flags = PollFlags::empty();
    if interest.read {
        flags |= PollFlags::IN | PollFlags::PRI;
    }
    if interest.write {
        flags |= PollFlags::OUT;
    }
    flags
}

/// The time left, rounded up so that a wait never ends early. `None` waits without end.
fn timespec_until(deadline: Option<Instant>) -> Option<Timespec> {
    let left = deadline?.saturating_duration_since(Instant::now());
    Timespec::try_from(left).ok()
}

/// Process, user and group at the other end of a Unix socket, as they were when it connected.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn credentials(socket: &Socket) -> Option<(i32, u32, u32)> {
    let cred = rustix::net::sockopt::socket_peercred(socket).ok()?;
    Some((cred.pid.as_raw_nonzero().get(), cred.uid.as_raw(), cred.gid.as_raw()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn credentials(_socket: &Socket) -> Option<(i32, u32, u32)> {
    None
}

/// How many descriptors the process may have open. `None` if there is no limit.
pub(crate) fn descriptor_limit() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    usize::try_from(limit).ok()
}
