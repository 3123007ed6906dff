//! Each action from each callback.

use crate::probe::{Log, Outcome, SECOND, SenderSlot, limits};
use polyserve::testing::Script;
use polyserve::{Action, BoxError, CloseKind, CloseReason, Context, Handler, Input};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Open,
    Data,
    Eof,
    Writable,
    Wake,
    Timer,
    Shutdown,
}

const ALL: [When; 7] =
    [When::Open, When::Data, When::Eof, When::Writable, When::Wake, When::Timer, When::Shutdown];

type What = fn(&mut Context<'_>) -> Outcome;

/// Does one thing in one callback, and in the others what keeps the connection going.
struct At {
    when: When,
    what: What,
    done: bool,
    log: Log,
    sender: SenderSlot,
}

impl At {
    fn does(&mut self, when: When, cx: &mut Context<'_>) -> Outcome {
        self.log.note(format!("{when:?}"));
        if self.when == when && !std::mem::replace(&mut self.done, true) {
            return (self.what)(cx);
        }
        Ok(Action::Continue)
    }
}

impl Handler for At {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Outcome {
        self.sender.fill(cx);
        cx.set_timer(SECOND);
        self.does(When::Open, cx)
    }

    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Outcome {
        self.log.note(format!("input {}", input.escape_ascii()));
        let bytes = input.take();
        if bytes == b"fill" {
            cx.send(bytes);
            return Ok(Action::Continue);
        }
        self.does(When::Data, cx)
    }

    fn on_eof(&mut self, _input: &mut Input<'_>, cx: &mut Context<'_>) -> Outcome {
        self.does(When::Eof, cx)
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Outcome {
        self.does(When::Writable, cx)
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) -> Outcome {
        self.does(When::Wake, cx)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) -> Outcome {
        self.does(When::Timer, cx)
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) -> Outcome {
        self.does(When::Shutdown, cx)
    }

    fn on_close(&mut self, reason: &CloseReason) {
        self.log.note(format!("close {}", reason.kind().name()));
    }
}

struct Case {
    script: Script,
    log: Log,
    sender: SenderSlot,
    when: When,
}

/// Has `what` done in that callback. Before it, "fill" was sent, unless it is the first callback.
fn case(when: When, what: What) -> Case {
    let (log, sender) = (Log::default(), SenderSlot::default());
    let handler = At { when, what, done: false, log: log.clone(), sender: sender.clone() };
    let mut script = Script::new(|_peer| handler).limits(limits(|l| l.output_low = 4));
    if when != When::Open {
        script.block_output().recv(b"fill");
    }
    match when {
        When::Open => script.open(),
        When::Data => script.recv(b"data"),
        When::Eof => script.eof(),
        When::Writable => script.unblock_output(),
        When::Timer => script.advance(SECOND),
        When::Shutdown => script.drain(),
        When::Wake => {
            sender.get().wake();
            script.settle()
        }
    };
    script.unblock_output();
    Case { script, log, sender, when }
}

impl Case {
    /// What was sent before the callback.
    fn before(&self) -> &'static [u8] {
        if self.when == When::Open { b"" } else { b"fill" }
    }

    fn assert_ended(&mut self, kind: CloseKind, last: &[u8]) {
        let (when, output) = (self.when, self.script.output());
        assert_eq!(self.script.close_kind(), Some(kind), "{when:?}");
        let expected = [self.before(), last].concat();
        assert_eq!(
            output.escape_ascii().to_string(),
            expected.escape_ascii().to_string(),
            "{when:?}"
        );
        let log = self.log.take();
        let closes = log.iter().filter(|entry| entry.starts_with("close")).count();
        assert_eq!((log[0].as_str(), closes), ("Open", 1), "{when:?}: {log:?}");
        assert_eq!(log.last().unwrap(), &format!("close {}", kind.name()), "{when:?}");
        // Nothing is called any more, whatever comes.
        self.script.recv(b"late").eof().advance(100 * SECOND);
        assert_eq!(self.log.take(), [""; 0], "{when:?}");
        assert!(self.script.is_gone(), "{when:?}");
        assert!(self.sender.get().send("late").unwrap_err().is_closed(), "{when:?}");
    }

    fn assert_goes_on(&mut self) {
        assert_eq!(self.script.close_kind(), None, "{:?}", self.when);
        let expected = [self.before(), b"said"].concat();
        assert_eq!(self.script.output(), expected, "{:?}", self.when);
        let log = self.log.take();
        assert!(log.contains(&format!("{:?}", self.when)), "{log:?}");
    }
}

fn say_and(cx: &mut Context<'_>, action: Action) -> Outcome {
    cx.send("said");
    Ok(action)
}

/// From `on_shutdown` what is said is the last word, see `drain`.
fn all_but_shutdown() -> impl Iterator<Item = When> {
    ALL.into_iter().filter(|when| *when != When::Shutdown)
}

#[test]
fn continue_goes_on() {
    for when in all_but_shutdown() {
        case(when, |cx| say_and(cx, Action::Continue)).assert_goes_on();
    }
}

#[test]
fn close_writes_what_was_sent_and_ends_the_stream() {
    for when in ALL {
        let kind = match when {
            When::Eof => CloseKind::PeerClosed,
            When::Shutdown => CloseKind::Shutdown,
            _ => CloseKind::Closed,
        };
        let mut case = case(when, |cx| say_and(cx, Action::Close));
        assert!(case.script.fin_sent(), "{when:?}");
        case.assert_ended(kind, b"said");
        assert!(!case.script.reset_sent(), "{when:?}");
    }
}

#[test]
fn abort_resets_and_loses_what_was_not_written() {
    for when in ALL {
        let mut case = case(when, |cx| say_and(cx, Action::Abort));
        assert!(case.script.reset_sent() && !case.script.fin_sent(), "{when:?}");
        // What the peer would not take before is lost as well.
        let output = case.script.output();
        assert!(output.is_empty() || when == When::Writable, "{when:?}: {output:?}");
        assert_eq!(case.script.close_kind(), Some(CloseKind::Aborted), "{when:?}");
        assert_eq!(case.log.take().last().unwrap(), "close aborted", "{when:?}");
    }
}

#[test]
fn an_error_closes_and_is_the_reason() {
    for when in ALL {
        let mut case = case(when, |cx| {
            cx.send("said");
            Err(BoxError::from("boom"))
        });
        assert_eq!(case.script.close_text().unwrap(), "the handler failed: boom");
        case.assert_ended(CloseKind::Handler, b"said");
    }
}

#[test]
fn a_panic_discards_the_output_of_its_callback_alone() {
    for when in ALL {
        let mut case = case(when, |cx| {
            cx.send("said");
            panic!("boom")
        });
        assert_eq!(case.script.close_text().unwrap(), "the handler panicked: boom");
        case.assert_ended(CloseKind::Panic, b"");
    }
}

#[test]
fn pause_stops_reading_until_resumed() {
    for when in all_but_shutdown().filter(|when| *when != When::Eof) {
        let mut case = case(when, |cx| say_and(cx, Action::Pause));
        case.assert_goes_on();
        case.script.recv(b"more");
        assert_eq!(case.log.take(), [""; 0], "{when:?}");
        assert!(!case.script.wants().read, "{when:?}");
        assert!(case.sender.get().resume());
        case.script.settle();
        assert_eq!(case.log.take()[0], "input more", "{when:?}");
    }
}

#[test]
fn pause_from_on_eof_changes_nothing() {
    let mut case = case(When::Eof, |cx| say_and(cx, Action::Pause));
    case.assert_goes_on();
    assert!(case.script.next_deadline().unwrap() <= SECOND, "the timer is still set");
}

#[test]
fn yield_without_input_changes_nothing() {
    for when in all_but_shutdown() {
        let mut case = case(when, |cx| say_and(cx, Action::Yield));
        case.assert_goes_on();
        if when != When::Eof {
            case.script.recv(b"more");
            assert_eq!(case.log.take()[0], "input more", "{when:?}");
        }
    }
}

#[test]
fn only_on_open_and_on_data_can_want() {
    for when in all_but_shutdown().filter(|when| *when != When::Eof) {
        let mut case = case(when, |cx| say_and(cx, Action::Want(5)));
        case.assert_goes_on();
        case.script.recv(b"more");
        let waits = matches!(when, When::Open | When::Data);
        assert_eq!(case.log.take().is_empty(), waits, "{when:?}");
        if waits {
            case.script.recv(b"!");
            assert_eq!(case.log.take()[0], "input more!", "{when:?}");
        }
    }
}
