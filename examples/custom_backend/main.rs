//! Two concurrency strategies that do not come with the crate, each a screen or two, on nothing but
//! its public interface.
//!
//! ```sh
//! cargo run --example custom_backend -- --backend scoped
//! cargo run --example custom_backend -- --backend poll
//! ```
//! A backend decides which thread runs a session, and when. It knows nothing of handlers, bytes,
//! time-outs or limits, so the echo below is the one of the example `echo`, and behaves the same.

#[allow(dead_code)] // the part that chooses among the backends of the crate
#[path = "../common/mod.rs"]
mod common;
#[cfg(unix)]
mod poll_loop;
mod scoped;

use common::Backends;
use polyserve::{Action, Backend, BoxError, Context, Handler, Input};
use std::convert::identity;
use std::error::Error;
use std::process::ExitCode;

struct Echo;

impl Handler for Echo {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.send(input.take());
        Ok(Action::Continue)
    }
}

/// The backend of this name.
fn choose(name: &str) -> Result<Box<dyn Backend>, Box<dyn Error>> {
    match name {
        "scoped" => Ok(Box::new(scoped::Scoped::new("connection"))),
        #[cfg(unix)]
        "poll" => Ok(Box::new(poll_loop::PollLoop)),
        _ => Err(format!("{name:?} names no backend: expected {NAMES}").into()),
    }
}

/// poll(2) belongs to Unix.
const NAMES: &str = if cfg!(unix) { "scoped or poll" } else { "scoped" };

fn main() -> ExitCode {
    let about = "custom_backend: an echo on backends of its own";
    let backends = Backends { names: NAMES, default: "scoped", choose };
    common::run_on(about, "127.0.0.1:50017", backends, |_peer| Echo, identity)
}
