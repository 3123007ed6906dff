//! Sends back each line in capital letters, and tells Prometheus how it is doing.
//!
//! ```sh
//! cargo run --example metrics
//! curl http://127.0.0.1:50090/metrics
//! ```
//! Then type into `nc 127.0.0.1 50089`, and ask again.
//!
//! The metrics have a server of their own, in the same process: whoever fills up the other one does
//! not keep an operator from seeing it. It speaks as much HTTP as such a page needs.

#[allow(dead_code)] // other examples use what this one does not
mod common;

use common::{Extra, Program};
use polyserve::codec::Lines;
use polyserve::observe::Prometheus;
use polyserve::{
    Action, BoxError, Context, Control, EventLoop, Framed, Handler, Input, Server, ServerHandle,
};
use std::cell::Cell;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

const METRICS: Extra = Extra {
    name: "metrics",
    value: "ADDR",
    help: "where the metrics are (default: 127.0.0.1:50090)",
};

fn main() -> ExitCode {
    let program = Program {
        about: "metrics: sends back each line in capital letters, and counts",
        default_listen: "127.0.0.1:50089",
        backends: common::BUILT_IN,
        extras: &[METRICS],
    };
    let addr = Cell::new(String::from("127.0.0.1:50090"));
    let metrics = Arc::new(Prometheus::new());
    common::run_beside(
        &program,
        |given| {
            if let Some(given) = given.get(METRICS.name) {
                addr.set(given.clone().into_string().map_err(|_| "an address is text")?);
            }
            Ok(|_: &_| {
                Framed::new(Lines::new(), |line, replies| replies.send(&line.to_uppercase()))
            })
        },
        |builder| builder.observer(Arc::clone(&metrics)),
        |control| serve_metrics(&addr.take(), Arc::clone(&metrics), control),
    )
}

/// Serves the metrics in the background, until the handle is dropped.
fn serve_metrics(
    addr: &str,
    metrics: Arc<Prometheus>,
    of: Control,
) -> Result<ServerHandle, Box<dyn Error>> {
    let server = Server::builder().backend(EventLoop::new().loops(1)).max_connections(16);
    let server = server
        .bind(addr)?
        .spawn(move |_peer| Page { metrics: Arc::clone(&metrics), of: of.clone() })?;
    println!("listening on {}", server.local_addrs()[0]);
    Ok(server)
}

/// Answers one request with the metrics of another server.
struct Page {
    metrics: Arc<Prometheus>,
    of: Control,
}

/// No scraper sends a longer head.
const MAX_HEAD: usize = 8 * 1024;

impl Handler for Page {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let is_whole = input.windows(4).any(|bytes| bytes == b"\r\n\r\n");
        if !is_whole && input.len() <= MAX_HEAD {
            return Ok(Action::Continue); // the rest is still to come
        }
        let is_ours = is_whole && input.starts_with(b"GET /metrics ");
        input.take();
        if is_ours {
            let text = self.metrics.render(&self.of.stats());
            cx.send(response("200 OK", Prometheus::CONTENT_TYPE, &text));
        } else {
            cx.send(response("404 Not Found", "text/plain", "there is only GET /metrics\n"));
        }
        Ok(Action::Close)
    }
}

fn response(status: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}
