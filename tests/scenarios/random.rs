//! Random handlers, random peers and random systems must keep the rules.

#[path = "../support/model.rs"]
mod model;

use model::{Layered, Move, Outcome, Play, Setup, Step, Timer};
use polyserve::Action;
use proptest::prelude::*;
use std::io::ErrorKind;

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        16 => Just(Outcome::Act(Action::Continue)),
        6 => Just(Outcome::Act(Action::Yield)),
        4 => Just(Outcome::Act(Action::Pause)),
        6 => (0usize..60).prop_map(|n| Outcome::Act(Action::Want(n))),
        2 => Just(Outcome::Act(Action::Close)),
        2 => prop_oneof![Just(Outcome::Fail), Just(Outcome::Decode), Just(Outcome::Truncated)],
        2 => Just(Outcome::Panic),
        2 => Just(Outcome::Act(Action::Abort)),
    ]
}

fn moves() -> impl Strategy<Value = Move> {
    let timer = prop_oneof![
        8 => Just(Timer::Keep),
        2 => (0u64..5000).prop_map(Timer::Set),
        1 => Just(Timer::Clear),
    ];
    let busy = prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let lasts = prop_oneof![9 => Just(0), 1 => 0u64..3000];
    let idle = prop_oneof![
        15 => Just(None),
        1 => proptest::option::of(0u64..20_000).prop_map(Some),
    ];
    let rarely = || proptest::bool::weighted(0.15);
    let asks = (rarely(), proptest::bool::weighted(0.4), rarely(), proptest::bool::weighted(0.02));
    (0usize..=4, 0usize..40, outcome(), timer, busy, asks, lasts, idle).prop_map(
        |(consume, send, outcome, timer, busy, asks, lasts, idle)| {
            let (resume, sender, wake_self, take) = asks;
            Move {
                consume,
                send,
                outcome,
                timer,
                busy,
                resume,
                sender,
                wake_self,
                take,
                lasts,
                idle,
            }
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
        2 => Just(Step::Evict),
        6 => any::<(bool, bool)>().prop_map(|(read, write)| Step::Turn(read, write)),
        6 => Just(Step::Settle),
    ]
}

fn setups() -> impl Strategy<Value = Setup> {
    let layer = prop_oneof![
        4 => Just(Layered::Plain),
        3 => Just(Layered::Sips),
        1 => (0usize..200).prop_map(Layered::Ends),
        1 => (0usize..200).prop_map(Layered::Fails),
    ];
    let write_size = prop_oneof![Just(usize::MAX), 1usize..20];
    (any::<[bool; 3]>(), layer, write_size).prop_map(
        |([by_hand, on_thread, polite], layer, write_size)| Setup {
            by_hand,
            on_thread,
            polite,
            layer,
            write_size,
        },
    )
}

proptest! {
    /// `PROPTEST_CASES` says how many.
    #[test]
    fn random_handlers_and_peers_keep_the_rules(
        setup in setups(),
        program in proptest::collection::vec(moves(), 0..40),
        steps in proptest::collection::vec(steps(), 1..60),
    ) {
        let mut play = Play::new(setup, program);
        for step in &steps {
            play.take(step);
        }
        play.end();
    }
}
