//! A thread for each connection, all within one scope: the blocking style of a backend.
//!
//! Threads of a scope may borrow: from the backend, and from whatever else lives as long as `run`
//! does. Here they borrow the name of the strategy; it could as well be a table that all
//! connections look things up in, without an `Arc`.

use polyserve::{Acceptor, Backend, Scratch, ServeError, Session};
use std::io;
use std::sync::mpsc;
use std::thread::{self, Builder, Scope};

/// Runs each session on a thread of a scope.
///
/// The end of a scope joins all its threads. So a handler that never returns keeps this backend
/// from ending, where `ThreadPerConnection` leaves its thread to itself in the end.
#[derive(Debug)]
pub(crate) struct Scoped {
    name: String,
}

impl Scoped {
    /// Threads are called `name`.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Starts a thread that runs `session`, if the system has one left.
    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        acceptor: &Acceptor,
        session: Session,
    ) {
        // The session is handed over when the thread is there: what a start that fails was given
        // is lost, and this one is to be refused properly.
        let (hand_over, take) = mpsc::channel::<Session>();
        let body = move || take.recv().into_iter().for_each(serve);
        match Builder::new().name(self.name.clone()).spawn_scoped(scope, body) {
            Ok(_thread) => drop(hand_over.send(session)),
            Err(error) => refuse(acceptor, session, &error),
        }
    }
}

/// The whole life of one connection. It ends when the peer or the handler ends it, when a time-out
/// does, or when the server drains: `run` is woken for that, and nobody need interrupt it.
fn serve(session: Session) {
    session.run(&mut Scratch::new());
}

/// Closes the connection, has it counted, and stops accepting for a moment: others end meanwhile.
fn refuse(acceptor: &Acceptor, session: Session, error: &io::Error) {
    acceptor.refuse(session, error);
}

impl Backend for Scoped {
    fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError> {
        let this = &*self;
        thread::scope(|scope| {
            // `None` comes when the server has drained or was stopped, after its last session.
            while let Some(session) = acceptor.accept()? {
                this.start(scope, acceptor, session);
            }
            Ok(())
        })
    }

    /// A thread costs more than a place in a poller.
    fn default_max_connections(&self) -> usize {
        1_000
    }
}
