//! Every limit and every time-out is put to the test: a field without a row here does not compile.

use super::list::QUESTIONS;
use crate::connection::{Limits, Timeouts};

/// What shows what happens at a limit.
enum Proof {
    /// A question, which every backend is asked.
    Question(&'static str),
    /// A case of `tests/faults`, which every backend of the crate goes through: it takes a system
    /// that is out of something.
    Fault(&'static str),
}

macro_rules! rows {
    ($type:ident { $($field:ident: [$($kind:ident $name:ident),+];)* }) => {{
        // All of its fields, by name.
        let $type { $($field: _,)* } = $type::default();
        [$((stringify!($field), vec![$(Proof::$kind(stringify!($name))),+])),*]
    }};
}

fn rows() -> Vec<(&'static str, Vec<Proof>)> {
    let limits = rows!(Limits {
        max_connections: [Question the_limit_of_connections_is_exact,
            Question the_limit_may_change_while_the_server_runs];
        at_limit: [Question a_full_server_may_reject_with_a_word,
            Question the_connection_idle_for_longest_makes_room,
            Question who_comes_while_all_are_busy_waits_for_one_to_be_idle];
        per_address: [Question connections_of_one_address_are_limited];
        farewell: [Question a_full_server_may_reject_with_a_word];
        input: [Question wanting_too_much_closes_at_once,
            Question input_that_is_left_has_a_limit];
        output_high: [Question a_peer_that_does_not_read_is_not_read];
        output_low: [Question a_small_reply_streams_by_on_writable,
            Question messages_that_wait_lead_to_on_writable];
        output_hard: [Question a_full_connection_hands_the_message_back];
        total_held: [Question what_all_hold_together_is_limited,
            Question who_holds_nothing_is_served_while_others_hold_too_much];
        lingering: [Question lingering_throws_away_no_more_than_its_limit];
        accepts_per_turn: [Question a_burst_of_connections_is_all_accepted];
    });
    let timeouts = rows!(Timeouts {
        first_byte: [Question a_peer_that_connects_and_says_nothing_is_closed];
        idle: [Question an_idle_connection_is_closed,
            Question a_byte_restarts_the_idle_clock_and_output_does_not];
        message: [Question drips_do_not_restart_the_message_clock];
        write_stall: [Question a_close_to_a_peer_that_never_reads_ends_by_the_stall];
        half_closed: [Question a_half_closed_connection_ends_in_time];
        lingering_idle: [Question lingering_ends_when_nothing_comes];
        lingering_total: [Question lingering_ends_even_while_something_comes];
        accept_pause: [Fault pauses_and_resumes];
        stall: [Question a_callback_that_holds_up_a_loop_is_told];
    });
    limits.into_iter().chain(timeouts).collect()
}

#[test]
fn every_limit_is_put_to_the_test_on_every_backend() {
    let faults = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/accept.rs");
    let faults = std::fs::read_to_string(faults).expect("the faults of accept");
    for (field, proofs) in rows() {
        for proof in proofs {
            let (name, is_there) = match proof {
                Proof::Question(name) => (name, QUESTIONS.iter().any(|q| q.name == name)),
                Proof::Fault(name) => (name, faults.contains(name)),
            };
            assert!(is_there, "`{field}` is said to be shown by {name}, which is not there");
        }
    }
}
