//! Clocks: first byte, idle, message, timers.

use crate::probe::{Log, Outcome, Probe, SECOND, SenderSlot, leave, limits, timeouts};
use polyserve::testing::{Clock, Script};
use polyserve::{Action, CloseKind, Context, Input, Limit, Ready};
use std::time::Duration;

/// Idle time is counted in ticks of 8 ms: it ends never early, and at most this late.
const COARSE: Duration = Duration::from_millis(20);

fn assert_ends(script: &mut Script, after: Duration, kind: CloseKind) {
    script.advance(after - Duration::from_millis(1));
    assert_eq!(script.close_kind(), None, "too early");
    script.advance(COARSE);
    assert_eq!(script.close_kind(), Some(kind));
}

#[test]
fn a_peer_that_says_nothing_has_ten_seconds() {
    assert_ends(
        Probe::new(&Log::default()).script().open(),
        10 * SECOND,
        CloseKind::FirstByteTimeout,
    );
}

/// Whoever only connects holds a place for the first-byte time and no longer.
#[test]
fn a_peer_that_says_nothing_and_was_told_nothing_is_not_lingered_for() {
    let mut script = Probe::new(&Log::default()).script();
    assert_ends(script.open(), 10 * SECOND, CloseKind::FirstByteTimeout);
    assert!(script.is_gone());
    let greets = |cx: &mut Context<'_>| {
        cx.send("hello");
        Ok(Action::Continue)
    };
    let mut script = Probe::new(&Log::default()).on_open(greets).script();
    assert_ends(script.open(), 10 * SECOND, CloseKind::FirstByteTimeout);
    assert!(!script.is_gone(), "the greeting may still be on its way");
}

#[test]
fn a_peer_that_falls_silent_has_a_minute() {
    let mut script = Probe::new(&Log::default()).script();
    script.advance(5 * SECOND).recv(b"x");
    assert_ends(&mut script, 60 * SECOND, CloseKind::IdleTimeout);
    assert!(script.fin_sent(), "it ends in order");
}

#[test]
fn every_byte_received_starts_the_idle_time_anew_and_sending_does_not() {
    let slot = SenderSlot::default();
    let made = slot.clone();
    let mut script = Probe::new(&Log::default())
        .on_open(move |cx| {
            made.fill(cx);
            Ok(Action::Continue)
        })
        .script();
    for _ in 0..3 {
        script.recv(b"x").advance(50 * SECOND);
    }
    slot.get().send("news").unwrap();
    script.settle();
    assert_ends(&mut script, 10 * SECOND, CloseKind::IdleTimeout);
}

#[test]
fn own_idle_time_outs_replace_both() {
    for (own, ends) in
        [(Limit::At(3 * SECOND), Some(CloseKind::IdleTimeout)), (Limit::Unlimited, None)]
    {
        let mut script = Probe::new(&Log::default())
            .on_open(move |cx| {
                cx.set_idle_timeout(own);
                Ok(Action::Continue)
            })
            .script();
        script.open().advance(3 * SECOND + COARSE);
        assert_eq!(script.close_kind(), ends);
    }
}

#[test]
fn whoever_takes_its_own_idle_time_out_back_has_the_server_s_again() {
    let mut script = Probe::new(&Log::default())
        .on_data(|input, cx| {
            match input.take() {
                b"subscribe" => cx.set_idle_timeout(Limit::Unlimited),
                _ => cx.reset_idle_timeout(),
            }
            Ok(Action::Continue)
        })
        .script();
    script.recv(b"nothing to take back").advance(50 * SECOND);
    script.recv(b"subscribe").advance(1000 * SECOND);
    assert_eq!(script.close_kind(), None);
    script.recv(b"unsubscribe");
    assert!(script.holds_nothing());
    assert_ends(&mut script, 60 * SECOND, CloseKind::IdleTimeout);
}

#[test]
fn a_busy_connection_is_not_idle_and_starts_anew_when_it_is_done() {
    let mut script = Probe::new(&Log::default())
        .on_data(|input, cx| {
            cx.set_busy(input.take() == b"busy");
            Ok(Action::Continue)
        })
        .on_timer(|cx| {
            cx.set_busy(false);
            Ok(Action::Continue)
        })
        .script();
    script.recv(b"busy").advance(1000 * SECOND);
    assert_eq!(script.close_kind(), None);
    script.recv(b"done");
    assert_ends(&mut script, 60 * SECOND, CloseKind::IdleTimeout);
}

#[test]
fn idle_time_counts_from_the_end_of_being_busy() {
    // Busy by its own word, until a timer says otherwise.
    let mut script = Probe::new(&Log::default())
        .on_data(|input, cx| {
            input.take();
            cx.set_busy(true);
            cx.set_timer(100 * SECOND);
            Ok(Action::Continue)
        })
        .on_timer(|cx| {
            cx.set_busy(false);
            Ok(Action::Continue)
        })
        .script();
    script.recv(b"x").advance(100 * SECOND);
    assert_ends(&mut script, 60 * SECOND, CloseKind::IdleTimeout);

    // Busy because its output waits.
    let mut script = Probe::echo(&Log::default())
        .script()
        .timeouts(timeouts(|t| t.write_stall = Limit::Unlimited));
    script.block_output().recv(b"x").advance(100 * SECOND).unblock_output();
    assert_ends(&mut script, 60 * SECOND, CloseKind::IdleTimeout);
}

#[test]
fn the_time_that_a_callback_takes_is_not_idle_time() {
    let clock = Clock::new();
    let slow = clock.clone();
    let mut script = Probe::new(&Log::default())
        .on_data(move |input, cx| {
            slow.advance(100 * SECOND);
            cx.send(input.take());
            Ok(Action::Continue)
        })
        .script()
        .with_clock(&clock);
    assert_eq!(script.recv(b"x").output(), b"x");
    assert_ends(&mut script, 60 * SECOND, CloseKind::IdleTimeout);
}

#[test]
fn an_unfinished_message_has_thirty_seconds() {
    let mut script = Probe::new(&Log::default()).on_data(leave).script();
    script.recv(b"x");
    assert_ends(&mut script, 30 * SECOND, CloseKind::MessageTimeout);
}

#[test]
fn a_drip_does_not_extend_the_message_deadline() {
    for wants in [false, true] {
        let action = if wants { Action::Want(1000) } else { Action::Continue };
        let mut script = Probe::new(&Log::default()).on_data(move |_, _| Ok(action)).script();
        for _ in 0..29 {
            script.recv(b"x").advance(SECOND);
        }
        assert_eq!(script.close_kind(), None);
        script.recv(b"x").advance(SECOND);
        assert_eq!(script.close_kind(), Some(CloseKind::MessageTimeout));
    }
}

#[test]
fn consuming_extends_the_message_deadline() {
    let mut script = Probe::new(&Log::default())
        .on_data(|input, _| {
            if input.len() > 3 {
                input.consume(3);
            }
            Ok(Action::Continue)
        })
        .script();
    script.recv(b"ab").advance(29 * SECOND).recv(b"cd").advance(29 * SECOND);
    assert_eq!(script.close_kind(), None);
    script.advance(SECOND);
    assert_eq!(script.close_kind(), Some(CloseKind::MessageTimeout));
}

#[test]
fn a_message_is_not_late_while_the_peer_is_not_read() {
    // The output is above the high mark, so the rest of the message can not come in.
    let mut script = Probe::new(&Log::default())
        .on_data(|input, cx| {
            if input.starts_with(b"ask ") {
                input.consume(4);
                cx.send([b'x'; 100]);
            }
            Ok(Action::Continue)
        })
        .script()
        .limits(limits(|l| (l.output_low, l.output_high) = (10, 50)));
    script.block_output().recv(b"ask half");
    for _ in 0..9 {
        script.advance(20 * SECOND).accept_output(1);
    }
    assert_eq!(script.close_kind(), None);
    script.unblock_output();
    assert_ends(&mut script, 30 * SECOND, CloseKind::MessageTimeout);
}

#[test]
fn what_came_in_time_is_read_before_the_connection_is_taken_for_silent() {
    for message in [false, true] {
        let log = Log::default();
        let probe = if message { Probe::new(&log).on_data(whole) } else { Probe::new(&log) };
        let mut script = probe.script().by_hand();
        script.turn();
        script.recv(b"half").settle();
        // The process is stopped; meanwhile the rest arrives. The deadline is noticed first.
        script.recv(b"rest").clock().advance(100 * SECOND);
        script.turn_with(Ready::NONE);
        assert_eq!(script.close_kind(), None);
        assert!(log.take().last().unwrap().ends_with("rest"));
    }
}

#[test]
fn a_message_counts_from_its_read_however_late_that_comes() {
    let log = Log::default();
    let probe = Probe::new(&log).on_open(|_| Ok(Action::Want(8)));
    let mut script = probe.script();
    script.open().stop_before_next_call(100 * SECOND).recv(b"half");
    assert_eq!(script.advance(29 * SECOND).close_kind(), None);
    script.recv(b"rest");
    assert_eq!((script.close_kind(), log.take().pop().unwrap()), (None, "data halfrest".into()));
    script.stop_before_next_call(100 * SECOND).recv(b"x");
    assert_eq!(script.close_kind(), None);
}

#[test]
fn a_peer_is_not_idle_before_it_has_its_answer_however_late_that_is_written() {
    let mut script = Probe::echo(&Log::default()).script();
    script.block_output().recv(b"question");
    script.stop_before_next_call(100 * SECOND).unblock_output();
    assert_eq!((script.output(), script.close_kind()), (b"question".to_vec(), None));
    assert_ends(&mut script, 60 * SECOND, CloseKind::IdleTimeout);
}

#[test]
fn a_message_is_not_late_while_its_peer_could_not_send_the_rest() {
    let mut script = Probe::new(&Log::default())
        .on_data(|input, cx| {
            if input.starts_with(b"ask ") {
                input.consume(4);
                cx.send([b'x'; 100]);
            }
            Ok(Action::Continue)
        })
        .script()
        .limits(limits(|l| (l.output_low, l.output_high) = (10, 50)));
    script.block_output().recv(b"ask half");
    script.stop_before_next_call(100 * SECOND).unblock_output();
    assert_ends(&mut script, 30 * SECOND, CloseKind::MessageTimeout);
}

/// Consumes messages of eight bytes.
fn whole(input: &mut Input<'_>, _: &mut Context<'_>) -> Outcome {
    while input.take_n(8).is_some() {}
    Ok(Action::Continue)
}

fn timer(first: Duration) -> (Log, Probe) {
    let log = Log::default();
    let probe = Probe::new(&log).on_open(move |cx| {
        cx.set_idle_timeout(Limit::Unlimited);
        cx.set_timer(first);
        Ok(Action::Continue)
    });
    (log, probe)
}

#[test]
fn a_timer_comes_once_at_its_time() {
    let (log, probe) = timer(3 * SECOND);
    let mut script = probe.script();
    script.open().advance(3 * SECOND - Duration::from_nanos(1));
    assert_eq!(log.take(), ["open"]);
    script.advance(Duration::from_nanos(1));
    assert_eq!(log.take(), ["timer"]);
    script.advance(100 * SECOND);
    assert_eq!(log.take(), [""; 0]);
}

#[test]
fn a_timer_can_be_replaced_and_cleared_by_later_callbacks() {
    let (log, probe) = timer(3 * SECOND);
    let mut script = probe
        .on_data(|input, cx| {
            match input.take() {
                b"later" => cx.set_timer(10 * SECOND),
                b"sooner" => cx.set_timer(SECOND),
                b"never" => cx.set_timer(Duration::MAX),
                b"both" => {
                    cx.set_timer(SECOND);
                    cx.clear_timer();
                }
                _ => cx.clear_timer(),
            }
            Ok(Action::Continue)
        })
        .script();
    script.advance(2 * SECOND).recv(b"later").advance(9 * SECOND);
    assert_eq!(log.take(), ["open", "data later"]);
    script.advance(SECOND);
    assert_eq!(log.take(), ["timer"]);
    for (last, times) in [("sooner", 1), ("clear", 0), ("never", 0), ("both", 0)] {
        script.recv(b"later").recv(last).advance(100 * SECOND);
        assert_eq!(log.take().len(), 2 + times, "{last}");
    }
}

#[test]
fn a_timer_of_no_length_comes_soon_but_not_within_the_callback() {
    let (log, probe) = timer(Duration::ZERO);
    let mut left = 3;
    let mut script = probe
        .on_timer(move |cx| {
            left -= 1;
            if left > 0 {
                cx.set_timer(Duration::ZERO);
            }
            Ok(Action::Continue)
        })
        .script();
    script.open();
    assert_eq!(log.take(), ["open", "timer", "timer", "timer"]);
}

#[test]
fn a_timer_counts_from_the_end_of_the_callback() {
    let clock = Clock::new();
    let slow = clock.clone();
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_open(move |cx| {
            cx.set_timer(3 * SECOND);
            slow.advance(5 * SECOND);
            Ok(Action::Continue)
        })
        .script()
        .with_clock(&clock);
    script.open();
    assert_eq!(script.next_deadline(), Some(3 * SECOND));
}

#[test]
fn everything_that_is_due_happens_whatever_else_is_due() {
    // A timer that is always due does not keep the message deadline from being met.
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_data(|_, cx| {
            cx.set_timer(SECOND);
            Ok(Action::Continue)
        })
        .on_timer(|cx| {
            cx.set_timer(SECOND);
            Ok(Action::Continue)
        })
        .script();
    script.recv(b"x").advance(40 * SECOND);
    assert_eq!(script.close_kind(), Some(CloseKind::MessageTimeout));
    let timers = log.take().iter().filter(|entry| *entry == "timer").count();
    assert!((29..=30).contains(&timers), "{timers}");
}

#[test]
fn nothing_breaks_when_the_process_was_stopped_for_a_day() {
    let (log, probe) = timer(SECOND);
    let mut script = probe.on_data(leave).script();
    script.block_output().open().clock().advance(24 * 3600 * SECOND);
    script.recv(b"x");
    assert_eq!(log.take(), ["open", "data x", "timer"]);
    assert_ends(&mut script, 30 * SECOND, CloseKind::MessageTimeout);
}

#[test]
fn time_outs_beyond_the_clock_never_come() {
    let forever = Limit::At(Duration::MAX);
    let mut script = Probe::echo(&Log::default())
        .on_eof(|_, _| Ok(Action::Continue))
        .script()
        .timeouts(timeouts(|t| {
            (t.first_byte, t.idle, t.message) = (forever, forever, forever);
            (t.write_stall, t.half_closed) = (forever, forever);
        }));
    assert_eq!(script.open().next_deadline(), None);
    assert_eq!(script.block_output().recv(b"x").eof().next_deadline(), None);
}
