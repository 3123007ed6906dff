//! A store of keys and values that speaks the protocol of Redis (RESP2), with MULTI, expiry, and
//! channels to publish and subscribe to.
//!
//! ```sh
//! cargo run --release --example kv -- --backend event-loop
//! redis-cli -p 50008 set greeting hello
//! redis-cli -p 50008 get greeting
//! redis-benchmark -p 50008 -t set,get -P 16 -q
//! ```
//!
//! It answers as Redis 7.0 does, byte by byte, for the commands that it has: `redis-cli -p 50008
//! command list` names them. `tests/kv.rs` compares the two. What is different on purpose:
//!
//! - there is one database, nothing is written to disk, and memory is not limited;
//! - a request has at most 1 MiB and 64 KiB and 65,536 arguments, an argument 1 MiB, a transaction
//!   1 MiB; a text grows to at most 64 MiB, and 128 MiB of replies may wait for a connection; a
//!   connection subscribes to at most 16,384 channels;
//! - a connection that is silent for 60 s is closed unless it has subscribed to something
//!   (`--idle-timeout off` makes it wait for ever, as Redis does);
//! - PUBLISH within a transaction does not reach subscriptions of that same transaction.
//!
//! # How it is made
//!
//! | module | what is in it |
//! |---|---|
//! | `resp` | the codec: requests in, replies out |
//! | `session` | one connection, as a [`Service`](polyserve::Service): what may be carried out, and when |
//! | `commands` | the table of commands, and what each does |
//! | `store`, `value` | the keys, behind one lock; their expiry, without a thread |
//! | `transaction`, `channels`, `clients` | MULTI; who listens to what; who is there |
//! | `failure`, `number`, `glob` | the words of errors; integers and patterns as Redis reads them |

mod channels;
mod clients;
mod commands;
mod failure;
mod glob;
mod number;
mod resp;
mod session;
mod store;
mod transaction;
mod value;

#[path = "../common/mod.rs"]
mod common;

use polyserve::Framed;
use resp::Resp;
use session::{Session, Shared};
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let shared = Shared::new();
    common::run("kv: keys and values, as Redis has them", "127.0.0.1:50008", move |_peer| {
        Framed::service(Resp::default(), Session::new(Arc::clone(&shared)))
    })
}
