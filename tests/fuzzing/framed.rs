//! Requests and replies: a service behind `Framed`, whose requests say how they are answered.
//!
//! What the peer gets must depend on the requests alone: not on how they are cut, nor on when and in
//! which order the replies that are made later are made, nor on how the peer takes its output.

use super::Outcomes;
use super::choices::Choices;
use super::codec::error_name;
use polyserve::codec::{DecodeError, Decoded, Decoder, Lines};
use polyserve::testing::Script;
use polyserve::{
    Action, BoxError, CloseKind, CloseReason, Framed, Limits, Replies, Reply, Sender, Service,
};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) const MUST_REACH: &[&str] = &[
    "peer_closed",
    "closed",
    "aborted",
    "handler",
    "decode",
    "truncated",
    "shutdown",
    "deferred",
    "made out of order",
    "streamed",
    "paused",
    "busy",
    "blocked",
];

const MAX_LINE: usize = 48;
/// The most that one request is answered with at once: two lines and their ends.
const MAX_REPLY: usize = 2 * (MAX_LINE + 1);
const HIGH: usize = 200;
/// The most parts of a stream.
const MAX_PARTS: usize = 12;

/// Flags, the size of writes, four lengths of pieces, what happens between the pieces, the stream.
pub(crate) fn target(data: &[u8]) -> Outcomes {
    let mut choices = Choices::new(data);
    let flags = choices.byte();
    let write_size = choices.one_of(&[usize::MAX, 1, 7, 100]);
    let pieces = choices.pieces();
    let events: Vec<u8> = (0..choices.byte() % 64).map(|_| choices.byte()).collect();
    let stream = choices.rest();
    let expected = expect(stream);
    let mut outcomes = Outcomes::new();

    let calm = Play::new(usize::MAX);
    calm.run(&[stream], &[], End::Eof, &expected, &mut outcomes);
    let end = match flags & 3 {
        0 | 1 => End::Eof,
        2 => End::EarlyEof,
        _ => End::Drain,
    };
    let rough = Play::new(write_size);
    rough.run(&pieces.cut(stream), &events, end, &expected, &mut outcomes);
    outcomes
}

/// What the peer is to get.
#[derive(Debug, Default)]
struct Expected {
    output: Vec<u8>,
    /// The end does not wait for replies that are outstanding, so it may come before all of this.
    cut_short: bool,
    kinds: Vec<CloseKind>,
}

/// How a request is answered: by its first letter.
fn expect(stream: &[u8]) -> Expected {
    let mut expected = Expected::default();
    let mut decoder = decoder();
    let mut rest = stream;
    // A reply that is dropped ends everything once it is its turn.
    let mut dropped = false;
    let say = |expected: &mut Expected, dropped: bool, text: &str, times: usize| {
        for _ in 0..times {
            if !dropped {
                expected.output.extend(text.as_bytes());
                expected.output.push(b'\n');
            }
        }
    };
    loop {
        let decoded = match rest.is_empty() {
            true => Ok(Decoded::Incomplete { need: 1 }),
            false => decoder.decode(rest),
        };
        match decoded {
            Ok(Decoded::Frame { frame: line, consumed }) => {
                rest = &rest[consumed..];
                let line = speakable(line);
                match line.bytes().next() {
                    Some(b'm' | b'w' | b'q') => say(&mut expected, dropped, line, 2),
                    Some(b's' | b'g') => say(&mut expected, dropped, line, parts(line)),
                    Some(b'n' | b'f') => (),
                    Some(b'z') => {
                        say(&mut expected, dropped, line, 2);
                        say(&mut expected, dropped, "first", parts(line));
                        say(&mut expected, dropped, "second", parts(line));
                    }
                    Some(b'x') => dropped = true,
                    Some(b'e') => return expected.ends(dropped, true, CloseKind::Handler),
                    Some(b'a') => return expected.ends(dropped, true, CloseKind::Aborted),
                    Some(b'c') => return expected.ends(dropped, false, CloseKind::Closed),
                    _ => say(&mut expected, dropped, line, 1),
                }
            }
            Ok(Decoded::Incomplete { .. }) => match decoder.decode_eof(rest) {
                Ok(_) => {
                    let mut expected = expected.ends(dropped, false, CloseKind::PeerClosed);
                    // The drain may come first.
                    expected.kinds.push(CloseKind::Shutdown);
                    return expected;
                }
                Err(error) => {
                    say(&mut expected, dropped, error_name(&error), 1);
                    return expected.ends(dropped, false, CloseKind::Truncated);
                }
            },
            Err(error) => {
                say(&mut expected, dropped, error_name(&error), 1);
                return expected.ends(dropped, false, CloseKind::Decode);
            }
        }
    }
}

impl Expected {
    fn ends(mut self, dropped: bool, at_once: bool, kind: CloseKind) -> Self {
        self.cut_short = at_once;
        if dropped {
            self.kinds.push(CloseKind::Handler);
        }
        if !dropped || at_once {
            self.kinds.push(kind);
        }
        self
    }
}

fn decoder() -> Lines {
    Lines::new().max_len(MAX_LINE)
}

/// A line without what can not be written at its end.
fn speakable(line: &str) -> &str {
    line.trim_end_matches('\r')
}

fn parts(line: &str) -> usize {
    line.len() % (MAX_PARTS + 1)
}

/// A reply that is outstanding.
struct Pending {
    reply: Reply<Lines>,
    line: String,
    /// How many lines it has still to give.
    left: usize,
}

/// What the service and the player share.
#[derive(Default)]
struct Shared {
    pending: Vec<Pending>,
    n_deferred: usize,
    /// How many parts the streams may give that have to be asked for.
    gate: usize,
    sender: Option<Sender>,
    ends: Vec<CloseKind>,
    seen: Outcomes,
}

#[derive(Clone, Default)]
struct Desk(Arc<Mutex<Shared>>);

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().expect("nobody panics while holding the lock")
    }
}

struct Teller(Desk);

impl Teller {
    fn defer(&self, line: &str, left: usize, replies: &mut Replies<'_, Lines>) {
        let mut desk = self.0.lock();
        desk.n_deferred += 1;
        desk.pending.push(Pending { reply: replies.defer(), line: line.to_owned(), left });
        desk.seen.insert("deferred");
    }

    fn stream(
        &self,
        line: &str,
        mut left: usize,
        is_gated: bool,
        replies: &mut Replies<'_, Lines>,
    ) {
        let (line, desk) = (line.to_owned(), self.0.clone());
        let mut desk_now = self.0.lock();
        desk_now.seen.insert("streamed");
        desk_now.sender = Some(replies.context().sender());
        replies.stream(move |replies| {
            if left == 0 {
                return Ok(ControlFlow::Break(()));
            }
            if is_gated {
                let mut desk = desk.lock();
                if desk.gate == 0 {
                    return Ok(ControlFlow::Continue(()));
                }
                desk.gate -= 1;
            }
            left -= 1;
            replies.send(&line)?;
            Ok(ControlFlow::Continue(()))
        });
    }
}

impl Service<Lines> for Teller {
    fn call(&mut self, line: &str, replies: &mut Replies<'_, Lines>) -> Result<Action, BoxError> {
        let line = speakable(line);
        match line.bytes().next() {
            Some(b'd') => self.defer(line, 1, replies),
            Some(b'w') => self.defer(line, 2, replies),
            Some(b'f' | b'x') => self.defer(line, 0, replies),
            Some(b'q') => {
                self.defer(line, 1, replies);
                replies.send(line)?;
            }
            Some(b's') => self.stream(line, parts(line), false, replies),
            Some(b'g') => self.stream(line, parts(line), true, replies),
            Some(b'z') => {
                // The streams come last, one behind the other.
                self.defer(line, 1, replies);
                self.stream("first", parts(line), false, replies);
                self.stream("second", parts(line), true, replies);
                replies.send(line)?;
            }
            Some(b'm') => {
                replies.send(line)?;
                replies.send(line)?;
            }
            Some(b'n') => (),
            Some(b'e') => return Err("the service fails".into()),
            Some(b'a') => return Ok(Action::Abort),
            Some(b'c') => return Ok(Action::Close),
            Some(b'y') => {
                replies.send(line)?;
                return Ok(Action::Yield);
            }
            Some(b'p') => {
                replies.send(line)?;
                let mut desk = self.0.lock();
                desk.sender = Some(replies.context().sender());
                desk.seen.insert("paused");
                return Ok(Action::Pause);
            }
            Some(first @ (b'b' | b'B')) => {
                self.0.lock().seen.insert("busy");
                replies.set_busy(first == b'b');
                replies.send(line)?;
            }
            _ => replies.send(line)?,
        }
        Ok(Action::Continue)
    }

    fn on_decode_error(&mut self, error: &DecodeError, replies: &mut Replies<'_, Lines>) {
        replies.send(error_name(error)).expect("it is a line");
    }

    fn on_close(&mut self, reason: &CloseReason) {
        self.0.lock().ends.push(reason.kind());
    }
}

/// How the peer, or the server, comes to an end.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Eof,
    /// Before the outstanding replies are made.
    EarlyEof,
    Drain,
}

struct Play {
    script: Script,
    desk: Desk,
    output: Vec<u8>,
    ended: bool,
}

impl Play {
    fn new(write_size: usize) -> Self {
        let desk = Desk::default();
        let teller = Teller(desk.clone());
        let mut limits = Limits::default();
        (limits.output_low, limits.output_high) = (HIGH / 2, HIGH);
        let script = Script::new(|_peer| Framed::service(decoder(), teller))
            .limits(limits)
            .short_writes(write_size);
        Self { script, desk, output: Vec::new(), ended: false }
    }

    fn run(
        mut self,
        pieces: &[&[u8]],
        events: &[u8],
        end: End,
        expected: &Expected,
        outcomes: &mut Outcomes,
    ) {
        self.script.open();
        let mut events = events.iter().cycle();
        for piece in pieces {
            self.script.recv(piece);
            self.check();
            if let Some(event) = events.next() {
                self.happen(*event);
                self.check();
            }
        }
        self.script.unblock_output();
        self.ended = true;
        if end == End::EarlyEof {
            self.script.eof();
        }
        self.finish_all();
        if end == End::Drain {
            self.script.drain();
            self.finish_all();
        }
        self.script.eof();
        self.finish_all();
        self.conclude(expected, outcomes);
    }

    /// Something that happens between two pieces.
    fn happen(&mut self, event: u8) {
        let n = usize::from(event >> 4);
        match event & 15 {
            1..=4 => self.make_reply(n),
            5 => {
                self.desk.lock().seen.insert("blocked");
                self.script.block_output();
            }
            6 | 7 => drop(self.script.accept_output(n * n)),
            8 => drop(self.script.unblock_output()),
            9 => self.resume(),
            10 => self.open_gate(n),
            11 => drop(self.script.turn_with(polyserve::Ready::BOTH)),
            _ => (),
        }
        self.script.settle();
    }

    /// Makes a reply that is outstanding, or a part of it.
    fn make_reply(&mut self, n: usize) {
        let mut desk = self.desk.lock();
        if desk.pending.is_empty() {
            return;
        }
        let at = n % desk.pending.len();
        if at > 0 {
            desk.seen.insert("made out of order");
        }
        let mut pending = desk.pending.remove(at);
        assert_eq!(pending.reply.is_closed(), !desk.ends.is_empty());
        match (pending.line.as_bytes()[0], pending.left) {
            (b'x', _) => drop(pending),
            (_, 0) => pending.reply.finish(),
            (b'w', _) => {
                // That it is over may have been found just now, by this very write.
                if pending.reply.write(&pending.line).is_ok() {
                    pending.left -= 1;
                    desk.pending.insert(at, pending);
                }
            }
            _ => drop(pending.reply.send(&pending.line)),
        }
    }

    fn resume(&mut self) {
        let sender = self.desk.lock().sender.clone();
        sender.map(|sender| sender.resume());
    }

    fn open_gate(&mut self, n: usize) {
        let mut desk = self.desk.lock();
        desk.gate += n;
        let sender = desk.sender.clone();
        drop(desk);
        sender.map(|sender| sender.wake());
    }

    /// Makes all replies, opens all gates, and resumes, until nothing more comes of it.
    fn finish_all(&mut self) {
        loop {
            let before = self.progress();
            while !self.desk.lock().pending.is_empty() {
                self.make_reply(0);
                self.script.settle();
            }
            self.open_gate(MAX_PARTS * 64);
            self.script.settle();
            self.resume();
            self.script.settle();
            if before == self.progress() && self.desk.lock().pending.is_empty() {
                return;
            }
        }
    }

    fn progress(&self) -> (u64, usize, usize) {
        (self.script.sent(), self.desk.lock().n_deferred, self.script.unread())
    }

    /// What is held for the peer has a bound, until it ends: then nothing can be put off any more.
    fn check(&mut self) {
        let most = HIGH + (2 + self.desk.lock().n_deferred) * MAX_REPLY;
        let held = self.script.held().output;
        assert!(self.ended || held <= most, "{held} bytes are held");
        self.output.extend(self.script.output());
    }

    fn conclude(mut self, expected: &Expected, outcomes: &mut Outcomes) {
        self.check();
        let kind = self.script.close_kind();
        assert!(self.script.is_closed(), "it does not end: {:?}", self.script);
        let text = || (show(&self.output), show(&expected.output));
        if expected.cut_short {
            assert!(expected.output.starts_with(&self.output), "{:?}, {kind:?}", text());
        } else {
            assert!(expected.output == self.output, "{:?}, {kind:?}", text());
        }
        let desk = self.desk.lock();
        assert_eq!(desk.ends, Vec::from_iter(kind), "the service was told something else");
        let kind = kind.expect("it is closed");
        assert!(expected.kinds.contains(&kind), "{kind:?}, not {:?}", expected.kinds);
        outcomes.extend(&desk.seen);
        outcomes.insert(kind.name());
    }
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
