//! Sends back each line in capital letters: the smallest service.
//!
//! ```sh
//! cargo run --example lines
//! ```
//! Then type into `nc 127.0.0.1 50027`.
//!
//! `Lines` finds the lines and bounds their length, `Framed` answers them in their order, however
//! they were cut on the way. A line is at most 8 KiB long, the reply as well: capitals can be longer
//! than small letters (the ß has two, SS), and a reply that became too long ends the connection.

mod common;

use polyserve::Framed;
use polyserve::codec::Lines;
use std::process::ExitCode;

fn main() -> ExitCode {
    common::run("lines: sends back each line in capital letters", "127.0.0.1:50027", |_peer| {
        Framed::new(Lines::new(), |line, replies| replies.send(&line.to_uppercase()))
    })
}
