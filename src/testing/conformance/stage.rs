//! What a question is asked on: servers that are started for it, and looked after at its end.

use super::Subject;
use super::checker::{Checked, Log};
use super::client::Client;
use crate::handler::{CloseKind, Control, Handler, Peer};
use crate::layer::Layer;
use crate::net::Addr;
use crate::observe::Observer;
use crate::server::{Builder, Server, ServerHandle};
use crate::testing::server::{Event, Events};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take that should happen at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than any question takes.
const SILENCE: Duration = Duration::from_secs(60);

/// Why a question was not answered as it should be: what was waited for, and what came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

pub(super) type Asked = Result<(), Failure>;

/// Fails the question unless something holds.
macro_rules! check {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err($crate::testing::conformance::Failure::new(format!($($text)*)));
        }
    };
}
pub(super) use check;

/// Fails the question if something that should work does not.
pub(super) trait OrFail<T> {
    fn or_fail(self, what: &str) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> OrFail<T> for Result<T, E> {
    fn or_fail(self, what: &str) -> Result<T, Failure> {
        self.map_err(|e| Failure::new(format!("{what}: {e}")))
    }
}

/// Waits for a condition that no event tells of.
pub(super) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> Asked {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        check!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        std::thread::yield_now();
    }
    Ok(())
}

pub(super) struct Stage {
    subject: Subject,
    servers: Mutex<Vec<Arc<Running>>>,
}

/// A server of a question.
pub(super) struct Running {
    handle: ServerHandle,
    pub(super) log: Arc<Log>,
    events: Arc<Events>,
    subject: Subject,
}

/// A server that is ready to run, with a place to write down what happens.
pub(super) struct Ready {
    pub(super) server: Server,
    log: Arc<Log>,
    events: Arc<Events>,
}

impl Stage {
    pub(super) fn new(subject: Subject) -> Self {
        Self { subject, servers: Mutex::default() }
    }

    /// Asks a question, and looks after the servers that it started.
    pub(super) fn perform(self, ask: fn(&Stage) -> Asked) -> Asked {
        let asked = ask(&self);
        let servers = self.servers.into_inner().unwrap_or_else(PoisonError::into_inner);
        if asked.is_err() {
            servers.iter().for_each(|server| server.control().stop());
            return asked;
        }
        servers.iter().try_for_each(|server| server.finish())
    }

    pub(super) fn has_layer(&self) -> bool {
        self.subject.layers.is_some()
    }

    /// A server on a free port of 127.0.0.1, with the default of everything but one: a client may be
    /// silent for longer, since bystanders are, and a starved machine keeps them waiting.
    pub(super) fn serve<F, H>(&self, factory: F) -> Result<Arc<Running>, Failure>
    where
        F: Fn(&Peer, &Arc<Log>) -> H + Send + Sync + 'static,
        H: Handler,
    {
        self.serve_with(|builder| builder, factory)
    }

    /// As `serve`, with other settings.
    pub(super) fn serve_with<F, H>(
        &self,
        settings: impl FnOnce(Builder) -> Builder,
        factory: F,
    ) -> Result<Arc<Running>, Failure>
    where
        F: Fn(&Peer, &Arc<Log>) -> H + Send + Sync + 'static,
        H: Handler,
    {
        self.spawn(self.ready(|builder| bind(settings(builder), "127.0.0.1:0"))?, factory)
    }

    /// Builds a server, which binds what `settings` bind.
    pub(super) fn ready(
        &self,
        settings: impl FnOnce(Builder) -> Result<Builder, Failure>,
    ) -> Result<Ready, Failure> {
        self.ready_observed(None, settings)
    }

    /// As `ready`, with another observer besides.
    pub(super) fn ready_observed(
        &self,
        observer: Option<Box<dyn Observer>>,
        settings: impl FnOnce(Builder) -> Result<Builder, Failure>,
    ) -> Result<Ready, Failure> {
        let events = Arc::new(Events::default());
        let mut builder = Server::builder()
            .backend((self.subject.make)())
            .first_byte_timeout(SILENCE)
            .observer(Arc::clone(&events))
            .observer(observer);
        if let Some(layers) = self.subject.layers.clone() {
            builder = builder.layer(move || (layers.server)());
        }
        let server = settings(builder)?.build().or_fail("the server is built")?;
        Ok(Ready { server, log: Arc::default(), events })
    }

    pub(super) fn spawn<F, H>(&self, ready: Ready, factory: F) -> Result<Arc<Running>, Failure>
    where
        F: Fn(&Peer, &Arc<Log>) -> H + Send + Sync + 'static,
        H: Handler,
    {
        let (log, events) = (Arc::clone(&ready.log), Arc::clone(&ready.events));
        let handle = self.start(ready, factory)?;
        let running = Arc::new(Running { handle, log, events, subject: self.subject.clone() });
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&running));
        Ok(running)
    }

    /// A server that the question looks after itself.
    pub(super) fn serve_apart<F, H>(&self, factory: F) -> Result<ServerHandle, Failure>
    where
        F: Fn(&Peer, &Arc<Log>) -> H + Send + Sync + 'static,
        H: Handler,
    {
        self.start(self.ready(|builder| bind(builder, "127.0.0.1:0"))?, factory)
    }

    fn start<F, H>(&self, ready: Ready, factory: F) -> Result<ServerHandle, Failure>
    where
        F: Fn(&Peer, &Arc<Log>) -> H + Send + Sync + 'static,
        H: Handler,
    {
        let Ready { server, log: its_log, .. } = ready;
        let wrap = self.subject.wrap.clone();
        let make = move |peer: &Peer| {
            let handler = Box::new(factory(peer, &its_log));
            let checked: Box<dyn Handler> = Box::new(Checked::new(handler, Arc::clone(&its_log)));
            match &wrap {
                Some(wrap) => wrap(checked),
                None => checked,
            }
        };
        server.spawn(make).or_fail("the server starts")
    }
}

pub(super) fn bind(builder: Builder, addr: &str) -> Result<Builder, Failure> {
    builder.bind(addr).or_fail("the server binds")
}

impl Running {
    pub(super) fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    pub(super) fn control(&self) -> Control {
        self.handle.control()
    }

    pub(super) fn addr(&self) -> &Addr {
        &self.handle.local_addrs()[0]
    }

    /// A client that is connected, and through with its handshake if there is a layer.
    pub(super) fn connect(&self) -> Result<Client, Failure> {
        self.connect_to(self.addr())
    }

    pub(super) fn connect_to(&self, addr: &Addr) -> Result<Client, Failure> {
        let mut client = Client::connect(addr, None)?;
        client.set_layer(self.client_layer())?;
        Ok(client)
    }

    /// A client whose system takes few bytes that it has not read.
    pub(super) fn connect_small(&self, recv_buffer: usize) -> Result<Client, Failure> {
        let mut client = Client::connect(self.addr(), Some(recv_buffer))?;
        client.set_layer(self.client_layer())?;
        Ok(client)
    }

    /// A client that has not said anything yet, not even its part of a handshake.
    pub(super) fn connect_silently(&self) -> Result<Client, Failure> {
        Client::connect(self.addr(), None)
    }

    /// Shakes hands with a client of `connect_silently`.
    pub(super) fn greet(&self, client: &mut Client) -> Asked {
        client.set_layer(self.client_layer())
    }

    fn client_layer(&self) -> Option<Box<dyn Layer>> {
        self.subject.layers.as_ref().map(|layers| (layers.client)())
    }

    /// What the observer was told so far.
    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    /// Waits for an event.
    pub(super) fn wait_event(&self, event: &Event) -> Asked {
        let matches = |seen: &Event| seen == event;
        self.events.wait_for(format_args!("{event:?}"), PATIENCE, matches).or_fail("it is told")?;
        Ok(())
    }

    /// The server still serves: a new client gets its echo, or whatever `reply` is.
    pub(super) fn probe(&self, request: &[u8], reply: &[u8]) -> Asked {
        let mut client = self.connect()?;
        client.send(request)?;
        client.expect(reply)
    }

    /// The kinds of all ends that the observer was told, by the connections' numbers.
    fn observed_ends(&self) -> Result<BTreeMap<u64, CloseKind>, Failure> {
        let mut ends = BTreeMap::new();
        for event in self.events.all() {
            if let Event::Closed { id, kind, .. } = event {
                let before = ends.insert(id.get(), kind);
                check!(before.is_none(), "the observer was told the end of {id} twice");
            }
        }
        Ok(ends)
    }

    /// The question is over, and its clients are gone: nothing may be left.
    fn finish(&self) -> Asked {
        let report = self.handle.drain(Duration::ZERO, PATIENCE);
        let seen = self.log.seen();
        check!(seen.violations.is_empty(), "promises were broken: {:?}", seen.violations);
        check!(report.finished_all, "the drain at the end left something: {report:?} {seen:?}");
        let stats = self.control().stats();
        check!(stats.live() == 0 && stats.open() == 0, "connections are left: {stats:?}");
        check!(
            stats.accepted() == stats.closed_total() + stats.refused(),
            "the counters disagree: {stats:?}"
        );
        check!(self.control().connections().is_empty(), "connections are listed after the end");
        check!(seen.made == seen.dropped, "a handler was not dropped: {seen:?}");
        check!(seen.opened.len() == seen.closed.len(), "on_open without on_close: {seen:?}");
        // A thread that is about to tell an earlier step tells this one, too.
        let is_end = |event: &Event| matches!(event, Event::Drained(_));
        self.events.wait_for("the end", PATIENCE, is_end).or_fail("it is told")?;
        super::events::check_order(&self.events.all())?;
        let ends = self.observed_ends()?;
        let n = ends.len() as u64;
        check!(n == stats.closed_total(), "the observer was told {n} ends: {stats:?}");
        for (id, kind) in &seen.closed {
            let told = ends.get(id);
            check!(told == Some(kind), "on_close said {kind:?} for {id}, the observer {told:?}");
        }
        for kind in CloseKind::ALL {
            let told = ends.values().filter(|k| **k == kind).count() as u64;
            check!(stats.closed(kind) == told, "the counter of {kind:?}: {stats:?}, not {told}");
        }
        Ok(())
    }
}
