//! Who listens to which channel.

use crate::value::Bytes;
use polyserve::{ConnectionId, Sender};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All channels that somebody listens to.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    all: Mutex<HashMap<Bytes, Listeners>>,
}

type Listeners = HashMap<ConnectionId, Sender>;

impl Channels {
    pub(crate) fn join(&self, channel: &[u8], sender: Sender) {
        self.lock().entry(channel.into()).or_default().insert(sender.id(), sender);
    }

    /// After this nothing of the channel is sent to the connection any more.
    pub(crate) fn leave(&self, channel: &[u8], id: ConnectionId) {
        let mut all = self.lock();
        let Some(listeners) = all.get_mut(channel) else { return };
        listeners.remove(&id);
        if listeners.is_empty() {
            all.remove(channel);
        }
    }

    /// Sends these bytes to all who listen, and returns to how many. The lock is held meanwhile, so
    /// that all of them get all messages in the same order.
    ///
    /// Whoever is so slow that the message does not fit its output any more is closed: it could not
    /// tell that it has missed one. Redis does the same (`client-output-buffer-limit pubsub`).
    pub(crate) fn publish(&self, channel: &[u8], bytes: Vec<u8>) -> usize {
        let all = self.lock();
        let Some(listeners) = all.get(channel) else { return 0 };
        let message: Arc<[u8]> = bytes.into(); // one copy for all
        let sent = |listener: &&Sender| match listener.send(Arc::clone(&message)) {
            Ok(()) => true,
            Err(error) => {
                if error.is_full() {
                    listener.close();
                }
                false
            }
        };
        listeners.values().filter(sent).count()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, Listeners>> {
        // No step below can leave it half changed.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
