//! A connection that is told to make room for another.

use crate::probe::{Log, Probe, SECOND, echo, leave};
use polyserve::{Action, BoxError, CloseKind, Context, Input};

#[test]
fn an_idle_connection_makes_room_at_once() {
    let log = Log::default();
    let mut script = Probe::echo(&log).script();
    script.recv(b"x").advance(SECOND).evict();
    assert_eq!(log.take(), ["open", "data x", "close evicted"]);
    assert!(script.is_gone(), "room is made now, and there is nothing to linger for");
    assert!(script.fin_sent() && !script.reset_sent());
}

#[test]
fn a_connection_that_has_said_nothing_yet_makes_room() {
    let log = Log::default();
    let mut script = Probe::echo(&log).script();
    script.open().evict();
    assert_eq!(log.take(), ["open", "close evicted"]);
    assert!(script.is_gone());
}

#[test]
fn whoever_is_at_work_stays() {
    type OnData = fn(&mut Input<'_>, &mut Context<'_>) -> Result<Action, BoxError>;
    let busy: OnData = |input, cx| {
        input.take();
        cx.set_busy(true);
        Ok(Action::Continue)
    };
    let paused: OnData = |_, _| Ok(Action::Pause);
    for on_data in [busy, paused, leave] {
        let log = Log::default();
        let mut script = Probe::new(&log).on_data(on_data).script();
        script.recv(b"x").evict();
        assert_eq!(log.take(), ["open", "data x"]);
        assert_eq!(script.close_kind(), None);
    }
    // Output that waits is work as well.
    let mut script = Probe::new(&Log::default()).on_data(echo).script();
    script.block_output().recv(b"x").evict();
    assert_eq!(script.close_kind(), None);
    assert_eq!(script.unblock_output().output(), b"x");
}

#[test]
fn bytes_that_have_come_already_count() {
    let log = Log::default();
    let mut script = Probe::new(&log)
        .on_data(|input, cx| {
            input.take();
            cx.set_busy(true);
            Ok(Action::Continue)
        })
        .script()
        .by_hand();
    script.turn();
    script.recv(b"x").evict().turn();
    script.settle();
    assert_eq!(log.take(), ["open", "data x"]);
    assert_eq!(script.close_kind(), None);
}

#[test]
fn one_that_is_closing_anyway_keeps_its_reason() {
    let mut script = Probe::new(&Log::default()).on_data(|_, _| Ok(Action::Close)).script();
    script.block_output().recv(b"x").evict();
    assert_eq!(script.close_kind(), Some(CloseKind::Closed));
}
