//! All questions, named once: the table and the tests of `conformance!` are made of this list.

use super::Question;

/// Hands the list to another macro: `any` questions can be asked of every subject, `plain` ones
/// only without a layer.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_questions {
    ([$($callback:tt)*] $($first:tt)*) => {
        $crate::__conformance_each! { [$($callback)*] [$($first)*]
            any bytes a_byte_comes_back;
            any bytes sixty_four_kib_come_back;
            any bytes eight_mib_come_back_to_a_slow_reader;
            any bytes a_stream_may_come_in_any_pieces;
            any bytes many_connections_are_served_at_once;
            any bytes pipelined_requests_are_answered_in_order;
            any bytes a_request_in_pieces_is_one_request;
            plain bytes the_sends_of_one_read_leave_in_one_write;
            any bytes input_that_is_left_is_shown_again;
            any bytes a_large_request_is_held_until_it_is_whole;
            any bytes a_large_reply_streams_by_on_writable;
            any bytes a_small_reply_streams_by_on_writable;
            any bytes a_peer_that_does_not_read_is_not_read;
            any bytes output_beyond_the_hard_mark_arrives;

            any flow wanted_bytes_are_waited_for;
            any flow a_want_is_forgotten_at_the_next_call;
            any flow wanting_what_is_held_means_one_byte_more;
            any flow wanting_too_much_closes_at_once;
            any flow a_yield_is_called_again_with_the_same_input;
            any flow a_yield_lets_others_have_their_turn;
            any flow a_pause_stops_reading_until_a_resume_from_elsewhere;
            any flow a_resume_shows_what_was_left;
            any flow the_end_of_a_paused_peer_is_seen_after_the_resume;
            any flow a_peer_that_never_reads_disturbs_nobody;
            any flow a_busy_peer_starves_nobody;

            any ends a_server_may_speak_first;
            any ends a_connection_may_be_closed_as_it_opens;
            any ends a_connection_may_be_aborted_as_it_opens;
            any ends a_peer_that_says_nothing_and_leaves_is_closed;
            any ends a_half_close_after_a_mib_returns_it_all;
            any ends a_half_open_handler_goes_on_writing;
            any ends senders_reach_a_half_open_connection;
            any ends the_end_shows_what_was_left;
            any ends data_before_an_immediate_close_is_all_seen;
            any ends a_reset_is_told_once;
            any ends a_reset_among_output_is_told_once;
            any ends a_close_with_unread_input_ends_cleanly;
            any ends a_close_writes_what_was_sent;
            any ends a_close_to_a_peer_that_never_reads_ends_by_the_stall;
            any ends an_abort_is_a_reset;
            any ends an_error_of_any_callback_closes_after_its_output;
            any ends any_callback_may_close;
            any ends any_callback_may_abort;
            any ends a_peer_that_left_before_the_accept_harms_nobody;
            any ends short_connections_leave_nothing;
            plain ends a_socket_can_be_taken_out_of_the_server;
            plain ends urgent_data_is_no_reason_to_spin;

            any crowd a_push_finds_its_connection_after_others_have_left;
            any crowd a_push_to_all_from_a_callback_reaches_all;
        }
    };
}

/// Calls a macro for each question of the list.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_each {
    ([$($callback:tt)*] [] $($needs:ident $theme:ident $name:ident;)*) => {
        $($callback)*! { $($needs $theme $name;)* }
    };
    ([$($callback:tt)*] [$first:ident] $($needs:ident $theme:ident $name:ident;)*) => {
        $crate::__conformance_each! { @one [$($callback)*] $first $([$needs $theme $name])* }
    };
    (@one $callback:tt $first:ident $($question:tt)*) => {
        $($crate::__conformance_call! { $callback $first $question })*
    };
}

/// Calls a macro for one question of the list.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_call {
    ([$($callback:tt)*] $first:ident [$($question:tt)*]) => {
        $($callback)*! { $first $($question)* }
    };
}

macro_rules! table {
    ($($needs:ident $theme:ident $name:ident;)*) => {
        /// All questions.
        pub(super) const QUESTIONS: &[Question] = &[
            $(Question {
                name: stringify!($name),
                needs_plain_bytes: needs_plain_bytes!($needs),
                ask: super::$theme::$name,
            },)*
        ];
    };
}

macro_rules! needs_plain_bytes {
    (any) => {
        false
    };
    (plain) => {
        true
    };
}

crate::__conformance_questions!([table]);
