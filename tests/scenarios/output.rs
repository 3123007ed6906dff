//! Marks, partial writes, `on_writable` and the write-stall clock.

use crate::probe::{Log, Probe, SECOND, SenderSlot, echo, limits};
use polyserve::{Action, CloseKind, Context, Ready};
use std::io::{ErrorKind, Write};
use std::sync::{Arc, Mutex};

fn marks(low: usize, high: usize, hard: usize) -> polyserve::Limits {
    limits(|l| (l.output_low, l.output_high, l.output_hard) = (low, high, hard))
}

#[test]
fn output_leaves_in_order_however_little_is_taken() {
    for write_size in [1, 2, 7, 1000] {
        let mut script = Probe::echo(&Log::default()).script().short_writes(write_size);
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        assert_eq!(script.recv(&bytes).eof().output(), bytes, "{write_size} at a time");
    }
}

#[test]
fn a_send_that_is_interrupted_is_made_again() {
    let mut script = Probe::echo(&Log::default()).script().by_hand();
    script.recv(b"abc");
    for kind in [ErrorKind::Interrupted, ErrorKind::WouldBlock].repeat(10) {
        script.output_error(kind);
    }
    script.settle();
    assert_eq!((script.output(), script.close_kind()), (b"abc".to_vec(), None));
}

#[test]
fn a_short_write_means_full() {
    let mut script = Probe::echo(&Log::default()).script().by_hand();
    script.settle().block_output().accept_output(3).recv(b"abcdef");
    script.turn();
    assert_eq!((script.output(), script.sends()), (b"abc".to_vec(), 1));
    assert!(script.wants().write);
    script.turn_with(Ready::WRITE);
    assert_eq!(script.sends(), 2, "one try for each turn");
}

#[test]
fn above_the_high_mark_the_peer_is_not_read_until_below_the_low_mark() {
    let log = Log::default();
    let mut script = Probe::echo(&log).script().limits(marks(4, 8, 100));
    script.block_output().recv(b"12345678");
    assert!(script.wants().read, "8 bytes are not above 8");
    script.recv(b"9");
    assert!(!script.wants().read);
    script.recv(b"abc");
    assert_eq!(script.unread(), 3);
    script.accept_output(4);
    assert!(!script.wants().read, "5 bytes are above the high mark no more, but not below the low");
    script.accept_output(2);
    assert_eq!((script.unread(), script.held().output), (0, 6));
    assert_eq!(script.unblock_output().output(), b"123456789abc");
}

#[test]
fn on_writable_comes_once_when_the_output_falls_below_the_low_mark_after_reaching_it() {
    for (n, calls) in [(3, 0), (4, 1), (20, 1)] {
        let log = Log::default();
        let mut script = Probe::echo(&log).script().limits(marks(4, 8, 100));
        script.block_output().recv(vec![b'x'; n]);
        log.take();
        for _ in 0..n {
            script.accept_output(1);
        }
        assert_eq!(log.take().len(), calls, "{n} bytes");
        assert!(script.holds_nothing());
    }
}

/// Sends numbers until the output is full, `left` in all.
fn pour(left: &mut u32, cx: &mut Context<'_>) -> Action {
    while *left > 0 && cx.is_writable() {
        write!(cx, "{left} ").unwrap();
        *left -= 1;
    }
    if *left == 0 { Action::Close } else { Action::Continue }
}

#[test]
fn a_large_reply_streams_by_on_writable() {
    let expected: String = (1..=20_000).rev().map(|n| format!("{n} ")).collect();
    for write_size in [1000, 10_000, usize::MAX] {
        let log = Log::default();
        let first = Arc::new(Mutex::new(20_000));
        let more = Arc::clone(&first);
        let mut script = Probe::new(&log)
            .on_data(move |input, cx| {
                input.take();
                Ok(pour(&mut first.lock().unwrap(), cx))
            })
            .on_writable(move |cx| Ok(pour(&mut more.lock().unwrap(), cx)))
            .script()
            .limits(marks(500, 1000, 10_000))
            .short_writes(write_size);
        script.recv(b"go");
        assert_eq!(script.output(), expected.as_bytes());
        assert_eq!(script.close_kind(), Some(CloseKind::Closed));
        assert!(log.take().iter().filter(|entry| *entry == "writable").count() > 50);
    }
}

#[test]
fn an_endless_stream_leaves_others_their_turn() {
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_open(|cx| {
            cx.send([0; 2000]);
            Ok(Action::Continue)
        })
        .on_writable(|cx| {
            cx.send([0; 2000]);
            Ok(Action::Continue)
        })
        .script()
        .limits(marks(500, 1000, 10_000))
        .by_hand();
    script.turn();
    let sent = script.output().len();
    assert!((200_000..600_000).contains(&sent), "{sent} bytes in one turn");
    assert!(script.wants().again, "and it goes on in the next");
    script.turn();
    assert!(script.output().len() > 200_000);
}

#[test]
fn pending_counts_what_is_held_and_what_was_just_sent() {
    let log = Log::default();
    let noted = log.clone();
    let mut script = Probe::new(&log)
        .on_data(move |input, cx| {
            cx.send(input.take());
            noted.note(format!("{} {}", cx.pending(), cx.is_writable()));
            Ok(Action::Continue)
        })
        .script()
        .limits(marks(2, 5, 10));
    script.block_output().recv(b"abc").recv(b"de");
    assert_eq!(log.take(), ["open", "data abc", "3 true", "data de", "5 false"]);
}

#[test]
fn a_peer_that_takes_nothing_is_reset_after_the_stall_time() {
    for (n, kind) in [(10, CloseKind::WriteTimeout), (11, CloseKind::SlowConsumer)] {
        let mut script = Probe::echo(&Log::default()).script().limits(marks(2, 5, 10));
        script.block_output().recv(vec![b'x'; n]).advance(29 * SECOND);
        assert_eq!(script.close_kind(), None);
        script.advance(SECOND);
        assert_eq!(script.close_kind(), Some(kind), "{n} bytes");
        assert!(script.reset_sent() && script.is_gone());
    }
}

#[test]
fn any_progress_starts_the_stall_clock_anew() {
    let mut script = Probe::echo(&Log::default()).script();
    script.block_output().recv(b"abcdef");
    for _ in 0..5 {
        script.advance(29 * SECOND).accept_output(1);
    }
    assert_eq!(script.close_kind(), None);
    script.advance(30 * SECOND);
    assert_eq!(script.close_kind(), Some(CloseKind::WriteTimeout));
}

#[test]
fn sending_more_does_not_start_the_stall_clock_anew() {
    let mut script = Probe::echo(&Log::default()).script();
    script.block_output().recv(b"a").advance(29 * SECOND).recv(b"b").advance(SECOND);
    assert_eq!(script.close_kind(), Some(CloseKind::WriteTimeout));
}

#[test]
fn room_that_came_in_time_is_used_before_the_stall_clock_is_read() {
    let mut script = Probe::echo(&Log::default()).script();
    script.block_output().recv(b"abc");
    let mut script = script.by_hand();
    script.unblock_output();
    // The process was stopped, and the deadline is noticed before the socket.
    script.clock().advance(40 * SECOND);
    script.turn_with(Ready::NONE);
    assert_eq!((script.close_kind(), script.output()), (None, b"abc".to_vec()));
}

#[test]
fn a_send_that_fails_shows_what_the_peer_sent_before_it_left() {
    for (error, kind) in [
        (ErrorKind::BrokenPipe, CloseKind::Reset),
        (ErrorKind::ConnectionReset, CloseKind::Reset),
        (ErrorKind::TimedOut, CloseKind::Io),
    ] {
        let log = Log::default();
        let mut script = Probe::echo(&log).script().by_hand();
        script.recv(b"one").recv(b"two").output_error(error).settle();
        assert_eq!(script.close_kind(), Some(kind));
        assert_eq!(log.take()[..3], ["open", "data one", "data two"]);
        assert_eq!(script.output(), b"");
    }
}

#[test]
fn what_senders_push_counts_for_on_writable_too() {
    let (log, slot) = (Log::default(), SenderSlot::default());
    let made = slot.clone();
    let mut script = Probe::new(&log)
        .on_open(move |cx| {
            made.fill(cx);
            Ok(Action::Continue)
        })
        .on_data(echo)
        .script()
        .limits(marks(4, 8, 100));
    script.open();
    slot.get().send("123456").unwrap();
    script.settle();
    assert_eq!(log.take(), ["open", "writable"]);
}

/// A little may be taken although the peer has read nothing, and that is no progress.
#[test]
fn output_that_waits_is_not_offered_before_there_is_room_for_it() {
    let log = Log::default();
    let script = || {
        let mut script = Probe::echo(&log).script().by_hand();
        script.settle().block_output().recv(b"echo").turn_with(Ready::READ);
        assert_eq!((script.held().output, script.sends()), (4, 1));
        script
    };
    let mut stalled = script();
    stalled.accept_output(1).advance(29 * SECOND).turn_with(Ready::NONE);
    assert_eq!((stalled.sent(), stalled.sends()), (0, 1));
    stalled.advance(SECOND).turn_with(Ready::NONE);
    assert_eq!(stalled.close_kind(), Some(CloseKind::WriteTimeout));

    let mut written = script();
    written.accept_output(1).turn_with(Ready::WRITE);
    assert_eq!((written.sent(), written.sends()), (1, 2));
}
