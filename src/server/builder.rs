//! Putting a server together.

use super::handle::ServerHandle;
use crate::acceptor::Acceptor;
use crate::backend::{Backend, EventLoop};
use crate::connection::{Limits, Timeouts, panic_message};
use crate::handler::{Control, ControlTarget, Handler, Peer};
use crate::layer::Layer;
use crate::limit::Limit;
use crate::net::{Addr, BindAddr, BindError, Listener, SocketOptions};
use crate::observe::Observer;
use crate::serve_error::{ConfigError, ServeError};
use crate::session::{AcceptorReach, Core, DrainStep, LayerFactory};
use crossbeam_channel::{Sender, bounded};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Descriptors left for everything but connections, where the limit of connections is lowered to
/// what the process may open.
const SPARE_DESCRIPTORS: usize = 64;

/// Puts a [`Server`] together. [`Server::builder`] makes one.
///
/// Socket options hold for the binds that follow them; everything else holds for the whole server,
/// in any order.
#[must_use = "a builder does nothing until it serves"]
pub struct Builder {
    backend: Box<dyn Backend>,
    listeners: Vec<Listener>,
    options: SocketOptions,
    limits: Limits,
    timeouts: Timeouts,
    observer: Option<Arc<dyn Observer>>,
    layers: Option<LayerFactory>,
}

/// A server that is ready to run: its listeners are open, and connections wait in their backlogs.
///
/// [`Server::builder`] begins one. The shorter way, without naming the `Server` itself, is
/// [`Builder::serve`] or [`Builder::spawn`].
///
/// ```
/// # use polyserve::{Action, BoxError, Context, Handler, Input};
/// # struct Echo;
/// # impl Handler for Echo {
/// #     fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
/// #         cx.send(input.take());
/// #         Ok(Action::Continue)
/// #     }
/// # }
/// use polyserve::{Server, ThreadPool};
/// use std::time::Duration;
///
/// let server = Server::builder()
///     .backend(ThreadPool::new(4))
///     .max_connections(500)
///     .idle_timeout(Duration::from_secs(20))
///     .bind("127.0.0.1:0")?
///     .build()?;
/// println!("listening on {}", server.local_addrs()[0]);
/// # server.control().stop();
/// server.serve(|_peer| Echo)?; // until somebody drains or stops it
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a server does nothing until it serves"]
pub struct Server {
    core: Arc<Core>,
    backend: Box<dyn Backend>,
    listeners: Vec<Listener>,
}

impl Builder {
    /// Chooses the concurrency strategy: [`ThreadPerConnection`](crate::ThreadPerConnection),
    /// [`ThreadPool`](crate::ThreadPool), [`EventLoop`], a [`Strategy`](crate::Strategy) or one of
    /// your own. Default: `EventLoop::new()`.
    pub fn backend(mut self, backend: impl Backend) -> Self {
        self.backend = Box::new(backend);
        self
    }

    /// Sets the socket options of the binds and listeners that follow.
    pub fn socket_options(mut self, options: SocketOptions) -> Self {
        self.options = options;
        self
    }

    /// Binds an address and listens on it. May be called several times.
    ///
    /// `"127.0.0.1:50007"`, `"[::1]:50007"`, `"localhost:50007"`, `"unix:/run/app.sock"`,
    /// `"unix:@name"` (Linux), a `SocketAddr` and more, see [`BindAddr`]. Port 0 has the system
    /// choose a free one: [`Server::local_addrs`] tells which. There is no default address;
    /// `0.0.0.0` and `[::]` are all interfaces of the machine.
    ///
    /// From here on connections are taken into the listener's backlog, and wait there until the
    /// server runs.
    ///
    /// # Errors
    /// The address cannot be understood or resolved, is in use, or is not allowed. Nothing is left
    /// behind.
    pub fn bind<A>(mut self, addr: A) -> Result<Self, BindError>
    where
        A: TryInto<BindAddr>,
        A::Error: Into<BindError>,
    {
        self.listeners.push(Listener::bind(addr, &self.options)?);
        Ok(self)
    }

    /// Adds a listener that exists already: a `std::net::TcpListener`, a `UnixListener`, or one
    /// that another process handed over. The socket options that can still be set are set.
    ///
    /// # Errors
    /// It does not listen, or an option was refused.
    pub fn listener<L>(mut self, listener: L) -> Result<Self, BindError>
    where
        L: TryInto<Listener>,
        L::Error: Into<BindError>,
    {
        let mut listener = listener.try_into().map_err(Into::into)?;
        listener.set_options(&self.options)?;
        self.listeners.push(listener);
        Ok(self)
    }

    /// Adds several listeners, as [`listener`](Self::listener) adds one.
    ///
    /// # Errors
    /// As for one; those before are closed then.
    pub fn listeners<L>(self, listeners: impl IntoIterator<Item = L>) -> Result<Self, BindError>
    where
        L: TryInto<Listener>,
        L::Error: Into<BindError>,
    {
        listeners.into_iter().try_fold(self, Self::listener)
    }

    /// Takes the listeners that a service manager has passed to this process; if it has passed none,
    /// binds `addr`, as [`bind`](Self::bind) does. So the same program runs under systemd's socket
    /// activation, and by hand.
    ///
    /// What counts as passed, and why it is best called before other threads are started, is told at
    /// [`activation::take_listeners`](crate::activation::take_listeners), which also tells listeners
    /// apart by their names. Passed listeners are [shared](crate::net::Listener::shared): a drain
    /// leaves their backlogs to the next server. `addr` may be wrong, and nobody hears of it, where
    /// listeners were passed.
    ///
    /// ```
    /// use polyserve::Server;
    ///
    /// let server = Server::builder().activated_or_bind("127.0.0.1:0")?;
    /// # Ok::<(), polyserve::BindError>(())
    /// ```
    ///
    /// # Errors
    /// A socket that was passed does not listen for streams; or as `bind`.
    #[cfg(feature = "activation")]
    pub fn activated_or_bind<A>(self, addr: A) -> Result<Self, BindError>
    where
        A: TryInto<BindAddr>,
        A::Error: Into<BindError>,
    {
        let passed = crate::net::activation::take_listeners()?;
        match passed.is_empty() {
            true => self.bind(addr),
            false => self.listeners(passed),
        }
    }

    /// Sets all limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets [`Limits::max_connections`]. Zero is refused when the server is built, with
    /// [`ConfigError::NoConnections`].
    pub fn max_connections(mut self, max: usize) -> Self {
        self.limits.max_connections = Some(max);
        self
    }

    /// Sets all time-outs.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets [`Timeouts::idle`]: 60 s if not set. [`Limit::Unlimited`] turns it off.
    pub fn idle_timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.timeouts.idle = timeout.into();
        self
    }

    /// Sets [`Timeouts::first_byte`]: 10 s if not set. [`Limit::Unlimited`] turns it off.
    pub fn first_byte_timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.timeouts.first_byte = timeout.into();
        self
    }

    /// Says who is told what happens. May be called several times: all are told, in that order.
    /// Default: nobody, and then it costs nothing; the counters are kept in any case.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(match self.observer.take() {
            None => Arc::new(observer),
            Some(before) => Arc::new((before, observer)),
        });
        self
    }

    /// Puts a [`Layer`] between each connection's socket and its handler. Default: none.
    ///
    /// `make` is called once for each connection, on the thread that accepts; it should be quick. A
    /// panic in it ends that connection alone.
    pub fn layer<L: Layer>(mut self, make: impl Fn() -> L + Send + Sync + 'static) -> Self {
        self.layers = Some(Box::new(move || Box::new(make())));
        self
    }

    /// Checks the settings, and makes a server of them.
    ///
    /// # Errors
    /// A setting cannot work; see [`ConfigError`].
    pub fn build(self) -> Result<Server, ServeError> {
        check(&self.limits)?;
        if self.listeners.is_empty() {
            return Err(ConfigError::NoListener.into());
        }
        let wanted = self.limits.max_connections.unwrap_or(self.backend.default_max_connections());
        let ceiling = room_for_connections();
        let max_connections = wanted.min(ceiling);
        let core = Core::new(self.limits, self.timeouts, self.observer, self.layers);
        core.limit_connections(max_connections, ceiling);
        if max_connections < wanted {
            core.observe(|o| o.limit_lowered(wanted, max_connections));
        }
        Ok(Server { core: Arc::new(core), backend: self.backend, listeners: self.listeners })
    }

    /// [`build`](Self::build), then [`Server::serve`].
    ///
    /// # Errors
    /// As those two.
    pub fn serve<F, H>(self, factory: F) -> Result<(), ServeError>
    where
        F: Fn(&Peer) -> H + Send + Sync + 'static,
        H: Handler,
    {
        self.build()?.serve(factory)
    }

    /// [`build`](Self::build), then [`Server::spawn`].
    ///
    /// # Errors
    /// As those two.
    pub fn spawn<F, H>(self, factory: F) -> Result<ServerHandle, ServeError>
    where
        F: Fn(&Peer) -> H + Send + Sync + 'static,
        H: Handler,
    {
        self.build()?.spawn(factory)
    }
}

impl Server {
    /// A builder with the default of everything, and nothing to listen on.
    pub fn builder() -> Builder {
        Builder {
            backend: Box::new(EventLoop::new()),
            listeners: Vec::new(),
            options: SocketOptions::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            observer: None,
            layers: None,
        }
    }

    /// The addresses that the server listens on, in the order of the binds, with real ports.
    pub fn local_addrs(&self) -> Vec<Addr> {
        self.listeners.iter().map(|listener| listener.local_addr().clone()).collect()
    }

    /// A handle that steers the server, to be had before it runs.
    pub fn control(&self) -> Control {
        Control(Arc::clone(&self.core) as _)
    }

    /// Serves on the calling thread until the server is drained or stopped.
    ///
    /// `factory` makes the handler of each connection. It runs on the thread that runs the
    /// connection, when its layer is ready; a panic in it ends that connection alone.
    ///
    /// # Errors
    /// The server could not start, or came to its end unasked; see [`ServeError`].
    pub fn serve<F, H>(self, factory: F) -> Result<(), ServeError>
    where
        F: Fn(&Peer) -> H + Send + Sync + 'static,
        H: Handler,
    {
        let (started, _) = bounded(1);
        self.set_factory(factory);
        let (backend, acceptor) = self.into_parts(started);
        run(backend, acceptor)
    }

    /// Serves on a thread of its own, named `polyserve`, and returns when it has started.
    ///
    /// # Errors
    /// The server could not start; nothing is left of it.
    pub fn spawn<F, H>(self, factory: F) -> Result<ServerHandle, ServeError>
    where
        F: Fn(&Peer) -> H + Send + Sync + 'static,
        H: Handler,
    {
        self.set_factory(factory);
        let addrs = self.local_addrs();
        let (started, has_started) = bounded(1);
        let (backend, acceptor) = self.into_parts(started);
        let core = Arc::clone(acceptor.core());
        let handle = acceptor.downgrade();
        let thread = std::thread::Builder::new()
            .name("polyserve".to_owned())
            .spawn(move || run(backend, acceptor))
            .map_err(ServeError::Start)?;
        // The channel is closed without a word if the backend ends before it starts.
        if has_started.recv().is_err() {
            return Err(match thread.join() {
                Ok(Err(error)) => error,
                Ok(Ok(())) => ServeError::Backend("it returned before it had started".into()),
                Err(payload) => ServeError::Panic(panic_message(payload)),
            });
        }
        Ok(ServerHandle::new(core, handle, addrs, thread))
    }

    fn set_factory<F, H>(&self, factory: F)
    where
        F: Fn(&Peer) -> H + Send + Sync + 'static,
        H: Handler,
    {
        self.core.set_factory(Box::new(move |peer| Box::new(factory(peer))));
    }

    fn into_parts(self, started: Sender<()>) -> (Box<dyn Backend>, Acceptor) {
        let Server { core, backend, listeners } = self;
        (backend, Acceptor::new(core, listeners, started))
    }
}

/// The server's life, from its start to its end.
fn run(mut backend: Box<dyn Backend>, acceptor: Acceptor) -> Result<(), ServeError> {
    let result = catch_unwind(AssertUnwindSafe(|| backend.run(&acceptor)))
        .unwrap_or_else(|payload| Err(ServeError::Panic(panic_message(payload))));
    drop(backend);
    acceptor.close();
    let core = acceptor.core();
    core.take_step(DrainStep::ListenersClosed);
    core.set_acceptor_reach(AcceptorReach::Nobody);
    core.finish(result.is_err());
    result
}

fn check(limits: &Limits) -> Result<(), ConfigError> {
    let Limits { output_low: low, output_high: high, output_hard: hard, .. } = *limits;
    if limits.max_connections == Some(0) {
        return Err(ConfigError::NoConnections);
    }
    if limits.per_address == Limit::At(0) {
        return Err(ConfigError::NoConnections);
    }
    if limits.input == 0 {
        return Err(ConfigError::NoInput);
    }
    if low > high || high > hard {
        return Err(ConfigError::Marks { low, high, hard });
    }
    Ok(())
}

/// How many connections the process's limit of descriptors leaves room for; at least one.
fn room_for_connections() -> usize {
    let limit = crate::net::descriptor_limit().unwrap_or(usize::MAX);
    limit.saturating_sub(SPARE_DESCRIPTORS).max(1)
}

impl Core {
    /// The backend has returned: whatever is left is ended, if it can be.
    fn finish(&self, failed: bool) {
        if failed {
            self.stop();
            let patience = Instant::now() + Duration::from_secs(1);
            let mut version = self.shutdown.version();
            while !self.live.is_empty() && Instant::now() < patience {
                self.shutdown.wait(version, Some(patience));
                version = self.shutdown.version();
            }
        }
        self.drop_factory();
        let report = self.report(Instant::now());
        self.take_step(DrainStep::Finished(report));
        self.shutdown.has_come_to_its_end();
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("backend", &self.backend)
            .field("listeners", &self.listeners)
            .field("limits", &self.limits)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("backend", &self.backend)
            .field("listeners", &self.listeners)
            .field("max_connections", &self.core.max_connections())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::{Action, BoxError, Context};
    use crate::{Input, Strategy};

    struct Silent;

    impl Handler for Silent {
        fn on_data(&mut self, _: &mut Input<'_>, _: &mut Context<'_>) -> Result<Action, BoxError> {
            Ok(Action::Continue)
        }
    }

    #[test]
    fn the_factory_goes_with_the_server_though_a_control_stays() {
        for backend in Strategy::ALL {
            let captured = Arc::new(());
            let held = Arc::clone(&captured);
            let factory = move |_: &Peer| {
                let _ = &held;
                Silent
            };
            let server = Server::builder().backend(backend).bind("127.0.0.1:0").unwrap();
            let handle = server.spawn(factory).unwrap();
            let control = handle.control();
            control.stop();
            handle.join().unwrap();
            assert_eq!(Arc::strong_count(&captured), 1, "{backend}");
            assert_eq!(control.stats().live(), 0);
        }
    }
}
