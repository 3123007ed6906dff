//! Which callback comes when, and what a panic elsewhere leads to.

use crate::probe::{Log, Outcome, Probe, SECOND, SenderSlot, echo, leave};
use polyserve::testing::{Clock, Script};
use polyserve::{Action, CloseKind, CloseReason, Context, Handler, Input};
use std::io::ErrorKind;
use std::panic::{panic_any, resume_unwind};
use std::sync::Arc;

#[test]
fn a_conversation_is_open_data_eof_close() {
    let log = Log::default();
    let mut script = Probe::echo(&log).script();
    script.recv(b"a").recv(b"b").eof();
    assert_eq!(log.take(), ["open", "data a", "data b", "eof ", "close peer_closed"]);
    assert_eq!(script.output(), b"ab");
    assert!(script.is_gone() && script.fin_sent() && !script.reset_sent());
}

#[test]
fn on_open_comes_before_any_byte() {
    let log = Log::default();
    let mut script = Probe::new(&log).on_open(|cx| {
        cx.send("hello");
        Ok(Action::Continue)
    });
    script = script.on_data(echo);
    let mut script = script.script();
    assert_eq!(script.open().output(), b"hello");
    assert_eq!(log.take(), ["open"]);
}

#[test]
fn eof_comes_once_with_what_is_left() {
    for action in [Action::Continue, Action::Want(100)] {
        let log = Log::default();
        let mut script = Probe::new(&log)
            .on_data(move |input, _| {
                input.consume(1);
                Ok(action)
            })
            .on_eof(|_, _| Ok(Action::Continue))
            .script();
        script.recv(b"abc").eof().turn_with(polyserve::Ready::READ).settle();
        assert_eq!(log.take(), ["open", "data abc", "eof bc"]);
        assert_eq!(script.held().input, 0, "what is left is dropped");
        assert!(!script.wants().read, "nothing can come any more");
    }
}

#[test]
fn a_half_open_connection_can_still_send() {
    let (log, slot) = (Log::default(), SenderSlot::default());
    let made = slot.clone();
    let mut script = Probe::new(&log)
        .on_eof(move |_, cx| {
            made.fill(cx);
            Ok(Action::Continue)
        })
        .on_wake(|cx| {
            cx.send("last");
            Ok(Action::Close)
        })
        .script();
    script.eof();
    slot.get().send("first ").unwrap();
    slot.get().wake();
    // Either may come first: they were made in the same turn.
    let output = script.settle().output();
    assert!(output == b"first last" || output == b"lastfirst ", "{}", output.escape_ascii());
    assert_eq!(script.close_kind(), Some(CloseKind::Closed));
    assert!(script.is_gone(), "the peer's end is known: there is nothing to linger for");
}

#[test]
fn nothing_is_called_after_on_close() {
    let (log, slot) = (Log::default(), SenderSlot::default());
    let made = slot.clone();
    let mut script = Probe::new(&log)
        .on_open(move |cx| {
            made.fill(cx);
            cx.set_timer(SECOND);
            Ok(Action::Close)
        })
        .script();
    script.open();
    assert_eq!(log.take(), ["open", "close closed"]);
    assert!(!slot.get().wake() && !slot.get().resume() && !slot.get().close());
    script.recv(b"x").drain().eof().advance(60 * SECOND).kill().stop();
    assert_eq!(log.take(), [""; 0]);
}

#[test]
fn a_factory_that_panics_ends_the_connection_without_a_callback() {
    let mut script = Script::new(|_peer| -> Probe { panic!("no handler today") });
    script.open();
    assert_eq!(script.close_kind(), Some(CloseKind::Panic));
    assert_eq!(script.close_text().unwrap(), "the handler panicked: no handler today");
    assert!(script.fin_sent());
}

struct Bad {
    log: Log,
    on: &'static str,
}

struct BadPayload(Log);

impl Drop for BadPayload {
    fn drop(&mut self) {
        self.0.note("payload dropped");
        panic_any("the payload's drop panics");
    }
}

impl Handler for Bad {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Outcome {
        cx.send(input.take());
        if self.on == "payload" {
            panic_any(BadPayload(self.log.clone()));
        }
        Ok(Action::Close)
    }

    fn on_close(&mut self, reason: &CloseReason) {
        self.log.note(format!("close {}", reason.kind().name()));
        assert!(self.on != "close", "on_close panics");
    }
}

impl Drop for Bad {
    fn drop(&mut self) {
        self.log.note("dropped");
        assert!(self.on != "drop", "drop panics");
    }
}

#[test]
fn a_panic_in_on_close_or_in_drop_is_swallowed() {
    for on in ["close", "drop"] {
        let log = Log::default();
        let handler = Bad { log: log.clone(), on };
        let mut script = Script::new(|_peer| handler);
        assert_eq!(script.recv(b"x").output(), b"x");
        assert_eq!(script.close_kind(), Some(CloseKind::Closed));
        assert_eq!(log.take(), ["close closed", "dropped"]);
    }
}

#[test]
fn a_payload_whose_drop_panics_ends_the_connection_alone() {
    let log = Log::default();
    let handler = Bad { log: log.clone(), on: "payload" };
    let mut script = Script::new(|_peer| handler);
    script.recv(b"x");
    assert_eq!(script.close_text().unwrap(), "the handler panicked: a value that is no text");
    assert_eq!(log.take(), ["payload dropped", "close panic", "dropped"]);
}

#[test]
fn a_payload_whose_drop_panics_leaks_nothing() {
    /// Panics with another one when it is dropped, so many times.
    struct Nested(usize, #[allow(dead_code, reason = "it is kept")] Arc<()>);
    impl Drop for Nested {
        fn drop(&mut self) {
            if self.0 > 0 {
                resume_unwind(Box::new(Nested(self.0 - 1, Arc::clone(&self.1))));
            }
        }
    }
    let kept = Arc::new(());
    let its = Arc::clone(&kept);
    let panics = move |_: &mut Input<'_>, _: &mut Context<'_>| {
        resume_unwind(Box::new(Nested(3, Arc::clone(&its))))
    };
    let mut script = Probe::new(&Log::default()).on_data(panics).script();
    script.recv(b"x");
    assert_eq!(script.close_kind(), Some(CloseKind::Panic));
    drop(script);
    assert_eq!(Arc::strong_count(&kept), 1);
}

#[test]
fn a_payload_that_panics_for_ever_is_given_up_on() {
    struct Endless;
    impl Drop for Endless {
        fn drop(&mut self) {
            resume_unwind(Box::new(Endless));
        }
    }
    let panics = |_: &mut Input<'_>, _: &mut Context<'_>| resume_unwind(Box::new(Endless));
    let mut script = Probe::new(&Log::default()).on_data(panics).script();
    script.recv(b"x");
    assert_eq!(script.close_kind(), Some(CloseKind::Panic));
}

#[test]
fn consuming_more_than_there_is_ends_the_connection() {
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_data(|input, _| {
            input.consume(2);
            Ok(Action::Continue)
        })
        .script();
    script.recv(b"x");
    assert_eq!(script.close_kind(), Some(CloseKind::Panic));
}

#[test]
fn a_backend_that_drops_the_session_is_the_reason() {
    let log = Log::default();
    let mut script = Probe::new(&log).on_data(leave).script();
    script.recv(b"x").abandon();
    assert_eq!(log.take(), ["open", "data x", "close backend"]);
}

#[test]
fn a_turn_for_no_reason_does_no_harm() {
    use polyserve::Ready;
    let log = Log::default();
    let mut script = Probe::echo(&log).script();
    script.recv(b"a");
    for ready in [Ready::NONE, Ready::READ, Ready::WRITE, Ready::BOTH] {
        script.turn_with(ready);
    }
    assert_eq!(log.take(), ["open", "data a"]);
    assert_eq!(script.recv(b"b").output(), b"ab");
}

#[test]
fn the_handler_can_ask_who_is_there() {
    let log = Log::default();
    let noted = log.clone();
    let mut script = Probe::new(&log)
        .on_open(move |cx| {
            let local = cx.local_addr()?;
            noted.note(format!("{} {} {local} {}", cx.id(), cx.peer().addr(), cx.may_block()));
            Ok(Action::Continue)
        })
        .script()
        .may_block(true);
    script.open();
    assert_eq!(log.take(), ["open", "#1 192.0.2.1:49152 192.0.2.2:7 true"]);
}

#[test]
fn the_socket_is_taken_with_all_that_is_on_the_way() {
    for from_eof in [false, true] {
        let (log, slot) = (Log::default(), SenderSlot::default());
        let made = slot.clone();
        let take = |input: &mut Input<'_>, cx: &mut Context<'_>| {
            input.consume(1);
            cx.send("sent");
            cx.set_timer(SECOND);
            cx.into_stream(drop);
            Ok(Action::Close)
        };
        let probe = Probe::new(&log).on_open(move |cx| {
            made.fill(cx);
            Ok(Action::Continue)
        });
        let mut script = match from_eof {
            false => probe.on_data(take),
            true => probe.on_data(leave).on_eof(take),
        }
        .script();
        script.block_output().open();
        slot.get().send("pushed ").unwrap();
        script.settle().recv(b"abc");
        if from_eof {
            script.eof();
        }
        let taken = script.taken().expect("the socket was taken");
        assert_eq!((&taken.unread[..], &taken.unsent[..]), (&b"bc"[..], &b"pushed sent"[..]));
        assert_eq!(script.close_kind(), Some(CloseKind::Taken));
        assert!(!script.fin_sent() && !script.reset_sent());
        assert_eq!(log.take().last().unwrap(), "close taken");
    }
}

#[test]
fn nothing_is_called_between_taking_the_socket_and_on_close() {
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_data(|input, cx| {
            input.take();
            cx.sender().wake();
            cx.into_stream(drop);
            Ok(Action::Continue)
        })
        .script();
    script.open().advance(2 * SECOND).drain();
    assert_eq!(log.take(), ["open", "shutdown", "close shutdown"]);

    let mut script = Probe::new(&log)
        .on_data(|input, cx| {
            input.take();
            cx.sender().wake();
            cx.into_stream(drop);
            Ok(Action::Continue)
        })
        .script()
        .by_hand();
    script.open().settle();
    script.recv(b"x").drain().settle();
    assert_eq!(log.take(), ["open", "data x", "close taken"]);
}

#[test]
fn the_socket_is_taken_at_once_by_a_callback_that_woke_itself() {
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_data(|input, cx| {
            input.take();
            cx.sender().wake();
            Ok(Action::Continue)
        })
        .on_wake(|cx| {
            cx.into_stream(drop);
            Ok(Action::Continue)
        })
        .script();
    script.recv(b"x");
    assert_eq!(log.take(), ["open", "data x", "wake", "close taken"]);
    assert!(script.is_gone());
}

#[test]
fn nothing_else_ends_a_connection_whose_socket_was_taken() {
    // The callback takes longer than the peer may stall; somebody closes it; the server drains.
    for (lasts, closes, drains) in [(40, false, false), (0, true, false), (0, false, true)] {
        let (log, slot, clock) = (Log::default(), SenderSlot::default(), Clock::new());
        let (made, theirs) = (slot.clone(), clock.clone());
        let probe = Probe::new(&log)
            .on_open(move |cx| {
                made.fill(cx);
                cx.send("sent ");
                Ok(Action::Continue)
            })
            .on_wake(move |cx| {
                theirs.advance(lasts * SECOND);
                cx.send("behind");
                cx.into_stream(drop);
                Ok(Action::Continue)
            });
        let mut script = probe.script().with_clock(&clock).by_hand();
        script.block_output().turn();
        slot.get().wake();
        if closes {
            slot.get().close();
        }
        if drains {
            script.drain();
        }
        script.settle();
        assert_eq!(log.take(), ["open", "wake", "close taken"]);
        assert_eq!(script.taken().expect("the socket was taken").unsent, b"sent behind");
        assert!(!script.fin_sent());
    }
}

#[test]
fn a_socket_that_fails_is_handed_over_all_the_same() {
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_open(|cx| {
            cx.send("lost");
            Ok(Action::Continue)
        })
        .on_data(|_input, cx| {
            cx.into_stream(drop);
            Ok(Action::Continue)
        })
        .script()
        .by_hand();
    // What was received before the write failed is still shown.
    script.output_error(ErrorKind::BrokenPipe).recv(b"x").settle();
    assert_eq!(log.take(), ["open", "data x", "close taken"]);
    assert_eq!(script.taken().expect("the socket was taken").unread, b"x");
}
