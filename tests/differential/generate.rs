//! Makes a script of a number.
//!
//! Whatever a script does must come out the same however the system cuts the streams, and whoever
//! is first where two things happen at the same time. So it is made of episodes, each of which ends
//! by waiting for all that follows from it; and within an episode only one thing at a time is on
//! its way: see [`Next`].

use crate::layer::{END, FAIL, HELLO};
use crate::program::{
    Act, BIG, HARD, HIGH, INPUT, LOW, MILD, Move, Next, Outcome, Program, Setting, Unit,
};
use crate::random::Random;
use polyserve::Action;

/// The longest timer of a script, in milliseconds.
pub(crate) const LONGEST_TIMER: u64 = 8;
/// The most episodes between the beginning and the end.
pub(crate) const MAX_EPISODES: usize = 5;

/// The script of this number, with at most so many episodes between its beginning and its end.
pub(crate) fn generate(seed: u64, max_episodes: usize) -> Program {
    let mut random = Random::new(seed, 0);
    let setting = random.weighted(&[
        (56, Setting::Plain),
        (12, Setting::Layered),
        (6, Setting::Brief),
        (3, Setting::Mild),
        (2, Setting::Silent),
        (2, Setting::Unacknowledged),
        (13, Setting::Drained),
        (3, Setting::Killed),
        (3, Setting::Stopped),
        (3, Setting::Full),
    ]);
    let n_episodes = random.between(0, MAX_EPISODES).min(max_episodes);
    let mut maker = Maker::new(setting, random);
    if maker.begin() {
        return maker.finish();
    }
    for number in 0..n_episodes {
        maker.random = Random::new(seed, 1 + number as u64);
        maker.episode();
    }
    maker.random = Random::new(seed, 1000);
    maker.end();
    maker.finish()
}

struct Maker {
    random: Random,
    program: Program,
    has_sender: bool,
    /// How much the client sends in one go at first: so much may be waited for by `on_open`.
    sent_first: Option<usize>,
    opens_with_want: bool,
}

/// What has a paused connection go on.
#[derive(Clone, Copy)]
enum Resumption {
    /// What follows from the callback that has paused it.
    Itself,
    /// These, when everything else has come to rest.
    ByResume,
    ByWake,
}

impl Maker {
    fn new(setting: Setting, random: Random) -> Self {
        let program = Program {
            setting,
            factory_panics: false,
            on_close_panics: false,
            open: Move::NONE,
            units: Vec::new(),
            eof: Move::NONE,
            wakes: Vec::new(),
            timers: Vec::new(),
            streams: Vec::new(),
            shutdown: Move::NONE,
            acts: Vec::new(),
        };
        Self { random, program, has_sender: false, sent_first: None, opens_with_want: false }
    }

    fn finish(mut self) -> Program {
        if self.opens_with_want {
            let most = self.sent_first.unwrap_or(1).min(INPUT);
            let n = self.random.between(0, most);
            self.program.open.outcome = Outcome::Act(Action::Want(n));
        }
        self.program
    }

    fn setting(&self) -> Setting {
        self.program.setting
    }

    /// Whether the handler has ever said that it is busy.
    fn may_be_busy(&self) -> bool {
        let Program { open, units, wakes, timers, streams, .. } = &self.program;
        let units = units.iter().map(|unit| &unit.does);
        let all = std::iter::once(open).chain(units).chain(wakes).chain(timers).chain(streams);
        all.into_iter().any(|does| does.busy == Some(true))
    }

    /// Whether some time-out is brief. Then messages come as a whole, and output is so little that
    /// the system takes it at once: nobody else may be late, on a machine that is busy elsewhere.
    fn is_hasty(&self) -> bool {
        matches!(self.setting(), Setting::Brief | Setting::Mild | Setting::Unacknowledged)
    }

    fn act(&mut self, act: Act) {
        self.program.acts.push(act);
    }

    // The beginning.

    /// Makes `on_open`. Tells whether the connection has ended with it.
    fn begin(&mut self) -> bool {
        if self.setting() == Setting::Layered {
            self.act(Act::ToLayer(HELLO));
        }
        if matches!(self.setting(), Setting::Plain | Setting::Layered) {
            self.program.factory_panics = self.random.percent(1);
            if self.program.factory_panics {
                self.act(Act::Await);
                return true;
            }
        }
        self.program.on_close_panics = self.random.percent(3);
        if self.setting() == Setting::Silent {
            self.program.open = Move { busy: None, ..self.any_event() };
            return false;
        }
        let may_end = matches!(self.setting(), Setting::Plain | Setting::Layered);
        match self.random.weighted(&[(50, 0), (14, 1), (12, 2), (8, 3), (8, 4)]) {
            1 => self.opens_with_want = true,
            2 => return self.open_paused(),
            3 if may_end => return self.end_in_on_open(),
            4 => {
                // `on_open` can want, too, which comes by itself below.
                let mut open = Move { outcome: Move::NONE.outcome, ..self.any_event() };
                open.next = self.chain_to(1, 3, Self::any_event);
                self.program.open = open;
                self.act(Act::Await);
                return false;
            }
            _ => (),
        }
        self.program.open = Move { outcome: Move::NONE.outcome, ..self.any_event() };
        self.may_ask_for_sender();
        if !self.opens_with_want && self.random.percent(15) {
            self.program.open.outcome = Outcome::Act(Action::Yield);
        }
        if self.random.percent(60) {
            self.act(Act::Await);
        }
        false
    }

    fn may_ask_for_sender(&mut self) {
        self.has_sender = self.random.percent(35);
        self.program.open.sender = self.has_sender;
    }

    fn open_paused(&mut self) -> bool {
        let (mut open, resumption) = {
            self.may_ask_for_sender();
            let sender = self.has_sender;
            let (does, resumption) = self.pausing();
            (Move { sender, ..does }, resumption)
        };
        open.outcome = Outcome::Act(Action::Pause);
        self.program.open = open;
        self.act(Act::Await);
        self.resume(resumption);
        false
    }

    fn end_in_on_open(&mut self) -> bool {
        let outcome = self.any_end(true);
        self.program.open = Move { outcome, ..self.any_event() };
        self.await_end(outcome);
        true
    }

    // Moves.

    /// Any that changes nothing about the connection.
    fn any_event(&mut self) -> Move {
        let sends = self.any_size();
        let n = self.random.between(0, 2 * INPUT);
        // Of other callbacks than `on_data` these two mean as much as `Continue`.
        let (wants, yields) = (Action::Want(n), Action::Yield);
        let action = self.random.weighted(&[(70, Action::Continue), (15, yields), (15, wants)]);
        let busy = self.random.percent(6).then(|| self.random.percent(50));
        Move {
            sends,
            busy,
            fickle: self.random.percent(5),
            outcome: Outcome::Act(action),
            ..Move::NONE
        }
    }

    /// As `any_event`, that is heeded by `on_data` as well.
    fn any_move(&mut self) -> Move {
        let outcome = if self.random.percent(25) { Action::Yield } else { Action::Continue };
        Move { outcome: Outcome::Act(outcome), ..self.any_event() }
    }

    fn any_size(&mut self) -> usize {
        match self.random.weighted(&[(30, 0), (60, 1), (7, 2), (3, 3)]) {
            0 => 0,
            1 => self.random.between(1, 300),
            _ if self.is_hasty() => LOW,
            2 => self.random.between(LOW, HIGH),
            _ => self.random.between(HIGH, 4 * HIGH),
        }
    }

    /// One that pauses the connection, and what will have it go on.
    fn pausing(&mut self) -> (Move, Resumption) {
        let mut does = self.any_event();
        does.outcome = Outcome::Act(Action::Pause);
        // Pausing wins.
        does.resumes = self.random.percent(10);
        if self.has_sender && self.random.percent(50) {
            if self.random.percent(50) {
                return (does, Resumption::ByResume);
            }
            let resumes = Move { resumes: true, ..self.any_event() };
            self.program.wakes.push(resumes);
            return (does, Resumption::ByWake);
        }
        does.next = self.chain_to(1, 3, |this| Move { resumes: true, ..this.any_event() });
        (does, Resumption::Itself)
    }

    /// The world's part in it.
    fn resume(&mut self, resumption: Resumption) {
        match resumption {
            Resumption::Itself => return,
            Resumption::ByResume => self.act(Act::Resume),
            Resumption::ByWake => self.act(Act::Wake),
        }
        self.act(Act::Await);
    }

    /// A chain of callbacks, each of which sees to the next, the last of them being `end`.
    fn chain_to(&mut self, least: usize, most: usize, end: fn(&mut Self) -> Move) -> Next {
        let links = self.random.between(least, most);
        self.chain(links, &mut |this| end(this))
    }

    fn chain(&mut self, links: usize, end: &mut dyn FnMut(&mut Self) -> Move) -> Next {
        let streams = if self.is_hasty() { 0 } else { 2 };
        let next = match self.random.weighted(&[(5, 0), (3, 1), (streams, 2)]) {
            0 => self.timer(),
            1 => Next::Wake,
            _ => Next::Stream(self.random.between(1, 6)),
        };
        // The place of this one comes before those of its followers.
        let at = self.list(next).len();
        self.list(next).push(Move::NONE);
        let does = if links <= 1 {
            end(self)
        } else {
            let does = self.any_event();
            Move { next: self.chain(links - 1, end), ..does }
        };
        self.list(next)[at] = does;
        next
    }

    fn timer(&mut self) -> Next {
        Next::Timer(self.random.between(0, LONGEST_TIMER as usize) as u64)
    }

    fn list(&mut self, next: Next) -> &mut Vec<Move> {
        match next {
            Next::Timer(_) => &mut self.program.timers,
            Next::Wake => &mut self.program.wakes,
            _ => &mut self.program.streams,
        }
    }

    /// One of the ways in which a callback can end its connection.
    fn any_end(&mut self, can_want: bool) -> Outcome {
        let too_much = INPUT + self.random.between(1, 100_000);
        let is_plain = self.setting() != Setting::Layered;
        self.random.weighted(&[
            (4, Outcome::Act(Action::Close)),
            (3, Outcome::Act(Action::Abort)),
            (3, Outcome::Fail),
            (2, Outcome::Decode),
            (2, Outcome::Truncated),
            (4, Outcome::Panic),
            (if is_plain { 3 } else { 0 }, Outcome::Take),
            (if can_want { 2 } else { 0 }, Outcome::Act(Action::Want(too_much))),
        ])
    }

    /// Waits for what this leads to.
    fn await_end(&mut self, outcome: Outcome) {
        if outcome != Outcome::Take {
            self.act(Act::Await);
        } else {
            // What is not written yet goes to the new owner, to be written by that.
            self.act(Act::AwaitHandler);
            let may_send = !self.program.acts.contains(&Act::Finish);
            if may_send && self.random.percent(40) {
                let more = self.random.between(1, 500);
                let pieces = self.random.cut(more);
                self.act(Act::Send(pieces));
            }
            self.act(Act::Own);
        }
    }

    // Episodes.

    fn episode(&mut self) {
        if self.setting() == Setting::Silent {
            return;
        }
        let may_stall = matches!(self.setting(), Setting::Plain | Setting::Drained);
        match self.random.weighted(&[(50, 0), (14, 1), (14, 2), (12, 3), (8, 4)]) {
            1 => self.push(),
            2 => self.wake(),
            3 if !self.is_hasty() => self.stream(),
            4 if may_stall => self.stall(),
            _ => self.exchange(),
        }
    }

    /// Some messages, and what the handler makes of them.
    fn exchange(&mut self) {
        let n = self.random.between(1, 4);
        let mut moves = Vec::new();
        let mut resumptions = Vec::new();
        for number in 1..=n {
            moves.push(match self.random.weighted(&[(70, 0), (18, 1), (12, 2)]) {
                1 => {
                    let (does, resumption) = self.pausing();
                    resumptions.push(resumption);
                    does
                }
                2 if number == n => {
                    let does = self.any_move();
                    Move { next: self.chain_to(1, 3, Self::any_event), ..does }
                }
                _ => self.any_move(),
            });
        }
        self.send(moves, 0);
        self.act(Act::Await);
        resumptions.into_iter().for_each(|resumption| self.resume(resumption));
    }

    /// Messages that these moves answer, and so many bytes behind them.
    fn send(&mut self, moves: Vec<Move>, more: usize) {
        let sizes: Vec<usize> = moves.iter().map(|_| self.message_size()).collect();
        let total: usize = sizes.iter().sum::<usize>() + more;
        let mut left = total;
        for (size, does) in sizes.into_iter().zip(moves) {
            let most = left.min(INPUT).max(size);
            let patient = self.random.percent(20);
            let wait_for = if patient { self.random.between(size, most) } else { size };
            let wants = self.random.percent(50);
            let alone = does.outcome == Outcome::Panic;
            self.program.units.push(Unit { size, wait_for, wants, alone, does });
            left -= size;
        }
        self.send_bytes(total);
    }

    fn send_bytes(&mut self, n: usize) {
        if n > 0 {
            self.sent_first.get_or_insert(n);
            let pieces = if self.is_hasty() { vec![n] } else { self.random.cut(n) };
            self.act(Act::Send(pieces));
        }
    }

    fn message_size(&mut self) -> usize {
        let most = self.random.weighted(&[(60, 40), (30, 300), (10, 900)]);
        self.random.between(1, most)
    }

    /// Somebody has a sender, or is given one.
    fn need_sender(&mut self) {
        if !self.has_sender {
            self.has_sender = true;
            let does = Move { sender: true, ..self.any_move() };
            self.send(vec![does], 0);
        }
        self.rested();
    }

    /// Everything that follows from the acts so far is waited for.
    fn rested(&mut self) -> &mut Self {
        if self.program.acts.last() != Some(&Act::Await) {
            self.act(Act::Await);
        }
        self
    }

    fn push(&mut self) {
        self.need_sender();
        for _ in 0..self.random.between(1, 3) {
            let usual = self.random.between(0, 2 * LOW);
            let size = self.random.weighted(&[(90, usual), (10, HARD + 1)]);
            // Where the hard mark is higher, a message of this size is none too large.
            let size = if self.setting() == Setting::Mild { usual } else { size };
            self.act(Act::Push(size));
            if self.random.percent(50) {
                self.act(Act::Await);
            }
        }
        self.act(Act::Await);
    }

    fn wake(&mut self) {
        self.need_sender();
        if self.random.percent(30) {
            let at = self.program.wakes.len();
            self.program.wakes.push(Move::NONE);
            let (does, resumption) = self.pausing();
            self.program.wakes[at] = does;
            self.act(Act::Wake);
            self.act(Act::Await);
            return self.resume(resumption);
        }
        let at = self.program.wakes.len();
        let mut does = self.any_event();
        self.program.wakes.push(does.clone());
        if self.random.percent(40) {
            does.next = self.chain_to(1, 3, Self::any_event);
        }
        self.program.wakes[at] = does;
        self.act(Act::Wake);
        self.act(Act::Await);
    }

    fn stream(&mut self) {
        let parts = self.random.between(2, 40);
        let does = self.any_move();
        let at = self.program.streams.len();
        self.program.streams.push(Move::NONE);
        let mut end = self.any_event();
        // Shown the messages behind it only when the stream is written.
        let pauses = self.random.percent(50);
        end.resumes = pauses;
        self.program.streams[at] = end;
        let outcome = if pauses { Outcome::Act(Action::Pause) } else { does.outcome };
        let mut moves = vec![Move { next: Next::Stream(parts), outcome, ..does }];
        if pauses && self.random.percent(50) {
            moves.push(self.any_move());
        }
        self.send(moves, 0);
        self.act(Act::Await);
    }

    /// The client does not read for a while, and more waits for it than the hard mark.
    fn stall(&mut self) {
        self.act(Act::StopReading);
        self.fill(BIG);
        self.act(Act::AwaitHandler);
        if self.has_sender {
            let size = self.random.between(1, LOW);
            self.act(Act::Push(size));
        }
        if self.random.percent(60) {
            let moves = (0..self.random.between(1, 3)).map(|_| self.any_move()).collect();
            self.send(moves, 0);
        }
        self.act(Act::ReadAgain);
        self.act(Act::Await);
        // What waits is told to senders at the end of a turn. When this is answered, the one that
        // has written the last of it has ended.
        let does = self.any_move();
        self.send(vec![does], 0);
        self.act(Act::Await);
    }

    /// A reply that the system does not take. When the timer comes, it has been offered: one of no
    /// length would come in the same turn, before that.
    fn fill(&mut self, sends: usize) {
        let next = Next::Timer(self.random.between(1, LONGEST_TIMER as usize) as u64);
        self.program.timers.push(Move::NONE);
        let outcome = Outcome::Act(Action::Continue);
        self.send(vec![Move { sends, next, outcome, ..Move::NONE }], 0);
    }

    // The end.

    fn end(&mut self) {
        match self.setting() {
            Setting::Plain => self.end_plain(),
            // What comes together with the layer's being ready may come before it is told.
            Setting::Layered => match self.rested().random.between(0, 5) {
                0 => self.act(Act::ToLayer(FAIL)),
                1 => {
                    let more = self.random.between(0, 500);
                    self.send_bytes(more);
                    self.act(Act::Finish); // without the layer's own end
                }
                2 | 3 => self.end_by_eof(Act::ToLayer(END)),
                _ => self.end_plain(),
            },
            Setting::Brief => match self.random.between(0, 3) {
                0 | 1 => self.end_in_a_message(),
                2 => self.end_half_closed(),
                _ => self.end_stalled(BIG),
            },
            Setting::Mild => self.end_stalled(MILD),
            Setting::Silent => self.act(Act::Expire),
            Setting::Unacknowledged => self.end_stalled(BIG),
            Setting::Drained => self.end_drained(),
            Setting::Killed => {
                self.stay_busy();
                let does = Move { busy: None, ..self.any_event() };
                self.act_drain(does);
                self.act(Act::Await);
                self.act(Act::Kill);
            }
            Setting::Stopped => self.rested().act(Act::Stop),
            Setting::Full => {
                // Who is busy makes no room.
                let does = Move { busy: Some(false), ..self.any_move() };
                self.send(vec![does], 0);
                self.rested().act(Act::Crowd);
            }
        }
    }

    fn end_plain(&mut self) {
        match self.random.weighted(&[
            (20, 0),
            (26, 1),
            (14, 2),
            (8, 3),
            (8, 4),
            (5, 5),
            (7, 6),
            (4, 7),
            (8, 8),
        ]) {
            0 if self.setting() == Setting::Layered => self.end_by_eof(Act::ToLayer(END)),
            0 => self.end_by_eof(Act::Finish),
            1 => self.end_by_message(),
            2 => self.end_by_chain(),
            3 => self.end_by_wake(),
            4 => {
                self.need_sender();
                let by = self.random.one_of(&[0, 1]);
                self.act(if by == 0 { Act::Close } else { Act::CloseById });
            }
            5 => {
                self.need_sender();
                self.act(Act::GiveUp);
            }
            6 => {
                let more = self.random.between(0, 300);
                // What is reset before it is accepted was never there.
                self.rested().send_bytes(more);
                self.act(Act::Reset);
            }
            7 => {
                self.program.eof.outcome = Outcome::Act(Action::Close);
                self.rested().act(Act::Leave);
            }
            _ => self.end_idle(),
        }
    }

    fn end_by_message(&mut self) {
        let outcome = self.any_end(true);
        let mut moves = Vec::new();
        // What is reset need not have been received.
        if outcome != Outcome::Act(Action::Abort) {
            let before = self.random.between(0, 2);
            moves.extend((0..before).map(|_| self.any_move()));
        }
        moves.push(Move { outcome, ..self.any_event() });
        let behind = self.random.weighted(&[(60, 0), (40, 200)]);
        let behind = self.random.between(0, behind);
        if self.random.percent(10) && !matches!(outcome, Outcome::Take) {
            // It waits for more, and yet more, until that is more than may be held.
            self.send(moves, INPUT + 200);
            let last = self.program.units.last_mut().expect("one was pushed");
            (last.wait_for, last.wants) = (usize::MAX, false);
        } else {
            self.send(moves, behind);
        }
        self.await_end(outcome);
    }

    fn end_by_chain(&mut self) {
        let outcome = self.any_end(false);
        let does = self.ending_chain(outcome);
        self.send(vec![does], 0);
        self.await_end(outcome);
    }

    /// A move that has a chain follow it which ends the connection.
    fn ending_chain(&mut self, outcome: Outcome) -> Move {
        if outcome == Outcome::Act(Action::Abort) {
            // A reset destroys what is on the way, so there must be nothing.
            let end = Move { outcome, ..self.any_event() };
            self.program.timers.push(end);
            return Move { next: self.timer(), ..Move::NONE };
        }
        let does = self.any_move();
        let links = self.random.between(1, 3);
        let next = self.chain(links, &mut |this| Move { outcome, ..this.any_event() });
        Move { next, ..does }
    }

    fn end_by_wake(&mut self) {
        self.need_sender();
        let outcome = self.any_end(false);
        let does = Move { outcome, ..self.any_event() };
        self.program.wakes.push(does);
        self.act(Act::Wake);
        self.await_end(outcome);
    }

    fn end_by_eof(&mut self, finish: Act) {
        let more = if self.random.percent(40) { self.random.between(1, INPUT / 2) } else { 0 };
        self.send_bytes(more);
        let outcome = match self.random.between(0, 3) {
            0 | 1 => Outcome::Act(Action::Close),
            2 => self.any_end(false),
            _ => return self.end_after_eof(finish),
        };
        self.program.eof = Move { outcome, ..self.any_event() };
        self.act(finish);
        self.await_end(outcome);
    }

    /// The peer has finished, and the handler goes on for a while.
    fn end_after_eof(&mut self, finish: Act) {
        if self.random.percent(50) {
            let outcome = self.any_end(false);
            self.program.eof = self.ending_chain(outcome);
            self.act(finish);
            return self.await_end(outcome);
        }
        self.program.eof = Move { sender: true, ..self.any_event() };
        self.has_sender = true;
        self.act(finish);
        self.act(Act::Await);
        if self.random.percent(50) {
            self.push();
        }
        if self.random.percent(50) {
            return self.end_by_wake();
        }
        self.act(Act::Close);
    }

    fn end_idle(&mut self) {
        let next = Next::IdleOut(self.random.between(10, 40) as u64);
        let does = Move { busy: Some(false), next, ..self.any_move() };
        self.send(vec![does], 0);
        self.act(Act::Await);
        self.act(Act::Expire);
    }

    fn end_in_a_message(&mut self) {
        let more = self.random.between(1, INPUT / 2);
        self.send_bytes(more);
        self.act(Act::Expire);
    }

    fn end_half_closed(&mut self) {
        self.program.eof = self.any_event();
        self.act(Act::Finish);
        self.act(Act::Expire);
    }

    fn end_stalled(&mut self, sends: usize) {
        self.act(Act::StopReading);
        self.send(vec![Move { sends, ..Move::NONE }], 0);
        self.act(Act::Expire);
    }

    /// The handler is busy by its own word.
    fn stay_busy(&mut self) {
        let does = Move { busy: Some(true), ..self.any_move() };
        self.send(vec![does], 0);
        self.act(Act::Await);
    }

    fn end_drained(&mut self) {
        let close = Outcome::Act(Action::Close);
        match self.random.between(0, 8) {
            0 => self.drain_idle(Move { outcome: Outcome::Default, ..Move::NONE }),
            1 => {
                let does = Move { outcome: close, ..self.any_event() };
                self.act_drain(does);
            }
            2 => {
                let outcome = self.any_end(false);
                let does = Move { outcome, ..self.any_event() };
                self.act_drain(does);
                self.await_end(outcome);
            }
            3 => {
                // It goes on, and is busy once more: with a message.
                let does = Move { sends: 0, ..self.any_event() };
                self.drain_idle(does);
                let does = self.any_move();
                self.send(vec![Move { busy: Some(false), ..does }], 0);
            }
            4 => {
                let does = Move { sends: self.random.between(1, 300), ..self.any_event() };
                self.drain_idle(does);
            }
            5 => {
                self.need_sender();
                self.stay_busy();
                let does = Move { busy: None, ..self.any_event() };
                self.act_drain(does);
                self.act(Act::Await);
                let does = Move { busy: Some(false), ..self.any_event() };
                self.program.wakes.push(does);
                self.act(Act::Wake);
            }
            6 => self.drain_in_a_message(),
            7 => {
                self.program.eof = Move { busy: None, ..self.any_event() };
                self.act(Act::Finish);
                self.act(Act::Await);
                let does = Move { outcome: close, ..self.any_event() };
                self.act_drain(does);
            }
            _ => {
                self.need_sender();
                let mut does = self.any_event();
                does.outcome = Outcome::Act(Action::Pause);
                (does.sends, does.busy) = (0, Some(true));
                self.act_drain(does);
                self.act(Act::Await);
                self.act(Act::Close);
            }
        }
    }

    /// The drain finds a connection that is not busy.
    fn drain_idle(&mut self, does: Move) {
        if self.may_be_busy() {
            let before = Move { busy: Some(false), ..self.any_move() };
            self.send(vec![before], 0);
            self.act(Act::Await);
        }
        self.act_drain(Move { busy: None, ..does });
        self.act(Act::Await);
    }

    fn act_drain(&mut self, does: Move) {
        self.program.shutdown = does;
        self.rested().act(Act::Drain);
    }

    /// It waits for the rest of a message.
    fn drain_in_a_message(&mut self) {
        let size = self.random.between(2, 300);
        let first = self.random.between(1, size - 1);
        let does = Move { busy: Some(false), ..self.any_move() };
        let wants = self.random.percent(50);
        self.program.units.push(Unit { size, wait_for: size, wants, alone: false, does });
        self.send_bytes(first);
        self.act(Act::Await);
        let outcome = self.random.one_of(&[Outcome::Default, Outcome::Act(Action::Continue)]);
        let does = Move { outcome, busy: None, ..self.any_event() };
        self.act_drain(does);
        self.act(Act::Await);
        self.send_bytes(size - first);
    }
}
