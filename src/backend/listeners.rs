//! The listeners of an acceptor, as a readiness backend watches them.

use crate::acceptor::Acceptor;
use crate::connection::Wants;
use crate::net::{Interest, Listener, Mode, Reactor, Registration, poller_key};
use std::io;
use std::sync::Arc;

/// Watches all listeners of an acceptor under one key, or none of them.
#[derive(Debug)]
pub(crate) struct Listeners {
    key: u64,
    mode: Mode,
    watched: Vec<Registration<Arc<Listener>>>,
}

impl Listeners {
    pub(crate) fn new(key: u64, mode: Mode) -> Self {
        Self { key, mode, watched: Vec::new() }
    }

    /// Does what the acceptor's last turn wants.
    ///
    /// # Errors
    /// The system has no room for a registration. None is watched then; a later call may succeed.
    pub(crate) fn follow(
        &mut self,
        acceptor: &Acceptor,
        wants: &Wants,
        reactor: &Reactor,
    ) -> io::Result<()> {
        if !wants.read {
            // Lets go of the ports, too, once the acceptor has.
            self.watched.clear();
            return Ok(());
        }
        let (listeners, key) = (acceptor.listeners(), poller_key(self.key));
        if self.watched.len() == listeners.len() {
            return self
                .watched
                .iter_mut()
                .try_for_each(|listener| listener.set(key, Interest::READ));
        }
        self.watched.clear();
        for listener in listeners {
            let poller = Arc::clone(reactor.poller());
            self.watched.push(Registration::new(poller, listener, key, Interest::READ, self.mode)?);
        }
        Ok(())
    }
}
