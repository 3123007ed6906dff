//! Waiting for many sockets at once, and being woken while waiting.
//!
//! Registrations always go through `polling`. There are two ways to wait:
//!
//! - The **portable** one is `Poller::wait`. On Linux it makes five system calls.
//! - The **native** one (Linux) waits on the poller's own epoll descriptor, with an eventfd of our
//!   own to be woken by, and makes one. The poller's timer and notifier stay silent then.

use super::registration::Source;
use super::{Interest, Mode};
use crate::connection::Ready;
use polling::Poller;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Keys from here on are the reactor's own; `polling` keeps the highest for itself.
pub(crate) const FIRST_RESERVED_KEY: u64 = u64::MAX - 15;

/// The key of an [`Alarm`](super::Alarm), whose events end a wait and are nobody's.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(polling_test_poll_backend)))]
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

/// A key that is ready, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) key: u64,
    pub(crate) ready: Ready,
    /// It is about bytes to read, and neither about an end, an error, an urgent byte nor about
    /// room to write. Where that cannot be told, it is not said.
    pub(crate) only_bytes: bool,
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
    ready: Vec<Event>,
    /// The bell was among it.
    rung: bool,
    /// An alarm was.
    alarmed: bool,
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
    pub(crate) fn ready(&self) -> &[Event] {
        self.portable.ready()
    }

    /// Whether the bell has rung. A portable wait cannot tell, and says so after each.
    pub(crate) fn rung(&self) -> bool {
        self.portable.rung
    }

    /// Whether an [`Alarm`](super::Alarm) of this reactor has gone off.
    pub(crate) fn alarmed(&self) -> bool {
        self.portable.alarmed
    }
}

impl PortableEvents {
    pub(crate) fn with_capacity(capacity: NonZeroUsize) -> Self {
        Self {
            list: polling::Events::with_capacity(capacity),
            ready: Vec::with_capacity(capacity.get()),
            rung: false,
            alarmed: false,
        }
    }

    pub(crate) fn ready(&self) -> &[Event] {
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

    /// How to watch a source on behalf of several threads, each event for one of them.
    pub(crate) fn shared_mode(&self) -> Mode {
        match self.native {
            Some(_) => Mode::Edge,
            None => Mode::Oneshot,
        }
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
        events.rung = true;
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
            let ready = Ready { read, write: event.writable };
            Event { key: event.key as u64, ready, only_bytes: false }
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

/// Adds a source that is watched in [`Mode::Edge`]. It must be deleted before it is closed, for
/// other systems' sake; here the close does so.
pub(super) fn add_edge<S: Source>(
    poller: &Poller,
    source: &S,
    key: usize,
    interest: Interest,
) -> io::Result<()> {
    native::add_edge(poller, source, key, interest)
}

/// Arms such a source anew: what is there already is told of, too.
pub(super) fn modify_edge<S: Source>(
    poller: &Poller,
    source: &S,
    key: usize,
    interest: Interest,
) -> io::Result<()> {
    native::modify_edge(poller, source, key, interest)
}

/// The `usize` that `polling` wants for a key.
pub(crate) fn poller_key(key: u64) -> usize {
    key as usize // on 32-bit systems the upper half is lost, and the slot's number is left
}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(polling_test_poll_backend)))]
mod native {
    use super::{ALARM, Event, Events, FIRST_RESERVED_KEY, PortableEvents, Ready};
    use crate::net::{Interest, WakeFd};
    use polling::Poller;
    use rustix::event::Timespec;
    use rustix::event::epoll::{self, EventData, EventFlags};
    use std::io;
    use std::os::fd::AsFd;
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
        let PortableEvents { ready, rung, alarmed, .. } = &mut events.portable;
        ready.clear();
        (*rung, *alarmed) = (false, false);
        for event in list.iter() {
            match event.data.u64() {
                BELL => *rung = true,
                ALARM => *alarmed = true,
                STOP => (),
                key => ready.push(told(key, event.flags)),
            }
        }
        Ok(())
    }

    fn told(key: u64, flags: EventFlags) -> Event {
        Event { key, ready: ready(flags), only_bytes: flags == EventFlags::IN }
    }

    /// `polling` does not ask for RDHUP. Without it, an end that has come together with the last
    /// bytes cannot be told from bytes alone, and comes with no further edge.
    fn edge(interest: Interest) -> EventFlags {
        let mut flags = EventFlags::ET;
        if interest.read {
            flags |= EventFlags::IN | EventFlags::PRI | EventFlags::RDHUP;
        }
        if interest.write {
            flags |= EventFlags::OUT;
        }
        flags
    }

    pub(super) fn add_edge(
        poller: &Poller,
        source: impl AsFd,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        Ok(epoll::add(poller, source, EventData::new_u64(key as u64), edge(interest))?)
    }

    pub(super) fn modify_edge(
        poller: &Poller,
        source: impl AsFd,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        Ok(epoll::modify(poller, source, EventData::new_u64(key as u64), edge(interest))?)
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
    use crate::net::Interest;
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

    /// Nobody calls them: there are no bells.
    pub(super) fn add_edge<S>(_: &Poller, _: S, _: usize, _: Interest) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn modify_edge<S>(_: &Poller, _: S, _: usize, _: Interest) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
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
