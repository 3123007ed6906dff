//! From the decision to end a connection to its last byte.

use crate::probe::{Log, Probe, SECOND, SenderSlot, echo, limits, timeouts};
use polyserve::testing::Script;
use polyserve::{Action, CloseKind, Ready};
use std::io::ErrorKind;

fn bye(log: &Log) -> Script {
    Probe::new(log)
        .on_data(|input, cx| {
            input.consume(1);
            cx.send("bye");
            Ok(Action::Close)
        })
        .script()
}

#[test]
fn a_close_writes_everything_then_ends_the_stream_then_waits_for_the_peer() {
    let log = Log::default();
    let mut script = bye(&log);
    script.block_output().recv(b"xyz");
    assert_eq!(log.take(), ["open", "data xyz"]);
    assert!(!script.is_closed() && !script.fin_sent());
    script.accept_output(2);
    assert!(!script.is_closed() && !script.fin_sent());
    script.accept_output(1);
    assert_eq!((script.output(), log.take()), (b"bye".to_vec(), vec!["close closed".to_owned()]));
    assert!(script.fin_sent() && !script.is_gone(), "it lingers");
    script.recv(b"too late");
    assert_eq!((script.unread(), script.is_gone()), (0, false));
    script.eof();
    assert!(script.is_gone() && !script.reset_sent());
}

#[test]
fn input_that_comes_while_closing_is_thrown_away() {
    let log = Log::default();
    let mut script = bye(&log);
    script.block_output().recv(b"x").recv(b"late").eof();
    assert_eq!((script.unread(), script.held().input), (0, 0));
    script.unblock_output();
    assert_eq!((script.output(), script.is_gone()), (b"bye".to_vec(), true));
    assert_eq!(log.take(), ["open", "data x", "close closed"]);
}

#[test]
fn lingering_ends_five_seconds_after_the_last_byte() {
    let mut script = bye(&Log::default());
    script.recv(b"x").advance(4 * SECOND).recv(b"y").advance(4 * SECOND);
    assert!(!script.is_gone());
    script.advance(SECOND);
    assert!(script.is_gone() && !script.reset_sent());
}

#[test]
fn lingering_ends_after_thirty_seconds_in_all() {
    let mut script = bye(&Log::default());
    script.recv(b"x");
    for _ in 0..7 {
        script.advance(4 * SECOND).recv(b"y");
    }
    assert!(!script.is_gone());
    script.advance(2 * SECOND);
    assert!(script.is_gone());
}

#[test]
fn lingering_ends_after_a_mebibyte() {
    let mut script = bye(&Log::default());
    script.recv(b"x");
    for _ in 0..31 {
        script.recv(vec![0; 32 * 1024]);
    }
    assert!(!script.is_gone());
    script.recv(vec![0; 32 * 1024]);
    assert!(script.is_gone());
}

#[test]
fn what_is_thrown_away_while_output_waits_counts_for_lingering() {
    let mut script = bye(&Log::default()).limits(limits(|l| l.lingering = 100));
    script.block_output().recv(b"x").recv(vec![0; 60]).recv(vec![0; 60]);
    assert_eq!(script.unread(), 0);
    script.recv(vec![0; 60]);
    assert_eq!(script.unread(), 60, "no more than the limit is read");
    assert_eq!(script.unblock_output().output(), b"bye");
}

#[test]
fn a_reset_while_lingering_ends_it() {
    let mut script = bye(&Log::default());
    script.recv(b"x").error(ErrorKind::ConnectionReset);
    assert_eq!((script.is_gone(), script.close_kind()), (true, Some(CloseKind::Closed)));
}

#[test]
fn a_close_that_nobody_takes_ends_by_the_stall_time() {
    let log = Log::default();
    let mut script = bye(&log);
    script.block_output().recv(b"x").advance(29 * SECOND);
    assert!(!script.is_closed());
    script.advance(SECOND);
    assert_eq!(script.close_kind(), Some(CloseKind::WriteTimeout), "its output was lost");
    assert!(script.is_gone() && script.reset_sent());
    assert_eq!(log.take(), ["open", "data x", "close write_timeout"]);
}

#[test]
fn losing_the_last_output_does_not_hide_what_went_wrong_before() {
    let mut script = Probe::new(&Log::default())
        .on_data(|_, cx| {
            cx.send("sorry");
            Err("broken".into())
        })
        .script();
    script.block_output().recv(b"x").advance(30 * SECOND);
    assert_eq!(script.close_kind(), Some(CloseKind::Handler));
}

#[test]
fn the_first_reason_counts() {
    let slot = SenderSlot::default();
    let made = slot.clone();
    let mut script = Probe::new(&Log::default())
        .on_open(move |cx| {
            made.fill(cx);
            Ok(Action::Continue)
        })
        .on_data(|input, cx| {
            cx.send(input.take());
            Err("first".into())
        })
        .script();
    script.block_output().recv(b"x");
    assert!(!slot.get().close(), "it is closing already");
    script.drain().eof().unblock_output();
    assert_eq!(script.close_kind(), Some(CloseKind::Handler));
}

#[test]
fn a_reset_by_the_peer_is_the_reason_and_nothing_is_written() {
    for (error, kind) in [
        (ErrorKind::ConnectionReset, CloseKind::Reset),
        (ErrorKind::ConnectionAborted, CloseKind::Reset),
        (ErrorKind::TimedOut, CloseKind::Io),
        (ErrorKind::OutOfMemory, CloseKind::Io),
    ] {
        let log = Log::default();
        let mut script = Probe::echo(&log).script();
        script.recv(b"a").error(error);
        assert_eq!(script.close_kind(), Some(kind), "{error:?}");
        assert_eq!(log.take(), ["open", "data a", &format!("close {}", kind.name())]);
        assert!(script.is_gone());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn errors_are_told_apart_by_their_numbers() {
    // errno(3) on Linux: ECONNRESET, ETIMEDOUT, EIO.
    for (number, kind) in [(104, CloseKind::Reset), (110, CloseKind::Io), (5, CloseKind::Io)] {
        let mut script = Probe::echo(&Log::default()).script();
        script.open().error(std::io::Error::from_raw_os_error(number));
        assert_eq!(script.close_kind(), Some(kind), "errno {number}");
    }
}

#[test]
fn a_peer_that_finishes_before_it_says_anything_is_served() {
    let log = Log::default();
    let mut script = Probe::new(&log).script();
    script.eof();
    assert_eq!(log.take(), ["open", "eof ", "close peer_closed"]);
    assert!(script.is_gone());
}

#[test]
fn a_half_close_after_a_mebibyte_returns_all_of_it() {
    let bytes: Vec<u8> = (0..=255).cycle().take(1024 * 1024).collect();
    let mut script = Probe::echo(&Log::default()).script().by_hand();
    script.block_output().recv(&bytes).eof().settle();
    script.unblock_output().settle();
    assert_eq!(script.output(), bytes);
    assert!(script.is_gone() && script.fin_sent());
}

#[test]
fn a_half_open_connection_has_thirty_seconds_after_its_last_progress() {
    let mut script = Probe::echo(&Log::default()).on_eof(|_, _| Ok(Action::Continue)).script();
    script.block_output().recv(b"abc").eof().advance(20 * SECOND).accept_output(1);
    script.advance(20 * SECOND).unblock_output().advance(29 * SECOND);
    assert_eq!(script.close_kind(), None);
    script.advance(SECOND);
    assert_eq!(script.close_kind(), Some(CloseKind::HalfClosedTimeout));
    assert_eq!(script.output(), b"abc");
}

#[test]
fn a_half_open_connection_is_not_idle() {
    let mut script = Probe::echo(&Log::default())
        .on_eof(|_, _| Ok(Action::Continue))
        .script()
        .timeouts(timeouts(|t| t.half_closed = polyserve::Limit::Unlimited));
    script.recv(b"x").eof().advance(1000 * SECOND);
    assert_eq!((script.close_kind(), script.next_deadline()), (None, None));
}

#[test]
fn bytes_that_a_thread_read_just_before_the_end_are_not_shown_after_it() {
    let log = Log::default();
    let mut script = Probe::new(&log).on_data(echo).script().on_thread().by_hand();
    script.turn();
    // The thread's read and the stop came at the same time.
    script.recv(b"x").kill().turn_with(Ready::READ);
    script.settle();
    assert_eq!(log.take(), ["open", "close killed"]);
}

#[test]
fn the_clock_of_a_paused_connection_does_not_outlive_it() {
    let mut script = Probe::new(&Log::default())
        .on_data(|_, cx| {
            cx.set_timer(SECOND);
            Ok(Action::Pause)
        })
        .on_timer(|_| Ok(Action::Close))
        .script();
    script.recv(b"x").advance(SECOND);
    assert_eq!(script.next_deadline(), Some(5 * SECOND), "only lingering is left");
}
