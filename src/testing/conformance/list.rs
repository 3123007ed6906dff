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
            any bytes what_fills_buffers_comes_back_and_the_end_after_it;
            any bytes eight_mib_come_back_to_a_slow_reader;
            any bytes a_mib_of_one_byte_comes_back;
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
            any flow input_that_is_left_has_a_limit;
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
            plain ends data_before_an_immediate_close_is_all_seen;
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
            any ends a_reset_of_a_paused_connection_is_no_reason_to_spin;
            any ends a_full_server_is_no_reason_to_spin;

            any lingering lingering_ends_when_nothing_comes;
            any lingering lingering_ends_even_while_something_comes;
            plain lingering lingering_throws_away_no_more_than_its_limit;
            any lingering a_peer_that_leaves_ends_the_lingering;

            any crowd a_push_finds_its_connection_after_others_have_left;
            any crowd a_push_to_all_from_a_callback_reaches_all;

            any panics a_panic_in_on_open_ends_one_connection;
            any panics a_panic_in_on_data_ends_one_connection;
            any panics a_panic_in_on_eof_ends_one_connection;
            any panics a_panic_in_on_writable_ends_one_connection;
            any panics a_panic_in_on_wake_ends_one_connection;
            any panics a_panic_in_on_timer_ends_one_connection;
            any panics a_panic_in_on_shutdown_ends_one_connection;
            any panics a_panic_in_on_close_is_swallowed;
            any panics a_panic_in_a_handlers_drop_is_swallowed;
            any panics a_panic_in_the_factory_ends_one_connection;
            any panics a_panic_keeps_the_output_before_it;
            any panics a_payload_that_panics_is_dropped_with_care;
            any panics a_panic_under_a_lock_of_the_users_poisons_nothing_else;

            any times a_timer_is_never_early_and_never_forgotten;
            any times a_timer_may_be_set_again_and_again;
            any times a_timer_replaces_the_one_before;
            any times a_timer_that_is_cleared_or_never_does_not_run_out;
            any times a_timer_counts_from_the_end_of_its_callback;
            any times an_idle_connection_is_closed;
            any times a_byte_restarts_the_idle_clock_and_output_does_not;
            any times a_peer_that_connects_and_says_nothing_is_closed;
            any times drips_do_not_restart_the_message_clock;
            any times a_half_closed_connection_ends_in_time;
            any times a_connection_may_exempt_itself_from_the_idle_clock;
            any times a_connection_may_shorten_its_idle_clock;
            any times a_busy_connection_is_not_idle;
            any times a_far_timer_does_not_hide_the_idle_clock;
            any times a_paused_connection_is_not_idle;

            any push a_message_reaches_a_connection_that_waits;
            any push messages_and_replies_share_a_connection;
            any push what_was_pushed_can_be_put_before_a_reply;
            any push ten_thousand_messages_arrive_in_order;
            any push messages_of_many_threads_are_never_torn;
            any push a_message_never_splits_the_output_of_a_callback;
            any push a_wake_calls_on_wake;
            any push no_wake_is_lost;
            any push wakes_reach_each_of_many_connections;
            any push a_full_connection_hands_the_message_back;
            any push nothing_is_accepted_after_the_end;
            any push a_late_message_reaches_nobody_else;
            any push late_messages_race_with_the_end;
            any push a_close_from_elsewhere_writes_what_was_sent;
            any push closing_twice_is_closing_once;
            any push connections_may_send_to_each_other;
            any push what_is_pending_falls_to_nothing;
            any push a_sender_made_late_reaches_its_connection;
            any push a_message_reaches_a_connection_with_a_far_deadline;
            any push a_connection_that_is_paused_or_wants_more_is_pushed_to;
            any push messages_that_wait_lead_to_on_writable;

            any group a_broadcast_reaches_members_that_wait;
            any group a_member_may_broadcast_in_every_callback;
            any group members_join_and_leave_in_callbacks;
            any group one_member_may_be_left_out;
            any group all_members_see_broadcasts_in_one_order;
            any group a_broadcast_never_splits_the_output_of_a_callback;
            any group a_full_member_is_skipped_and_the_others_are_not;
            any group a_full_member_is_closed_as_a_slow_consumer;
            any group a_sender_may_give_its_connection_up;
            any group members_that_are_gone_are_forgotten;
            any group the_last_callback_may_broadcast;
            any group broadcasts_race_with_those_who_come_and_go;

            any limits the_limit_of_connections_is_exact;
            any limits a_place_that_is_free_is_taken_at_once;
            any limits a_place_is_free_when_the_server_closes;
            any limits accepting_can_be_paused;
            any limits connections_are_listed_and_counted;
            any limits a_handler_knows_both_addresses_and_its_number;
            any limits silent_connections_take_nothing_from_others;
            any limits a_burst_of_connections_is_all_accepted;
            any limits a_blocking_handler_says_where_it_may;

            any admission a_full_server_may_reject_with_a_word;
            any admission the_connection_idle_for_longest_makes_room;
            any admission who_comes_while_all_are_busy_waits_for_one_to_be_idle;
            any admission connections_of_one_address_are_limited;
            any admission the_limit_may_change_while_the_server_runs;
            any admission a_connection_may_be_exempt_from_the_limit;
            any admission a_connection_can_be_closed_by_its_number;
            plain admission what_all_hold_together_is_limited;
            plain admission who_holds_nothing_is_served_while_others_hold_too_much;

            any events each_end_is_told_with_what_led_to_it;
            any events time_outs_are_told_with_their_deadline;
            any events panics_are_told_with_their_callback;
            any events back_pressure_is_told_in_pairs;
            any events a_callback_that_holds_up_a_loop_is_told;
            any events batches_add_up_to_what_was_served;
            any events the_steps_of_a_drain_are_told_in_order;
            any events a_stop_is_told_step_by_step;
            any events observers_may_call_everything;
            any events panics_of_observers_change_nothing;
            any events connections_tell_how_they_stand;
            any events the_counters_agree_at_every_instant;

            any drain a_drain_closes_idle_connections_at_once;
            any drain a_drain_of_a_server_without_connections_is_prompt;
            any drain nobody_connects_during_a_drain;
            any drain nobody_connects_after_a_drain;
            any drain a_drain_lets_busy_connections_finish;
            any drain what_was_sent_before_a_drain_is_answered;
            plain drain the_backlog_is_served_before_the_end;
            plain drain a_drain_may_begin_before_the_server_runs;
            any drain a_stop_before_the_server_runs_ends_it;
            any drain on_shutdown_is_called_once;
            any drain the_deadline_ends_what_is_left;
            any drain a_stop_resets_everybody;
            any drain draining_twice_is_draining_once;
            any drain a_later_drain_brings_the_end_closer;
            any drain a_drain_from_a_handler_begins_and_returns;
            any drain grace_serves_those_who_still_come;
            any drain grace_ends_by_itself;
            any drain handlers_see_a_drain_in_its_grace;
            any drain a_farewell_is_no_work;
            plain drain a_server_gives_its_listeners_to_the_next;
            any drain a_drain_reaches_whoever_waits_for_something_else;
            any drain a_server_can_be_joined;
            any drain dropping_the_handle_drains;
            any drain a_drain_while_clients_come_and_go_loses_no_request;

            any framed pipelined_frames_are_answered_in_order;
            any framed later_replies_keep_the_order_of_their_requests;
            any framed later_replies_of_many_threads_are_all_sent;
            any framed a_streamed_reply_arrives_whole;
            any framed a_broken_frame_closes_after_the_replies_before_it;
            any framed an_end_within_a_frame_is_told_as_such;
            any framed outstanding_replies_outlive_a_half_close;
            any framed a_drain_waits_for_outstanding_replies;
            any framed a_dropped_reply_ends_the_connection;

            any families connections_come_over_ipv4;
            any families connections_come_over_ipv6;
            any families several_addresses_make_one_server;
            any families an_existing_listener_is_served;
            any families connections_come_over_unix_sockets;

            any reentry everything_may_be_called_from_every_callback;
            any reentry every_callback_may_close_itself_and_others;
            any reentry every_callback_may_begin_a_drain;
            any reentry every_callback_may_stop_the_server;
            any reentry the_last_callback_may_call_everything_but_speak;
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
