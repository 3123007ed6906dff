//! Remote procedure calls: a server, and the client that goes with it.
//!
//! ```sh
//! cargo run --example rpc                               # serves on 127.0.0.1:50037
//! cargo run --example rpc -- call add 1 2 3             # in another terminal
//! printf 'primes 1000000\nadd 1 2\nnumbers 1 3\n' | cargo run --example rpc -- batch
//! ```
//! `protocol` says what a message is; `service` answers: at once, later from another thread, or by
//! a stream; `client` makes methods of it again. Frames, their limit, the order of the replies, the
//! pool of connections and trying again are the crate's.

mod client;
mod command;
#[path = "../common/mod.rs"]
mod common;
mod protocol;
mod service;
mod workers;

use service::Rpc;
use std::process::ExitCode;
use workers::Workers;

/// Where it listens, and what the client connects to, if nobody says.
const DEFAULT_ADDR: &str = "127.0.0.1:50037";

/// Jobs that may wait for the workers: seconds of work, and not more than a client waits for.
const MOST_WAITING: usize = 256;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next().and_then(|arg| arg.into_string().ok()).as_deref() {
        Some("call") => command::call(args),
        Some("batch") => command::batch(args),
        _ => {
            let workers = Workers::start(2, MOST_WAITING);
            let about = "rpc: remote procedure calls (see `rpc call --help` for the client)";
            common::run(about, DEFAULT_ADDR, move |_peer| Rpc::framed(&workers))
        }
    }
}
