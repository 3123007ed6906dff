//! What a server does at its limits, while everything happens at once: connections that are closed from
//! outside, make room, are exempt, are handed out, or drip. On each backend.
//!
//! `POLYSERVE_ROUNDS` sets how often what is repeated is repeated.

#![cfg(target_os = "linux")]

#[path = "support/life.rs"]
mod life;

use life::{Echo, Kind, echo, on_each_backend, rounds, spawn_with, until, wait_for_end};
use polyserve::{Builder, Control, Limit, Limits, Timeouts};
use std::time::{Duration, Instant};

on_each_backend! {
    a_connection_is_closed_by_its_number_at_whatever_moment
}

/// No deadline comes to the help of who was forgotten.
fn patient() -> Timeouts {
    let mut timeouts = Timeouts::default();
    timeouts.first_byte = Limit::Unlimited;
    timeouts.idle = Limit::Unlimited;
    timeouts
}

fn limited(change: impl FnOnce(&mut Limits)) -> impl FnOnce(Builder) -> Builder {
    let mut limits = Limits::default();
    change(&mut limits);
    move |builder| builder.limits(limits).timeouts(patient())
}

fn nothing_is_left(control: &Control) {
    until("nothing to be left", || control.stats().live() == 0);
    let stats = control.stats();
    assert_eq!(stats.accepted(), stats.closed_total() + stats.refused(), "{stats:?}");
    assert_eq!(stats.held(), 0, "{stats:?}");
}

/// Who has the answer gives the order while the session is on its way to wait for more.
fn a_connection_is_closed_by_its_number_at_whatever_moment(kind: Kind) {
    let server = spawn_with(kind, limited(|_| ()), |_| Echo);
    let control = server.handle.control();
    for round in 0..rounds(300) {
        let mut client = server.connect();
        echo(&mut client, b"hello");
        // Each a little later than the one before.
        let at = Instant::now() + Duration::from_nanos(200) * (round % 100) as u32;
        while Instant::now() < at {
            std::hint::spin_loop();
        }
        let all = control.connections();
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(control.close(all[0].id));
        wait_for_end(&mut client);
        drop(client);
        until("it to be gone", || control.stats().live() == 0);
    }
    nothing_is_left(&control);
    server.end();
}
