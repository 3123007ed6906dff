//! The connections, for those who ask about them.

use polyserve::{ConnectionId, Context};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    all: Mutex<BTreeMap<ConnectionId, Client>>,
}

#[derive(Debug)]
struct Client {
    peer: String,
    local: String,
    since: Instant,
    name: String,
    subscriptions: usize,
}

impl Clients {
    pub(crate) fn add(&self, cx: &Context<'_>) {
        let client = Client {
            peer: cx.peer().to_string(),
            local: cx.local_addr().map(|addr| addr.to_string()).unwrap_or_default(),
            since: Instant::now(),
            name: String::new(),
            subscriptions: 0,
        };
        self.lock().insert(cx.id(), client);
    }

    pub(crate) fn remove(&self, id: ConnectionId) {
        self.lock().remove(&id);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The name that a connection has given itself, or nothing.
    pub(crate) fn name(&self, id: ConnectionId) -> String {
        self.lock().get(&id).map(|client| client.name.clone()).unwrap_or_default()
    }

    pub(crate) fn rename(&self, id: ConnectionId, name: &str) {
        if let Some(client) = self.lock().get_mut(&id) {
            client.name = name.to_owned();
        }
    }

    pub(crate) fn note_subscriptions(&self, id: ConnectionId, n: usize) {
        if let Some(client) = self.lock().get_mut(&id) {
            client.subscriptions = n;
        }
    }

    /// A line for each, as CLIENT LIST shows it, with those of its fields that are known here.
    pub(crate) fn list(&self) -> String {
        let mut text = String::new();
        for (id, client) in &*self.lock() {
            let Client { peer, local, since, name, subscriptions } = client;
            let (id, age) = (id.get(), since.elapsed().as_secs());
            let flags = if *subscriptions > 0 { "P" } else { "N" };
            writeln!(
                text,
                "id={id} addr={peer} laddr={local} name={name} age={age} flags={flags} db=0 \
                 sub={subscriptions} psub=0 user=default resp=2"
            )
            .expect("a string takes everything");
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ConnectionId, Client>> {
        // No step above can leave it half changed.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
