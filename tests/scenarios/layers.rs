//! A layer between the peer and the handler.

use crate::probe::{Log, Probe, SECOND, SenderSlot, limits};
use polyserve::testing::{Script, for_every_split};
use polyserve::{Action, BoxError, CloseKind, Layer, Progress};
use std::collections::VecDeque;

/// A toy of an encryption: two round trips of a handshake, then frames of a length and that many
/// bytes with their bits flipped. A frame of no length is the end, one of 255 is an error.
#[derive(Default)]
struct Flip {
    /// Lines of the handshake that have come.
    greeted: usize,
    plain: VecDeque<u8>,
    ended: bool,
    /// The most plaintext that one call of `read` gives.
    sip: Option<usize>,
    log: Log,
}

const HELLO: &[u8] = b"A\nB\n";
const ANSWER: &[u8] = b"a\nb\n";
const END: &[u8] = &[0];

impl Flip {
    /// Takes one line of the handshake or one frame.
    fn unit(&mut self, wire: &[u8], out: &mut Vec<u8>) -> Result<usize, BoxError> {
        if self.greeted < 2 {
            let Some(end) = wire.iter().position(|byte| *byte == b'\n') else { return Ok(0) };
            out.extend([wire[0].to_ascii_lowercase(), b'\n']);
            self.greeted += 1;
            return Ok(end + 1);
        }
        match wire.first() {
            Some(255) => {
                out.extend(b"ALERT");
                Err("a bad frame".into())
            }
            Some(0) => {
                self.ended = true;
                Ok(1)
            }
            Some(n) if wire.len() > usize::from(*n) => {
                let end = 1 + usize::from(*n);
                self.plain.extend(wire[1..end].iter().map(|byte| !byte));
                Ok(end)
            }
            _ => Ok(0),
        }
    }
}

impl Layer for Flip {
    fn read(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<Progress, BoxError> {
        // What it holds goes first.
        let consumed = if self.plain.is_empty() { self.unit(wire, out)? } else { 0 };
        let n = room.min(self.sip.unwrap_or(usize::MAX)).min(self.plain.len());
        plain.extend(self.plain.drain(..n));
        let more = !self.plain.is_empty();
        Ok(Progress::consumed(consumed).with_more(more).with_eof(self.ended && !more))
    }

    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, BoxError> {
        let n = plain.len().min(3);
        frame(&plain[..n], out);
        Ok(n)
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        self.log.note("layer closed");
        out.extend(END);
    }

    fn is_ready(&self) -> bool {
        self.greeted == 2
    }
}

fn frame(plain: &[u8], out: &mut Vec<u8>) {
    out.push(u8::try_from(plain.len()).unwrap());
    out.extend(plain.iter().map(|byte| !byte));
}

/// What a peer sends to say this, or what it gets.
fn frames(plain: &[u8], size: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    plain.chunks(size).for_each(|chunk| frame(chunk, &mut wire));
    wire
}

fn flipped(probe: Probe) -> Script {
    probe.script().layer(Flip::default())
}

#[test]
fn the_handler_is_made_when_the_handshake_is_done() {
    let log = Log::default();
    let mut script = flipped(Probe::echo(&log));
    assert_eq!(script.open().output(), b"");
    assert_eq!(script.recv(b"A\n").output(), b"a\n");
    assert_eq!(log.take(), [""; 0]);
    assert_eq!(script.recv(b"B\n").output(), b"b\n");
    assert_eq!(log.take(), ["open"]);
}

#[test]
fn bytes_are_transformed_both_ways_and_ended_by_the_layers_own_mark() {
    let log = Log::default();
    let mut script = Probe::echo(&log).script().layer(Flip { log: log.clone(), ..Flip::default() });
    script.recv(HELLO);
    script.output();
    assert_eq!(script.recv(frames(b"hello", 5)).output(), frames(b"hello", 3));
    assert_eq!(script.received(), 5);
    script.recv(END);
    assert_eq!(log.take(), ["open", "data hello", "eof ", "layer closed", "close peer_closed"]);
    assert_eq!(script.output(), END, "and not after the end of the stream");
    assert!(script.fin_sent());
}

#[test]
fn any_cuts_of_the_wire_mean_the_same() {
    let wire = [HELLO, &frames(b"hello world", 4), END].concat();
    for_every_split(&wire, |pieces| {
        for sip in [None, Some(1), Some(2)] {
            let mut script =
                Probe::echo(&Log::default()).script().layer(Flip { sip, ..Flip::default() });
            let output = script.recv_pieces(pieces).eof().output();
            assert!(output.starts_with(ANSWER) && output.ends_with(END));
            let mut plain = Vec::new();
            let mut rest = &output[ANSWER.len()..];
            while let [n, tail @ ..] = rest {
                let (frame, tail) = tail.split_at(usize::from(*n));
                plain.extend(frame.iter().map(|byte| !byte));
                rest = tail;
            }
            assert_eq!(plain, b"hello world");
            assert_eq!(script.close_kind(), Some(CloseKind::PeerClosed));
        }
    });
}

#[test]
fn plaintext_that_the_layer_holds_needs_no_event() {
    // More than the budget of one turn, a byte at a time.
    let log = Log::default();
    let mut n_bytes = 0;
    let probe = Probe::new(&Log::default()).on_data(move |input, cx| {
        n_bytes += input.take().len();
        if n_bytes == 200_000 {
            cx.send("all");
        }
        Ok(Action::Continue)
    });
    let layer = Flip { sip: Some(7), log, ..Flip::default() };
    let mut script = probe.script().layer(layer);
    script.recv(HELLO);
    script.output();
    let wire = frames(&vec![b'x'; 200_000], 250);
    script.recv(wire);
    assert_eq!(script.output(), frames(b"all", 3));
    assert!(!script.wants().again);
}

/// Each byte of the wire stands for 4,000 of plaintext.
#[derive(Default)]
struct Inflate {
    held: usize,
    hoards: bool,
}

impl Layer for Inflate {
    fn read(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        room: usize,
        _out: &mut Vec<u8>,
    ) -> Result<Progress, BoxError> {
        let consumed = if self.hoards { wire.len() } else { wire.len().min(1) };
        self.held += 4000 * consumed;
        let n = self.held.min(room).min(5000);
        plain.resize(plain.len() + n, b'x');
        self.held -= n;
        Ok(Progress::consumed(consumed).with_more(self.held > 0))
    }

    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, BoxError> {
        out.extend(plain);
        Ok(plain.len())
    }

    fn close(&mut self, _out: &mut Vec<u8>) {}

    fn is_ready(&self) -> bool {
        true
    }
}

#[test]
fn more_than_one_turn_may_give_comes_in_the_next_without_an_event() {
    // Whether the layer holds it, or the wire.
    for hoards in [true, false] {
        let probe = Probe::new(&Log::default()).on_data(|input, cx| {
            cx.send(input.take());
            Ok(Action::Continue)
        });
        let mut script = probe.script().layer(Inflate { hoards, held: 0 }).by_hand();
        script.settle().recv([b'.'; 100]).turn();
        let first = script.output().len();
        assert!((64 * 1024..80 * 1024).contains(&first), "{first} bytes in one turn");
        assert!(script.wants().again && !script.wants().read);
        assert_eq!(first + script.settle().output().len(), 400_000);
        assert!(!script.wants().again && script.wants().read);
    }
}

#[test]
fn plaintext_of_a_paused_connection_waits_for_its_resume() {
    let (log, slot) = (Log::default(), SenderSlot::default());
    let made = slot.clone();
    let mut script = flipped(Probe::new(&log).on_data(move |input, cx| {
        made.fill(cx);
        input.take_n(1);
        Ok(Action::Pause)
    }));
    script.recv([HELLO, &frames(b"abc", 3), END].concat());
    assert_eq!(log.take(), ["open", "data abc"]);
    for shown in ["data bc", "data c", "eof "] {
        slot.get().resume();
        script.settle();
        assert_eq!(log.take()[0], shown);
    }
    assert_eq!(script.close_kind(), Some(CloseKind::PeerClosed));
}

#[test]
fn the_layers_end_waits_for_a_yield() {
    let log = Log::default();
    let mut script = flipped(Probe::new(&log).on_data(|input, _| {
        input.take_n(1);
        Ok(Action::Yield)
    }));
    script.recv([HELLO, &frames(b"ab", 2), END].concat());
    assert_eq!(log.take(), ["open", "data ab", "data b", "eof ", "close peer_closed"]);
}

#[test]
fn an_on_open_that_pauses_is_not_shown_what_came_with_the_handshake() {
    let log = Log::default();
    let probe = Probe::new(&log)
        .on_open(|cx| {
            cx.set_timer(SECOND);
            Ok(Action::Pause)
        })
        .on_timer(|cx| {
            cx.resume();
            Ok(Action::Continue)
        });
    let mut script = flipped(probe);
    script.recv([HELLO, &frames(b"abc", 3)].concat());
    assert_eq!(log.take(), ["open"]);
    script.advance(SECOND);
    assert_eq!(log.take(), ["timer", "data abc"]);
}

#[test]
fn an_end_without_the_mark_is_truncated() {
    let log = Log::default();
    let mut script = flipped(Probe::echo(&log));
    script.recv([HELLO, &frames(b"abc", 3)].concat()).eof();
    assert_eq!(log.take(), ["open", "data abc", "close truncated"]);
}

#[test]
fn an_end_within_the_handshake_is_the_peers() {
    let log = Log::default();
    let mut script = flipped(Probe::echo(&log));
    script.recv(b"A\n").eof();
    assert_eq!((script.close_kind(), log.take().len()), (Some(CloseKind::PeerClosed), 0));
}

#[test]
fn a_handshake_must_be_done_within_the_first_byte_time_out() {
    let mut script = flipped(Probe::echo(&Log::default()));
    script.recv(b"A\n");
    for _ in 0..12 {
        script.advance(SECOND).recv(b"x");
    }
    assert_eq!(script.close_kind(), Some(CloseKind::FirstByteTimeout));
}

#[test]
fn an_error_is_told_to_the_peer_first() {
    let log = Log::default();
    let mut script = Probe::echo(&log).script().layer(Flip { log: log.clone(), ..Flip::default() });
    script.recv(HELLO);
    script.output();
    let output = script.recv(frames(b"abc", 3)).recv([255]).output();
    assert_eq!(output, [&frames(b"abc", 3)[..], b"ALERT"].concat());
    assert_eq!(script.close_text().unwrap(), "a layer failed: a bad frame");
    assert_eq!(log.take(), ["open", "data abc", "close layer"], "its last words are the alert");
    assert!(script.fin_sent());
}

#[test]
fn closing_writes_what_was_sent_then_the_layers_last_words_then_ends_the_stream() {
    let log = Log::default();
    let layer = Flip { log: log.clone(), ..Flip::default() };
    let mut script = Probe::new(&log)
        .on_data(|_, cx| {
            cx.send("bye");
            Ok(Action::Close)
        })
        .script()
        .layer(layer);
    script.recv(HELLO);
    script.output();
    script.block_output().recv(frames(b"x", 1)).accept_output(3);
    assert!(!script.fin_sent());
    script.accept_output(1);
    assert!(!script.fin_sent(), "the last words are not written yet");
    script.unblock_output();
    assert_eq!(script.output(), [&frames(b"bye", 3)[..], END].concat());
    assert!(script.fin_sent() && script.close_kind() == Some(CloseKind::Closed));
}

#[test]
fn pushes_go_through_the_layer() {
    let (log, slot) = (Log::default(), SenderSlot::default());
    let made = slot.clone();
    let mut script = flipped(Probe::new(&log).on_open(move |cx| {
        made.fill(cx);
        Ok(Action::Continue)
    }));
    script.recv(HELLO);
    script.output();
    slot.get().send("news").unwrap();
    assert_eq!(script.settle().output(), frames(b"news", 3));
}

#[test]
fn the_output_of_a_layer_counts_for_the_marks() {
    let mut script = Probe::echo(&Log::default())
        .script()
        .limits(limits(|l| (l.output_low, l.output_high) = (4, 8)))
        .layer(Flip::default());
    script.recv(HELLO).block_output().recv(frames(b"0123456789", 10));
    assert!(!script.wants().read);
    script.unblock_output();
    assert!(script.wants().read);
}

/// Reads a line, then makes room for what comes behind.
struct Header(Option<Flip>);

impl Layer for Header {
    fn read(
        &mut self,
        wire: &[u8],
        _plain: &mut Vec<u8>,
        _room: usize,
        _out: &mut Vec<u8>,
    ) -> Result<Progress, BoxError> {
        let Some(end) = wire.iter().position(|byte| *byte == b'\n') else {
            return Ok(Progress::consumed(0));
        };
        let next = self.0.take().map(|layer| Box::new(layer) as Box<dyn Layer>);
        Ok(Progress::consumed(end + 1).with_next(next))
    }

    fn write(&mut self, _plain: &[u8], _out: &mut Vec<u8>) -> Result<usize, BoxError> {
        Ok(0)
    }

    fn close(&mut self, _out: &mut Vec<u8>) {}

    fn is_ready(&self) -> bool {
        false
    }
}

#[test]
fn a_header_steps_aside_wherever_it_is_cut() {
    for_every_split(b"PROXY me\nhello", |pieces| {
        let log = Log::default();
        let mut script = Probe::echo(&log).script().layer(Header(None));
        assert_eq!(script.recv_pieces(pieces).output(), b"hello");
        assert!(script.holds_nothing(), "it costs nothing any more");
        script.eof();
        assert_eq!(script.close_kind(), Some(CloseKind::PeerClosed));
    });
}

#[test]
fn a_header_becomes_another_layer_wherever_it_is_cut() {
    let wire = [&b"PROXY me\n"[..], HELLO, &frames(b"hey", 3)].concat();
    for_every_split(&wire, |pieces| {
        let mut script = Probe::echo(&Log::default()).script().layer(Header(Some(Flip::default())));
        let output = script.recv_pieces(pieces).output();
        assert!(output.starts_with(ANSWER));
        assert_eq!(output.iter().filter(|byte| **byte == !b'h').count(), 1);
    });
}

/// A layer that is ready and gives itself up when it sees a line.
struct UntilLine;

impl Layer for UntilLine {
    fn read(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        _room: usize,
        _out: &mut Vec<u8>,
    ) -> Result<Progress, BoxError> {
        let end = wire.iter().position(|byte| *byte == b'\n');
        let n = end.unwrap_or(wire.len());
        plain.extend(wire[..n].iter().map(|byte| byte.to_ascii_uppercase()));
        match end {
            Some(end) => Ok(Progress::consumed(end + 1).with_next(None)),
            None => Ok(Progress::consumed(n)),
        }
    }

    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, BoxError> {
        out.extend(plain);
        Ok(plain.len())
    }

    fn close(&mut self, _out: &mut Vec<u8>) {}

    fn is_ready(&self) -> bool {
        true
    }
}

#[test]
fn a_layer_may_step_aside_in_the_middle() {
    assert_eq!(
        Probe::echo(&Log::default()).script().layer(UntilLine).recv(b"ab\ncd").output(),
        b"ABcd"
    );
    // Nothing but what is behind the line comes with it.
    let mut script = Probe::echo(&Log::default()).script().layer(UntilLine);
    assert_eq!(script.recv(b"ab").recv(b"\ncd").output(), b"ABcd");
    assert_eq!(script.recv(b"ef").output(), b"ef");
    assert!(script.holds_nothing());
}

/// Does one thing for ever.
struct Stubborn(&'static str);

impl Layer for Stubborn {
    fn read(
        &mut self,
        _wire: &[u8],
        _plain: &mut Vec<u8>,
        _room: usize,
        _out: &mut Vec<u8>,
    ) -> Result<Progress, BoxError> {
        match self.0 {
            "more" => Ok(Progress::consumed(0).with_more(true)),
            "next" => Ok(Progress::consumed(0).with_next(Some(Box::new(Stubborn("next"))))),
            "panic" => panic!("the layer panics"),
            _ => Ok(Progress::consumed(0)),
        }
    }

    fn write(&mut self, _plain: &[u8], _out: &mut Vec<u8>) -> Result<usize, BoxError> {
        Ok(0)
    }

    fn close(&mut self, _out: &mut Vec<u8>) {}

    fn is_ready(&self) -> bool {
        self.0 == "ready"
    }
}

#[test]
fn a_layer_that_makes_no_progress_does_not_spin() {
    for what in ["more", "next", "nothing"] {
        let mut script = Probe::echo(&Log::default()).script().layer(Stubborn(what));
        script.recv(b"x");
        assert!(script.turns() < 10, "{what}: {} turns", script.turns());
    }
}

#[test]
fn a_layer_that_takes_nothing_is_not_fed_for_ever() {
    for what in ["ready", "nothing"] {
        let mut script = Probe::echo(&Log::default()).script().layer(Stubborn(what));
        for _ in 0..20 {
            script.recv(vec![0; 64 * 1024]);
        }
        assert_eq!(script.close_kind(), Some(CloseKind::InputLimit), "{what}");
    }
}

#[test]
fn a_layer_that_panics_ends_its_connection_alone() {
    let mut script = Probe::echo(&Log::default()).script().layer(Stubborn("panic"));
    script.recv(b"x");
    assert_eq!(script.close_text().unwrap(), "the handler panicked: the layer panics");
}

#[test]
fn a_killed_connection_ends_even_if_its_layer_takes_nothing() {
    let mut script = Probe::new(&Log::default())
        .on_open(|cx| {
            cx.send("hello");
            Ok(Action::Continue)
        })
        .script()
        .layer(Stubborn("ready"));
    script.open().kill();
    assert_eq!((script.close_kind(), script.is_gone()), (Some(CloseKind::Killed), true));
}

#[test]
fn a_layer_that_has_ended_or_holds_more_does_not_keep_a_closing_connection_turning() {
    for (is_blocked, rest) in [(false, END), (true, END), (true, &frames(b"more", 4)[..])] {
        let probe = Probe::new(&Log::default()).on_data(|input, cx| {
            input.take();
            cx.send("bye");
            Ok(Action::Close)
        });
        // One byte at a time, so that the layer still holds some when the handler closes.
        let layer = Flip { sip: Some(1), ..Flip::default() };
        let mut script = probe.script().layer(layer).by_hand();
        script.recv(HELLO).settle();
        if is_blocked {
            script.block_output();
        }
        script.recv([&frames(b"end", 3), rest].concat());
        for _ in 0..100 {
            script.turn();
        }
        assert!(script.turns() < 20, "{} turns, and it wants {:?}", script.turns(), script.wants());
    }
}

#[test]
fn what_is_sent_through_a_layer_does_not_restart_the_idle_clock() {
    let mut script = Probe::echo(&Log::default())
        .on_open(|cx| {
            cx.set_timer(5 * SECOND);
            Ok(Action::Continue)
        })
        .on_timer(|cx| {
            cx.send(".");
            cx.set_timer(5 * SECOND);
            Ok(Action::Continue)
        })
        .script()
        .layer(Flip::default());
    script.recv(HELLO).recv([1, !b'x']);
    for _ in 0..13 {
        script.advance(5 * SECOND);
    }
    assert_eq!(script.close_kind(), Some(CloseKind::IdleTimeout));
}
