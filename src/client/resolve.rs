//! Finding the addresses of a name, within a deadline.
//!
//! No system can be told to give up a lookup. So it runs on a thread of its own, and one that has
//! outlived its deadline is left to finish; there is room for a few of them only, so that a dead
//! name server does not fill the process with threads.

use super::deadline::Deadline;
use super::error::ConnectError;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, OnceLock};
use std::thread;

/// Lookups at once, in the whole process. A lookup takes milliseconds when name servers answer,
/// and a thread for half a minute when they do not.
const MAX_LOOKUPS: usize = 4;

/// Finds the addresses of a name.
///
/// A closure is one too. It runs on a helper thread and may take its time: the caller gives up at
/// its own deadline and leaves the thread to finish, at most 4 of them in a process.
///
/// ```
/// # use std::net::TcpListener;
/// use polyserve::Client;
/// use std::net::SocketAddr;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let server = listener.local_addr()?;
/// let client = Client::builder()
///     .resolver(move |_host: &str, _port: u16| Ok(vec![server]))
///     .connect("no.such.host:80")?;
/// assert_eq!(client.peer_addr().as_tcp(), Some(server));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host`, with `port`, in the order in which they should be tried.
    ///
    /// # Errors
    /// Whatever keeps the name from being resolved; it becomes [`ConnectError::Lookup`].
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

impl<F> Resolve for F
where
    F: Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
{
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self(host, port)
    }
}

/// The operating system's resolver: the hosts file, name servers, and whatever else is set up.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        (host, port).to_socket_addrs().map(Iterator::collect)
    }
}

/// Looks `host` up on a helper thread. The addresses come in the order in which to try them.
pub(super) fn resolve(
    resolver: &Arc<dyn Resolve>,
    host: &str,
    port: u16,
    deadline: &Deadline,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let place = Places::of_process().take(deadline).ok_or_else(|| ConnectError::LookupsBusy {
        host: host.into(),
        limit: MAX_LOOKUPS,
        timeout: deadline.timeout(),
    })?;
    let failed = |source| ConnectError::Lookup { host: host.into(), source };
    let answer = start(Arc::clone(resolver), host.to_owned(), port, place).map_err(failed)?;
    match wait(&answer, deadline) {
        Ok(Ok(addrs)) if addrs.is_empty() => Err(ConnectError::NoAddress { host: host.into() }),
        Ok(Ok(addrs)) => Ok(alternate(addrs)),
        Ok(Err(source)) => Err(failed(source)),
        Err(RecvTimeoutError::Disconnected) => {
            Err(failed(io::Error::other("the resolver panicked")))
        }
        Err(RecvTimeoutError::Timeout) => {
            Err(ConnectError::LookupTimedOut { host: host.into(), timeout: deadline.timeout() })
        }
    }
}

type Answer = io::Result<Vec<SocketAddr>>;

fn start(
    resolver: Arc<dyn Resolve>,
    host: String,
    port: u16,
    place: Place,
) -> io::Result<Receiver<Answer>> {
    let (sender, receiver) = bounded(1);
    let lookup = move || {
        let answer = resolver.resolve(&host, port);
        // First the place, so that whoever has the answer can look up the next name.
        drop(place);
        // Nobody waits any more when the deadline has passed.
        let _ = sender.send(answer);
    };
    thread::Builder::new().name("polyserve-dns".into()).spawn(lookup)?;
    Ok(receiver)
}

fn wait(answer: &Receiver<Answer>, deadline: &Deadline) -> Result<Answer, RecvTimeoutError> {
    match deadline.at() {
        Some(at) => answer.recv_deadline(at),
        None => answer.recv().map_err(RecvTimeoutError::from),
    }
}

/// The places for lookups: a channel that holds one token for each that is under way.
struct Places {
    taken: (Sender<()>, Receiver<()>),
}

/// A place that is held. Dropping it, also by a panic of the resolver, makes room.
struct Place(Receiver<()>);

impl Places {
    fn new(n: usize) -> Self {
        Self { taken: bounded(n) }
    }

    fn of_process() -> &'static Places {
        static PLACES: OnceLock<Places> = OnceLock::new();
        PLACES.get_or_init(|| Places::new(MAX_LOOKUPS))
    }

    fn take(&self, deadline: &Deadline) -> Option<Place> {
        let (sender, receiver) = &self.taken;
        let taken = match deadline.at() {
            Some(at) => sender.send_deadline((), at),
            None => sender.send(()).map_err(SendTimeoutError::from),
        };
        taken.ok().map(|()| Place(receiver.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.0.try_recv();
    }
}

/// Alternates the families, beginning with the one that the resolver put first, so that a host
/// whose IPv6 does not work costs one attempt and not all of them (RFC 8305, section 4).
fn alternate(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_ipv6 = addrs.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addrs.into_iter().partition(|addr| addr.is_ipv6() == first_is_ipv6);
    let mut second = second.into_iter();
    let mut mixed = Vec::with_capacity(first.len() + second.len());
    for addr in first {
        mixed.push(addr);
        mixed.extend(second.next());
    }
    mixed.extend(second);
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Limit;
    use std::time::Duration;

    fn addrs(text: &str) -> Vec<SocketAddr> {
        let parse = |word: &str| word.parse().unwrap();
        text.split_whitespace().map(parse).collect()
    }

    #[test]
    fn families_alternate_and_nothing_is_lost() {
        for (given, expected) in [
            ("", ""),
            ("1.1.1.1:1 1.1.1.2:1", "1.1.1.1:1 1.1.1.2:1"),
            ("[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1", "[::1]:1 1.1.1.1:1 [::2]:1 [::3]:1"),
            ("1.1.1.1:1 [::1]:1 [::2]:1", "1.1.1.1:1 [::1]:1 [::2]:1"),
        ] {
            assert_eq!(alternate(addrs(given)), addrs(expected));
        }
    }

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let places = Places::new(2);
        let at_once = Deadline::start(Duration::ZERO.into());
        let first = places.take(&at_once).unwrap();
        let _second = places.take(&Deadline::start(Limit::Unlimited)).unwrap();
        assert!(places.take(&at_once).is_none());
        drop(first);
        assert!(places.take(&at_once).is_some());
    }

    #[test]
    fn a_resolver_that_panics_is_an_error_and_frees_its_place() {
        let panics: Arc<dyn Resolve> =
            Arc::new(|_: &str, _: u16| -> io::Result<Vec<SocketAddr>> { panic!("on purpose") });
        for _ in 0..=MAX_LOOKUPS {
            let deadline = Deadline::start(Duration::from_secs(10).into());
            let error = resolve(&panics, "h", 1, &deadline).unwrap_err();
            assert!(matches!(error, ConnectError::Lookup { .. }), "{error}");
        }
    }
}
