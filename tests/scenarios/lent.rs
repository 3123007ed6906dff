//! What a handler sends of that which it was just shown may leave from where it is. Nobody can tell.

use polyserve::testing::Script;
use polyserve::{Action, BoxError, CloseKind, Context, Handler, Input, Limits};
use proptest::prelude::*;
use std::io::Write;
use std::sync::{Arc, Mutex};

/// What one callback does, one after the other.
#[derive(Debug, Clone)]
enum Step {
    /// Sends a part of what it is shown, given in thousandths.
    Part(usize, usize),
    /// Sends so many bytes of its own.
    Own(usize),
    /// Writes a part, as `io::Write` has it.
    Write(usize, usize),
    /// Asks for what senders have pushed, of which there is nothing.
    Pushed,
}

/// How it ends, if it does not go on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    All,
    /// A quarter is left, and wanted again with more.
    Rest,
    Busy,
    Timer,
    Yield,
    Pause,
    Close,
    Error,
    Panic,
}

struct Sends {
    steps: Vec<Step>,
    end: End,
    expected: Arc<Mutex<Vec<u8>>>,
}

fn part(bytes: &[u8], from: usize, to: usize) -> &[u8] {
    let at = |thousandths: usize| bytes.len() * thousandths / 1000;
    &bytes[at(from.min(to))..at(from.max(to))]
}

impl Handler for Sends {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let bytes = input.as_slice();
        let (mut sent, held) = (Vec::new(), cx.pending());
        for step in &self.steps {
            match *step {
                Step::Part(from, to) => {
                    cx.send(part(bytes, from, to));
                    sent.extend_from_slice(part(bytes, from, to));
                }
                Step::Own(n) => {
                    cx.send(vec![b'.'; n]);
                    sent.resize(sent.len() + n, b'.');
                }
                Step::Write(from, to) => {
                    cx.write_all(part(bytes, from, to))?;
                    sent.extend_from_slice(part(bytes, from, to));
                }
                Step::Pushed => cx.append_pushed(),
            }
            assert_eq!(cx.pending() - held, sent.len(), "pending is what was sent");
        }
        assert!(self.end != End::Panic, "planned");
        self.expected.lock().unwrap().extend(sent);
        match self.end {
            End::Rest => input.consume(bytes.len() - bytes.len() / 4),
            _ => drop(input.take()),
        }
        match self.end {
            End::Busy => cx.set_busy(true),
            End::Timer => cx.set_timer(std::time::Duration::from_secs(5)),
            _ => (),
        }
        match self.end {
            End::Yield => Ok(Action::Yield),
            End::Pause => Ok(Action::Pause),
            End::Close => Ok(Action::Close),
            End::Error => Err("planned".into()),
            _ => Ok(Action::Continue),
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..=1000, 0usize..=1000).prop_map(|(from, to)| Step::Part(from, to)),
        2 => (0usize..=500).prop_map(|half| Step::Part(half, 1000)),
        1 => Just(Step::Part(0, 1000)),
        1 => (0usize..5_000).prop_map(Step::Own),
        1 => (0usize..=1000, 0usize..=1000).prop_map(|(from, to)| Step::Write(from, to)),
        1 => Just(Step::Pushed),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        4 => Just(End::All), 1 => Just(End::Rest), 1 => Just(End::Busy), 1 => Just(End::Timer),
        1 => Just(End::Yield), 1 => Just(End::Pause), 1 => Just(End::Close), 1 => Just(End::Error),
        1 => Just(End::Panic),
    ]
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 7 % 251) as u8).collect()
}

proptest! {
    #[test]
    fn every_byte_leaves_once_and_in_order(
        steps in prop::collection::vec(step(), 0..5),
        end in end(),
        n in 1usize..100_000,
        low in prop_oneof![Just(1usize), Just(20_000), Just(64 * 1024)],
        at_a_time in prop_oneof![Just(usize::MAX), 1_000usize..70_000],
        on_thread: bool,
    ) {
        let expected = Arc::new(Mutex::new(Vec::new()));
        let sent = Arc::clone(&expected);
        let mut limits = Limits::default();
        limits.output_low = low;
        let mut script = Script::new(move |_peer| Sends {
            steps: steps.clone(), end, expected: Arc::clone(&sent),
        });
        script = script.limits(limits).short_writes(at_a_time);
        if on_thread {
            script = script.on_thread();
        }
        script.recv(pattern(n));
        prop_assert_eq!(script.output(), std::mem::take(&mut *expected.lock().unwrap()));
        let kind = match end {
            End::Close => Some(CloseKind::Closed),
            End::Error => Some(CloseKind::Handler),
            End::Panic => Some(CloseKind::Panic),
            _ => None,
        };
        prop_assert_eq!(script.close_kind(), kind);
    }
}

/// What comes next is read into the buffer that the system has not taken all of.
#[test]
fn what_the_system_has_not_taken_is_not_overwritten() {
    let expected = Arc::new(Mutex::new(Vec::new()));
    let sent = Arc::clone(&expected);
    let mut script = Script::new(move |_peer| {
        let (steps, expected) = (vec![Step::Part(0, 1000)], Arc::clone(&sent));
        Sends { steps, end: End::All, expected }
    });
    script.recv(pattern(10_000)).block_output().recv(vec![1; 9_000]).recv(vec![2; 9_000]);
    script.accept_output(100).recv(vec![3; 9_000]).unblock_output().recv(vec![4; 9_000]);
    assert_eq!(script.output(), *expected.lock().unwrap());
    assert_eq!(script.sent(), 46_000);
}
