//! The server under test, in a process of its own: it prints one JSON object for each event on
//! standard output, and at its end one with all counters. What its connections do is in `talk`.

use crate::process::backend;
use crate::talk::{Talk, shout};
use polyserve::net::{Keepalive, Stale};
use polyserve::observe::{Closed, Refusal, Snapshot};
use polyserve::{
    Addr, Builder, CloseKind, ConnectionId, DrainReport, Limit, Observer, Peer, Server,
    SocketOptions, Timeouts, signals,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Prints an event. The values are numbers, or texts in Rust's own quotes.
macro_rules! event {
    ($name:literal $(, $key:literal : $value:expr)* $(,)?) => {{
        let values: &[String] = &[$(format!(",\"{}\":{:?}", $key, $value)),*];
        println!("{{\"event\":{:?}{}}}", $name, values.concat());
    }};
}

pub(crate) fn main() -> ExitCode {
    // Those who trace us were not started by us.
    let _ = rustix::process::set_ptracer(rustix::process::PTracer::Any);
    event!("process", "pid": std::process::id());
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let Options { builder, addrs, nofile_late, lines } = parse()?;
    let mut builder = builder.observer(Said { nofile_late });
    for addr in &addrs {
        builder = builder.bind(addr.as_str())?;
    }
    let server = builder.build()?;
    let (control, deadline) = (server.control(), Duration::from_secs(1));
    let _signals = signals::drain_on_signals(server.control(), Duration::ZERO, deadline)?;
    let ended = if lines { server.serve(|_peer| shout()) } else { server.serve(|_| Talk::new()) };
    tell_counters(&control.stats());
    Ok(ended?)
}

fn tell_counters(stats: &Snapshot) {
    let closed = CloseKind::ALL.map(|kind| stats.closed(kind)).iter().sum::<u64>();
    event!(
        "counters", "accepted": stats.accepted(), "refused": stats.refused(), "open": stats.open(),
        "closed": closed,
    );
}

struct Options {
    builder: Builder,
    addrs: Vec<String>,
    nofile_late: Option<u64>,
    lines: bool,
}

fn parse() -> Result<Options, Box<dyn Error>> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_args(std::env::args_os().skip(2));
    let mut options =
        Options { builder: Server::builder(), addrs: Vec::new(), nofile_late: None, lines: false };
    let mut socket = SocketOptions::new().with_unix_stale(Stale::Remove);
    let mut timeouts = Timeouts::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("backend") => {
                options.builder = options.builder.backend(backend(&parser.value()?.string()?));
            }
            Long("listen") => options.addrs.push(parser.value()?.string()?),
            Long("max-connections") => {
                options.builder = options.builder.max_connections(parser.value()?.parse()?);
            }
            Long("send-buffer") => socket = socket.with_send_buffer(Some(parser.value()?.parse()?)),
            // Lengths of time are in milliseconds.
            Long("keepalive") => socket.keepalive = Some(keepalive(ms(&mut parser)?)),
            Long("user-timeout") => socket.user_timeout = Some(ms(&mut parser)?),
            Long("first-byte") => timeouts.first_byte = Limit::At(ms(&mut parser)?),
            Long("idle") => timeouts.idle = Limit::At(ms(&mut parser)?),
            Long("message") => timeouts.message = Limit::At(ms(&mut parser)?),
            Long("write-stall") => timeouts.write_stall = Limit::At(ms(&mut parser)?),
            Long("half-closed") => timeouts.half_closed = Limit::At(ms(&mut parser)?),
            Long("lines") => options.lines = true,
            // Before the server is built, and when it runs.
            Long("nofile") => limit_descriptors(parser.value()?.parse()?)?,
            Long("nofile-late") => options.nofile_late = Some(parser.value()?.parse()?),
            Long("nofile-max") => {
                limit_descriptors(getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 20))?
            }
            Long("on-usr1") => drop(hear(signal_hook::consts::SIGUSR1)?),
            Long("sigpipe-default") => {
                let always = Arc::new(AtomicBool::new(true));
                let sigpipe = signal_hook::consts::SIGPIPE;
                signal_hook::flag::register_conditional_default(sigpipe, always)?;
            }
            other => return Err(other.unexpected().into()),
        }
    }
    options.builder = options.builder.socket_options(socket).timeouts(timeouts);
    Ok(options)
}

fn ms(parser: &mut lexopt::Parser) -> Result<Duration, lexopt::Error> {
    use lexopt::ValueExt;
    Ok(Duration::from_millis(parser.value()?.parse()?))
}

/// Two probes, one after this time of silence and one as long after the first.
fn keepalive(time: Duration) -> Keepalive {
    let mut keepalive = Keepalive::default();
    (keepalive.idle, keepalive.interval, keepalive.probes) = (time, time, 2);
    keepalive
}

fn hear(signal: i32) -> io::Result<signal_hook::SigId> {
    signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
}

fn limit_descriptors(limit: u64) -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum })?)
}

struct Said {
    nofile_late: Option<u64>,
}

impl Observer for Said {
    fn listening(&self, addr: &Addr) {
        if let Some(limit) = self.nofile_late {
            limit_descriptors(limit).expect("a lower limit is always allowed");
        }
        println!("listening on {addr}");
    }

    fn opened(&self, id: ConnectionId, peer: &Peer) {
        let peer = peer.addr().to_string();
        event!("opened", "id": id.get(), "tid": thread_id(), "peer": peer);
    }

    fn closed(&self, connection: &Closed<'_>) {
        let reason = connection.reason;
        event!(
            "closed", "id": connection.id.get(), "reason": reason.kind().name(),
            "text": reason.to_string(), "received": connection.received, "sent": connection.sent,
        );
    }

    fn refused(&self, _peer: &Peer, why: &Refusal<'_>) {
        event!("refused", "error": why.to_string());
    }

    fn accept_failed(&self, addr: &Addr, error: &io::Error, pause: Option<Duration>) {
        let pause = pause.map_or(0, |pause| pause.as_millis());
        event!("accept_failed", "addr": addr.to_string(), "error": error.to_string(), "pause": pause);
    }

    fn listener_failed(&self, addr: &Addr, error: &io::Error) {
        event!("listener_failed", "addr": addr.to_string(), "error": error.to_string());
    }

    fn limit_lowered(&self, wanted: usize, granted: usize) {
        event!("limit_lowered", "wanted": wanted, "granted": granted);
    }

    fn drain_began(&self, _grace: Duration, _deadline: Duration) {
        event!("drain_began");
    }

    fn drained(&self, report: &DrainReport) {
        event!(
            "drained", "finished": report.finished, "closed": report.closed,
            "killed": report.killed, "stuck": report.stuck,
        );
    }
}

/// The thread's number among the system's.
fn thread_id() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").ok();
    let tid = link.as_deref().and_then(|link| link.file_name()?.to_str()?.parse().ok());
    tid.unwrap_or(0)
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
