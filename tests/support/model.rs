//! A handler that does anything, between a peer and a system that do anything; and the rules that
//! hold all the same.
//!
//! Whoever uses it brings the choices: `tests/scenarios/random.rs` draws them at random, and
//! `tests/fuzzing/connection.rs` lets a fuzzer find them. Every broken rule is a panic of
//! [`Play::take`] or [`Play::end`].

use polyserve::codec::DecodeError;
use polyserve::testing::{Clock, Script};
use polyserve::{
    Action, BoxError, CloseKind, CloseReason, Context, Handler, Input, Layer, Limit, Limits,
    Progress, Ready, Sender,
};
use std::collections::{BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The marks are low, so that a few bytes reach them.
const LOW: usize = 20;
const HIGH: usize = 60;
const HARD: usize = 150;
const INPUT: usize = 400;
/// The most that a layer gives in one go, whatever the limit of the input.
const LAYER_BURST: usize = 64 * 1024;
/// What the handler says when it panics, so that no other panic is taken for it.
const LAST_WORDS: &str = "the model panics";

/// How the connection is set up.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Turns come only by `Turn` and `Settle`.
    pub(crate) by_hand: bool,
    /// Reads as a thread to itself does.
    pub(crate) on_thread: bool,
    /// The handler sends only while its output is below the high mark, so that what is held has a
    /// bound.
    pub(crate) polite: bool,
    pub(crate) layer: Layered,
    /// The most that one write takes.
    pub(crate) write_size: usize,
}

/// What is between the peer and the connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Layered {
    Plain,
    /// A layer that changes nothing.
    Sips,
    /// One that sees its own end after so many bytes.
    Ends(usize),
    /// One that fails after so many bytes.
    Fails(usize),
}

/// What a callback does.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    /// How much of the input it consumes, in quarters.
    pub(crate) consume: usize,
    pub(crate) send: usize,
    pub(crate) outcome: Outcome,
    pub(crate) timer: Timer,
    pub(crate) busy: Option<bool>,
    pub(crate) resume: bool,
    /// Asks for a sender.
    pub(crate) sender: bool,
    /// Asks for a sender, and wakes itself by it.
    pub(crate) wake_self: bool,
    /// Takes the socket out of the server.
    pub(crate) take: bool,
    /// How long it takes, in milliseconds.
    pub(crate) lasts: u64,
    /// Changes the idle time-out: to so many milliseconds, or to none.
    pub(crate) idle: Option<Option<u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    Act(Action),
    Fail,
    /// Fails as a protocol does.
    Decode,
    Truncated,
    Panic,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Timer {
    Keep,
    Set(u64),
    Clear,
}

/// What happens to the connection.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Recv(usize),
    Eof,
    ReadError(ErrorKind),
    WriteError(ErrorKind),
    Block,
    Accept(usize),
    Unblock,
    /// So many milliseconds pass, and deadlines are met as they come.
    Advance(u64),
    /// So many milliseconds pass, and nobody looks.
    Stopped(u64),
    Push(usize),
    Wake,
    Resume,
    Close,
    GiveUp,
    Drain,
    Kill,
    Stop,
    /// The connection is to make room for another.
    Evict,
    /// A turn with these events, true or not.
    Turn(bool, bool),
    Settle,
}

/// What the handler has seen and done, also after it is gone.
#[derive(Default)]
struct Seen {
    violations: Vec<String>,
    opened: bool,
    eof: bool,
    /// Callbacks came after `on_eof`, so what that left in its input is dropped.
    dropped: bool,
    shutdown: bool,
    /// Only `on_close` may come.
    ended: bool,
    closed: u32,
    inside: bool,
    n_callbacks: usize,
    /// Bytes consumed so far.
    position: usize,
    /// How much was left by the last callback that was lent input, and why it may see it again.
    left: usize,
    may_see_again: bool,
    want: usize,
    paused: bool,
    /// A sender was asked to resume it, which it will before its next callback.
    resume_asked: bool,
    wake_asked: bool,
    drain_asked: bool,
    /// The peer has finished, or the layer may say so.
    may_end: bool,
    timer: Option<Instant>,
    /// What it has sent, of callbacks that did not panic, and where each of them ended.
    sent: Vec<u8>,
    sent_ends: BTreeSet<usize>,
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
        self.n_callbacks += 1;
        self.dropped |= self.eof;
        if std::mem::take(&mut self.resume_asked) {
            self.paused = false;
        }
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

type Shared = Arc<Mutex<Seen>>;

fn lock(seen: &Shared) -> MutexGuard<'_, Seen> {
    seen.lock().expect("no callback panics while it holds the lock")
}

/// The handler.
struct Anything {
    seen: Shared,
    program: std::vec::IntoIter<Move>,
    clock: Clock,
    polite: bool,
}

impl Anything {
    fn run(
        &mut self,
        input: Option<&mut Input<'_>>,
        cx: &mut Context<'_>,
    ) -> Result<Action, BoxError> {
        let step = self.program.next();
        let seen = Arc::clone(&self.seen);
        let mut seen = lock(&seen);
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
        let n = if self.polite && !cx.is_writable() { 0 } else { step.send };
        let bytes: Vec<u8> = (0..n).map(|i| (seen.sent.len() + i) as u8 & 0x7f).collect();
        cx.send(&bytes);
        self.ask(&step, &mut seen, cx);
        self.clock.advance(Duration::from_millis(step.lasts));
        if step.outcome != Outcome::Panic {
            seen.sent.extend(bytes);
            let end = seen.sent.len();
            seen.sent_ends.insert(end);
        }
        self.conclude(&step, seen, on_input)
    }

    /// What it asks of its context.
    fn ask(&self, step: &Move, seen: &mut Seen, cx: &mut Context<'_>) {
        match step.timer {
            Timer::Keep => (),
            Timer::Set(ms) => cx.set_timer(Duration::from_millis(ms)),
            Timer::Clear => cx.clear_timer(),
        }
        if let Some(busy) = step.busy {
            cx.set_busy(busy);
        }
        if let Some(idle) = step.idle {
            let limit = |ms| Limit::At(Duration::from_millis(ms));
            cx.set_idle_timeout(idle.map_or(Limit::Unlimited, limit));
        }
        if step.resume {
            cx.resume();
            seen.may_see_again |= std::mem::take(&mut seen.paused);
        }
        if step.sender || step.wake_self {
            let sender = cx.sender();
            if step.wake_self {
                seen.wake_asked |= sender.wake();
            }
            seen.sender = Some(sender);
        }
        if step.take {
            cx.into_stream(|_| panic!("a script has no socket to give away"));
        }
    }

    fn conclude(
        &self,
        step: &Move,
        mut seen: MutexGuard<'_, Seen>,
        on_input: bool,
    ) -> Result<Action, BoxError> {
        let failed = |seen: &mut Seen| seen.ended = true;
        match step.outcome {
            Outcome::Act(_) => (),
            Outcome::Fail => {
                failed(&mut seen);
                return Err("the model fails".into());
            }
            Outcome::Decode => {
                failed(&mut seen);
                return Err(DecodeError::malformed("the model says so").into());
            }
            Outcome::Truncated => {
                failed(&mut seen);
                return Err(DecodeError::Truncated { got: 1 }.into());
            }
            Outcome::Panic => {
                failed(&mut seen);
                drop(seen);
                // Not by `panic!`: a fuzzer's hook would take it for a find.
                std::panic::resume_unwind(Box::new(LAST_WORDS));
            }
        }
        match step.timer {
            Timer::Keep => (),
            Timer::Set(ms) => seen.timer = Some(self.clock.now() + Duration::from_millis(ms)),
            Timer::Clear => seen.timer = None,
        }
        seen.ended |= step.take;
        let Outcome::Act(action) = step.outcome else { unreachable!("the others have returned") };
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

    fn event(&mut self, name: &str, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        lock(&self.seen).enter(name);
        self.run(None, cx)
    }
}

impl Handler for Anything {
    fn on_open(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        {
            let mut seen = lock(&self.seen);
            let first = !std::mem::replace(&mut seen.opened, true);
            seen.check(first, "on_open came twice");
        }
        self.event("on_open", cx)
    }

    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        {
            let mut seen = lock(&self.seen);
            seen.enter("on_data");
            seen.check_input(input);
            let (eof, news) = (seen.eof, input.len() > seen.left || seen.may_see_again);
            seen.check(!eof, "on_data after on_eof");
            seen.check(news, "the same bytes again without a reason");
            let enough = !input.is_empty() && input.len() >= seen.want;
            seen.check(enough, "fewer bytes than were wanted");
            let running = !seen.paused;
            seen.check(running, "on_data of a paused connection");
        }
        self.run(Some(input), cx)
    }

    fn on_eof(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        {
            let mut seen = lock(&self.seen);
            seen.enter("on_eof");
            seen.check_input(input);
            let first = !std::mem::replace(&mut seen.eof, true);
            seen.check(first, "on_eof came twice");
            let (may_end, running) = (seen.may_end, !seen.paused);
            seen.check(may_end, "on_eof of a peer that has not finished");
            seen.check(running, "on_eof of a paused connection");
        }
        self.run(Some(input), cx)
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.event("on_writable", cx)
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        {
            let mut seen = lock(&self.seen);
            let asked = std::mem::take(&mut seen.wake_asked);
            seen.check(asked, "on_wake without anybody having asked");
        }
        self.event("on_wake", cx)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        {
            let mut seen = lock(&self.seen);
            let due = seen.timer.take().is_some_and(|at| at <= self.clock.now());
            seen.check(due, "on_timer before its time");
        }
        self.event("on_timer", cx)
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        {
            let mut seen = lock(&self.seen);
            let first = !std::mem::replace(&mut seen.shutdown, true);
            let asked = seen.drain_asked;
            seen.check(first && asked, "on_shutdown came twice, or without a drain");
        }
        self.event("on_shutdown", cx)
    }

    fn on_close(&mut self, _reason: &CloseReason) {
        lock(&self.seen).closed += 1;
    }
}

/// A layer that changes nothing, but gives and takes a little at a time, until it ends or fails.
struct Sipping {
    held: VecDeque<u8>,
    given: usize,
    kind: Layered,
}

impl Layer for Sipping {
    fn read(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        room: usize,
        _out: &mut Vec<u8>,
    ) -> Result<Progress, BoxError> {
        // What it holds goes first.
        let consumed = if self.held.is_empty() { wire.len().min(20) } else { 0 };
        self.held.extend(&wire[..consumed]);
        let mut n = room.min(7).min(self.held.len());
        let mut progress = Progress::consumed(consumed);
        match self.kind {
            Layered::Fails(at) if self.given >= at => return Err("the model's layer fails".into()),
            Layered::Ends(at) => {
                n = n.min(at - self.given);
                progress.eof = self.given + n == at;
            }
            _ => (),
        }
        plain.extend(self.held.drain(..n));
        self.given += n;
        let more = !self.held.is_empty() && !progress.eof;
        Ok(progress.with_more(more))
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

/// One connection, its peer and its system, played step by step.
pub(crate) struct Play {
    script: Script,
    seen: Shared,
    setup: Setup,
    received: usize,
    largest_piece: usize,
    largest_send: usize,
    /// What senders were allowed to push, and where each message ended.
    pushed: Vec<u8>,
    pushed_ends: BTreeSet<usize>,
    output: Vec<u8>,
    /// More than the high mark was held, and since then not less than the low mark.
    is_full: bool,
    /// What was held, and what had been sent in all, when it last came to rest.
    at_rest: (usize, u64),
    finished: bool,
    /// The socket failed, or the server did not wait: output may be lost.
    lossy: bool,
}

impl Play {
    pub(crate) fn new(setup: Setup, program: Vec<Move>) -> Self {
        let (seen, clock) = (Shared::default(), Clock::new());
        let largest_send = program.iter().map(|step| step.send).max().unwrap_or(0);
        let handler = Anything {
            seen: Arc::clone(&seen),
            program: program.into_iter(),
            clock: clock.clone(),
            polite: setup.polite,
        };
        let mut limits = Limits::default();
        (limits.output_low, limits.output_high, limits.output_hard) = (LOW, HIGH, HARD);
        limits.input = INPUT;
        let mut script = Script::new(|_peer| handler)
            .limits(limits)
            .short_writes(setup.write_size)
            .with_clock(&clock);
        if setup.layer != Layered::Plain {
            script = script.layer(Sipping { held: VecDeque::new(), given: 0, kind: setup.layer });
        }
        if setup.by_hand {
            script = script.by_hand();
        }
        if setup.on_thread {
            script = script.on_thread();
        }
        lock(&seen).may_end = matches!(setup.layer, Layered::Ends(_));
        Self {
            script,
            seen,
            setup,
            received: 0,
            largest_piece: 0,
            largest_send,
            pushed: Vec::new(),
            pushed_ends: BTreeSet::new(),
            output: Vec::new(),
            is_full: false,
            at_rest: (0, 0),
            finished: false,
            lossy: false,
        }
    }

    /// Plays a step, and checks what must hold afterwards.
    pub(crate) fn take(&mut self, step: &Step) {
        self.play(step);
        self.check();
        if !self.setup.by_hand || matches!(step, Step::Settle) {
            self.script.settle();
            self.check_rest();
        }
    }

    /// Comes to rest, and drops the session if it is still there. Returns why the connection ended.
    pub(crate) fn end(mut self) -> CloseKind {
        self.script.settle();
        self.check();
        self.check_rest();
        self.lossy |= !self.script.is_closed();
        self.script.abandon();
        self.check();
        self.check_order();
        assert!(self.script.is_closed() && self.script.is_gone());
        let (kind, text) = (self.script.close_kind(), self.script.close_text());
        let (kind, text) = kind.zip(text).expect("it is closed");
        // A panic within the crate itself would be caught as the handler's.
        assert!(kind != CloseKind::Panic || text.contains(LAST_WORDS), "{text}");
        kind
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Recv(n) => {
                // Nothing can follow the end of a stream.
                let n = if self.finished { 0 } else { n };
                let bytes: Vec<u8> = (0..n).map(|i| received(self.received + i)).collect();
                self.received += n;
                self.largest_piece = self.largest_piece.max(n);
                self.script.recv(bytes);
            }
            Step::Eof => {
                self.finished = true;
                lock(&self.seen).may_end = true;
                self.script.eof();
            }
            Step::ReadError(kind) => {
                self.lossy |= !matches!(kind, ErrorKind::Interrupted | ErrorKind::WouldBlock);
                self.script.error(kind);
            }
            Step::WriteError(kind) => {
                self.lossy |= !matches!(kind, ErrorKind::Interrupted | ErrorKind::WouldBlock);
                self.script.output_error(kind);
            }
            Step::Block => drop(self.script.block_output()),
            Step::Accept(n) => drop(self.script.accept_output(n)),
            Step::Unblock => drop(self.script.unblock_output()),
            Step::Advance(ms) => drop(self.script.advance(Duration::from_millis(ms))),
            Step::Stopped(ms) => self.script.clock().advance(Duration::from_millis(ms)),
            Step::Push(_) | Step::Wake | Step::Resume | Step::Close | Step::GiveUp => {
                self.use_sender(step);
            }
            Step::Drain => {
                lock(&self.seen).drain_asked = true;
                self.script.drain();
            }
            Step::Kill => {
                self.end_by_force();
                self.script.kill();
            }
            Step::Stop => {
                self.end_by_force();
                self.script.stop();
            }
            Step::Evict => {
                self.script.evict();
            }
            Step::Turn(read, write) => {
                let mut ready = Ready::NONE;
                (ready.read, ready.write) = (read, write);
                self.script.turn_with(ready);
            }
            Step::Settle => drop(self.script.settle()),
        }
    }

    fn end_by_force(&mut self) {
        self.lossy = true;
        lock(&self.seen).ended = true;
    }

    /// What another thread does by a sender, if the handler has asked for one.
    fn use_sender(&mut self, step: &Step) {
        let Some(sender) = lock(&self.seen).sender.clone() else { return };
        match *step {
            Step::Push(n) => {
                let bytes: Vec<u8> = (0..n).map(|i| (self.pushed.len() + i) as u8 | 0x80).collect();
                if sender.send(bytes.clone()).is_ok() {
                    self.pushed.extend(bytes);
                    self.pushed_ends.insert(self.pushed.len());
                    // Nothing fits always.
                    assert!(n == 0 || sender.pending() <= HARD, "{} bytes wait", sender.pending());
                }
            }
            Step::Wake => {
                let asked = sender.wake();
                lock(&self.seen).wake_asked |= asked;
            }
            Step::Resume => {
                let asked = sender.resume();
                let mut seen = lock(&self.seen);
                seen.resume_asked |= asked;
                seen.may_see_again |= seen.paused;
            }
            Step::Close => drop(sender.close()),
            Step::GiveUp => self.lossy |= sender.give_up(),
            _ => unreachable!("only steps of a sender come here"),
        }
    }

    /// What holds between any two turns.
    fn check(&mut self) {
        self.output.extend(self.script.output());
        let seen = lock(&self.seen);
        assert!(seen.violations.is_empty(), "{:?}", seen.violations);
        let (pushed, sent): (Vec<u8>, Vec<u8>) =
            self.output.iter().partition(|byte| **byte >= 0x80);
        assert!(seen.sent.starts_with(&sent), "{sent:?} is no prefix of {:?}", seen.sent);
        let is_prefix = self.pushed.starts_with(&pushed);
        assert!(is_prefix, "{pushed:?} is no prefix of {:?}", self.pushed);
        assert_eq!(self.script.sent(), self.output.len() as u64);
        assert!(self.script.received() <= self.received as u64);
        assert!(seen.closed <= 1);
        assert_eq!(seen.closed == 1, self.script.is_closed() && seen.opened);
        let kind = self.script.close_kind();
        // A layer that failed wraps nothing any more.
        let by_layer = kind == Some(CloseKind::Layer);
        let handed_over = self.script.taken().is_some();
        let lossy = self.lossy || by_layer || handed_over || self.script.reset_sent();
        if self.script.is_closed() && !lossy {
            assert_eq!(sent.len(), seen.sent.len(), "the tail was lost: {kind:?}");
            assert_eq!(pushed.len(), self.pushed.len(), "accepted messages were lost: {kind:?}");
        }
        self.check_bounds();
        self.check_conservation(&seen);
        self.check_taken(&seen, &sent, &pushed);
    }

    /// What is held has a bound.
    fn check_bounds(&self) {
        let held = self.script.held();
        let burst = if self.setup.layer == Layered::Plain { 0 } else { LAYER_BURST };
        let most = INPUT + self.largest_piece + burst;
        assert!(held.input <= most, "{} bytes of input are held", held.input);
        if self.setup.polite {
            let most = HARD.max(HIGH + self.largest_send);
            assert!(held.output <= most, "{} bytes of output are held", held.output);
        }
    }

    /// Whether the connection is open: while it closes, its input is dropped already.
    fn is_open(&self, seen: &Seen) -> bool {
        let is_closing = match &seen.sender {
            Some(sender) => sender.is_closed(),
            // Without output that waits, its end would have been at once.
            None => self.script.held().output > 0,
        };
        seen.opened && !seen.ended && seen.closed == 0 && !is_closing
    }

    /// Each byte of the peer is consumed, held, or still to be read; until `on_eof`, which drops
    /// what it leaves.
    fn check_conservation(&self, seen: &Seen) {
        if self.is_open(seen) && !seen.eof {
            let held = self.script.held().input;
            assert_eq!(seen.position + held, self.script.received() as usize);
            if self.setup.layer == Layered::Plain {
                let in_all = self.script.received() as usize + self.script.unread();
                assert_eq!(in_all, self.received, "bytes of the peer were lost");
            }
        }
    }

    /// Whoever takes the socket gets all that was not consumed and all that was not written.
    fn check_taken(&self, seen: &Seen, sent: &[u8], pushed: &[u8]) {
        let Some(taken) = self.script.taken() else { return };
        assert_eq!(self.script.close_kind(), Some(CloseKind::Taken));
        assert!(!self.script.fin_sent(), "the socket was shut down before it was handed over");
        let unread = taken.unread.iter().enumerate();
        let mut unread = unread.map(|(at, byte)| *byte == received(seen.position + at));
        assert!(unread.all(|same| same), "the input that was handed over is not the stream's");
        // What a layer gave right before it failed was not shown to anybody.
        if !seen.dropped && !matches!(self.setup.layer, Layered::Fails(_)) {
            assert_eq!(seen.position + taken.unread.len(), self.script.received() as usize);
        }
        if !self.lossy && self.setup.layer == Layered::Plain {
            let (more_pushed, more_sent): (Vec<u8>, Vec<u8>) =
                taken.unsent.iter().partition(|byte| **byte >= 0x80);
            assert_eq!([sent, &more_sent].concat(), seen.sent, "output was lost");
            assert_eq!([pushed, &more_pushed].concat(), self.pushed, "messages were lost");
        }
    }

    /// What holds when there is nothing to do: something must be there that ends the wait, nothing
    /// was forgotten, and a turn for no reason changes nothing.
    fn check_rest(&mut self) {
        let wants = self.script.wants();
        let waits = wants.read || wants.write || wants.deadline.is_some();
        assert!(self.script.is_gone() || waits, "it waits for nothing: {:?}", self.script);
        assert!(!wants.again);
        self.check();
        let held = self.script.held().output;
        // Output that fell below the low mark on the way, and was filled again, is not full.
        let (before, sent) = std::mem::replace(&mut self.at_rest, (held, self.script.sent()));
        let fell = self.script.sent() - sent + LOW as u64 > before as u64;
        self.is_full = held > HIGH || self.is_full && held >= LOW && !fell;
        let reads = wants.read && self.is_open(&lock(&self.seen));
        assert!(!(reads && self.is_full), "{held} bytes wait, and it reads");
        self.check_nothing_forgotten();
        let before = (lock(&self.seen).n_callbacks, self.output.len());
        for ready in [Ready::NONE, Ready::READ, Ready::WRITE, Ready::BOTH] {
            self.script.turn_with(ready);
            assert_eq!(self.script.wants(), wants, "a spurious {ready:?} changed what it wants");
        }
        self.check();
        let after = (lock(&self.seen).n_callbacks, self.output.len());
        assert_eq!(before, after, "a spurious turn called back, or wrote");
    }

    fn check_nothing_forgotten(&self) {
        let mut seen = lock(&self.seen);
        if std::mem::take(&mut seen.resume_asked) {
            seen.paused = false;
        }
        if !self.is_open(&seen) {
            return;
        }
        assert!(!seen.wake_asked, "a wake was lost");
        let now = self.script.now();
        assert!(seen.timer.is_none_or(|at| at > now), "the timer was forgotten");
        let is_reading = !seen.paused && !seen.eof && self.script.held().output == 0;
        if is_reading {
            assert_eq!(self.script.unread(), 0, "the peer was forgotten");
            assert!(!self.finished, "the peer's end was forgotten");
            // Who has done nothing yet but connect has a second for its first word.
            let spoke = seen.position + seen.left > 0;
            let soon = now + Duration::from_millis(1_100);
            let is_fresh = !spoke && self.script.wants().deadline.is_some_and(|at| at <= soon);
            assert!(!seen.drain_asked || seen.shutdown || is_fresh, "the drain was forgotten");
        }
    }

    /// Messages of senders come neither into one another nor between two sends of one callback.
    fn check_order(&self) {
        let seen = lock(&self.seen);
        let (mut n_sent, mut n_pushed) = (0, 0);
        let mut before = None;
        for is_push in self.output.iter().map(|byte| *byte >= 0x80) {
            match before.replace(is_push) {
                Some(true) if !is_push => assert!(self.pushed_ends.contains(&n_pushed)),
                Some(false) if is_push => assert!(seen.sent_ends.contains(&n_sent)),
                _ => (),
            }
            if is_push { n_pushed += 1 } else { n_sent += 1 }
        }
    }
}
