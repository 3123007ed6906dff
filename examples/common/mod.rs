//! The command line that all server examples share.

use polyserve::net::{BindErrorKind, SocketOptions};
use polyserve::{
    Backend, BindError, Builder, Control, Handler, Limit, Observer, Peer, ServeError, Server,
    StderrObserver, Strategy, Timeouts,
};
use polyserve::{DrainReport, net::Stale};
use std::collections::HashMap;
use std::convert::identity;
use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

/// What the command line asks for.
pub(crate) struct Options {
    backend: Box<dyn Backend>,
    listen: Vec<String>,
    max_connections: Option<usize>,
    idle_timeout: Option<Limit<Duration>>,
    first_byte_timeout: Option<Limit<Duration>>,
    message_timeout: Option<Limit<Duration>>,
    given: Given,
}

/// What one example is, and what its command line has besides.
pub(crate) struct Program<'a> {
    /// What it does, in a line.
    pub(crate) about: &'a str,
    /// Where it listens if nobody says.
    pub(crate) default_listen: &'a str,
    pub(crate) backends: Backends,
    /// Options of this example alone. Each may be given once, and takes a value.
    pub(crate) extras: &'a [Extra],
}

/// An option of one example alone: `--NAME VALUE`.
pub(crate) struct Extra {
    /// Without the hyphens.
    pub(crate) name: &'static str,
    /// What stands for its value in the help.
    pub(crate) value: &'static str,
    pub(crate) help: &'static str,
}

/// The values of the options of one example alone, by name. What was not given is not in it.
pub(crate) type Given = HashMap<&'static str, OsString>;

/// How long a drain may take.
#[cfg(unix)]
const DRAIN_DEADLINE: Duration = Duration::from_secs(15);

/// What `--backend` may name.
pub(crate) struct Backends {
    /// All names, for the help.
    pub(crate) names: &'static str,
    /// The name of the one that runs if nobody says.
    pub(crate) default: &'static str,
    /// From name to backend.
    pub(crate) choose: Choose,
}

/// Makes the backend of a name, or says which names there are.
pub(crate) type Choose = fn(&str) -> Result<Box<dyn Backend>, Box<dyn Error>>;

/// Those that come with the crate.
pub(crate) const BUILT_IN: Backends = Backends {
    names: "threads, pool, pool:N, event-loop or event-loop:N",
    default: "event-loop",
    choose: |name| Ok(Box::new(name.parse::<Strategy>()?)),
};

/// Runs an example: `about` says what it is, `default_listen` where it listens if nobody says.
pub(crate) fn run<F, H>(about: &str, default_listen: &str, factory: F) -> ExitCode
where
    F: Fn(&Peer) -> H + Send + Sync + 'static,
    H: Handler,
{
    run_on(about, default_listen, BUILT_IN, factory, identity)
}

/// As [`run`], with a choice of backends, and with a say in how the server is built.
pub(crate) fn run_on<F, H>(
    about: &str,
    default_listen: &str,
    backends: Backends,
    factory: F,
    build: impl FnOnce(Builder) -> Builder,
) -> ExitCode
where
    F: Fn(&Peer) -> H + Send + Sync + 'static,
    H: Handler,
{
    let program = Program { about, default_listen, backends, extras: &[] };
    run_with(&program, |_given| Ok(factory), build)
}

/// As [`run_on`], with options of its own: `make` gets their values and makes the factory. An error
/// of it is one of the command line, and ends the program with code 2.
pub(crate) fn run_with<F, H>(
    program: &Program<'_>,
    make: impl FnOnce(&Given) -> Result<F, Box<dyn Error>>,
    build: impl FnOnce(Builder) -> Builder,
) -> ExitCode
where
    F: Fn(&Peer) -> H + Send + Sync + 'static,
    H: Handler,
{
    run_beside(program, make, build, |_control| Ok(()))
}

/// As [`run_with`]; what `beside` makes when the server is about to run lives as long as it does.
pub(crate) fn run_beside<F, H, B>(
    program: &Program<'_>,
    make: impl FnOnce(&Given) -> Result<F, Box<dyn Error>>,
    build: impl FnOnce(Builder) -> Builder,
    beside: impl FnOnce(Control) -> Result<B, Box<dyn Error>>,
) -> ExitCode
where
    F: Fn(&Peer) -> H + Send + Sync + 'static,
    H: Handler,
{
    let parsed = Options::parse(std::env::args_os(), program).and_then(|options| match options {
        Some(options) => Ok(Some((make(&options.given)?, options))),
        None => Ok(None),
    });
    let (factory, options) = match parsed {
        Ok(Some(parsed)) => parsed,
        Ok(None) => {
            print!("{}", help(program));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    match serve(options, program.default_listen, factory, build, beside) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            match is_usage(&*error) {
                true => ExitCode::from(2),
                false => ExitCode::FAILURE,
            }
        }
    }
}

fn serve<F, H, B>(
    options: Options,
    default_listen: &str,
    factory: F,
    build: impl FnOnce(Builder) -> Builder,
    beside: impl FnOnce(Control) -> Result<B, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>>
where
    F: Fn(&Peer) -> H + Send + Sync + 'static,
    H: Handler,
{
    raise_descriptor_limit();
    let mut builder = build(Server::builder().backend(options.backend))
        .socket_options(SocketOptions::new().with_unix_stale(Stale::Remove))
        .observer(Said(StderrObserver::new()));
    if let Some(max) = options.max_connections {
        builder = builder.max_connections(max);
    }
    if let Some(timeout) = options.message_timeout {
        let mut timeouts = Timeouts::default();
        timeouts.message = timeout;
        builder = builder.timeouts(timeouts);
    }
    if let Some(timeout) = options.idle_timeout {
        builder = builder.idle_timeout(timeout);
    }
    if let Some(timeout) = options.first_byte_timeout {
        builder = builder.first_byte_timeout(timeout);
    }
    // Nobody has said where to listen: a service manager may have.
    if options.listen.is_empty() {
        builder = builder.activated_or_bind(default_listen)?;
    }
    for addr in &options.listen {
        builder = builder.bind(addr.as_str())?;
    }
    let server = builder.build()?;
    #[cfg(unix)]
    let _signals =
        polyserve::signals::drain_on_signals(server.control(), Duration::ZERO, DRAIN_DEADLINE)?;
    let _beside = beside(server.control())?;
    server.serve(factory)?;
    Ok(())
}

/// Says on standard output when the server is ready and how it ended, and the rest on standard
/// error.
struct Said(StderrObserver);

impl Observer for Said {
    fn listening(&self, addr: &polyserve::Addr) {
        println!("listening on {addr}");
    }

    fn drained(&self, report: &DrainReport) {
        println!("{report}");
    }

    fn closed(&self, connection: &polyserve::observe::Closed<'_>) {
        self.0.closed(connection);
    }

    fn refused(&self, peer: &Peer, why: &polyserve::observe::Refusal<'_>) {
        self.0.refused(peer, why);
    }

    fn panicked(
        &self,
        id: polyserve::ConnectionId,
        peer: &Peer,
        callback: polyserve::observe::Callback,
        message: &str,
    ) {
        self.0.panicked(id, peer, callback, message);
    }

    fn accept_failed(
        &self,
        addr: &polyserve::Addr,
        error: &std::io::Error,
        pause: Option<Duration>,
    ) {
        self.0.accept_failed(addr, error, pause);
    }

    fn listener_failed(&self, addr: &polyserve::Addr, error: &std::io::Error) {
        self.0.listener_failed(addr, error);
    }

    fn limit_lowered(&self, wanted: usize, granted: usize) {
        self.0.limit_lowered(wanted, granted);
    }

    fn many_threads(&self, threads: usize) {
        self.0.many_threads(threads);
    }

    fn drain_began(&self, grace: Duration, deadline: Duration) {
        self.0.drain_began(grace, deadline);
    }
}

impl Options {
    /// The options, or `None` if help is asked for.
    fn parse(
        args: impl IntoIterator<Item = OsString>,
        program: &Program<'_>,
    ) -> Result<Option<Self>, Box<dyn Error>> {
        use lexopt::prelude::*;
        let backends = &program.backends;
        let mut options = Options {
            backend: (backends.choose)(backends.default)?,
            listen: Vec::new(),
            max_connections: None,
            idle_timeout: None,
            first_byte_timeout: None,
            message_timeout: None,
            given: Given::new(),
        };
        let mut parser = lexopt::Parser::from_iter(args);
        while let Some(arg) = parser.next()? {
            match arg {
                Long("backend") => {
                    options.backend = (backends.choose)(&parser.value()?.string()?)?;
                }
                Long("listen") => options.listen.push(parser.value()?.string()?),
                Long("max-connections") => {
                    options.max_connections = Some(parser.value()?.parse()?);
                }
                Long("idle-timeout") => {
                    options.idle_timeout = Some(parser.value()?.parse_with(limit)?);
                }
                Long("first-byte-timeout") => {
                    options.first_byte_timeout = Some(parser.value()?.parse_with(limit)?);
                }
                Long("message-timeout") => {
                    options.message_timeout = Some(parser.value()?.parse_with(limit)?);
                }
                Long("help") | Short('h') => return Ok(None),
                other => match program.extras.iter().find(|extra| other == Long(extra.name)) {
                    None => return Err(other.unexpected().into()),
                    Some(Extra { name, .. }) => {
                        if options.given.insert(name, parser.value()?).is_some() {
                            return Err(format!("--{name} is given twice").into());
                        }
                    }
                },
            }
        }
        Ok(Some(options))
    }
}

/// A duration such as `30s`, or `off`.
fn limit(text: &str) -> Result<Limit<Duration>, humantime::DurationError> {
    match text {
        "off" => Ok(Limit::Unlimited),
        text => humantime::parse_duration(text).map(Limit::At),
    }
}

fn help(program: &Program<'_>) -> String {
    let Program { about, default_listen, backends: Backends { names, default, .. }, extras } =
        program;
    let extras: String = extras
        .iter()
        .map(|extra| {
            let option = format!("--{} {}", extra.name, extra.value);
            format!("  {option:<25} {}\n", extra.help)
        })
        .collect();
    format!(
        "{about}\n\n\
         Options:\n\
         {extras}  \
           --backend NAME            {names}\n                            \
                                     (default: {default})\n  \
           --listen ADDR             HOST:PORT or unix:PATH; may be repeated\n                            \
                                     (default: what a service manager passes,\n                            \
                                     or {default_listen})\n  \
           --max-connections N       connections open at the same time\n  \
           --idle-timeout D          such as 90s, or off (default: 60s)\n  \
           --first-byte-timeout D    such as 5s, or off (default: 10s)\n  \
           --message-timeout D       for one request or part of it (default: 30s)\n  \
           --help                    this text\n\n\
         SIGINT or SIGTERM drains the server; a second one stops it.\n"
    )
}

/// Whether an error is about what was asked for, rather than about the state of the system.
fn is_usage(error: &(dyn Error + 'static)) -> bool {
    let no_address = error
        .downcast_ref::<BindError>()
        .is_some_and(|error| matches!(error.kind(), BindErrorKind::InvalidAddress(_)));
    no_address || matches!(error.downcast_ref(), Some(ServeError::Config(_)))
}

/// An error and what lies beneath it, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Lets this process open as many sockets as the system allows it to.
fn raise_descriptor_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Where that is refused, the limit of connections is lowered instead, which is told.
        let _ = setrlimit(Resource::Nofile, raised);
    }
}
