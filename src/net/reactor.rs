//! Waiting for many sockets at once, and being woken while waiting.
//!
//! Registrations always go through `polling`. There are two ways to wait:
//!
//! - The **portable** one is `Poller::wait`. On Linux it makes five system calls.
//! - The **native** one (Linux) waits on the poller's own epoll descriptor, with an eventfd of our
//!   own to be woken by, and makes one. The poller's timer and notifier stay silent then.

use super::Interest;
use crate::connection::Ready;
use polling::Poller;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Keys from here on are the reactor's own; `polling` keeps the highest for itself.
pub(crate) const FIRST_RESERVED_KEY: u64 = u64::MAX - 15;

/// The key of an [`Alarm`](super::Alarm), whose events end a wait and are nobody's.
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(dead_code))]
pub(super) const ALARM: u64 = FIRST_RESERVED_KEY + 2;

/// The longest wait of the portable way. It turns a wake-up that a system loses (open reports
/// against kqueue, polling PR 265) into a delay.
const PORTABLE_CAP: Duration = Duration::from_millis(500);

/// A poller, and the bell that ends a wait.
#[derive(Debug)]
pub(crate) struct Reactor {
    poller: Arc<Poller>,
    native: Option<native::Bells>,
}

/// What a wait has brought.
pub(crate) struct Events {
    /// The native list, where there is one. It belongs to its thread.
    #[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(dead_code))]
    native: native::Buffer,
    portable: PortableEvents,
}

/// What a portable wait has brought. Threads may hand it on.
pub(crate) struct PortableEvents {
    list: polling::Events,
    ready: Vec<(u64, Ready)>,
}

impl Events {
    /// Room for at most `capacity` events of one wait.
    pub(crate) fn with_capacity(capacity: NonZeroUsize) -> Self {
        Self {
            native: native::Buffer::with_capacity(capacity.get()),
            portable: PortableEvents::with_capacity(capacity),
        }
    }

    /// The keys that are ready, and for what.
    pub(crate) fn ready(&self) -> &[(u64, Ready)] {
        self.portable.ready()
    }
}

impl PortableEvents {
    pub(crate) fn with_capacity(capacity: NonZeroUsize) -> Self {
        Self { list: polling::Events::with_capacity(capacity), ready: Vec::new() }
    }

    pub(crate) fn ready(&self) -> &[(u64, Ready)] {
        &self.ready
    }
}

impl Reactor {
    /// Makes a reactor; a `portable` one waits by `polling` also where there is a better way.
    pub(crate) fn new(portable: bool) -> io::Result<Self> {
        let poller = Arc::new(Poller::new()?);
        let native = if portable { None } else { native::Bells::new(&poller)? };
        Ok(Self { poller, native })
    }

    pub(crate) fn poller(&self) -> &Arc<Poller> {
        &self.poller
    }

    /// Whether several threads may wait at the same time. `polling` lets one in and sends the
    /// others away at once.
    pub(crate) fn is_shareable(&self) -> bool {
        self.native.is_some()
    }

    /// Waits until something is ready, the bell rings, or the deadline has passed. The events of
    /// the wait before are forgotten. It may end with none for no reason.
    pub(crate) fn wait(&self, events: &mut Events, deadline: Option<Instant>) -> io::Result<()> {
        self.wait_for(events, deadline.map(time_left))
    }

    /// Takes what is ready, and does not wait.
    pub(crate) fn look(&self, events: &mut Events) -> io::Result<()> {
        self.wait_for(events, Some(Duration::ZERO))
    }

    fn wait_for(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match &self.native {
            Some(_) => native::wait(&self.poller, events, timeout),
            None => self.wait_portably_for(&mut events.portable, timeout),
        }
    }

    /// As `wait`, by `polling` alone: for a reactor that is not shareable.
    pub(crate) fn wait_portably(
        &self,
        events: &mut PortableEvents,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        self.wait_portably_for(events, deadline.map(time_left))
    }

    fn wait_portably_for(
        &self,
        events: &mut PortableEvents,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        events.ready.clear();
        // Not cleared, a full list would make every further wait fail with EINVAL.
        events.list.clear();
        let timeout = timeout.map_or(PORTABLE_CAP, |left| left.min(PORTABLE_CAP));
        match self.poller.wait(&mut events.list, Some(timeout)) {
            Ok(_) => (),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            // The poll(2) back end of polling 3.11 looks for the notification of a `notify` that
            // another thread's change has swallowed: it was woken, and that is all.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
        events.ready.extend(events.list.iter().map(|event| {
            // Whatever is not about writing is found by reading.
            let read = event.readable || !event.writable;
            (event.key as u64, Ready { read, write: event.writable })
        }));
        Ok(())
    }

    /// Ends the wait of one waiting thread; if none waits, that of the next.
    pub(crate) fn ring(&self) {
        match &self.native {
            Some(bells) => bells.ring(),
            // It can fail only if the poller is broken, and then its waits fail too.
            None => drop(self.poller.notify()),
        }
    }

    /// Ends all waits from here on.
    pub(crate) fn ring_for_good(&self) {
        match &self.native {
            Some(bells) => bells.ring_for_good(),
            None => drop(self.poller.notify()),
        }
    }
}

fn time_left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// The `usize` that `polling` wants for a key.
pub(crate) fn poller_key(key: u64) -> usize {
    key as usize // on 32-bit systems the upper half is lost, and the slot's number is left
}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(polling_test_poll_backend)))]
mod native {
    use super::{Events, FIRST_RESERVED_KEY, Ready};
    use crate::net::WakeFd;
    use polling::Poller;
    use rustix::event::Timespec;
    use rustix::event::epoll::{self, EventData, EventFlags};
    use std::io;
    use std::time::Duration;

    const BELL: u64 = FIRST_RESERVED_KEY;
    const STOP: u64 = FIRST_RESERVED_KEY + 1;

    /// What ends a wait: one that rings for one thread, once, and one that rings for all, for
    /// good.
    #[derive(Debug)]
    pub(super) struct Bells {
        once: WakeFd,
        always: WakeFd,
    }

    pub(super) struct Buffer(Vec<epoll::Event>);

    impl Buffer {
        pub(super) fn with_capacity(capacity: usize) -> Self {
            Self(Vec::with_capacity(capacity))
        }
    }

    impl Bells {
        /// `None` if the system has no room for them; the portable way needs none.
        pub(super) fn new(poller: &Poller) -> io::Result<Option<Self>> {
            let bells = Self { once: WakeFd::new()?, always: WakeFd::new()? };
            // Edge-triggered and never read: each ring is one edge, and wakes one waiter.
            let once = EventFlags::IN | EventFlags::ET;
            let added =
                epoll::add(poller, &bells.once, EventData::new_u64(BELL), once).and_then(|()| {
                    let always = EventData::new_u64(STOP);
                    epoll::add(poller, &bells.always, always, EventFlags::IN)
                });
            Ok(added.is_ok().then_some(bells))
        }

        pub(super) fn ring(&self) {
            self.once.ring();
        }

        pub(super) fn ring_for_good(&self) {
            self.always.ring();
        }
    }

    pub(super) fn wait(
        poller: &Poller,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        // One that is too long for the system is one without end.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let list = &mut events.native.0;
        list.clear();
        let room = rustix::buffer::spare_capacity(list);
        match epoll::wait(poller, room, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => (),
            Err(e) => return Err(e.into()),
        }
        let ready = list.iter().map(|event| (event.data.u64(), ready(event.flags)));
        let ours = ready.filter(|(key, _)| *key < FIRST_RESERVED_KEY);
        events.portable.ready.clear();
        events.portable.ready.extend(ours);
        Ok(())
    }

    /// IN, PRI, RDHUP, HUP and ERR all mean: read. An urgent byte, for one, is told of for ever
    /// until something is read.
    fn ready(flags: EventFlags) -> Ready {
        let failed = EventFlags::HUP | EventFlags::ERR;
        Ready {
            read: flags.intersects(failed | EventFlags::IN | EventFlags::PRI | EventFlags::RDHUP),
            write: flags.intersects(failed | EventFlags::OUT),
        }
    }
}

#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(polling_test_poll_backend))))]
mod native {
    use super::Events;
    use polling::Poller;
    use std::io;
    use std::time::Duration;

    /// There is no native way here.
    #[derive(Debug)]
    pub(super) enum Bells {}

    pub(super) struct Buffer;

    impl Buffer {
        pub(super) fn with_capacity(_capacity: usize) -> Self {
            Self
        }
    }

    impl Bells {
        pub(super) fn new(_poller: &Poller) -> io::Result<Option<Self>> {
            Ok(None)
        }

        pub(super) fn ring(&self) {
            match *self {}
        }

        pub(super) fn ring_for_good(&self) {
            match *self {}
        }
    }

    /// Nobody calls it: there are no bells.
    pub(super) fn wait(_: &Poller, events: &mut Events, _: Option<Duration>) -> io::Result<()> {
        let Buffer = events.native;
        Ok(())
    }
}

impl From<crate::connection::Wants> for Interest {
    fn from(wants: crate::connection::Wants) -> Self {
        Interest { read: wants.read, write: wants.write }
    }
}
