//! What the connections of the server under test do.

use crate::pattern::{check, pattern};
use polyserve::codec::Lines;
use polyserve::{Action, BoxError, Context, Framed, Handler, Input};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Echoes what comes. A read that is just one of these lines is a command, and is not echoed:
///
/// - `BYE`: answers `bye`, and closes
/// - `BIG n`: answers with n bytes of the pattern, in one send
/// - `LAST n`: the same, and closes
/// - `STREAM n`: the same, made as there is room for it
/// - `FDS`: answers with what a child process has open
/// - `HALF`: answers `ok`, and stays half-open when the peer has ended; two more bytes then end it
/// - `PAUSE`: answers `ok`, and reads no more
/// - `SINK ms`: answers `ok`; what follows must be the pattern, and each look at it takes so long;
///   at the peer's end answers with how much it was
pub(crate) struct Talk(Mode);

enum Mode {
    Echo,
    Stream { at: usize, end: usize },
    Half,
    Sink { at: usize, nap: Duration },
}

impl Talk {
    pub(crate) fn new() -> Self {
        Self(Mode::Echo)
    }

    fn obey(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let (command, number) = text.trim_end().split_once(' ').unwrap_or((text.trim_end(), "0"));
        match command {
            _ if !text.ends_with('\n') => cx.send(bytes),
            "BYE" => {
                cx.send("bye\n");
                return Ok(Action::Close);
            }
            "BIG" => cx.send(pattern(0, number.parse()?)),
            "LAST" => {
                cx.send(pattern(0, number.parse()?));
                return Ok(Action::Close);
            }
            "STREAM" => {
                self.0 = Mode::Stream { at: 0, end: number.parse()? };
                self.stream(cx);
            }
            "FDS" => {
                cx.send(Command::new("ls").arg("/proc/self/fd").output()?.stdout);
                cx.send(".\n");
            }
            "HALF" => {
                self.0 = Mode::Half;
                cx.send("ok\n");
            }
            "PAUSE" => {
                cx.send("ok\n");
                return Ok(Action::Pause);
            }
            "SINK" => {
                self.0 = Mode::Sink { at: 0, nap: Duration::from_millis(number.parse()?) };
                cx.send("ok\n");
            }
            _ => cx.send(bytes),
        }
        Ok(Action::Continue)
    }

    fn stream(&mut self, cx: &mut Context<'_>) {
        let Mode::Stream { at, end } = &mut self.0 else { return };
        while cx.is_writable() && *at < *end {
            let n = (*end - *at).min(16 << 10);
            cx.send(pattern(*at, n));
            *at += n;
        }
    }
}

impl Handler for Talk {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let bytes = input.take();
        match &mut self.0 {
            Mode::Sink { at, nap } => {
                check(*at, bytes)?;
                *at += bytes.len();
                block(*nap);
                Ok(Action::Continue)
            }
            _ => self.obey(bytes, cx),
        }
    }

    fn on_eof(&mut self, _: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        Ok(match self.0 {
            Mode::Half => Action::Continue,
            Mode::Sink { at, .. } => {
                cx.send(format!("{at}\n"));
                Action::Close
            }
            _ => Action::Close,
        })
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.stream(cx);
        Ok(Action::Continue)
    }
}

/// A handler that blocks: nobody ever sends what it waits for.
fn block(time: Duration) {
    let (_keep, never) = channel::<()>();
    let _ = never.recv_timeout(time);
}

/// Lines come back in capitals: requests, which a client can leave unfinished.
pub(crate) fn shout() -> impl Handler {
    Framed::new(Lines::new(), |line, replies| replies.send(&line.to_uppercase()))
}
