//! One server, until SIGTERM ends it.
//!
//! ```sh
//! peers echo tokio --listen 127.0.0.1:0
//! peers http polyserve --backend pool:4
//! peers hold 127.0.0.1:50007 10000          # idle connections to one, until standard input ends
//! peers versions
//! ```

use lexopt::prelude::*;
use peers::servers::{BoxError, Kind, Options, Speaks};
use peers::{idle, versions};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), BoxError> {
    let mut parser = lexopt::Parser::from_env();
    let mut words = Vec::new();
    let mut options = Options {
        listen: "127.0.0.1:0".parse().expect("an address"),
        backend: "event-loop".parse().expect("a backend"),
        portable: false,
        connections: None,
        toll: None,
        workers: 4,
        busy_poll: Duration::ZERO,
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("listen") => options.listen = parser.value()?.parse()?,
            Long("backend") => options.backend = parser.value()?.parse()?,
            Long("portable") => options.portable = true,
            Long("connections") => options.connections = Some(parser.value()?.parse()?),
            Long("toll") => options.toll = Some(parser.value()?.parse()?),
            Long("busy-poll") => {
                options.busy_poll = Duration::from_micros(parser.value()?.parse()?);
            }
            Long("workers") => options.workers = parser.value()?.parse()?,
            Long("help") => return help(),
            Value(word) => words.push(word.string()?),
            _ => return Err(arg.unexpected().into()),
        }
    }
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["versions"] => print_versions(),
        ["hold", addr, count] => {
            raise_descriptor_limit()?;
            idle::hold(addr.parse()?, count.parse()?)?;
        }
        [speaks, server] => {
            raise_descriptor_limit()?;
            let (kind, speaks): (Kind, Speaks) = (server.parse()?, speaks.parse()?);
            kind.serve(speaks, &options, |addr| println!("listening on {addr}"))?;
        }
        _ => return help(),
    }
    Ok(())
}

fn help() -> Result<(), BoxError> {
    println!("peers versions");
    println!("peers hold ADDR COUNT");
    println!("peers echo|http SERVER [--listen ADDR] [--workers N]");
    println!(
        "    of polyserve: [--backend NAME] [--portable] [--busy-poll MICROS] [--connections N]"
    );
    println!("                  [--toll block:MICROSECONDS|burn:MICROSECONDS]\n");
    for kind in Kind::ALL {
        println!("{:<22}{}", kind.name(), kind.about());
    }
    Ok(())
}

fn print_versions() {
    for (name, version) in versions::all() {
        println!("{name} {version}");
    }
}

/// Lets this process open as many sockets as the system allows it to.
fn raise_descriptor_limit() -> Result<(), BoxError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}
