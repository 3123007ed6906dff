//! A web server: HTTP/1.1 and 1.0, kept alive and pipelined, without a line about threads, sockets or
//! readiness.
//!
//! ```sh
//! cargo run --release --example http -- --root docs --backend pool:4
//! curl -i 127.0.0.1:8080/plaintext
//! curl -i 127.0.0.1:8080/architecture.md -H 'Range: bytes=0-99'
//! curl -T large-file 127.0.0.1:8080/echo -X POST -o copy
//! ```
//! - `GET /plaintext` is a 13-byte greeting, which is what comparisons of servers ask for.
//! - `POST /echo` sends the body back while it comes, sized or in chunks, however long it is.
//! - `GET` of any other path is a file below `--root`: with its type, its validators (`ETag`,
//!   `Last-Modified`), conditions and single ranges. Without `--root` there are none.
//!
//! `web/` reads as a request goes: `section` finds the end of a head, `head` and `framing` say what it
//! means, `chunked` follows a body, and `codec` is these as a `Decoder`; `service` answers, by `target` (the
//! path), `files` and `conditions`; `response` and `date` write the answer.
//!
//! A client that is too slow gets no answer: after `--message-timeout` for a head, `--idle-timeout`
//! without a byte of a body, or half a minute in which it took nothing, the connection is closed.
//!
//! What it does not do: TLS, compression, directory listings, uploads. Files are read by the thread
//! that serves the connection, which on an event loop holds up the others while a disk is slow;
//! `--backend pool:8` is for that.

#[allow(dead_code)] // the shorter ways to run an example without options of its own
#[path = "../common/mod.rs"]
mod common;
mod web;

use common::{BUILT_IN, Extra, Given, Program, run_with};
use polyserve::{Framed, Peer};
use std::convert::identity;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use web::{Clock, Http, Site, Web};

fn main() -> ExitCode {
    let root = Extra { name: "root", value: "DIR", help: "serves the files below DIR" };
    let program = Program {
        about: "http: a web server, with GET /plaintext, POST /echo, and files",
        default_listen: "127.0.0.1:8080",
        backends: BUILT_IN,
        extras: &[root],
    };
    run_with(&program, site, identity)
}

/// Makes what makes the service of each connection.
fn site(given: &Given) -> Result<impl Fn(&Peer) -> Framed<Http, Web> + use<>, Box<dyn Error>> {
    let site = given
        .get("root")
        .map(Path::new)
        .map(|root| Site::new(root).map_err(|error| format!("--root {}: {error}", root.display())));
    let site = site.transpose()?.map(Arc::new);
    Ok(move |_peer: &Peer| Framed::service(Http::new(Clock::System), Web::new(site.clone())))
}
