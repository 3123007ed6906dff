//! What a connection counts, where other threads can read it.
//!
//! Only the thread whose turn it is writes, so that counting takes plain loads and stores: no
//! locked instruction. A backend that moves a connection to another thread orders the turns.

use super::Tick;
use crate::handler::ConnectionState;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// One connection's counts. There is one for each, however idle.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    received: AtomicU64,
    sent: AtomicU64,
    requests: AtomicU64,
    /// A [`Standing`], packed.
    standing: AtomicU64,
}

/// How a connection stood at the end of its last turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: ConnectionState,
    pub(crate) busy: bool,
    /// What counts as the last byte of the peer, if it is not busy.
    pub(crate) idle_since: Tick,
    pub(crate) output_held: usize,
}

/// The lowest bits hold the output, then come the busy bit, the state, and the tick.
const HELD_BITS: u32 = 28;
const MAX_HELD: usize = 1 << HELD_BITS;
const BUSY: u64 = 1 << HELD_BITS;
const STATE_SHIFT: u32 = HELD_BITS + 1;
const TICK_SHIFT: u32 = 32;

impl Tally {
    /// A new connection takes this place.
    pub(crate) fn restart(&self, now: Tick) {
        self.received.store(0, Relaxed);
        self.sent.store(0, Relaxed);
        self.requests.store(0, Relaxed);
        let state = ConnectionState::Opening;
        self.publish(Standing { state, busy: false, idle_since: now, output_held: 0 });
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub(crate) fn add_received(&self, n: usize) {
        self.received.store(self.received() + n as u64, Relaxed);
    }

    pub(crate) fn add_sent(&self, n: usize) {
        self.sent.store(self.sent() + n as u64, Relaxed);
    }

    pub(crate) fn add_requests(&self, n: u32) {
        self.requests.store(self.requests() + u64::from(n), Relaxed);
    }

    pub(crate) fn publish(&self, standing: Standing) {
        self.standing.store(standing.pack(), Relaxed);
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing::unpack(self.standing.load(Relaxed))
    }
}

impl Standing {
    fn pack(self) -> u64 {
        let held = self.output_held.min(MAX_HELD - 1) as u64;
        let busy = if self.busy { BUSY } else { 0 };
        let state = (self.state as u64) << STATE_SHIFT;
        u64::from(self.idle_since.0) << TICK_SHIFT | state | busy | held
    }

    fn unpack(word: u64) -> Self {
        let state = match word >> STATE_SHIFT & 7 {
            0 => ConnectionState::Opening,
            1 => ConnectionState::Open,
            2 => ConnectionState::Paused,
            3 => ConnectionState::Throttled,
            4 => ConnectionState::Starved,
            5 => ConnectionState::HalfClosed,
            6 => ConnectionState::Closing,
            _ => ConnectionState::Lingering,
        };
        let held = word as usize & (MAX_HELD - 1);
        Self {
            state,
            busy: word & BUSY != 0,
            idle_since: Tick((word >> TICK_SHIFT) as u32),
            // The largest stands for all above it.
            output_held: if held == MAX_HELD - 1 { MAX_HELD } else { held },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STATES: [ConnectionState; 8] = [
        ConnectionState::Opening,
        ConnectionState::Open,
        ConnectionState::Paused,
        ConnectionState::Throttled,
        ConnectionState::Starved,
        ConnectionState::HalfClosed,
        ConnectionState::Closing,
        ConnectionState::Lingering,
    ];

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            state in 0usize..8, busy: bool, tick: u32, held in 0usize..MAX_HELD - 1,
        ) {
            let (state, idle_since) = (STATES[state], Tick(tick));
            let standing = Standing { state, busy, idle_since, output_held: held };
            prop_assert_eq!(Standing::unpack(standing.pack()), standing);
        }
    }

    #[test]
    fn more_output_than_can_be_told_is_told_as_the_most() {
        let (state, idle_since) = (ConnectionState::Closing, Tick(7));
        let huge = Standing { state, busy: true, idle_since, output_held: usize::MAX };
        let told = Standing::unpack(huge.pack());
        assert_eq!(told, Standing { output_held: 256 * 1024 * 1024, ..huge });
    }

    #[test]
    fn a_tally_is_small() {
        assert_eq!(size_of::<Tally>(), 32);
    }
}
