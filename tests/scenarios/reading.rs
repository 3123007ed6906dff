//! How input is shown: what is left is kept, `Want`, `Yield`, `Pause`, and any cuts.

use crate::probe::{Log, Probe, SECOND, SenderSlot, leave, limits, timeouts};
use polyserve::testing::{Script, assert_split_independent, for_every_split};
use polyserve::{Action, CloseKind, Context, Handler, Input, Limit, Ready};
use proptest::prelude::*;
use std::io::ErrorKind;

#[test]
fn what_is_left_is_shown_again_with_the_next_bytes() {
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_data(|input, cx| {
            cx.send(input.take_n(1).unwrap());
            Ok(Action::Continue)
        })
        .script();
    script.recv(b"abc").recv(b"d");
    assert_eq!(log.take(), ["open", "data abc", "data bcd"]);
    assert_eq!((script.output(), script.held().input), (b"ab".to_vec(), 2));
}

#[test]
fn wanted_bytes_are_waited_for() {
    let cases: [(usize, &[&str]); 5] = [
        // Of "ab" one byte is left each time.
        (0, &["data ab", "data bc"]),
        (1, &["data ab", "data bc"]),
        (2, &["data ab", "data bc"]),
        (3, &["data ab", "data bcd"]),
        (4, &["data ab"]),
    ];
    for (want, shown) in cases {
        let log = Log::default();
        let mut first = true;
        let mut script = Probe::new(&log)
            .on_data(move |input, _| {
                if !std::mem::take(&mut first) {
                    input.take();
                    return Ok(Action::Continue);
                }
                input.consume(1);
                Ok(Action::Want(want))
            })
            .script();
        script.recv(b"ab").recv(b"c");
        if want > 2 {
            script.recv(b"d");
        }
        assert_eq!(log.take()[1..], *shown, "want {want}");
    }
}

#[test]
fn a_want_is_forgotten_at_the_next_data() {
    let log = Log::default();
    let mut wants = [Action::Want(3), Action::Continue].into_iter();
    let mut script = Probe::new(&log)
        .on_data(move |input, _| {
            input.take();
            Ok(wants.next().unwrap_or(Action::Continue))
        })
        .script();
    script.recv(b"a").recv(b"bc").recv(b"d").recv(b"e");
    assert_eq!(log.take(), ["open", "data a", "data bcd", "data e"]);
}

#[test]
fn other_callbacks_do_not_forget_a_want() {
    let (log, slot) = (Log::default(), SenderSlot::default());
    let made = slot.clone();
    let mut script = Probe::new(&log)
        .on_open(move |cx| {
            made.fill(cx);
            cx.set_timer(SECOND);
            Ok(Action::Want(3))
        })
        .script();
    script.recv(b"ab").advance(SECOND);
    slot.get().wake();
    slot.get().resume();
    script.settle();
    assert_eq!(log.take(), ["open", "timer", "wake"]);
    script.recv(b"c");
    assert_eq!(log.take(), ["data abc"]);
}

#[test]
fn a_want_outlasts_a_pause_and_a_resume() {
    for want in [0, 1, 2] {
        let (log, slot) = (Log::default(), SenderSlot::default());
        let made = slot.clone();
        let mut script = Probe::new(&log)
            .on_data(move |_, cx| {
                made.fill(cx);
                Ok(Action::Want(want))
            })
            .on_wake(|_| Ok(Action::Pause))
            .script();
        script.recv(b"a");
        slot.get().wake();
        script.settle();
        slot.get().resume();
        script.settle();
        assert_eq!(log.take(), ["open", "data a", "wake"], "want {want}");
        script.recv(b"b");
        assert_eq!(log.take(), ["data ab"], "want {want}");
    }
}

#[test]
fn wanting_more_than_the_limit_closes_at_once() {
    for (want, limit, ends) in [(10, 10, false), (11, 10, true), (usize::MAX, 10, true)] {
        for at_open in [false, true] {
            let log = Log::default();
            let probe = match at_open {
                true => Probe::new(&log).on_open(move |_| Ok(Action::Want(want))),
                false => Probe::new(&log).on_data(move |input, _| {
                    input.take();
                    Ok(Action::Want(want))
                }),
            };
            let mut script = probe.script().limits(limits(|l| l.input = limit));
            script.open();
            if !at_open {
                script.recv(b"x");
            }
            let text = format!("{want} bytes were wanted at once, above the limit of {limit}");
            assert_eq!(script.close_text(), ends.then_some(text));
        }
    }
}

#[test]
fn leaving_as_much_as_the_limit_and_asking_for_more_closes() {
    for (n, kind) in [(9, None), (10, Some(CloseKind::InputLimit))] {
        let mut script =
            Probe::new(&Log::default()).on_data(leave).script().limits(limits(|l| l.input = 10));
        script.recv(vec![b'x'; n]);
        assert_eq!(script.close_kind(), kind, "{n} bytes");
    }
}

#[test]
fn a_large_want_is_filled_from_many_reads() {
    let mut script = Probe::new(&Log::default())
        .on_open(|_| Ok(Action::Want(1024 * 1024)))
        .on_data(|input, cx| {
            cx.send(input.len().to_string());
            input.take();
            Ok(Action::Continue)
        })
        .script();
    for _ in 0..15 {
        script.recv(vec![0; 64 * 1024]);
    }
    assert_eq!(script.output(), b"");
    assert_eq!(script.recv(vec![0; 64 * 1024]).output(), b"1048576");
    assert!(script.holds_nothing());
}

/// Takes one byte each time it is called.
fn one_by_one(input: &mut Input<'_>, cx: &mut Context<'_>) -> crate::probe::Outcome {
    cx.send(input.take_n(1).unwrap());
    Ok(Action::Yield)
}

#[test]
fn a_yield_is_continued_in_the_next_turn_and_nothing_is_read_before() {
    let log = Log::default();
    let mut script = Probe::new(&log).on_data(one_by_one).script().by_hand();
    script.turn();
    script.recv(b"ab").recv(b"c").turn();
    assert_eq!(log.take(), ["open", "data ab"]);
    assert!(script.wants().again && !script.wants().read);
    // The last byte was consumed, so there is room for what came meanwhile.
    script.turn();
    assert_eq!(log.take(), ["data b"]);
    script.settle();
    assert_eq!(log.take(), ["data c"]);
    assert_eq!(script.output(), b"abc");
    assert!(script.holds_nothing() && !script.wants().again);
}

#[test]
fn a_yield_waits_while_the_output_is_above_the_high_mark() {
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_data(|input, cx| {
            input.consume(1);
            cx.send([b'x'; 10]);
            Ok(Action::Yield)
        })
        .script()
        .limits(limits(|l| (l.output_low, l.output_high) = (5, 15)));
    script.block_output().recv(b"abc");
    assert_eq!(log.take(), ["open", "data abc", "data bc"], "20 bytes are above the mark of 15");
    assert!(!script.wants().again && !script.wants().read && script.wants().write);
    script.accept_output(16);
    assert_eq!(log.take(), ["data c"]);
}

#[test]
fn eof_waits_for_a_yield() {
    let log = Log::default();
    let mut script = Probe::new(&log).on_data(one_by_one).script().by_hand();
    script.recv(b"ab").eof();
    script.settle();
    assert_eq!(log.take(), ["open", "data ab", "data b", "eof ", "close peer_closed"]);
}

struct Pausing {
    log: Log,
    slot: SenderSlot,
}

impl Handler for Pausing {
    fn on_open(&mut self, cx: &mut Context<'_>) -> crate::probe::Outcome {
        self.slot.fill(cx);
        Ok(Action::Continue)
    }

    fn on_data(&mut self, input: &mut Input<'_>, _: &mut Context<'_>) -> crate::probe::Outcome {
        self.log.note(format!("data {}", input.escape_ascii()));
        input.consume(1);
        Ok(Action::Pause)
    }

    fn on_eof(&mut self, input: &mut Input<'_>, _: &mut Context<'_>) -> crate::probe::Outcome {
        self.log.note(format!("eof {}", input.escape_ascii()));
        Ok(Action::Close)
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) -> crate::probe::Outcome {
        cx.resume();
        Ok(Action::Continue)
    }
}

fn pausing() -> (Log, SenderSlot, Script) {
    let (log, slot) = (Log::default(), SenderSlot::default());
    let handler = Pausing { log: log.clone(), slot: slot.clone() };
    (log, slot, Script::new(|_peer| handler))
}

#[test]
fn a_resume_shows_the_same_bytes_again() {
    for by_wake in [false, true] {
        let (log, slot, mut script) = pausing();
        script.recv(b"abc");
        for shown in ["data abc", "data bc", "data c"] {
            assert_eq!(log.take(), [shown]);
            if by_wake {
                slot.get().wake()
            } else {
                slot.get().resume()
            };
            script.settle();
        }
        // Nothing is left to be shown.
        assert_eq!(log.take(), [""; 0]);
        assert_eq!(script.recv(b"d").held().input, 0);
        assert_eq!(log.take(), ["data d"]);
    }
}

#[test]
fn a_resume_of_what_is_not_paused_shows_nothing() {
    let (log, slot) = (Log::default(), SenderSlot::default());
    let made = slot.clone();
    let mut script = Probe::new(&log)
        .on_open(move |cx| {
            made.fill(cx);
            Ok(Action::Continue)
        })
        .on_data(leave)
        .script();
    script.recv(b"a");
    slot.get().resume();
    script.settle();
    assert_eq!(log.take(), ["open", "data a"]);
}

#[test]
fn pause_wins_over_a_resume_of_the_same_callback() {
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_data(|_, cx| {
            cx.resume();
            Ok(Action::Pause)
        })
        .script();
    script.recv(b"a").recv(b"b");
    assert_eq!(log.take(), ["open", "data a"]);
}

#[test]
fn continue_from_another_callback_does_not_resume() {
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_data(|_, cx| {
            cx.set_timer(SECOND);
            Ok(Action::Pause)
        })
        .script();
    script.recv(b"a").advance(SECOND).recv(b"b");
    assert_eq!(log.take(), ["open", "data a", "timer"]);
    assert!(!script.wants().read);
}

#[test]
fn a_paused_connection_sees_no_end() {
    let (log, slot, mut script) = pausing();
    script.recv(b"ab").eof().advance(20 * SECOND);
    assert_eq!(log.take(), ["data ab"]);
    slot.get().resume();
    script.settle();
    assert_eq!(log.take(), ["data b"]);
    slot.get().resume();
    script.settle();
    assert_eq!(log.take(), ["eof "]);
}

#[test]
fn a_paused_connection_is_never_idle_and_its_message_never_late() {
    let (_, _, mut script) = pausing();
    script.recv(b"ab").advance(3600 * SECOND);
    assert_eq!(script.close_kind(), None);
    assert!(!script.wants().read && !script.wants().write, "it must not be watched");
}

#[test]
fn a_paused_connection_finds_a_reset_within_five_seconds() {
    let (_, _, mut script) = pausing();
    script.recv(b"a").recv(b"unread");
    script.advance(7 * SECOND).error(ErrorKind::ConnectionReset);
    assert_eq!(script.close_kind(), None, "it is not watched");
    script.advance(5 * SECOND);
    assert_eq!(script.close_kind(), Some(CloseKind::Reset));
}

#[test]
fn after_a_resume_the_idle_time_starts_anew() {
    let (_, slot, mut script) = pausing();
    script.recv(b"a").advance(100 * SECOND);
    slot.get().resume();
    script.settle().advance(59 * SECOND);
    assert_eq!(script.close_kind(), None);
    script.advance(2 * SECOND);
    assert_eq!(script.close_kind(), Some(CloseKind::IdleTimeout));
}

#[test]
fn an_on_open_that_pauses_sees_nothing() {
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_open(|cx| {
            cx.set_timer(SECOND);
            Ok(Action::Pause)
        })
        .on_timer(|cx| {
            cx.resume();
            Ok(Action::Continue)
        })
        .script();
    script.recv(b"a");
    assert_eq!(log.take(), ["open"]);
    script.advance(SECOND);
    assert_eq!(log.take(), ["timer", "data a"]);
}

#[test]
fn one_read_is_answered_by_one_send() {
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_open(|cx| {
            cx.send("hello ");
            Ok(Action::Continue)
        })
        .on_data(|input, cx| {
            cx.set_timer(std::time::Duration::ZERO);
            input.take().iter().for_each(|byte| cx.send([*byte]));
            Ok(Action::Continue)
        })
        .on_eof(|_, cx| {
            cx.send(" bye");
            Ok(Action::Close)
        })
        .script()
        .by_hand();
    // The first turn finds the first bytes waiting.
    script.recv(b"abc").turn_with(Ready::READ);
    assert_eq!((script.output(), script.sends()), (b"hello abc".to_vec(), 1));
    assert_eq!(script.recvs(), 1, "one read for each event");
    script.eof().turn_with(Ready::READ);
    assert_eq!((script.output(), script.sends()), (b" bye".to_vec(), 2));
}

#[test]
fn an_echo_costs_one_receive_and_one_send() {
    for on_thread in [false, true] {
        let mut script = Probe::echo(&Log::default()).script();
        if on_thread {
            script = script.on_thread();
        }
        script.open();
        let before = (script.recvs(), script.sends(), script.turns());
        for _ in 0..100 {
            script.recv(b"ping");
        }
        let after = (script.recvs(), script.sends(), script.turns());
        assert_eq!(after, (before.0 + 100, before.1 + 100, before.2 + 100));
    }
}

#[test]
fn an_idle_connection_holds_nothing() {
    let mut script = Probe::echo(&Log::default()).script();
    assert!(script.open().holds_nothing());
    assert!(script.recv(vec![1; 200_000]).holds_nothing());
    // After output that had to wait, and input that was incomplete.
    script.block_output().recv(vec![2; 100_000]);
    assert_eq!(script.held().output, 100_000);
    assert!(script.unblock_output().holds_nothing());

    let mut script = Probe::new(&Log::default())
        .on_data(|input, _| {
            input.take_n(4);
            Ok(Action::Continue)
        })
        .script();
    assert!(script.recv(b"abc").held().anything);
    assert!(script.recv(b"d").holds_nothing());
}

#[test]
fn a_timer_is_held_only_while_it_is_set() {
    let mut script = Probe::new(&Log::default())
        .on_data(|input, cx| {
            match input.take() {
                b"set" => cx.set_timer(SECOND),
                _ => cx.clear_timer(),
            }
            Ok(Action::Continue)
        })
        .script();
    assert!(!script.recv(b"set").holds_nothing());
    assert!(script.recv(b"clear").holds_nothing());
    assert!(script.recv(b"set").advance(SECOND).holds_nothing());
}

#[test]
fn interrupted_and_futile_reads_are_harmless() {
    let log = Log::default();
    let mut script = Probe::echo(&log).script();
    for kind in [ErrorKind::Interrupted, ErrorKind::WouldBlock].repeat(50) {
        script.error(kind);
    }
    assert_eq!(script.recv(b"abc").output(), b"abc");
    for kind in [ErrorKind::Interrupted, ErrorKind::WouldBlock].repeat(50) {
        script.error(kind);
    }
    assert_eq!(script.close_kind(), None);
    assert_eq!(log.take(), ["open", "data abc"]);
}

#[test]
fn lines_come_out_whole_however_they_are_cut() {
    fn lines(input: &mut Input<'_>, cx: &mut Context<'_>) -> crate::probe::Outcome {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.take_n(end + 1).unwrap();
            cx.send(format!("<{}>", line[..end].escape_ascii()));
        }
        Ok(Action::Continue)
    }
    let handler = |_: &polyserve::Peer| Probe::new(&Log::default()).on_data(lines);
    assert_split_independent(handler, b"one\n\ntwo\nrest", b"<one><><two>");
}

/// A length in two decimal digits, then that many bytes; asks for exactly what is missing.
fn prefixed(input: &mut Input<'_>, cx: &mut Context<'_>) -> crate::probe::Outcome {
    loop {
        let Some(prefix) = input.get(..2) else { return Ok(Action::Want(2)) };
        let length: usize = std::str::from_utf8(prefix)?.parse()?;
        if input.len() < 2 + length {
            return Ok(Action::Want(2 + length));
        }
        input.consume(2);
        cx.send(input.take_n(length).unwrap());
        cx.send("|");
    }
}

#[test]
fn messages_with_a_length_come_out_whole_however_they_are_cut() {
    let handler = |_: &polyserve::Peer| Probe::new(&Log::default()).on_data(prefixed);
    assert_split_independent(handler, b"03abc00040123", b"abc||0123|");
}

#[test]
fn an_echo_is_the_same_however_it_is_cut_and_whoever_runs_it() {
    for_every_split(b"some bytes", |pieces| {
        for on_thread in [false, true] {
            let mut script = Probe::echo(&Log::default()).script();
            if on_thread {
                script = script.on_thread();
            }
            assert_eq!(script.recv_pieces(pieces).eof().output(), b"some bytes");
        }
    });
}

proptest! {
    /// Arbitrary messages, arbitrary cuts, arbitrary writes: what comes back is the whole.
    #[test]
    fn any_cuts_mean_the_same(
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 1..8),
        cuts in proptest::collection::vec(1usize..64, 1..20),
        write_size in 1usize..50,
        on_thread: bool,
    ) {
        let mut wire = Vec::new();
        let mut expected = Vec::new();
        for message in &messages {
            wire.extend(format!("{:02}", message.len()).bytes());
            wire.extend(message);
            expected.extend(message);
            expected.push(b'|');
        }
        let mut script = Probe::new(&Log::default()).on_data(prefixed).script().short_writes(write_size);
        if on_thread {
            script = script.on_thread();
        }
        let mut rest = &wire[..];
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            script.recv(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(script.output(), expected);
        prop_assert_eq!(script.received(), wire.len() as u64);
    }
}

#[test]
fn an_unlimited_idle_time_out_never_comes() {
    let mut script = Probe::echo(&Log::default())
        .script()
        .timeouts(timeouts(|t| (t.idle, t.first_byte) = (Limit::Unlimited, Limit::Unlimited)));
    script.recv(b"x").advance(1_000_000 * SECOND);
    assert_eq!((script.close_kind(), script.next_deadline()), (None, None));
}
