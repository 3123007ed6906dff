//! What is done to the server: clients of all kinds, one after the other, on some threads.

use crate::random::Random;
use crate::wire::{Role, byte, bytes, message, message_length};
use socket2::Socket;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The longest that one read or write may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many connections a client keeps without using them.
const HELD: usize = 6;

/// What all clients of a server share.
pub(crate) struct World {
    pub(crate) addr: SocketAddr,
    pub(crate) stop: AtomicBool,
    /// The server is out of descriptors: connections may fail.
    pub(crate) starving: AtomicBool,
    pub(crate) connections: AtomicU64,
    /// Bytes that came as they should.
    pub(crate) checked: AtomicU64,
    /// Connections that were lost while the server was out of descriptors.
    pub(crate) lost: AtomicU64,
}

impl World {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            stop: AtomicBool::new(false),
            starving: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            checked: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }
}

/// One client after the other, until they are told to stop.
///
/// # Panics
/// If a byte is wrong, or a connection fails while the server is not out of descriptors.
pub(crate) fn run(world: &World, seed: u64) {
    let mut client = Client { world, random: Random::new(seed, 0), held: VecDeque::new() };
    while !world.stop.load(Ordering::Relaxed) {
        let starved = world.starving.load(Ordering::SeqCst);
        let (name, result) = client.one();
        if let Err(error) = result {
            let starved = starved || world.starving.load(Ordering::SeqCst);
            assert!(starved, "{name}: {error}");
            world.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Client<'a> {
    world: &'a World,
    random: Random,
    /// Connections that are kept for a while: idle, stalled, or in the middle of a message.
    held: VecDeque<TcpStream>,
}

/// What a client does with its connection at the end.
#[derive(Clone, Copy)]
enum Leave {
    Close,
    Reset,
}

type Case<'a> = fn(&mut Client<'a>) -> io::Result<()>;

impl<'a> Client<'a> {
    fn one(&mut self) -> (&'static str, io::Result<()>) {
        let cases: [(u64, (&'static str, Case<'a>)); 12] = [
            (20, ("echo", Self::echo)),
            (6, ("echo, then reset", Self::echo_reset)),
            (10, ("drip", Self::drip)),
            (15, ("pipelined frames", Self::frames)),
            (5, ("reset in a frame", Self::frame_reset)),
            (12, ("stream", Self::stream)),
            (4, ("stream that is cut", Self::stream_cut)),
            (12, ("messages of another thread", Self::pushed)),
            (6, ("timer", Self::ticks)),
            (8, ("panic", Self::panics)),
            (6, ("silent", Self::silent)),
            (8, ("hold", Self::hold)),
        ];
        let (name, case) = self.random.weighted(&cases);
        (name, case(self))
    }

    fn connect(&mut self, role: Role, number: u64) -> io::Result<TcpStream> {
        let mut stream = self.connect_silently()?;
        stream.write_all(&role.header(number))?;
        Ok(stream)
    }

    fn connect_silently(&mut self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.world.addr, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        self.world.connections.fetch_add(1, Ordering::Relaxed);
        Ok(stream)
    }

    /// Reads just what is expected.
    fn expect(&self, stream: &mut TcpStream, expected: &[u8]) -> io::Result<()> {
        let mut got = vec![0; expected.len()];
        stream.read_exact(&mut got)?;
        assert!(got == expected, "{} bytes are not what was sent", got.len());
        self.world.checked.fetch_add(got.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn expect_end(&self, stream: &mut TcpStream) -> io::Result<()> {
        match stream.read(&mut [0; 16])? {
            0 => Ok(()),
            n => panic!("{n} bytes came after the end"),
        }
    }

    /// Sends in pieces while the echo comes back, half-closes, and reads to the end.
    fn echo(&mut self) -> io::Result<()> {
        let salt = self.random.next();
        let most = self.random.one_of(&[100, 5_000, 200_000]);
        let total = self.random.between(1, most);
        let mut stream = self.connect(Role::Echo, 0)?;
        let pieces = self.random.cut(total);
        let mut reader = stream.try_clone()?;
        let checked = std::thread::scope(|scope| {
            let checking = scope.spawn(move || check_to_end(&mut reader, salt, total as u64));
            let mut at = 0;
            let sent = pieces.into_iter().try_for_each(|n| {
                let piece = bytes(salt, at, n);
                at += n as u64;
                stream.write_all(&piece)
            });
            let sent = sent.and_then(|()| stream.shutdown(Shutdown::Write));
            let checked = checking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            sent.and(checked)
        })?;
        self.world.checked.fetch_add(checked, Ordering::Relaxed);
        Ok(())
    }

    /// Is reset with bytes on their way in both directions.
    fn echo_reset(&mut self) -> io::Result<()> {
        let salt = self.random.next();
        let mut stream = self.connect(Role::Echo, 0)?;
        let n = self.random.between(1, 20_000);
        stream.write_all(&bytes(salt, 0, n))?;
        let some = self.random.between(0, n);
        self.expect(&mut stream, &bytes(salt, 0, some))?;
        leave(stream, Leave::Reset)
    }

    /// Sends byte by byte, each when the one before has come back.
    fn drip(&mut self) -> io::Result<()> {
        let mut stream = self.connect(Role::Echo, 0)?;
        for at in 0..self.random.between(1, 100) as u64 {
            stream.write_all(&[byte(7, at)])?;
            self.expect(&mut stream, &[byte(7, at)])?;
        }
        leave(stream, Leave::Close)
    }

    /// Sends many frames at once, and reads their replies.
    fn frames(&mut self) -> io::Result<()> {
        let mut stream = self.connect(Role::Frames, 0)?;
        for _ in 0..self.random.between(1, 4) {
            let n = self.random.between(1, 300);
            let all = self.some_frames(n);
            stream.write_all(&all)?;
            self.expect(&mut stream, &all)?;
        }
        stream.shutdown(Shutdown::Write)?;
        self.expect_end(&mut stream)
    }

    fn some_frames(&mut self, n: usize) -> Vec<u8> {
        let mut all = Vec::new();
        for number in 0..n as u64 {
            let most = self.random.weighted(&[(90, 60), (10, 800)]);
            let length = self.random.between(0, most);
            all.extend((length as u16).to_le_bytes());
            all.extend(bytes(number, 0, length));
        }
        all
    }

    fn frame_reset(&mut self) -> io::Result<()> {
        let mut stream = self.connect(Role::Frames, 0)?;
        let n = self.random.between(1, 50);
        let all = self.some_frames(n);
        let some = self.random.between(1, all.len());
        stream.write_all(&all[..some])?;
        leave(stream, Leave::Reset)
    }

    /// Reads a large reply, after it has kept it waiting.
    fn stream(&mut self) -> io::Result<()> {
        let most = self.random.one_of(&[10_000, 300_000, 3_000_000]);
        let length = self.random.between(1, most) as u64;
        let mut stream = self.connect(Role::Stream, length)?;
        if self.random.percent(30) {
            stream.shutdown(Shutdown::Write)?;
        }
        if self.random.percent(50) {
            self.drip()?; // meanwhile
        }
        let checked = check_to_end(&mut stream, length, length)?;
        self.world.checked.fetch_add(checked, Ordering::Relaxed);
        Ok(())
    }

    /// Leaves in the middle of a large reply.
    fn stream_cut(&mut self) -> io::Result<()> {
        let length = self.random.between(1_000_000, 8_000_000) as u64;
        let mut stream = self.connect(Role::Stream, length)?;
        let some = self.random.between(0, 100_000);
        self.expect(&mut stream, &bytes(length, 0, some))?;
        let how = self.random.one_of(&[Leave::Close, Leave::Reset]);
        leave(stream, how)
    }

    fn pushed(&mut self) -> io::Result<()> {
        let n = self.random.between(1, 400) as u64;
        let mut stream = self.connect(Role::Pushed, n)?;
        let leaves_at = if self.random.percent(30) { n / 2 } else { n };
        for number in 0..leaves_at {
            debug_assert_eq!(message(number).len(), message_length(number));
            self.expect(&mut stream, &message(number))?;
        }
        if leaves_at < n {
            return leave(stream, Leave::Reset);
        }
        self.expect_end(&mut stream)
    }

    fn ticks(&mut self) -> io::Result<()> {
        let n = self.random.between(1, 20) as u64;
        let mut stream = self.connect(Role::Ticks, n)?;
        for number in 0..n {
            self.expect(&mut stream, &number.to_le_bytes())?;
        }
        self.expect_end(&mut stream)
    }

    /// What was sent before the panic is there, and then the end.
    fn panics(&mut self) -> io::Result<()> {
        let number = self.random.between(0, 2) as u64;
        let mut stream = self.connect(Role::Panics, number)?;
        self.expect(&mut stream, b"ok")?;
        if number == 0 {
            stream.write_all(b"!")?;
        }
        self.expect_end(&mut stream)
    }

    fn silent(&mut self) -> io::Result<()> {
        let stream = self.connect_silently()?;
        let how = self.random.one_of(&[Leave::Close, Leave::Reset]);
        leave(stream, how)
    }

    /// Keeps a connection for a while that is idle, or in the middle of something, and lets go of
    /// another.
    fn hold(&mut self) -> io::Result<()> {
        let role = self.random.one_of(&[Role::Echo, Role::Frames, Role::Stream]);
        let mut stream = self.connect(role, 4_000_000)?;
        if role == Role::Frames {
            let frame = self.some_frames(1);
            stream.write_all(&frame[..frame.len().min(1)])?;
        }
        self.held.push_back(stream);
        if self.held.len() > HELD {
            let how = self.random.one_of(&[Leave::Close, Leave::Reset]);
            if let Some(stream) = self.held.pop_front() {
                return leave(stream, how);
            }
        }
        Ok(())
    }
}

/// Reads to the end, which must come after so many bytes of the stream.
fn check_to_end(stream: &mut TcpStream, salt: u64, length: u64) -> io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut at = 0;
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        let right = buffer[..n].iter().zip(at..).all(|(got, at)| *got == byte(salt, at));
        assert!(right, "other bytes than were sent, after {at} of {length}");
        at += n as u64;
    }
    if at != length {
        return Err(io::Error::other(format!("the end came after {at} of {length} bytes")));
    }
    Ok(at)
}

fn leave(stream: TcpStream, how: Leave) -> io::Result<()> {
    match how {
        Leave::Close => Ok(()),
        Leave::Reset => Socket::from(stream).set_linger(Some(Duration::ZERO)),
    }
}
