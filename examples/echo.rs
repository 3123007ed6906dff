//! Sends back whatever it receives.
//!
//! ```sh
//! cargo run --example echo -- --backend threads
//! ```
//! Then talk to it with `nc 127.0.0.1 50007`, with the example `client`, or with a few lines of
//! Python: connect, `sendall`, `recv(1024)`.

mod common;

use polyserve::{Action, BoxError, Context, Handler, Input};
use std::process::ExitCode;

struct Echo;

impl Handler for Echo {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.send(input.take());
        Ok(Action::Continue)
    }
}

fn main() -> ExitCode {
    common::run("echo: sends back whatever it receives", "127.0.0.1:50007", |_peer| Echo)
}
