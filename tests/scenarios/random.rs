//! Random handlers, random peers and random systems must keep the rules.

use polyserve::testing::Script;
use polyserve::{
    Action, BoxError, CloseReason, Context, Handler, Input, Layer, Progress, Ready, Sender,
};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a callback does.
#[derive(Debug, Clone)]
struct Move {
    /// How much of the input it consumes, in quarters.
    consume: usize,
    send: usize,
    outcome: Outcome,
    timer: Option<u64>,
    busy: Option<bool>,
    resume: bool,
    wake_self: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Act(Action),
    Fail,
    Panic,
}

/// What happens to the connection.
#[derive(Debug, Clone)]
enum Step {
    Recv(usize),
    Eof,
    ReadError(ErrorKind),
    WriteError(ErrorKind),
    Block,
    Accept(usize),
    Unblock,
    Advance(u64),
    Stopped(u64),
    Push(usize),
    Wake,
    Resume,
    Close,
    GiveUp,
    Drain,
    Kill,
    Stop,
    Turn(bool, bool),
    Settle,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        8 => Just(Outcome::Act(Action::Continue)),
        3 => Just(Outcome::Act(Action::Yield)),
        2 => Just(Outcome::Act(Action::Pause)),
        3 => (0usize..60).prop_map(|n| Outcome::Act(Action::Want(n))),
        1 => Just(Outcome::Act(Action::Close)),
        1 => Just(Outcome::Fail),
        1 => Just(Outcome::Panic),
        1 => Just(Outcome::Act(Action::Abort)),
    ]
}

fn moves() -> impl Strategy<Value = Move> {
    let timer = prop_oneof![4 => Just(None), 1 => (0u64..5000).prop_map(Some)];
    let busy = prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let rarely = || proptest::bool::weighted(0.15);
    (0usize..=4, 0usize..40, outcome(), timer, busy, rarely(), rarely()).prop_map(
        |(consume, send, outcome, timer, busy, resume, wake_self)| Move {
            consume,
            send,
            outcome,
            timer,
            busy,
            resume,
            wake_self,
        },
    )
}

fn transient() -> impl Strategy<Value = ErrorKind> {
    prop_oneof![Just(ErrorKind::Interrupted), Just(ErrorKind::WouldBlock)]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1usize..80).prop_map(Step::Recv),
        1 => Just(Step::Eof),
        3 => transient().prop_map(Step::ReadError),
        3 => transient().prop_map(Step::WriteError),
        1 => prop_oneof![Just(ErrorKind::ConnectionReset), Just(ErrorKind::TimedOut)]
            .prop_map(Step::ReadError),
        1 => Just(Step::WriteError(ErrorKind::BrokenPipe)),
        3 => Just(Step::Block),
        4 => (1usize..60).prop_map(Step::Accept),
        4 => Just(Step::Unblock),
        3 => (0u64..20_000).prop_map(Step::Advance),
        1 => (0u64..100_000).prop_map(Step::Stopped),
        5 => (1usize..50).prop_map(Step::Push),
        3 => Just(Step::Wake),
        5 => Just(Step::Resume),
        1 => Just(Step::Close),
        1 => Just(Step::GiveUp),
        1 => Just(Step::Drain),
        1 => Just(Step::Kill),
        1 => Just(Step::Stop),
        6 => any::<(bool, bool)>().prop_map(|(read, write)| Step::Turn(read, write)),
        6 => Just(Step::Settle),
    ]
}

/// What the handler has seen and done, also after it is gone.
#[derive(Default)]
struct Seen {
    violations: Vec<String>,
    opened: bool,
    eof: bool,
    ended: bool,
    closed: u32,
    inside: bool,
    /// Bytes consumed so far.
    position: usize,
    /// How much was left by the last callback that was lent input, and why it may see it again.
    left: usize,
    may_see_again: bool,
    want: usize,
    paused: bool,
    /// What it has sent, of callbacks that did not panic.
    sent: Vec<u8>,
    sender: Option<Sender>,
}

impl Seen {
    fn check(&mut self, holds: bool, rule: &str) {
        if !holds {
            self.violations.push(rule.to_owned());
        }
    }

    fn enter(&mut self, callback: &str) {
        let quiet = self.opened && !self.ended && self.closed == 0 && !self.inside;
        self.check(quiet, &format!("{callback} at the wrong time"));
        self.inside = true;
    }

    fn check_input(&mut self, input: &[u8]) {
        let same = input.iter().enumerate().all(|(i, byte)| *byte == received(self.position + i));
        self.check(same, "the input is not the stream that was received");
    }
}

/// The byte at each place of what the peer sends.
fn received(at: usize) -> u8 {
    (at % 251) as u8
}

struct Random {
    seen: Arc<Mutex<Seen>>,
    program: std::vec::IntoIter<Move>,
}

impl Random {
    fn run(
        &mut self,
        input: Option<&mut Input<'_>>,
        cx: &mut Context<'_>,
    ) -> Result<Action, BoxError> {
        let step = self.program.next();
        let mut seen = self.seen.lock().unwrap();
        seen.inside = false;
        let Some(step) = step else {
            if let Some(input) = input {
                seen.position += input.take().len();
                (seen.left, seen.want, seen.may_see_again) = (0, 0, false);
            }
            return Ok(Action::Continue);
        };
        let on_input = input.is_some();
        if let Some(input) = input {
            let n = input.len() * step.consume / 4;
            input.consume(n);
            seen.position += n;
            (seen.left, seen.want, seen.may_see_again) = (input.len(), 0, false);
        }
        let mut bytes: Vec<u8> =
            (0..step.send).map(|i| (seen.sent.len() + i) as u8 & 0x7f).collect();
        cx.send(&bytes);
        if let Some(ms) = step.timer {
            cx.set_timer(Duration::from_millis(ms));
        }
        if let Some(busy) = step.busy {
            cx.set_busy(busy);
        }
        if step.resume {
            cx.resume();
            seen.may_see_again |= std::mem::take(&mut seen.paused);
        }
        let sender = cx.sender();
        if step.wake_self {
            sender.wake();
        }
        seen.sender = Some(sender);
        match step.outcome {
            Outcome::Panic => {
                seen.ended = true;
                drop(seen);
                std::panic::resume_unwind(Box::new("a random panic"));
            }
            Outcome::Fail => {
                seen.ended = true;
                seen.sent.append(&mut bytes);
                Err("a random error".into())
            }
            Outcome::Act(action) => {
                seen.sent.append(&mut bytes);
                match action {
                    Action::Close | Action::Abort => seen.ended = true,
                    Action::Want(n) if on_input => seen.want = n.max(seen.left + 1),
                    Action::Yield if on_input => seen.may_see_again = true,
                    Action::Pause => {
                        seen.paused = true;
                        seen.may_see_again = true;
                    }
                    _ => (),
                }
                Ok(action)
            }
        }
    }
}

impl Handler for Random {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let first = !std::mem::replace(&mut self.seen.lock().unwrap().opened, true);
        self.seen.lock().unwrap().check(first, "on_open came twice");
        self.seen.lock().unwrap().enter("on_open");
        self.run(None, cx)
    }

    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        {
            let mut seen = self.seen.lock().unwrap();
            seen.enter("on_data");
            seen.check_input(input);
            let (eof, news) = (seen.eof, input.len() > seen.left || seen.may_see_again);
            seen.check(!eof, "on_data after on_eof");
            seen.check(news, "the same bytes again without a reason");
            let enough = !input.is_empty() && input.len() >= seen.want;
            seen.check(enough, "fewer bytes than were wanted");
        }
        self.run(Some(input), cx)
    }

    fn on_eof(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        {
            let mut seen = self.seen.lock().unwrap();
            seen.enter("on_eof");
            seen.check_input(input);
            let first = !std::mem::replace(&mut seen.eof, true);
            seen.check(first, "on_eof came twice");
        }
        self.run(Some(input), cx)
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.seen.lock().unwrap().enter("on_writable");
        self.run(None, cx)
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.seen.lock().unwrap().enter("on_wake");
        self.run(None, cx)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.seen.lock().unwrap().enter("on_timer");
        self.run(None, cx)
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.seen.lock().unwrap().enter("on_shutdown");
        self.run(None, cx)
    }

    fn on_close(&mut self, _reason: &CloseReason) {
        self.seen.lock().unwrap().closed += 1;
    }
}

/// A layer that changes nothing, but gives and takes a little at a time.
struct Sips(VecDeque<u8>);

impl Layer for Sips {
    fn read(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        room: usize,
        _out: &mut Vec<u8>,
    ) -> Result<Progress, BoxError> {
        // What it holds goes first.
        let consumed = if self.0.is_empty() { wire.len().min(20) } else { 0 };
        self.0.extend(&wire[..consumed]);
        let n = room.min(7).min(self.0.len());
        plain.extend(self.0.drain(..n));
        Ok(Progress::consumed(consumed).with_more(!self.0.is_empty()))
    }

    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, BoxError> {
        let n = plain.len().min(5);
        out.extend(&plain[..n]);
        Ok(n)
    }

    fn close(&mut self, _out: &mut Vec<u8>) {}

    fn is_ready(&self) -> bool {
        true
    }
}

/// What the test itself has done.
#[derive(Default)]
struct Done {
    received: usize,
    pushed: Vec<u8>,
    output: Vec<u8>,
    /// The socket failed, or the server did not wait: output may be lost.
    lossy: bool,
}

fn take_step(step: &Step, script: &mut Script, seen: &Mutex<Seen>, done: &mut Done) {
    let sender = seen.lock().unwrap().sender.clone();
    match *step {
        Step::Recv(n) => {
            let bytes: Vec<u8> = (0..n).map(|i| received(done.received + i)).collect();
            done.received += n;
            script.recv(bytes);
        }
        Step::Eof => {
            script.eof();
        }
        Step::ReadError(kind) => {
            done.lossy |= !matches!(kind, ErrorKind::Interrupted | ErrorKind::WouldBlock);
            script.error(kind);
        }
        Step::WriteError(kind) => {
            done.lossy |= kind == ErrorKind::BrokenPipe;
            script.output_error(kind);
        }
        Step::Block => {
            script.block_output();
        }
        Step::Accept(n) => {
            script.accept_output(n);
        }
        Step::Unblock => {
            script.unblock_output();
        }
        Step::Advance(ms) => {
            script.advance(Duration::from_millis(ms));
        }
        Step::Stopped(ms) => script.clock().advance(Duration::from_millis(ms)),
        Step::Push(n) => {
            let bytes: Vec<u8> = (0..n).map(|i| (done.pushed.len() + i) as u8 | 0x80).collect();
            if sender.is_some_and(|sender| sender.send(bytes.clone()).is_ok()) {
                done.pushed.extend(bytes);
            }
        }
        Step::Wake => {
            sender.map(|sender| sender.wake());
        }
        Step::Resume => {
            if let Some(sender) = sender {
                sender.resume();
                let mut seen = seen.lock().unwrap();
                seen.may_see_again |= seen.paused;
            }
        }
        Step::Close => {
            sender.map(|sender| sender.close());
        }
        Step::GiveUp => {
            done.lossy |= sender.is_some_and(|sender| sender.give_up());
        }
        Step::Drain => {
            script.drain();
        }
        Step::Kill => {
            done.lossy = true;
            script.kill();
        }
        Step::Stop => {
            done.lossy = true;
            script.stop();
        }
        Step::Turn(read, write) => {
            let mut ready = Ready::NONE;
            (ready.read, ready.write) = (read, write);
            script.turn_with(ready);
        }
        Step::Settle => {
            script.settle();
        }
    }
}

fn check(script: &mut Script, seen: &Mutex<Seen>, done: &mut Done) -> Result<(), TestCaseError> {
    done.output.extend(script.output());
    let seen = seen.lock().unwrap();
    prop_assert!(seen.violations.is_empty(), "{:?}", seen.violations);
    let (pushed, sent): (Vec<u8>, Vec<u8>) = done.output.iter().partition(|byte| **byte >= 0x80);
    prop_assert!(seen.sent.starts_with(&sent), "{:?} is no prefix of {:?}", sent, seen.sent);
    prop_assert!(
        done.pushed.starts_with(&pushed),
        "{:?} is no prefix of {:?}",
        pushed,
        done.pushed
    );
    prop_assert_eq!(script.sent(), done.output.len() as u64);
    prop_assert!(script.received() <= done.received as u64);
    prop_assert!(seen.closed <= 1);
    prop_assert_eq!(seen.closed == 1, script.is_closed() && seen.opened);
    let lossless = !done.lossy && !script.reset_sent();
    if script.is_closed() && lossless {
        prop_assert_eq!(
            sent.len(),
            seen.sent.len(),
            "the tail was lost: {:?}",
            script.close_kind()
        );
        prop_assert_eq!(pushed.len(), done.pushed.len(), "accepted messages were lost");
    }
    Ok(())
}

/// At rest, something must be there that ends the wait.
fn check_rest(script: &Script) -> Result<(), TestCaseError> {
    let wants = script.wants();
    prop_assert!(
        script.is_gone() || wants.read || wants.write || wants.deadline.is_some(),
        "it waits for nothing: {:?}",
        script
    );
    prop_assert!(!wants.again);
    Ok(())
}

proptest! {
    /// `PROPTEST_CASES` says how many.
    #[test]
    fn random_handlers_and_peers_keep_the_rules(
        program in proptest::collection::vec(moves(), 0..40),
        steps in proptest::collection::vec(steps(), 1..60),
        by_hand: bool,
        on_thread: bool,
        layered: bool,
        write_size in prop_oneof![Just(usize::MAX), 1usize..20],
    ) {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let handler = Random { seen: Arc::clone(&seen), program: program.into_iter() };
        let limits = crate::probe::limits(|l| {
            (l.output_low, l.output_high, l.output_hard, l.input) = (20, 60, 150, 400);
        });
        let mut script = Script::new(|_peer| handler).limits(limits).short_writes(write_size);
        if layered {
            script = script.layer(Sips(VecDeque::new()));
        }
        if by_hand {
            script = script.by_hand();
        }
        if on_thread {
            script = script.on_thread();
        }
        let mut done = Done::default();
        for step in &steps {
            take_step(step, &mut script, &seen, &mut done);
            check(&mut script, &seen, &mut done)?;
        }
        script.settle();
        check(&mut script, &seen, &mut done)?;
        check_rest(&script)?;
        done.lossy |= !script.is_closed();
        script.abandon();
        check(&mut script, &seen, &mut done)?;
        prop_assert!(script.is_closed() && script.is_gone());
    }
}
