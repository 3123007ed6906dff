//! Backends that are wrong on purpose: the conformance suite must find each of them out.
//!
//! The right-hand column names a question that does. The loop in which the defects are built passes
//! the whole suite without one, so it is the defect that a question finds.

#![cfg(target_os = "linux")]

mod faulty_handler;
mod faulty_loop;
mod faulty_threads;

use faulty_handler::{Broken, FaultyHandler};
use faulty_loop::{Defect, FaultyLoop};
use faulty_threads::{OneByOne, TiedWorkers};
use polyserve::testing::conformance::{Subject, ask, questions};
use std::time::Instant;

polyserve::conformance!(the_loop_without_a_defect, || FaultyLoop(None));

/// Defects of a loop, and a question that finds each.
const LOOPS: &[(Defect, &str)] = &[
    (Defect::LosesWakes, "a_message_reaches_a_connection_that_waits"),
    (Defect::ForgetsToAttach, "a_message_reaches_a_connection_that_waits"),
    (Defect::WakesTheNeighbour, "a_message_reaches_a_connection_that_waits"),
    (Defect::KeepsStaleKeys, "a_push_finds_its_connection_after_others_have_left"),
    (Defect::RemembersOneWake, "a_push_to_all_from_a_callback_reaches_all"),
    (Defect::LosesWakesOfItsOwnThread, "a_push_to_all_from_a_callback_reaches_all"),
    (Defect::IgnoresDeadlines, "an_idle_connection_is_closed"),
    (Defect::StopsTheClock, "a_timer_replaces_the_one_before"),
    (Defect::IgnoresAgain, "a_yield_is_called_again_with_the_same_input"),
    (Defect::SkipsTheFirstTurn, "a_server_may_speak_first"),
    (Defect::IgnoresWriteInterest, "a_peer_that_does_not_read_is_not_read"),
    (Defect::ForgetsToReadAfterWriting, "a_peer_that_does_not_read_is_not_read"),
    (Defect::NeverReArms, "wanted_bytes_are_waited_for"),
    (Defect::IsEdgeTriggered, "a_half_close_after_a_mib_returns_it_all"),
    (Defect::NeverWatchesAgain, "a_resume_shows_what_was_left"),
    (Defect::DropsOnHangUp, "the_end_shows_what_was_left"),
    (Defect::DropsPaused, "a_resume_shows_what_was_left"),
    (Defect::StealsAByte, "a_byte_comes_back"),
    (Defect::ServesTheFirstOnly, "a_busy_peer_starves_nobody"),
    (Defect::ServesOneAtATime, "many_connections_are_served_at_once"),
    (Defect::BlocksInAccept, "a_byte_comes_back"),
    (Defect::LeaksTheClosed, "short_connections_leave_nothing"),
    (Defect::ResetsWhatItCloses, "a_half_close_after_a_mib_returns_it_all"),
    (Defect::AcceptsThree, "short_connections_leave_nothing"),
    (Defect::ReturnsWhenEmpty, "short_connections_leave_nothing"),
    (Defect::WatchesThePaused, "a_reset_of_a_paused_connection_is_no_reason_to_spin"),
    (Defect::WatchesOneListener, "several_addresses_make_one_server"),
    (Defect::ForgetsTheAcceptorWhenFull, "the_limit_of_connections_is_exact"),
    (Defect::WatchesFullListeners, "a_full_server_is_no_reason_to_spin"),
    (Defect::LosesWakesOfTheAcceptor, "a_drain_of_a_server_without_connections_is_prompt"),
    (Defect::IgnoresTheAcceptorsDeadline, "grace_ends_by_itself"),
    (Defect::KeepsListeners, "nobody_connects_during_a_drain"),
    (Defect::ReturnsEarly, "on_shutdown_is_called_once"),
    (Defect::LosesWakes, "later_replies_keep_the_order_of_their_requests"),
    (Defect::IgnoresAgain, "pipelined_frames_are_answered_in_order"),
    (Defect::IgnoresWriteInterest, "a_streamed_reply_arrives_whole"),
    (Defect::DropsOnHangUp, "outstanding_replies_outlive_a_half_close"),
];

/// Broken promises, and a question that finds each.
const HANDLERS: &[(Broken, &str)] = &[
    (Broken::OpensTwice, "a_server_may_speak_first"),
    (Broken::SkipsOpen, "a_server_may_speak_first"),
    (Broken::ClosesTwice, "a_peer_that_says_nothing_and_leaves_is_closed"),
    (Broken::SkipsClose, "a_peer_that_says_nothing_and_leaves_is_closed"),
    (Broken::CallsBackAfterClose, "a_peer_that_says_nothing_and_leaves_is_closed"),
    (Broken::EndsTwice, "the_end_shows_what_was_left"),
    (Broken::HasDataAfterTheEnd, "the_end_shows_what_was_left"),
    (Broken::LosesWhatWasLeft, "the_end_shows_what_was_left"),
    (Broken::RepeatsWhatWasLeft, "a_request_in_pieces_is_one_request"),
    (Broken::Reorders, "a_stream_may_come_in_any_pieces"),
    (Broken::SendsTwice, "a_half_close_after_a_mib_returns_it_all"),
    (Broken::SwallowsErrors, "an_error_of_any_callback_closes_after_its_output"),
    (Broken::SkipsWake, "a_wake_calls_on_wake"),
    (Broken::SkipsTimer, "a_timer_replaces_the_one_before"),
    (Broken::SkipsWritable, "a_large_reply_streams_by_on_writable"),
    (Broken::SkipsShutdown, "on_shutdown_is_called_once"),
    (Broken::ShutsDownTwice, "on_shutdown_is_called_once"),
    (Broken::LosesWhatWasLeft, "an_end_within_a_frame_is_told_as_such"),
    (Broken::SkipsWake, "a_broken_frame_closes_after_the_replies_before_it"),
];

/// A wrong backend and the question that is to find it out.
struct Row {
    defect: String,
    subject: Subject,
    question: &'static str,
}

fn rows() -> Vec<Row> {
    let loops = LOOPS.iter().map(|&(defect, question)| Row {
        defect: format!("{defect:?}"),
        subject: Subject::new(move || FaultyLoop(Some(defect))),
        question,
    });
    let handlers = HANDLERS.iter().map(|&(broken, question)| Row {
        defect: format!("{broken:?}"),
        subject: Subject::new(|| FaultyLoop(None))
            .wrap(move |handler| Box::new(FaultyHandler::new(handler, broken))),
        question,
    });
    let threads = [
        ("OneByOne", Subject::new(|| OneByOne), "many_connections_are_served_at_once"),
        ("TiedWorkers", Subject::new(|| TiedWorkers), "many_connections_are_served_at_once"),
    ];
    let threads = threads.into_iter().map(|(defect, subject, question)| Row {
        defect: defect.to_owned(),
        subject,
        question,
    });
    loops.chain(handlers).chain(threads).collect()
}

/// Each of them waits for something that does not come, so they are all asked at once.
#[test]
fn every_wrong_backend_is_found_out() {
    let missed: Vec<String> = std::thread::scope(|scope| {
        let asked: Vec<_> = rows().into_iter().map(|row| scope.spawn(|| row.miss())).collect();
        asked.into_iter().filter_map(|asked| asked.join().expect("no panic of ours")).collect()
    });
    assert!(missed.is_empty(), "not found out:\n{}", missed.join("\n"));
}

impl Row {
    /// What to complain about, if the question did not find the defect.
    fn miss(self) -> Option<String> {
        let Row { defect, subject, question } = self;
        // A question that is not there finds everything.
        if !questions().iter().any(|q| q.name() == question) {
            return Some(format!("{defect}: there is no question `{question}`"));
        }
        let began = Instant::now();
        match ask(question, &subject) {
            Err(failure) => {
                let took = began.elapsed().as_secs_f32();
                println!("{defect}: `{question}` found out in {took:.2} s: {failure}");
                None
            }
            Ok(()) => Some(format!("{defect}: `{question}` was content")),
        }
    }
}
