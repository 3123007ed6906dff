//! What all connections hold together, as the one that holds too much sees it.

use crate::probe::{Log, Probe, SECOND, echo, leave, limits};
use polyserve::CloseKind;
use polyserve::testing::Script;

fn scripted(probe: Probe) -> Script {
    probe.script().limits(limits(|l| l.total_held = 80))
}

#[test]
fn who_holds_too_much_input_is_not_read_and_its_message_is_late_in_the_end() {
    let log = Log::default();
    let mut script = scripted(Probe::new(&log).on_data(leave));
    script.recv([b'a'; 80]);
    assert!(script.wants().read, "the limit itself may be reached");
    script.recv(b"b");
    assert!(!script.wants().read);
    script.recv(b"c");
    assert_eq!(script.unread(), 1, "what comes now stays where it is");
    script.advance(31 * SECOND);
    assert_eq!(script.close_kind(), Some(CloseKind::MessageTimeout));
}

#[test]
fn who_holds_too_much_output_is_read_again_when_it_has_fallen_by_an_eighth() {
    let log = Log::default();
    let mut script = scripted(Probe::new(&log).on_data(echo));
    script.open().block_output().recv([b'a'; 90]);
    assert!(!script.wants().read && script.wants().write);
    script.recv(b"z").accept_output(10);
    assert!(!script.wants().read, "80 is the limit");
    script.accept_output(10);
    assert!(script.wants().read, "70 is an eighth below it");
    assert_eq!(script.unblock_output().output().len(), 91);
}

#[test]
fn it_still_finds_a_reset_and_takes_its_pushes() {
    let slot = crate::probe::SenderSlot::default();
    let made = slot.clone();
    let mut script = scripted(Probe::new(&Log::default()).on_data(move |input, cx| {
        made.fill(cx);
        leave(input, cx)
    }));
    script.recv([b'a'; 90]);
    slot.get().send("pushed").unwrap();
    assert_eq!(script.settle().output(), b"pushed");
    script.error(std::io::ErrorKind::ConnectionReset).advance(6 * SECOND);
    assert_eq!(script.close_kind(), Some(CloseKind::Reset));
}

#[test]
fn who_takes_too_much_output_bit_by_bit_is_closed_in_the_end() {
    for too_much in [false, true] {
        let mut script = scripted(Probe::new(&Log::default()).on_data(echo));
        let n = if too_much { 200 } else { 70 };
        script.open().block_output().recv(vec![b'a'; n]);
        for _ in 0..6 {
            script.advance(9 * SECOND).accept_output(1);
        }
        let kind = too_much.then_some(CloseKind::WriteTimeout);
        assert_eq!(script.close_kind(), kind, "{n} bytes were held");
    }
}
