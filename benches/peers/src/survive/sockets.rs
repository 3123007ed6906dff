//! What can go wrong with reading, writing and waiting: rows R2 and R3.

use super::strace::{Attached, WAITS};
use super::{Case, Failure, Promise, Run};

/// What goes by without harm: call, fault.
///
/// There is no EAGAIN among them: an edge-triggered server may take the system at its word that
/// there will be another event, and an injected one lies.
const HARMLESS: [(&str, &str); 2] =
    [("recvfrom", "error=EINTR:when=1..3"), ("sendto", "error=EINTR:when=1..3")];

/// What ends the connection, and no other.
const ENDS: [(&str, &str); 6] = [
    ("recvfrom", "ECONNRESET"),
    ("recvfrom", "ETIMEDOUT"),
    ("recvfrom", "EHOSTUNREACH"),
    ("sendto", "EPIPE"),
    ("sendto", "ECONNRESET"),
    ("sendto", "ENOBUFS"),
];

pub(super) fn cases() -> Vec<Case> {
    let name = |call: &str, fault: &str| {
        let errno = fault.trim_start_matches("error=").split(':').next().unwrap_or_default();
        format!("{call}-{}", errno.to_lowercase())
    };
    let mut cases = Vec::new();
    for (call, fault) in HARMLESS {
        let about = format!("{call} on one connection is interrupted thrice, and it goes on");
        cases.push(Case::new("R3", &name(call, fault), &about, Promise::Exchanging, move |run| {
            harmless(run, call, fault)
        }));
    }
    for (call, errno) in ENDS {
        let about = format!("{call} on one connection fails with {errno}");
        cases.push(Case::new("R2", &name(call, errno), &about, Promise::Exchanging, move |run| {
            ends_one(run, call, &format!("error={errno}:when=1"))
        }));
    }
    cases.push(Case::new(
        "R3",
        "wait-eintr",
        "waiting for events is interrupted",
        Promise::Exchanging,
        waits_are_interrupted,
    ));
    cases
}

/// The connection is served nevertheless.
fn harmless(run: &mut Run<'_>, call: &str, fault: &str) -> Result<(), Failure> {
    let server = run.start()?;
    let mut existing = run.open(&server)?;
    let mut victim = run.open(&server)?;
    let client = victim.stream.local_addr().expect("it is connected");
    let strace = Attached::to_connection(&server, client, call, fault, run.subject)?;
    let mut exchanges = 0..3;
    let served =
        exchanges.try_for_each(|_| run.served(&server, &mut victim, "the connection itself"));
    run.injected(&server, strace)?;
    served?;
    run.probe(&server, &mut existing)
}

/// Others go on, and when the client has gone as well, nothing is left of the connection. (It need
/// not end before: after a real error the system would tell of its end in other ways, too.)
fn ends_one(run: &mut Run<'_>, call: &str, fault: &str) -> Result<(), Failure> {
    let server = run.start()?;
    let mut existing = run.open(&server)?;
    let before = server.holds();
    let mut victim = run.open(&server)?;
    let client = victim.stream.local_addr().expect("it is connected");
    let strace = Attached::to_connection(&server, client, call, fault, run.subject)?;
    // A call that returned while strace attached had no fault: then the next one has.
    let _ = (0..3).try_for_each(|_| victim.exchange());
    run.injected(&server, strace)?;
    drop(victim);
    run.probe(&server, &mut existing)?;
    run.gives_back(&server, before)
}

fn waits_are_interrupted(run: &mut Run<'_>) -> Result<(), Failure> {
    let server = run.start()?;
    let mut existing = run.open(&server)?;
    let strace = Attached::to_all(&server, WAITS, "error=EINTR:when=1..3")?;
    let probed = run.probe(&server, &mut existing);
    match run.injected(&server, strace) {
        // Attaching has interrupted the wait before there was an injected error, which is no less.
        Err(Failure::Skipped(_)) => probed,
        Err(failure) => Err(failure),
        Ok(()) => probed,
    }
}
