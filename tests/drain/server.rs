//! The server under test: as a part of this process, and as a process of its own.

use polyserve::codec::Lines;
use polyserve::net::Listener;
use polyserve::{
    Addr, Backend, Builder, DrainReport, EventLoop, Framed, Handler, Observer, Server, Strategy,
    ThreadPool, activation, signals,
};
use std::error::Error;
use std::os::fd::AsFd;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Those that are built in, and those that wait as other systems do.
pub(crate) const BACKENDS: &[&str] = &[
    "threads",
    "pool:4",
    "event-loop:1",
    "event-loop:2",
    "portable-pool:4",
    "portable-event-loop:2",
];

/// The backend of one of these names.
pub(crate) fn backend(name: &str) -> Box<dyn Backend> {
    let portable = name.strip_prefix("portable-");
    match (portable.unwrap_or(name).parse().unwrap(), portable) {
        (Strategy::EventLoop(Some(n)), Some(_)) => {
            Box::new(EventLoop::new().loops(n).portable(true))
        }
        (Strategy::Pool(Some(n)), Some(_)) => Box::new(ThreadPool::new(n).portable(true)),
        (strategy, _) => strategy.into_backend(),
    }
}

/// Answers each line in capitals, but these: `fds` with what a child process has open, `environment`
/// with what it is told, `hold` with nothing, ever.
pub(crate) fn upper() -> impl Handler {
    Framed::new(Lines::new(), |line, replies| match line {
        "fds" => replies.send(&output_of("ls -l /proc/self/fd")),
        "environment" => replies.send(&output_of("env | grep LISTEN")),
        "hold" => {
            // It is never made: as long as its maker lives, the connection is at work.
            std::mem::forget(replies.defer());
            Ok(())
        }
        line => replies.send(&line.to_uppercase()),
    })
}

fn output_of(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().expect("there is a shell");
    String::from_utf8_lossy(&output.stdout).replace('\n', " ")
}

/// Serves as a process of its own, until a signal ends it.
pub(crate) fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The options are pairs of name and value.
fn serve() -> Result<(), Box<dyn Error>> {
    let mut builder = Server::builder().observer(Said);
    let mut deadline = Duration::from_secs(10);
    let mut args = std::env::args().skip(2);
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        builder = match &*name {
            "--backend" => builder.backend(backend(&value)),
            "--max-connections" => builder.max_connections(value.parse()?),
            "--idle-timeout" => builder.idle_timeout(Duration::from_millis(value.parse()?)),
            "--deadline" => {
                deadline = Duration::from_millis(value.parse()?);
                builder
            }
            "--from" => listen(builder, &value)?,
            _ => return Err(format!("unknown option {name}").into()),
        };
    }
    let server = builder.build()?;
    let _signals = signals::drain_on_signals(server.control(), Duration::ZERO, deadline)?;
    Ok(server.serve(|_peer| upper())?)
}

/// Where the listeners come from: `stdin`, `passed` (with their names told), or passed with this
/// address to fall back to.
fn listen(builder: Builder, from: &str) -> Result<Builder, Box<dyn Error>> {
    match from {
        "stdin" => {
            let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
            Ok(builder.listener(Listener::try_from(socket)?.shared())?)
        }
        "passed" => {
            let passed = activation::take_listeners()?;
            let names: Vec<_> = passed.iter().map(|passed| passed.name().to_owned()).collect();
            println!("names: {}", names.join(","));
            assert!(activation::take_listeners()?.is_empty(), "they are taken once");
            Ok(builder.listeners(passed)?)
        }
        addr => Ok(builder.activated_or_bind(addr)?),
    }
}

/// Tells what the tests wait for.
struct Said;

impl Observer for Said {
    fn listening(&self, addr: &Addr) {
        println!("listening on {addr}");
    }

    fn drained(&self, report: &DrainReport) {
        println!("{report}");
    }
}
