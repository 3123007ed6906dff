//! What other threads push, and how they wake the connection.

use crate::probe::{Log, Probe, SECOND, SenderSlot, echo, limits};
use polyserve::testing::Script;
use polyserve::{Action, CloseKind};

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
