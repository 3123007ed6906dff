//! The example `http`: as its clients meet it, on every backend, and played without sockets.
//!
//! `cargo test` builds the examples; `cargo test --test http` alone takes them as they are.

#![cfg(unix)]

#[path = "../support/counting.rs"]
mod counting;
#[path = "../support/process.rs"]
mod process;
#[path = "../../examples/http/web/mod.rs"]
mod web;

mod allocations;
mod clients;
mod files;
mod played;
mod raw;
mod requests;
mod splits;
mod stage;

/// Each test, once on each backend.
macro_rules! on_each_backend {
    ($($module:ident :: $test:ident)*) => {
        on_each_backend!(@ threads "threads" $($module $test)*);
        on_each_backend!(@ pool_4 "pool:4" $($module $test)*);
        on_each_backend!(@ event_loop "event-loop" $($module $test)*);
        on_each_backend!(@ event_loop_2 "event-loop:2" $($module $test)*);
    };
    (@ $name:ident $backend:literal $($module:ident $test:ident)*) => {
        mod $name {
            $(#[test] fn $test() { crate::$module::$test($backend); })*
        }
    };
}

on_each_backend! {
    clients::curl_gets_files_and_parts_of_them
    clients::curl_posts_twenty_megabytes_and_gets_them_back
    clients::curl_keeps_its_connection
    clients::python_talks_for_long_on_one_connection
    clients::wrk_sees_no_error
    clients::wrk_sees_no_error_when_it_pipelines
    raw::every_request_of_the_table_is_answered_as_it_says
    raw::a_head_that_does_not_end_is_given_up
    raw::a_drain_lets_an_upload_finish
    raw::pipelined_files_all_arrive_after_a_half_close
}
