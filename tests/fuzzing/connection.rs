//! The state machine of a connection, between a handler, a peer and a system that do anything.

use super::Outcomes;
use super::choices::Choices;
use super::model::{Layered, Move, Outcome, Play, Setup, Step, Timer};
use polyserve::{Action, CloseKind};
use std::io::ErrorKind;

/// Every way in which a connection can end.
pub(crate) const MUST_REACH: &[&str] = &[
    "peer_closed",
    "closed",
    "aborted",
    "handler",
    "panic",
    "reset",
    "io",
    "first_byte_timeout",
    "idle_timeout",
    "message_timeout",
    "write_timeout",
    "half_closed_timeout",
    "slow_consumer",
    "input_limit",
    "decode",
    "layer",
    "truncated",
    "shutdown",
    "killed",
    "evicted",
    "backend",
    "taken",
];

/// More of either would only make a run slow.
const MAX_STEPS: usize = 300;

/// The setup, then moves of the handler and steps of everybody else, in any order.
pub(crate) fn target(data: &[u8]) -> Outcomes {
    assert_eq!(MUST_REACH.len(), CloseKind::ALL.len());
    let mut choices = Choices::new(data);
    let setup = setup(&mut choices);
    let (mut program, mut steps) = (Vec::new(), Vec::new());
    while !choices.is_empty() && program.len() + steps.len() < MAX_STEPS {
        let first = choices.byte();
        if first >= 0x80 {
            program.push(a_move(first & 0x7f, &mut choices));
        } else {
            steps.push(step(first, &mut choices));
        }
    }
    let mut play = Play::new(setup, program);
    for step in &steps {
        play.take(step);
    }
    Outcomes::from([play.end().name()])
}

fn setup(choices: &mut Choices<'_>) -> Setup {
    let flags = choices.byte();
    let at = choices.number();
    let layer = match flags >> 4 & 3 {
        0 => Layered::Plain,
        1 => Layered::Sips,
        2 => Layered::Ends(at),
        _ => Layered::Fails(at),
    };
    Setup {
        by_hand: flags & 1 != 0,
        on_thread: flags & 2 != 0,
        polite: flags & 4 != 0,
        layer,
        write_size: match flags >> 6 {
            0 | 1 => usize::MAX,
            2 => 1,
            _ => 17,
        },
    }
}

fn a_move(first: u8, choices: &mut Choices<'_>) -> Move {
    let send = choices.number();
    let (flags, more) = (choices.byte(), choices.byte());
    let bit = |n: u8| flags >> n & 1 != 0;
    Move {
        consume: usize::from(first & 7).min(4),
        send,
        outcome: match first >> 3 {
            0..=4 => Outcome::Act(Action::Continue),
            5 | 6 => Outcome::Act(Action::Yield),
            7 | 8 => Outcome::Act(Action::Pause),
            // Up to beyond the input limit.
            9 | 10 => Outcome::Act(Action::Want(2 * choices.number())),
            11 => Outcome::Act(Action::Close),
            12 => Outcome::Act(Action::Abort),
            13 => choices.one_of(&[Outcome::Fail, Outcome::Decode, Outcome::Truncated]),
            14 => Outcome::Panic,
            _ => Outcome::Act(Action::Continue),
        },
        sender: bit(0),
        wake_self: bit(1),
        resume: bit(2),
        busy: bit(3).then(|| bit(4)),
        timer: match (bit(5), bit(6)) {
            (false, false) | (false, true) => Timer::Keep,
            (true, false) => Timer::Set(duration(choices)),
            (true, true) => Timer::Clear,
        },
        // The rarer wishes.
        take: bit(7) && more & 3 == 3,
        lasts: if bit(7) && more & 4 != 0 { duration(choices) } else { 0 },
        idle: match bit(7) && more & 8 != 0 {
            true if more & 16 != 0 => Some(None),
            true => Some(Some(duration(choices))),
            false => None,
        },
    }
}

fn step(first: u8, choices: &mut Choices<'_>) -> Step {
    match first % 24 {
        0 => Step::Eof,
        1 => Step::ReadError(choices.one_of(&[
            ErrorKind::Interrupted,
            ErrorKind::WouldBlock,
            ErrorKind::ConnectionReset,
            ErrorKind::TimedOut,
        ])),
        2 => Step::WriteError(choices.one_of(&[
            ErrorKind::Interrupted,
            ErrorKind::WouldBlock,
            ErrorKind::BrokenPipe,
            ErrorKind::TimedOut,
        ])),
        3 => Step::Block,
        4 | 5 => Step::Accept(choices.number()),
        6 => Step::Unblock,
        7 | 8 => Step::Advance(duration(choices)),
        9 => Step::Stopped(duration(choices)),
        10 | 11 => Step::Push(choices.number()),
        12 => Step::Wake,
        13 => Step::Resume,
        14 if first >= 72 => Step::GiveUp,
        14 => Step::Close,
        15 => Step::Drain,
        16 if first >= 72 => Step::Evict,
        16 => Step::Kill,
        17 => Step::Stop,
        18 => {
            let events = choices.byte();
            Step::Turn(events & 1 != 0, events & 2 != 0)
        }
        19 => Step::Settle,
        _ => Step::Recv(choices.number()),
    }
}

/// From nothing to more than two minutes, in milliseconds.
fn duration(choices: &mut Choices<'_>) -> u64 {
    let n = u64::from(choices.byte());
    n * n * 2
}
