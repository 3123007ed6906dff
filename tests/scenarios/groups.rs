//! What is sent to many connections at once, one script for each.

use crate::probe::{Log, Outcome, Probe, SenderSlot, echo, limits};
use polyserve::testing::Script;
use polyserve::{Action, CloseKind, Context, Delivered, Group, WhenFull};

/// A member that joins as it opens.
struct Member {
    script: Script,
    slot: SenderSlot,
    log: Log,
}

impl Member {
    fn new(group: &Group) -> Self {
        Self::with(group, |probe| probe)
    }

    /// At most ten bytes may wait for it.
    fn with(group: &Group, set: impl FnOnce(Probe) -> Probe) -> Self {
        let (log, slot) = (Log::default(), SenderSlot::default());
        let (group, made) = (group.clone(), slot.clone());
        let probe = Probe::new(&log).on_open(move |cx| {
            made.fill(cx);
            group.join(&cx.sender());
            Ok(Action::Continue)
        });
        let mut script = set(probe).script().limits(limits(|l| l.output_hard = 10));
        script.open();
        Self { script, slot, log }
    }

    fn got(&mut self) -> String {
        String::from_utf8(self.script.settle().output()).unwrap()
    }
}

fn counts(delivery: Delivered) -> (usize, usize, usize) {
    (delivery.sent, delivery.full, delivery.closed)
}

#[test]
fn each_broadcast_wakes_each_member_once() {
    let group = Group::new();
    let mut members = [(); 3].map(|()| Member::new(&group));
    assert_eq!(counts(group.broadcast("one ")), (3, 0, 0));
    assert_eq!(counts(group.broadcast("two ")), (3, 0, 0));
    for member in &mut members {
        assert_eq!((member.got().as_str(), member.script.wakes()), ("one two ", 1));
    }
    assert_eq!(counts(group.broadcast("three")), (3, 0, 0));
    assert!(members.iter_mut().all(|member| member.got() == "three"));
}

#[test]
fn a_slow_member_misses_what_it_has_no_room_for_and_stays() {
    let group = Group::new();
    let [mut slow, mut quick] = [(); 2].map(|()| Member::new(&group));
    slow.script.block_output();
    for (text, expected) in [("123456", (2, 0, 0)), ("abcdef", (1, 1, 0)), ("7890", (2, 0, 0))] {
        assert_eq!(counts(group.broadcast(text)), expected);
        assert_eq!(quick.got(), text);
        slow.script.settle();
        assert!(slow.slot.get().pending() <= 10);
    }
    slow.script.unblock_output();
    assert_eq!(slow.got(), "1234567890");
    assert_eq!(counts(group.broadcast("again")), (2, 0, 0));
    assert_eq!(slow.got(), "again");
}

#[test]
fn a_slow_member_is_closed_if_so_decided_and_disturbs_nobody() {
    let group = Group::new().when_full(WhenFull::Close);
    let [mut slow, mut quick] = [(); 2].map(|()| Member::new(&group));
    slow.script.block_output();
    assert_eq!(counts(group.broadcast("123456")), (2, 0, 0));
    assert_eq!((quick.got().as_str(), slow.got().as_str()), ("123456", ""));
    assert_eq!(counts(group.broadcast("abcdef")), (1, 1, 0));
    assert_eq!(group.len(), 1, "it is out before its thread has had a turn");
    assert_eq!((quick.got().as_str(), slow.got().as_str()), ("abcdef", ""));
    assert_eq!(slow.script.close_kind(), Some(CloseKind::SlowConsumer));
    assert!(slow.script.reset_sent());
    assert_eq!(slow.log.take(), ["open", "close slow_consumer"]);
    assert_eq!(counts(group.broadcast("more")), (1, 0, 0));
}

#[test]
fn members_that_have_ended_are_forgotten() {
    let group = Group::new();
    let mut members = [(); 3].map(|()| Member::new(&group));
    members[0].script.eof();
    members[1].script.stop();
    assert_eq!((group.len(), group.is_empty()), (1, false));
    assert_eq!(counts(group.broadcast("x")), (1, 0, 0), "looking had them forgotten");
    members[2].script.eof();
    assert_eq!(counts(group.broadcast("y")), (0, 0, 1));
    assert!(group.is_empty());
}

#[test]
fn a_member_hears_itself_behind_what_it_says_in_the_same_callback() {
    let group = Group::new();
    let its_group = group.clone();
    let said = move |cx: &mut Context<'_>| -> Outcome {
        its_group.broadcast("all ");
        cx.send("me ");
        Ok(Action::Continue)
    };
    let mut speaker = Member::with(&group, |probe| {
        probe.on_data(move |input, cx| {
            input.take();
            said(cx)
        })
    });
    let mut other = Member::new(&group);
    assert_eq!(speaker.script.recv(b"x").output(), b"me all ");
    assert_eq!(speaker.script.wakes(), 0, "it is awake anyway");
    assert_eq!(other.got(), "all ");
}

#[test]
fn a_broadcast_waits_behind_output_that_waits() {
    let group = Group::new();
    let mut member = Member::with(&group, |probe| probe.on_data(echo));
    member.script.block_output().recv(b"first ");
    group.broadcast("all");
    member.script.settle();
    assert_eq!(member.script.unblock_output().output(), b"first all");
}
