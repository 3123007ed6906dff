//! Faults, done to any server that listens on TCP and answers: injected into its system calls by
//! strace, made for real by limits, or done by clients that misbehave.
//!
//! A case passes if its fault happened (which is counted), and: an existing connection is still
//! served, so is one that came during the fault, so is a later one, and the server does not spin.
//! Every server is asked the same.

mod accept;
mod client;
mod clients;
mod result;
mod sockets;
mod strace;

use crate::child::Child;
use crate::servers::Speaks;
use client::Client;
pub use result::{Figure, Outcome, Record};
use rustix::event::Timespec;
use std::time::{Duration, Instant};
use strace::Attached;

/// Whatever should happen happens within this time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A server to be tormented.
#[derive(Debug, Clone)]
pub struct Subject {
    pub name: String,
    pub speaks: Speaks,
    pub command: Vec<String>,
    /// strace interrupts the calls that threads wait in when it attaches, and a wait for events does
    /// not go on by itself. Of a server whose loop ends then, those threads are left out.
    pub spare_waits: bool,
}

/// One fault.
pub struct Case {
    /// Its row in the table of faults.
    pub row: &'static str,
    pub name: String,
    /// What is done.
    pub about: String,
    pub promise: Promise,
    run: Box<Test>,
}

type Test = dyn Fn(&mut Run<'_>) -> Result<(), Failure> + Send + Sync;

/// Whose part a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// The loop that accepts: a framework's own, or the user's where it is written by hand.
    Accepting,
    /// Reading and writing.
    Exchanging,
    /// A limit of memory or time.
    Limiting,
}

/// Why a case did not pass.
#[derive(Debug)]
pub enum Failure {
    /// The server did not do what it must.
    Failed(String),
    /// The server never makes the call that was to fail.
    NotInjected,
    /// The harness cannot do this here.
    Skipped(String),
}

/// One case that runs.
pub struct Run<'a> {
    subject: &'a Subject,
    injected: Option<u64>,
    figures: Vec<Figure>,
}

impl Case {
    fn new(
        row: &'static str,
        name: &str,
        about: &str,
        promise: Promise,
        run: impl Fn(&mut Run<'_>) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Self {
        let (name, about) = (name.to_owned(), about.to_owned());
        Self { row, name, about, promise, run: Box::new(run) }
    }

    /// Does it to a server.
    pub fn run(&self, subject: &Subject) -> Record {
        let began = Instant::now();
        let mut run = Run { subject, injected: None, figures: Vec::new() };
        let result = (self.run)(&mut run);
        let (outcome, reason) = match result {
            Ok(()) => (Outcome::Passed, None),
            Err(Failure::Failed(why)) => (Outcome::Failed, Some(why)),
            Err(Failure::NotInjected) => {
                (Outcome::NotInjected, Some("the server does not make this call".to_owned()))
            }
            Err(Failure::Skipped(why)) => (Outcome::Skipped, Some(why)),
        };
        Record {
            suite: "survive".to_owned(),
            row: self.row.to_owned(),
            case: self.name.clone(),
            backend: subject.name.clone(),
            outcome,
            injected: run.injected,
            figures: run.figures,
            ms: began.elapsed().as_millis() as u64,
            reason,
        }
    }
}

/// All faults, in the order of their rows.
pub fn cases() -> Vec<Case> {
    let mut cases = accept::cases();
    cases.extend(sockets::cases());
    cases.extend(clients::cases());
    cases
}

/// Whether strace is there, and may trace.
pub fn can_inject() -> bool {
    strace::works()
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Failure::Failed(why)
    }
}

impl Run<'_> {
    fn start(&self) -> Result<Child, Failure> {
        Ok(Child::start(&self.subject.command)?)
    }

    /// A connection that is served.
    fn open(&self, server: &Child) -> Result<Client, Failure> {
        let mut client = self.connect(server)?;
        client.exchange().map_err(|error| format!("is not served at all: {error}"))?;
        Ok(client)
    }

    fn connect(&self, server: &Child) -> Result<Client, Failure> {
        let connected = Client::connect(server.addr, self.subject.speaks);
        Ok(connected
            .map_err(|error| explain(server, format!("cannot be connected to: {error}")))?)
    }

    /// An exchange that must work, by a client that is called so.
    fn served(&self, server: &Child, client: &mut Client, called: &str) -> Result<(), Failure> {
        let exchanged = client.exchange();
        Ok(exchanged
            .map_err(|error| explain(server, format!("{called} is not served: {error}")))?)
    }

    fn new_is_served(&self, server: &Child, called: &str) -> Result<(), Failure> {
        let mut client = self.connect(server)?;
        self.served(server, &mut client, called)
    }

    /// An existing connection is still served, the blocked new one is, and so is a later one.
    fn probe(&self, server: &Child, existing: &mut Client) -> Result<(), Failure> {
        let mut blocked = self.connect(server)?;
        self.served(server, existing, "the existing connection")?;
        self.served(server, &mut blocked, "the blocked connection")?;
        self.new_is_served(server, "a later connection")?;
        self.served(server, existing, "the existing connection")
    }

    fn figure(&mut self, name: &str, value: f64, unit: &str) {
        self.figures.push(Figure { name: name.to_owned(), value, unit: unit.to_owned() });
    }

    /// Ends the faults, which must have happened.
    fn injected(&mut self, server: &Child, strace: Attached) -> Result<(), Failure> {
        let count = strace.detach();
        self.injected = Some(count);
        match (count, server.exited(Duration::ZERO)) {
            (0, None) => Err(Failure::NotInjected),
            (0, Some(_)) => {
                let said = server.said().join(" ");
                Err(Failure::Skipped(format!("it ended when strace attached: {said}")))
            }
            _ => Ok(()),
        }
    }

    /// Descriptors and threads are soon as many as before, give or take a worker. Nothing tells
    /// when: each look is followed by an exchange of a client, which takes the server a turn.
    fn gives_back(&mut self, server: &Child, before: (usize, usize)) -> Result<(), Failure> {
        const SPARE: usize = 4;
        // Pools let idle threads go after some seconds: those of tiny_http wait for five.
        let deadline = Instant::now() + 2 * PATIENCE;
        let mut client = self.open(server)?;
        loop {
            let now = server.holds();
            if now.0 <= before.0 + SPARE && now.1 <= before.1 + SPARE {
                self.figure("descriptors more", now.0 as f64 - before.0 as f64, "");
                self.figure("threads more", now.1 as f64 - before.1 as f64, "");
                return Ok(());
            }
            if Instant::now() > deadline {
                let why =
                    format!("not given back: descriptors and threads were {before:?}, are {now:?}");
                return Err(Failure::Failed(why));
            }
            self.served(server, &mut client, "a later connection")?;
        }
    }

    /// Measures for a second, and fails if the server used 5 % of a core or more. Time itself is the
    /// measure: nothing happens that could be waited for, but the server's end.
    fn no_spin(&mut self, server: &Child) -> Result<(), Failure> {
        let (began, before) = (Instant::now(), server.cpu());
        if let Some(status) = server.exited(Duration::from_secs(1)) {
            return Err(Failure::Failed(format!(
                "the server ended: {status}, {:?}",
                server.said()
            )));
        }
        let (Some(before), Some(after)) = (before, server.cpu()) else {
            return Err(Failure::Failed(explain(server, "its processor time is unknown".into())));
        };
        let percent = 100.0 * (after - before).as_secs_f64() / began.elapsed().as_secs_f64();
        self.figure("cpu", percent, "% of a core");
        if percent >= 5.0 {
            return Err(Failure::Failed(format!("spins: {percent:.0} % of a core")));
        }
        Ok(())
    }
}

/// A failure, with the end of the server if that is behind it.
fn explain(server: &Child, why: String) -> String {
    match server.exited(Duration::from_millis(100)) {
        Some(status) => {
            let said = server.said().into_iter().find(|line| !line.trim().is_empty());
            format!("the server ended ({status}): {}", said.unwrap_or_default())
        }
        None => why,
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).expect("some seconds")
}
