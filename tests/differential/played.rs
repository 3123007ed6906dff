//! Plays a program into a connection without a socket. What comes out is what all others must make
//! of it, and tells them what to wait for.

use crate::coverage::Coverage;
use crate::generate::LONGEST_TIMER;
use crate::handler::{Entry, Stage};
use crate::layer::Sipping;
use crate::program::{Act, Program, Setting, pushed, received};
use polyserve::CloseKind;
use polyserve::testing::Script;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

/// What the buffers of the system take, about.
const SYSTEM_BUFFERS: usize = 100 * 1024;
/// Longer than all time-outs.
const FOR_EVER: Duration = Duration::from_secs(60 * 60);
/// Longer than a drain waits for the first word of somebody.
const TIME_TO_SPEAK: Duration = Duration::from_millis(1_100);
/// What whoever took a socket says.
pub(crate) const OWNERS_WORD: &[u8] = b"mine now";

/// What can be seen of a script that was played.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Transcript {
    pub(crate) log: Vec<Entry>,
    /// What the client got. How much it still gets of what the server gave up to write depends on
    /// the system's buffers, so that is left out.
    pub(crate) got: Vec<u8>,
    pub(crate) end: End,
    pub(crate) reason: CloseKind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum End {
    Fin,
    Reset,
    /// The client itself has left.
    Ours,
}

/// A program, and what is to come of it.
pub(crate) struct Played {
    pub(crate) program: Arc<Program>,
    /// What the log and the client have at each `Await` and `AwaitHandler`.
    pub(crate) awaited: Vec<(usize, usize)>,
    pub(crate) transcript: Transcript,
    pub(crate) coverage: Coverage,
}

/// How the connection reads and writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Style {
    Usual,
    /// As a thread to itself does.
    OnThread,
    /// The system takes little at a time.
    ShortWrites,
}

impl Style {
    pub(crate) const ALL: [Style; 3] = [Style::Usual, Style::OnThread, Style::ShortWrites];
}

pub(crate) fn play(program: &Arc<Program>, style: Style) -> Played {
    let mut play = Play::new(program, style);
    for act in &program.acts {
        play.act(act);
    }
    play.end()
}

struct Play {
    stage: Arc<Stage>,
    script: Script,
    /// How much the client has sent of its stream.
    sent: usize,
    got: Vec<u8>,
    awaited: Vec<(usize, usize)>,
    has_left: bool,
    reads: bool,
}

impl Play {
    fn new(program: &Arc<Program>, style: Style) -> Self {
        let stage = Stage::new(program);
        let actor = Arc::clone(&stage);
        let mut script = Script::new(move |_peer| actor.handler())
            .limits(program.setting.limits())
            .timeouts(program.setting.timeouts());
        if program.setting == Setting::Layered {
            script = script.layer(Sipping::default());
        }
        script = match style {
            Style::Usual => script,
            Style::OnThread => script.on_thread(),
            Style::ShortWrites => script.short_writes(777),
        };
        let (got, awaited) = (Vec::new(), Vec::new());
        let mut play = Self { stage, script, sent: 0, got, awaited, has_left: false, reads: true };
        play.script.open();
        play
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Send(pieces) => pieces.iter().for_each(|n| self.send(*n)),
            Act::ToLayer(byte) => drop(self.script.recv([*byte])),
            Act::Finish => drop(self.script.eof()),
            Act::Leave => {
                self.has_left = true;
                self.script.eof();
            }
            Act::Reset => {
                self.has_left = true;
                self.script.error(ErrorKind::ConnectionReset);
            }
            Act::StopReading => {
                self.reads = false;
                self.script.block_output().accept_output(SYSTEM_BUFFERS);
            }
            Act::ReadAgain => {
                self.reads = true;
                self.script.unblock_output();
            }
            Act::Push(_) | Act::Wake | Act::Resume | Act::Close | Act::GiveUp | Act::CloseById => {
                self.stage.use_sender(act);
                self.script.settle();
            }
            Act::Await | Act::AwaitHandler => {
                self.rest();
                self.awaited.push((self.stage.seen().log.len(), self.got.len()));
            }
            Act::Expire => self.expire(),
            Act::Own => self.own(),
            // Whoever has said nothing yet is told only when it has had its time to.
            Act::Drain => drop(self.script.drain().advance(TIME_TO_SPEAK)),
            Act::Kill => drop(self.script.kill()),
            Act::Stop => drop(self.script.stop()),
            Act::Crowd => drop(self.script.evict()),
        }
    }

    fn send(&mut self, n: usize) {
        let piece: Vec<u8> = (0..n).map(|i| received(self.sent + i)).collect();
        self.sent += n;
        self.script.recv(piece);
    }

    /// Lets everything happen that follows from what was done.
    fn rest(&mut self) {
        self.script.settle();
        while self.stage.seen().timer && !self.script.is_closed() {
            self.script.advance(Duration::from_millis(LONGEST_TIMER + 1));
        }
        // A client that has left gets nothing of what is said then.
        if self.reads && !self.has_left {
            self.got.extend(self.script.output());
        }
    }

    fn expire(&mut self) {
        self.rest();
        if self.stage.program.setting == Setting::Unacknowledged {
            self.script.output_error(ErrorKind::TimedOut);
        }
        self.script.advance(FOR_EVER);
    }

    fn own(&mut self) {
        self.rest();
        let taken = self.script.taken().expect("the script has the socket taken").clone();
        self.got.extend(&taken.unsent);
        self.got.extend(OWNERS_WORD);
        let rest = taken.unread.len() + self.script.unread();
        self.stage.check_rest(&taken.unread);
        self.stage.note(Entry::Owned(rest));
    }

    fn end(mut self) -> Played {
        self.rest();
        let program = Arc::clone(&self.stage.program);
        let reason = self.script.close_kind();
        let reason = reason.unwrap_or_else(|| panic!("it does not end: {program:#?}"));
        let end = match reason {
            _ if self.has_left => End::Ours,
            CloseKind::Taken => End::Fin,
            // The system itself has told the peer, when it gave up.
            CloseKind::Io => End::Reset,
            _ if self.script.reset_sent() => End::Reset,
            _ => End::Fin,
        };
        let mut seen = self.stage.seen();
        seen.coverage.count_reason(reason);
        let (log, coverage) = (seen.log.clone(), seen.coverage.clone());
        drop(seen);
        let transcript = Transcript { log, got: self.got, end, reason };
        Played { program, awaited: self.awaited, transcript, coverage }
    }
}

impl Stage {
    /// Does what somebody does by the connection's sender.
    pub(crate) fn use_sender(&self, act: &Act) {
        // The callback that gives it away may have been seen before it has.
        let given = self.wait_for("sender", Duration::from_secs(5), |seen| seen.sender.is_some());
        let Some(sender) = self.seen().sender.clone() else {
            return self.note(Entry::Wrong(given.unwrap_err()));
        };
        match act {
            Act::Push(n) => {
                let result = sender.send(pushed(*n)).map_err(|error| error.kind());
                self.note(Entry::Pushed(result));
            }
            Act::Wake => _ = sender.wake(),
            Act::Resume => _ = sender.resume(),
            Act::Close => _ = sender.close(),
            Act::GiveUp => _ = sender.give_up(),
            Act::CloseById => {
                let control = self.seen().control.clone();
                let closed = control.is_some_and(|(control, id)| control.close(id));
                if !closed {
                    self.note(Entry::Wrong("nobody has this number".to_owned()));
                }
            }
            _ => unreachable!("the others need no sender"),
        }
    }

    /// Checks what the new owner of the socket has read.
    pub(crate) fn check_rest(&self, bytes: &[u8]) {
        let at = self.seen().consumed;
        if !bytes.iter().enumerate().all(|(i, byte)| *byte == received(at + i)) {
            self.note(Entry::Wrong(format!("the new owner got other bytes, from {at} on")));
        }
    }
}
