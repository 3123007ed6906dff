//! What can go wrong with accepting: rows A1 to A6, A8, A10, A14 and E3.

use super::strace::Attached;
use super::{Case, Failure, PATIENCE, Promise, Run};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// accept(2): errors of one connection.
const OF_ONE_CONNECTION: [&str; 12] = [
    "ECONNABORTED",
    "EPROTO",
    "ENETDOWN",
    "ENOPROTOOPT",
    "EHOSTDOWN",
    "ENONET",
    "EHOSTUNREACH",
    "EOPNOTSUPP",
    "ENETUNREACH",
    "ETIMEDOUT",
    "EPERM",
    "ECONNRESET",
];

/// What the system can be out of, what a signal does, and what nobody knows.
const OTHERS: [(&str, &str, &str); 7] = [
    ("A1", "EMFILE", "1..5"),
    ("A1", "ENFILE", "1..5"),
    ("A3", "EINTR", "1..3"),
    ("A4", "ENOBUFS", "1+3"),
    ("A4", "ENOMEM", "1..3"),
    ("A5", "EINVAL", "1"),
    ("A6", "EIO", "1..3"),
];

pub(super) fn cases() -> Vec<Case> {
    let each = OF_ONE_CONNECTION.map(|errno| ("A2", errno, "1..10"));
    let mut cases: Vec<Case> = OTHERS.into_iter().chain(each).map(accept_fails).collect();
    cases.sort_by_key(|case| case.row);
    let mut add = |row, name, about, run: fn(&mut Run<'_>) -> Result<(), Failure>| {
        cases.push(Case::new(row, name, about, Promise::Accepting, run));
    };
    add("A1", "emfile-lasting", "every accept fails with EMFILE for a second", lasting);
    add("A1", "real-ulimit", "more clients than descriptors", out_of_descriptors);
    add("A8", "spawn-eagain", "no thread can be started", no_thread);
    add("A10", "burst", "200 clients at once", burst);
    add("A14", "setsockopt-einval", "an option of a new socket is refused", no_option);
    add("E3", "epoll_ctl-enospc", "a new socket cannot be watched", no_watch);
    cases
}

/// `when` is strace's: which of the calls of a thread fail.
fn accept_fails((row, errno, when): (&'static str, &str, &str)) -> Case {
    let words = match when.split_once("..") {
        Some((_, last)) => format!("the next {last} times"),
        None if when == "1" => "once".to_owned(),
        None => "every third time".to_owned(),
    };
    let about = format!("accept fails with {errno}, {words}");
    let (name, fault) = (errno.to_lowercase(), format!("error={errno}:when={when}"));
    Case::new(row, &name, &about, Promise::Accepting, move |run| {
        let server = run.start()?;
        let mut existing = run.open(&server)?;
        let strace = Attached::to(&server, "accept4", &fault, run.subject)?;
        let probed = run.probe(&server, &mut existing);
        run.injected(&server, strace)?;
        probed
    })
}

/// As long as the fault lasts, others are served, and the processor is idle.
fn lasting(run: &mut Run<'_>) -> Result<(), Failure> {
    let server = run.start()?;
    let mut existing = run.open(&server)?;
    let strace = Attached::to(&server, "accept4", "error=EMFILE:when=1+", run.subject)?;
    let meanwhile = run.connect(&server).and_then(|mut blocked| {
        blocked.ask().map_err(|error| format!("nothing can be sent: {error}"))?;
        run.no_spin(&server)?;
        run.served(&server, &mut existing, "the existing connection")?;
        Ok(blocked)
    });
    run.injected(&server, strace)?;
    let mut blocked = meanwhile?;
    let answered = blocked.answered();
    answered.map_err(|error| {
        super::explain(&server, format!("the blocked one is not served: {error}"))
    })?;
    run.new_is_served(&server, "a later connection")
}

/// No injection: the server may open a few descriptors more, and no others.
fn out_of_descriptors(run: &mut Run<'_>) -> Result<(), Failure> {
    const MORE: usize = 10;
    let server = run.start()?;
    let mut existing = run.open(&server)?;
    limit_descriptors(&server, server.holds().0 + MORE)?;
    let mut clients = Vec::new();
    for _ in 0..4 * MORE {
        let mut client = run.connect(&server)?;
        client.ask().map_err(|error| format!("nothing can be sent: {error}"))?;
        clients.push(client);
    }
    let spin = run.no_spin(&server);
    let (held, _) = server.holds();
    run.figure("descriptors", held as f64, "");
    spin?;
    let last = clients.last_mut().expect("there are clients");
    last.stream.set_nonblocking(true).expect("an open socket");
    let waits = last.stream.peek(&mut [0]).is_err();
    run.injected = Some(u64::from(waits));
    if !waits {
        return Err(Failure::NotInjected);
    }
    run.served(&server, &mut existing, "the existing connection")?;
    drop(clients);
    run.new_is_served(&server, "a later connection")?;
    run.served(&server, &mut existing, "the existing connection")
}

fn limit_descriptors(server: &crate::child::Child, current: usize) -> Result<(), Failure> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(current as u64), maximum };
    let pid = Pid::from_raw(server.pid() as i32);
    prlimit(pid, Resource::Nofile, limit)
        .map(drop)
        .map_err(|error| Failure::Skipped(format!("the limit cannot be set: {error}")))
}

fn no_thread(run: &mut Run<'_>) -> Result<(), Failure> {
    one_connection_fails(run, "?clone,?clone3", "error=EAGAIN:when=1")
}

fn no_option(run: &mut Run<'_>) -> Result<(), Failure> {
    one_connection_fails(run, "setsockopt", "error=EINVAL:when=1")
}

fn no_watch(run: &mut Run<'_>) -> Result<(), Failure> {
    one_connection_fails(run, "epoll_ctl", "error=ENOSPC:when=1")
}

/// The fault may cost the connection that it is for: that is answered, or ends, and no other is hurt.
fn one_connection_fails(run: &mut Run<'_>, calls: &str, fault: &str) -> Result<(), Failure> {
    let server = run.start()?;
    let mut existing = run.open(&server)?;
    let strace = Attached::to(&server, calls, fault, run.subject)?;
    let victim = run.connect(&server).map(|mut victim| {
        if victim.exchange().is_err() && !victim.ended(PATIENCE) {
            return Err("its connection is neither served nor ended".to_owned());
        }
        Ok(())
    });
    run.injected(&server, strace)?;
    run.served(&server, &mut existing, "the existing connection")?;
    run.new_is_served(&server, "a later connection")?;
    Ok(victim??)
}

fn burst(run: &mut Run<'_>) -> Result<(), Failure> {
    const CLIENTS: u64 = 200;
    let server = run.start()?;
    let mut existing = run.open(&server)?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = run.connect(&server)?;
        client.ask().map_err(|error| format!("nothing can be sent: {error}"))?;
        clients.push(client);
    }
    run.injected = Some(CLIENTS);
    run.served(&server, &mut existing, "the existing connection")?;
    for (number, client) in (1..).zip(&mut clients) {
        let answered = client.answered();
        answered.map_err(|error| {
            super::explain(&server, format!("client {number} of {CLIENTS} is not served: {error}"))
        })?;
    }
    Ok(())
}
