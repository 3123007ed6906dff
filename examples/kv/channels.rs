//! Who listens to which channel.

use crate::value::Bytes;
use polyserve::{Group, Sender, WhenFull};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All channels that somebody listens to: a group for each.
///
/// Whoever is so slow that a message does not fit its output any more is closed, because it could
/// not tell that it has missed one. Redis does the same (`client-output-buffer-limit pubsub`).
#[derive(Debug, Default)]
pub(crate) struct Channels {
    all: Mutex<HashMap<Bytes, Group>>,
}

impl Channels {
    pub(crate) fn join(&self, channel: &[u8], member: &Sender) {
        let mut all = self.lock();
        match all.get(channel) {
            Some(group) => group.join(member),
            None => {
                let group = Group::new().when_full(WhenFull::Close);
                all.entry(channel.into()).or_insert(group).join(member)
            }
        };
    }

    /// After this nothing of the channel is sent to the connection any more.
    pub(crate) fn leave(&self, channel: &[u8], member: &Sender) {
        let mut all = self.lock();
        let Some(group) = all.get(channel) else { return };
        group.leave(member);
        if group.is_empty() {
            all.remove(channel);
        }
    }

    /// Sends these bytes to all who listen, and returns to how many.
    pub(crate) fn publish(&self, channel: &[u8], bytes: Vec<u8>) -> usize {
        // Other channels need not wait until all are told.
        let group = self.lock().get(channel).cloned();
        group.map_or(0, |group| group.broadcast(bytes).sent)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, Group>> {
        // No step above can leave it half changed.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
