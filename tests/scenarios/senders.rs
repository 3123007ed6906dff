//! What other threads push, and how they wake the connection.

use crate::probe::{Log, Probe, SECOND, SenderSlot, echo, limits};
use polyserve::testing::Script;
use polyserve::{Action, BoxError, CloseKind, Layer, Progress};

fn with_sender(log: &Log) -> (SenderSlot, Probe) {
    let slot = SenderSlot::default();
    let made = slot.clone();
    let probe = Probe::new(log).on_open(move |cx| {
        made.fill(cx);
        Ok(Action::Continue)
    });
    (slot, probe)
}

fn opened(probe: Probe) -> Script {
    let mut script = probe.script();
    script.open();
    script
}

#[test]
fn messages_arrive_in_order_and_in_one_send() {
    let (slot, probe) = with_sender(&Log::default());
    let mut script = opened(probe);
    for message in ["one ", "two ", "three"] {
        slot.get().send(message).unwrap();
    }
    assert_eq!((script.settle().output(), script.sends()), (b"one two three".to_vec(), 1));
}

#[test]
fn several_pushes_wake_once_and_none_during_a_turn() {
    let (slot, probe) = with_sender(&Log::default());
    let again = slot.clone();
    let mut script = opened(probe.on_wake(move |_| {
        again.get().send("from within").unwrap();
        Ok(Action::Continue)
    }));
    assert_eq!(script.wakes(), 0, "the first turn was awake anyway");
    slot.get().send("a").unwrap();
    slot.get().wake();
    slot.get().send("b").unwrap();
    assert_eq!(script.wakes(), 1);
    script.settle();
    assert_eq!(script.wakes(), 1, "what came during the turn was seen by it");
    assert_eq!(script.output().len(), "abfrom within".len());
    slot.get().send("c").unwrap();
    assert_eq!((script.wakes(), script.settle().output()), (2, b"c".to_vec()));
}

#[test]
fn several_wakes_may_be_one_callback() {
    let log = Log::default();
    let (slot, probe) = with_sender(&log);
    let mut script = opened(probe);
    (0..10).for_each(|_| assert!(slot.get().wake()));
    script.settle();
    assert_eq!(log.take(), ["open", "wake"]);
}

#[test]
fn a_wake_from_within_the_callback_leads_to_another() {
    let log = Log::default();
    let (slot, probe) = with_sender(&log);
    let (again, mut left) = (slot.clone(), 50);
    let mut script = opened(probe.on_wake(move |_| {
        left -= 1;
        if left > 0 {
            again.get().wake();
        }
        Ok(Action::Continue)
    }));
    slot.get().wake();
    script.settle();
    assert_eq!(log.take().len(), 51);
}

#[test]
fn a_full_queue_hands_the_message_back_and_leaves_the_connection_open() {
    let (slot, probe) = with_sender(&Log::default());
    let mut script = probe.script().limits(limits(|l| l.output_hard = 10));
    script.block_output().open();
    slot.get().send("123456").unwrap();
    script.settle();
    assert_eq!(slot.get().pending(), 6);
    let refused = slot.get().send("12345").unwrap_err();
    assert!(refused.is_full());
    assert_eq!(refused.into_message().as_ref(), b"12345");
    slot.get().send("1234").unwrap();
    assert_eq!(slot.get().pending(), 10);
    assert!(slot.get().send("x").unwrap_err().is_full());
    assert_eq!(script.unblock_output().output(), b"1234561234");
    assert_eq!((slot.get().pending(), script.close_kind()), (0, None));
    assert!(slot.get().send(vec![0; 11]).unwrap_err().is_full(), "longer than the mark: never");
}

#[test]
fn pushes_wait_behind_output_that_waits() {
    let (slot, probe) = with_sender(&Log::default());
    let mut script = opened(probe.on_data(echo));
    script.block_output().recv(b"first ");
    slot.get().send("second ").unwrap();
    script.settle().accept_output(3);
    slot.get().send("third").unwrap();
    assert_eq!(script.unblock_output().output(), b"first second third");
}

#[test]
fn what_was_accepted_before_a_close_is_written_and_later_pushes_are_refused() {
    for by_sender in [false, true] {
        let (slot, probe) = with_sender(&Log::default());
        let mut script = opened(probe.on_data(|input, cx| {
            cx.send(input.take());
            Ok(Action::Close)
        }));
        script.block_output();
        slot.get().send(vec![b'x'; 200_000]).unwrap();
        slot.get().send("last").unwrap();
        if by_sender {
            assert!(slot.get().close());
            script.settle();
        } else {
            script.recv(b"REPLY");
        }
        assert!(slot.get().send("late").unwrap_err().is_closed() && slot.get().is_closed());
        let mut expected = vec![b'x'; 200_000];
        expected.extend(b"last");
        let mut output = script.unblock_output().output();
        output.retain(|byte| !b"REPLY".contains(byte));
        assert_eq!(output, expected);
        assert_eq!(script.close_kind(), Some(CloseKind::Closed));
    }
}

#[test]
fn a_sender_outlives_its_connection() {
    let (slot, probe) = with_sender(&Log::default());
    let mut script = opened(probe);
    slot.get().send("lost").unwrap();
    script.stop();
    assert_eq!(script.close_kind(), Some(CloseKind::Killed));
    assert!(slot.get().send("late").unwrap_err().is_closed());
    assert!(!slot.get().wake() && !slot.get().resume() && !slot.get().close());
    assert_eq!(slot.get().pending(), 0);
}

#[test]
fn all_senders_of_a_connection_share_one_queue() {
    let log = Log::default();
    let (slot, probe) = with_sender(&log);
    let mut script = opened(probe.on_data(|input, cx| {
        input.take();
        cx.sender().send("two").unwrap();
        Ok(Action::Continue)
    }));
    slot.get().send("one ").unwrap();
    script.settle();
    assert_eq!(script.recv(b"x").output(), b"one two");
    assert_eq!(slot.get().id().get(), 1);
}

#[test]
fn a_message_pushed_within_a_callback_that_panics_was_accepted() {
    let (slot, probe) = with_sender(&Log::default());
    let mut script = opened(probe.on_data(|_, cx| {
        cx.send("discarded");
        cx.sender().send("accepted").unwrap();
        panic!("boom")
    }));
    assert_eq!(script.recv(b"x").output(), b"accepted");
    assert!(slot.get().is_closed());
}

#[test]
fn what_was_pushed_can_be_put_before_what_is_sent_next() {
    let (slot, probe) = with_sender(&Log::default());
    let pusher = slot.clone();
    let mut script = opened(probe.on_data(move |input, cx| {
        input.take();
        cx.send("before ");
        pusher.get().send("one ").unwrap();
        pusher.get().send("two ").unwrap();
        cx.append_pushed();
        pusher.get().send("three").unwrap();
        cx.send("after ");
        Ok(Action::Continue)
    }));
    assert_eq!(script.recv(b"x").output(), b"before one two after three");
    assert_eq!(slot.get().pending(), 0);
}

#[test]
fn without_a_sender_there_is_nothing_pushed() {
    let mut script = opened(Probe::new(&Log::default()).on_data(|input, cx| {
        cx.append_pushed();
        cx.send(input.take());
        Ok(Action::Continue)
    }));
    assert_eq!(script.recv(b"x").output(), b"x");
    assert!(script.holds_nothing());
}

#[test]
fn a_flood_of_pushes_leaves_others_their_turn() {
    let (slot, probe) = with_sender(&Log::default());
    let more = slot.clone();
    let mut script = opened(probe.on_wake(move |_| {
        more.get().wake();
        Ok(Action::Continue)
    }))
    .by_hand();
    slot.get().wake();
    script.turn();
    assert!(script.wants().again, "it is still awake, so nobody will wake it");
}

#[test]
fn a_close_in_time_wins_over_the_timer() {
    let log = Log::default();
    let slot = SenderSlot::default();
    let made = slot.clone();
    let mut script = Probe::new(&log)
        .on_open(move |cx| {
            made.fill(cx);
            cx.set_timer(SECOND);
            Ok(Action::Continue)
        })
        .script();
    script.open();
    slot.get().close();
    script.advance(SECOND);
    assert_eq!(log.take(), ["open", "close closed"]);
}

#[test]
fn whoever_is_given_up_ends_at_once_by_a_reset() {
    let log = Log::default();
    let (slot, probe) = with_sender(&log);
    let mut script = opened(probe.on_data(echo));
    script.block_output().recv(b"held");
    slot.get().send("waits").unwrap();
    assert!(slot.get().give_up());
    assert_eq!(slot.get().pending(), 4, "the message is gone, the connection's output is not yet");
    assert!(slot.get().send("late").unwrap_err().is_closed() && slot.get().is_closed());
    assert!(!slot.get().give_up() && !slot.get().wake(), "it is as good as gone");
    script.settle();
    assert_eq!(script.close_kind(), Some(CloseKind::SlowConsumer));
    assert!(script.reset_sent() && !script.fin_sent() && script.output().is_empty());
    assert_eq!(log.take(), ["open", "data held", "close slow_consumer"]);
    assert_eq!(slot.get().pending(), 0);
}

#[test]
fn whoever_is_given_up_hears_nothing_that_comes_in_the_same_turn() {
    let log = Log::default();
    let (slot, probe) = with_sender(&log);
    let mut script = opened(probe);
    slot.get().wake();
    slot.get().give_up();
    script.recv(b"too late");
    assert_eq!(log.take(), ["open", "close slow_consumer"]);
}

#[test]
fn an_orderly_end_does_not_save_whoever_was_given_up() {
    // Given up within the very callback that closes: the end would wait for a peer that takes
    // nothing, for as long as the stall time-out.
    let (slot, probe) = with_sender(&Log::default());
    let own = slot.clone();
    let mut script = opened(probe.on_data(move |input, cx| {
        cx.send(input.take());
        own.get().give_up();
        Ok(Action::Close)
    }));
    script.block_output().recv(b"bye");
    assert_eq!(script.close_kind(), Some(CloseKind::SlowConsumer));
    assert!(script.reset_sent());
}

#[test]
fn whoever_closes_already_is_not_given_up() {
    let (slot, probe) = with_sender(&Log::default());
    let mut script = opened(probe.on_data(|input, cx| {
        cx.send(input.take());
        Ok(Action::Close)
    }));
    script.block_output().recv(b"bye");
    assert!(!slot.get().give_up());
    assert_eq!(script.unblock_output().output(), b"bye");
    assert_eq!(script.close_kind(), Some(CloseKind::Closed));
}

#[test]
fn messages_and_wakes_reach_a_connection_that_is_paused_or_wants_more() {
    for action in [Action::Pause, Action::Want(100)] {
        let log = Log::default();
        let (slot, probe) = with_sender(&log);
        let mut script = opened(probe.on_data(move |_, _| Ok(action)).on_wake(|cx| {
            cx.send("woken ");
            cx.set_timer(SECOND);
            Ok(Action::Continue)
        }));
        script.recv(b"abc");
        slot.get().send("pushed ").unwrap();
        assert_eq!(script.settle().output(), b"pushed ", "{action:?}");
        slot.get().wake();
        assert_eq!(script.settle().output(), b"woken ", "{action:?}");
        script.recv(b"def").advance(SECOND);
        assert_eq!(log.take(), ["open", "data abc", "wake", "timer"], "{action:?}");
        assert_eq!(script.held().input, if action == Action::Pause { 3 } else { 6 });
    }
}

#[test]
fn pushed_output_calls_on_writable_when_it_has_fallen() {
    let log = Log::default();
    let (slot, probe) = with_sender(&log);
    let marks = limits(|l| (l.output_low, l.output_high) = (10, 20));
    let mut script = probe.script().limits(marks);
    script.block_output().open();
    slot.get().send("0123456789abcdef").unwrap();
    script.settle();
    assert_eq!(script.accept_output(6).output(), b"012345");
    assert_eq!(log.take(), ["open"], "it is at the mark, not below");
    script.accept_output(1);
    assert_eq!(log.take(), ["writable"]);
}

#[test]
fn a_message_of_no_bytes_is_accepted_and_takes_no_room() {
    let (slot, probe) = with_sender(&Log::default());
    let mut script = opened(probe);
    script.block_output();
    slot.get().send("x").unwrap();
    script.settle();
    (0..100_000).for_each(|_| slot.get().send("").unwrap());
    assert_eq!((slot.get().pending(), script.wakes()), (1, 1));
    slot.get().close();
    script.settle().unblock_output();
    assert!(slot.get().send("").unwrap_err().is_closed());
}

/// Changes nothing. While the output passes through, somebody sends once more.
struct Meanwhile<F>(F);

impl<F: FnMut() + Send + 'static> Layer for Meanwhile<F> {
    fn read(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        room: usize,
        _out: &mut Vec<u8>,
    ) -> Result<Progress, BoxError> {
        let n = wire.len().min(room);
        plain.extend(&wire[..n]);
        Ok(Progress::consumed(n))
    }

    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, BoxError> {
        (self.0)();
        out.extend(plain);
        Ok(plain.len())
    }

    fn close(&mut self, _out: &mut Vec<u8>) {}

    fn is_ready(&self) -> bool {
        true
    }
}

#[test]
fn what_the_peer_has_taken_leaves_room_within_the_same_turn() {
    // A peer that takes each message at once, and is sent the next before the turn is over: only
    // one waits at a time, so none of them finds the connection full.
    const MESSAGES: usize = 20;
    let (slot, probe) = with_sender(&Log::default());
    let sender = slot.clone();
    let mut sent = 0;
    let next = move || {
        if sent < MESSAGES {
            let message = [b'm'; 40];
            sender.get().send(message.to_vec()).unwrap_or_else(|e| panic!("message {sent}: {e}"));
            sent += 1;
        }
    };
    let script = probe.script().limits(limits(|l| {
        (l.output_low, l.output_high, l.output_hard) = (50, 100, 200);
    }));
    let mut script = script.layer(Meanwhile(next));
    script.open();
    slot.get().send("first").unwrap();
    assert_eq!(script.settle().output().len(), "first".len() + MESSAGES * 40);
    assert_eq!((script.close_text(), slot.get().pending()), (None, 0));
    assert_eq!(script.wakes(), 1, "all in one turn");
}
