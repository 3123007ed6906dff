//! A source in a poller, and the only `unsafe` of the crate.
//!
//! What is added to a poller must be deleted before it is dropped. [`Registration`] owns both
//! ends, so that no path out of it, a panic included, can forget that.
#![allow(unsafe_code)]

use super::Interest;
use polling::{Event, PollMode, Poller};
use std::io;
use std::sync::Arc;

/// What a poller can watch on this system.
///
/// It must stay the same descriptor for its whole life.
#[cfg(unix)]
pub(crate) trait Source: std::os::fd::AsFd {}
#[cfg(unix)]
impl<T: std::os::fd::AsFd> Source for T {}

/// What a poller can watch on this system.
///
/// It must stay the same socket for its whole life.
#[cfg(windows)]
pub(crate) trait Source: std::os::windows::io::AsSocket {}
#[cfg(windows)]
impl<T: std::os::windows::io::AsSocket> Source for T {}

/// How often a source that stays ready is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By every wait. A poller that cannot do that (poll(2), Windows) is used as [`Oneshot`],
    /// and the owner re-arms in both cases by [`Registration::set`].
    ///
    /// [`Oneshot`]: Mode::Oneshot
    Level,
    /// By one wait of one thread, until it is armed again.
    Oneshot,
    /// By one wait of one thread, until something more has come, or it is armed again. Only for a
    /// reactor that knows it: see [`Reactor::shared_mode`](super::Reactor::shared_mode).
    Edge,
}

/// A source, and its place in a poller while anything is wanted of it.
///
/// An empty interest takes the source out of the poller rather than leaving it there with nothing
/// to watch for: depending on the system, a peer's reset would then be reported without end or
/// never.
#[derive(Debug)]
pub(crate) struct Registration<S: Source> {
    poller: Arc<Poller>,
    /// Invariant: registered while `interest` is not empty.
    source: S,
    interest: Interest,
    mode: Mode,
}

impl<S: Source> Registration<S> {
    /// Takes the source, and registers it if anything is wanted.
    ///
    /// # Errors
    /// The system refuses the source or is out of memory for it, or the key is `usize::MAX`, which
    /// the poller keeps for itself. The source is dropped.
    pub(crate) fn new(
        poller: Arc<Poller>,
        source: S,
        key: usize,
        interest: Interest,
        mode: Mode,
    ) -> io::Result<Self> {
        let mode = match mode {
            Mode::Level if !poller.supports_level() => Mode::Oneshot,
            mode => mode,
        };
        let mut registration = Self { poller, source, interest: Interest::default(), mode };
        registration.set(key, interest)?;
        Ok(registration)
    }

    /// Sets what the source is watched for. In level mode it costs nothing unless that changes;
    /// in oneshot mode it arms the source anew. After an error the interest is what it was.
    ///
    /// `key` is what the poller tells of the source by. Its owner has it anyway, so it is not kept.
    #[inline]
    pub(crate) fn set(&mut self, key: usize, interest: Interest) -> io::Result<()> {
        let unchanged = interest == self.interest;
        if unchanged && (self.mode == Mode::Level || is_empty(interest)) {
            return Ok(());
        }
        self.change(key, interest)
    }

    fn change(&mut self, key: usize, interest: Interest) -> io::Result<()> {
        if is_empty(interest) {
            self.delete()?;
        } else if is_empty(self.interest) {
            self.add(key, interest)?;
        } else {
            self.modify(key, interest)?;
        }
        self.interest = interest;
        Ok(())
    }

    /// As `set`, for a source from which everything was read: where it goes on to be watched for
    /// reading alone, and tells of what comes from here on by itself, there is nothing to do.
    pub(crate) fn set_drained(&mut self, key: usize, interest: Interest) -> io::Result<()> {
        if self.mode == Mode::Edge && interest == Interest::READ && interest == self.interest {
            return Ok(());
        }
        self.set(key, interest)
    }

    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    /// The source, to work with. It must not be replaced by another: that one would be taken for
    /// the one that is registered.
    pub(crate) fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    fn modify(&self, key: usize, interest: Interest) -> io::Result<()> {
        if self.mode == Mode::Edge {
            return super::reactor::modify_edge(&self.poller, &self.source, key, interest);
        }
        self.poller.modify_with_mode(self.source(), event(key, interest), self.poll_mode())
    }

    fn add(&self, key: usize, interest: Interest) -> io::Result<()> {
        if self.mode == Mode::Edge {
            return super::reactor::add_edge(&self.poller, &self.source, key, interest);
        }
        let source = self.source();
        #[cfg(unix)]
        let source = &std::os::fd::AsFd::as_fd(source);
        #[cfg(windows)]
        let source = &std::os::windows::io::AsSocket::as_socket(source);
        // SAFETY: the source must be deleted from the poller before it is dropped. It is owned by
        // this value and dropped only with it, which deletes it first, as `interest` says that it is registered. Its descriptor does not
        // change meanwhile (`Source`, `source_mut`). The poller outlives it, by the `Arc`. A value
        // that is leaked leaves its source open, which is safe.
        unsafe { self.poller.add_with_mode(source, event(key, interest), self.poll_mode()) }
    }

    fn delete(&self) -> io::Result<()> {
        self.poller.delete(self.source())
    }

    /// Deletes the source if it is registered.
    fn forget(&mut self) {
        if !is_empty(self.interest) {
            // It fails only if the system has no such registration any more.
            let _ = self.delete();
            self.interest = Interest::default();
        }
    }

    fn poll_mode(&self) -> PollMode {
        match self.mode {
            Mode::Level => PollMode::Level,
            Mode::Oneshot => PollMode::Oneshot,
            Mode::Edge => PollMode::Edge,
        }
    }
}

impl<S: Source> Drop for Registration<S> {
    fn drop(&mut self) {
        // Fields are dropped after this.
        self.forget();
    }
}

fn event(key: usize, interest: Interest) -> Event {
    Event::new(key, interest.read, interest.write)
}

fn is_empty(interest: Interest) -> bool {
    interest == Interest::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use polling::Events;
    use socket2::Socket;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    const NONE: Interest = Interest { read: false, write: false };
    const READ: Interest = Interest::READ;
    const WRITE: Interest = Interest { read: false, write: true };
    const LONG: Option<Duration> = Some(Duration::from_secs(10));
    const SHORT: Option<Duration> = Some(Duration::from_millis(10));

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (client, server)
    }

    fn poller() -> Arc<Poller> {
        Arc::new(Poller::new().unwrap())
    }

    /// The keys told of, and whether each may read and write.
    fn wait(poller: &Poller, timeout: Option<Duration>) -> Vec<(usize, bool, bool)> {
        let mut events = Events::new();
        poller.wait(&mut events, timeout).unwrap();
        events.iter().map(|event| (event.key, event.readable, event.writable)).collect()
    }

    #[test]
    fn a_level_source_is_told_of_until_it_is_read() {
        let poller = poller();
        if !poller.supports_level() {
            return;
        }
        let (mut client, server) = pair();
        let mut server =
            Registration::new(Arc::clone(&poller), server, 7, READ, Mode::Level).unwrap();
        client.write_all(b"x").unwrap();
        for _ in 0..3 {
            assert_eq!(wait(&poller, LONG), [(7, true, false)]);
            server.set(7, READ).unwrap();
        }
        assert_eq!(server.source_mut().read(&mut [0; 4]).unwrap(), 1);
        assert_eq!(wait(&poller, SHORT), []);
    }

    #[test]
    fn a_oneshot_source_is_told_of_once_each_time_it_is_armed() {
        let poller = poller();
        let (mut client, server) = pair();
        let mut server =
            Registration::new(Arc::clone(&poller), server, 7, READ, Mode::Oneshot).unwrap();
        client.write_all(b"x").unwrap();
        for _ in 0..3 {
            assert_eq!(wait(&poller, LONG), [(7, true, false)]);
            assert_eq!(wait(&poller, SHORT), []);
            server.set(7, READ).unwrap();
        }
    }

    #[test]
    fn nothing_wanted_is_nothing_told_even_of_a_peer_that_is_gone() {
        for mode in [Mode::Level, Mode::Oneshot] {
            let poller = poller();
            let (client, server) = pair();
            let mut server = Registration::new(Arc::clone(&poller), server, 7, READ, mode).unwrap();
            server.set(7, NONE).unwrap();
            server.set(7, NONE).unwrap();
            let client = Socket::from(client);
            client.set_linger(Some(Duration::ZERO)).unwrap();
            drop(client);
            assert_eq!(wait(&poller, SHORT), []);

            server.set(7, READ).unwrap();
            let told = wait(&poller, LONG);
            assert!(matches!(told[..], [(7, true, _)]), "{told:?}");
        }
    }

    #[test]
    fn a_changed_interest_holds_from_then_on() {
        for mode in [Mode::Level, Mode::Oneshot] {
            let poller = poller();
            let (_client, server) = pair();
            let mut server = Registration::new(Arc::clone(&poller), server, 7, NONE, mode).unwrap();
            assert_eq!(wait(&poller, SHORT), []);
            server.set(7, WRITE).unwrap();
            assert_eq!(wait(&poller, LONG), [(7, false, true)]);
            server.set(7, READ).unwrap();
            assert_eq!(wait(&poller, SHORT), []);
        }
    }

    #[test]
    fn a_source_that_is_dropped_is_not_watched_any_more() {
        let poller = poller();
        let (mut client, server) = pair();
        client.write_all(b"x").unwrap();
        let register = |source, key| {
            Registration::new(Arc::clone(&poller), source, key, READ, Mode::Oneshot).unwrap()
        };
        // The system refuses one that it has already.
        drop(register(server.try_clone().unwrap(), 2));
        assert_eq!(wait(&poller, SHORT), []);
        let _server = register(server, 3);
        assert_eq!(wait(&poller, LONG), [(3, true, false)]);
    }

    #[test]
    fn the_key_of_the_poller_itself_is_refused() {
        let (_client, server) = pair();
        let refused = Registration::new(poller(), server, usize::MAX, READ, Mode::Level);
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    /// (On Windows, a socket is as large as a pointer.)
    #[cfg(all(unix, target_pointer_width = "64"))]
    #[test]
    fn it_is_small() {
        assert!(size_of::<Registration<Socket>>() <= 16);
    }
}
