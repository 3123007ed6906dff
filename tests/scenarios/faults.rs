//! Errors of the system at every place of a conversation.

use crate::probe::{Log, Probe};
use polyserve::CloseKind;
use std::io::ErrorKind;

const TRANSIENT: [ErrorKind; 2] = [ErrorKind::Interrupted, ErrorKind::WouldBlock];

/// Plays a conversation in which something may be put before each step.
fn play(mut disturb: impl FnMut(usize, &mut polyserve::testing::Script)) -> (Vec<String>, Vec<u8>) {
    let log = Log::default();
    let mut script = Probe::echo(&log).script();
    let mut output = Vec::new();
    for step in 0..6 {
        disturb(step, &mut script);
        match step {
            0 => script.open(),
            1 => script.recv(b"one"),
            2 => script.block_output().recv(b"two"),
            3 => script.recv(b"three"),
            4 => script.unblock_output(),
            _ => script.eof(),
        };
        output.extend(script.output());
    }
    (log.take(), output)
}

#[test]
fn transient_errors_change_nothing_wherever_they_come() {
    let undisturbed = play(|_, _| ());
    assert_eq!(undisturbed.1, b"onetwothree");
    for kind in TRANSIENT {
        for at in 0..6 {
            for n in [1, 5, 50] {
                let (log, output) = play(|step, script| {
                    for _ in 0..if step == at { n } else { 0 } {
                        script.error(kind).output_error(kind);
                    }
                });
                assert_eq!(
                    (&log, &output),
                    (&undisturbed.0, &undisturbed.1),
                    "{n} {kind:?} at {at}"
                );
            }
        }
    }
}

#[test]
fn a_failing_socket_ends_the_connection_once_wherever_it_fails() {
    for receive in [true, false] {
        for at in 0..6 {
            let (log, output) = play(|step, script| {
                if step == at {
                    match receive {
                        true => script.error(ErrorKind::ConnectionReset),
                        false => script.output_error(ErrorKind::BrokenPipe),
                    };
                }
            });
            let closes: Vec<_> = log.iter().filter(|entry| entry.starts_with("close")).collect();
            assert_eq!(closes.len(), 1, "{log:?}");
            assert_eq!(log.last(), closes.last().copied(), "{log:?}");
            assert_eq!(log[0], "open");
            assert!(b"onetwothree".starts_with(&output[..]), "{}", output.escape_ascii());
        }
    }
}

#[test]
fn every_reason_leaves_exactly_one_entry() {
    for kind in [CloseKind::Reset, CloseKind::Io] {
        let error =
            if kind == CloseKind::Reset { ErrorKind::BrokenPipe } else { ErrorKind::TimedOut };
        let log = Log::default();
        let mut script = Probe::echo(&log).script();
        script.output_error(error).recv(b"x").eof();
        assert_eq!(
            log.take(),
            ["open", "data x", "close closed"]
                .map(|entry| { entry.replace("closed", kind.name()) })
        );
    }
}
