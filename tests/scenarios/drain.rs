//! The server's end, as one connection sees it.

use crate::probe::{Log, Probe, SECOND, SenderSlot, echo, leave, limits};
use polyserve::testing::Script;
use polyserve::{Action, BoxError, CloseKind, Context, Handler, Input, Ready};

#[test]
fn an_idle_connection_is_told_and_closed_at_once() {
    for used in [false, true] {
        let log = Log::default();
        let mut script = Probe::echo(&log).script();
        script.open();
        if used {
            script.recv(b"x");
        }
        log.take();
        script.drain();
        if !used {
            assert!(log.take().is_empty(), "its first request may be on its way");
            script.advance(2 * SECOND);
        }
        assert_eq!(log.take(), ["shutdown", "close shutdown"]);
        assert!(script.is_gone(), "there is nothing to linger for");
    }
}

#[test]
fn who_connected_just_before_has_a_second_for_its_first_request() {
    let log = Log::default();
    let mut script = Probe::echo(&log).script();
    script.open().drain().advance(SECOND / 2);
    assert_eq!(log.take(), ["open"]);
    assert_eq!(script.recv(b"x").output(), b"x");
    assert_eq!(log.take(), ["data x", "shutdown", "close shutdown"]);

    let mut script = Probe::echo(&log).script();
    script.open().drain().eof();
    assert_eq!(log.take(), ["open", "eof ", "close peer_closed"], "its end is a word as well");

    // The second counts from the accept.
    let mut script = Probe::echo(&log).script();
    script.open().advance(2 * SECOND).drain();
    assert_eq!(log.take(), ["open", "shutdown", "close shutdown"]);
}

#[test]
fn what_had_arrived_is_shown_before() {
    let log = Log::default();
    let mut script = Probe::echo(&log).script().by_hand();
    script.turn();
    script.recv(b"one").recv(b"two").drain().settle();
    assert_eq!(log.take(), ["open", "data one", "data two", "shutdown", "close shutdown"]);
    assert_eq!(script.output(), b"onetwo");
    assert!(script.fin_sent());
}

#[test]
fn what_had_arrived_is_shown_before_even_if_it_has_to_wait() {
    // Output above the high mark, and a handler that yields: both keep input in the socket.
    for yields in [false, true] {
        let log = Log::default();
        let mut script = Probe::new(&log)
            .on_data(move |input, cx| {
                cx.send(input.take_n(1).unwrap());
                Ok(if yields { Action::Yield } else { Action::Pause })
            })
            .script()
            .by_hand();
        if !yields {
            script = Probe::echo(&log)
                .script()
                .limits(limits(|l| (l.output_low, l.output_high) = (2, 2)));
            script = script.by_hand();
            script.block_output();
        }
        script.turn();
        script.recv(b"abc").turn();
        script.recv(b"def").drain();
        script.settle();
        script.unblock_output().settle();
        let shown = log.take();
        let told = shown.iter().position(|entry| entry == "shutdown").expect("it was told");
        let last = shown.iter().rposition(|entry| entry.starts_with("data")).unwrap();
        assert!(last < told, "{shown:?}");
        assert_eq!(script.output(), b"abcdef");
        assert_eq!(script.close_kind(), Some(CloseKind::Shutdown));
    }
}

#[test]
fn it_is_told_once() {
    let log = Log::default();
    let mut script = Probe::echo(&log).on_shutdown(|_| Ok(Action::Continue)).script();
    script.recv(b"x").drain().drain().turn_with(Ready::BOTH).advance(SECOND);
    assert_eq!(log.take(), ["open", "data x", "shutdown"]);
}

#[test]
fn a_busy_connection_may_finish_and_is_then_closed() {
    let log = Log::default();
    let slot = SenderSlot::default();
    let made = slot.clone();
    let mut script = Probe::new(&log)
        .on_data(move |input, cx| {
            input.take();
            made.fill(cx);
            cx.set_busy(true);
            Ok(Action::Continue)
        })
        .on_wake(|cx| {
            cx.send("the answer");
            cx.set_busy(false);
            Ok(Action::Continue)
        })
        .script();
    script.recv(b"ask").drain().advance(5 * SECOND);
    assert_eq!(log.take(), ["open", "data ask", "shutdown"]);
    slot.get().wake();
    assert_eq!(script.settle().output(), b"the answer");
    assert_eq!(script.close_kind(), Some(CloseKind::Shutdown));
    assert!(script.fin_sent() && !script.is_gone(), "its last output is protected by lingering");
}

#[test]
fn output_that_waits_makes_busy_too() {
    let mut script = Probe::echo(&Log::default()).script();
    script.block_output().recv(b"reply").drain();
    assert_eq!(script.close_kind(), None);
    assert_eq!(script.unblock_output().output(), b"reply");
    assert_eq!(script.close_kind(), Some(CloseKind::Shutdown));
}

#[test]
fn half_a_message_may_be_finished() {
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_data(|input, cx| {
            if let Some(message) = input.take_n(4) {
                cx.send(message);
            }
            Ok(Action::Continue)
        })
        .script();
    script.recv(b"ab").drain();
    assert_eq!(script.close_kind(), None);
    assert_eq!(script.recv(b"cd").output(), b"abcd");
    assert_eq!(script.close_kind(), Some(CloseKind::Shutdown));
}

#[test]
fn a_handler_that_goes_on_is_closed_after_the_next_thing_it_does() {
    let mut script = Probe::echo(&Log::default()).on_shutdown(|_| Ok(Action::Continue)).script();
    script.recv(b"a").drain();
    assert_eq!(script.close_kind(), None);
    assert_eq!(script.recv(b"b").output(), b"ab");
    assert_eq!(script.close_kind(), Some(CloseKind::Shutdown));
}

#[test]
fn what_on_shutdown_sends_is_something_to_finish_whenever_it_is_taken() {
    for blocked in [false, true] {
        let mut script = Probe::echo(&Log::default())
            .on_shutdown(|cx| {
                cx.send("goodbye");
                Ok(Action::Continue)
            })
            .script();
        script.recv(b"x");
        if blocked {
            script.block_output();
        }
        script.drain().unblock_output();
        assert_eq!(script.output(), b"xgoodbye");
        assert_eq!(script.close_kind(), Some(CloseKind::Shutdown));
    }
}

#[test]
fn who_is_busy_may_go_on_after_a_last_word() {
    let log = Log::default();
    let mut script = Probe::echo(&log)
        .on_shutdown(|cx| {
            cx.send("hurry");
            cx.set_busy(true);
            Ok(Action::Pause)
        })
        .script();
    script.recv(b"w").drain().recv(b"x").advance(SECOND);
    assert_eq!((script.output(), script.close_kind()), (b"whurry".to_vec(), None));
    assert_eq!(log.take(), ["open", "data w", "shutdown"]);
}

#[test]
fn a_request_that_is_answered_as_the_drain_begins_leaves_nothing_to_wait_for() {
    let log = Log::default();
    let mut script = Probe::echo(&log).script().by_hand();
    script.turn();
    script.recv(b"x").drain().turn_with(Ready::READ);
    assert_eq!(log.take(), ["open", "data x", "shutdown", "close shutdown"]);
    assert_eq!(script.output(), b"x");
}

#[test]
fn a_last_word_is_written() {
    let mut script = Probe::echo(&Log::default())
        .on_shutdown(|cx| {
            cx.send("goodbye");
            Ok(Action::Close)
        })
        .script();
    assert_eq!(script.recv(b"x").drain().output(), b"xgoodbye");
    assert!(script.fin_sent());
}

#[test]
fn a_connection_that_was_just_accepted_is_served_and_told() {
    let log = Log::default();
    let mut script = Probe::echo(&log).script().by_hand();
    script.recv(b"x").drain().settle();
    assert_eq!(log.take(), ["open", "data x", "shutdown", "close shutdown"]);
    assert_eq!(script.output(), b"x");
}

#[test]
fn at_the_deadline_what_is_left_is_closed() {
    let log = Log::default();
    let mut script = Probe::new(&log).on_data(leave).script();
    script.recv(b"x").drain();
    assert_eq!(script.close_kind(), None);
    script.kill();
    assert_eq!(log.take(), ["open", "data x", "shutdown", "close killed"]);
    assert!(script.fin_sent() && !script.is_gone(), "it lingers");
    script.advance(SECOND);
    assert!(script.is_gone(), "but only for a second");
}

#[test]
fn at_the_deadline_what_can_be_written_is_written_and_the_rest_is_reset() {
    let mut script = Probe::echo(&Log::default()).script();
    script.block_output().recv(b"abcdef").drain();
    let mut script = script.by_hand();
    script.accept_output(3).kill().settle();
    assert_eq!((script.output(), script.close_kind()), (b"abc".to_vec(), Some(CloseKind::Killed)));
    assert!(script.reset_sent() && script.is_gone());
}

#[test]
fn a_stop_resets_at_once() {
    for closing in [false, true] {
        let log = Log::default();
        let mut script = Probe::new(&log)
            .on_data(move |input, cx| {
                cx.send(input.take());
                Ok(if closing { Action::Close } else { Action::Continue })
            })
            .script();
        script.block_output().recv(b"x").stop();
        assert_eq!(log.take(), ["open", "data x", "close killed"]);
        assert!(script.reset_sent() && script.is_gone());
    }
}

#[test]
fn a_stop_ends_lingering() {
    let mut script = Probe::new(&Log::default()).on_data(|_, _| Ok(Action::Close)).script();
    script.recv(b"x");
    assert!(!script.is_gone());
    script.stop();
    assert!(script.is_gone());
    assert_eq!(script.close_kind(), Some(CloseKind::Closed));
}

#[test]
fn a_server_can_be_steered_from_a_callback() {
    for stop in [false, true] {
        let mut script = Probe::new(&Log::default())
            .on_data(move |input, cx| {
                cx.send(input.take());
                let control = cx.control();
                if stop {
                    control.stop()
                } else {
                    control.begin_drain(SECOND, SECOND)
                }
                assert_eq!((control.stats().open(), control.connections().len()), (1, 1));
                Ok(Action::Continue)
            })
            .script();
        script.recv(b"x");
        let kind = if stop { CloseKind::Killed } else { CloseKind::Shutdown };
        assert_eq!((script.close_kind(), script.output()), (Some(kind), b"x".to_vec()));
    }
}

#[test]
fn a_paused_connection_is_told_and_can_wait_for_its_resume() {
    let log = Log::default();
    let slot = SenderSlot::default();
    let made = slot.clone();
    let mut first = true;
    let mut script = Probe::new(&log)
        .on_data(move |input, cx| {
            made.fill(cx);
            if std::mem::take(&mut first) {
                return Ok(Action::Pause);
            }
            echo(input, cx)
        })
        .script();
    script.recv(b"x").drain();
    assert_eq!(log.take(), ["open", "data x", "shutdown"]);
    slot.get().resume();
    assert_eq!(script.settle().output(), b"x");
    assert_eq!(script.close_kind(), Some(CloseKind::Shutdown));
}

#[test]
fn a_connection_is_told_once_nothing_holds_it_up_any_more() {
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_data(|_input, cx| {
            cx.sender().wake();
            Ok(Action::Yield) // which puts `on_shutdown` off until the rest was shown again
        })
        .on_wake(|_cx| Ok(Action::Pause)) // so that it is not shown
        .script()
        .by_hand();
    script.turn();
    script.recv(b"x").drain().settle();
    assert_eq!(log.take(), ["open", "data x", "wake", "shutdown"]);
}

/// Wants more than it has; is not at work when the server drains, and says so.
struct Wanting;

impl Handler for Wanting {
    fn on_data(&mut self, _: &mut Input<'_>, _: &mut Context<'_>) -> Result<Action, BoxError> {
        Ok(Action::Want(100))
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        cx.set_busy(false);
        Ok(if cx.is_busy() { Action::Continue } else { Action::Close })
    }
}

#[test]
fn whoever_is_not_at_work_but_holds_input_is_busy() {
    let mut script = Script::new(|_| Wanting);
    assert_eq!(script.recv(b"a part").drain().close_kind(), None);
    let mut script = Script::new(|_| Wanting);
    script.open().advance(2 * SECOND).drain();
    assert_eq!(script.close_kind(), Some(CloseKind::Shutdown));
}
