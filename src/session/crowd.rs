//! Which connections count for which limit, and which of them is idle for longest.

use crate::addr::Addr;
use crate::connection::Tick;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// How many connections there are of each address, as far as they are counted.
#[derive(Debug, Default)]
pub(super) struct Addresses(HashMap<IpAddr, u32>);

impl Addresses {
    /// Counts a connection, and tells how many of its address there are now.
    pub(super) fn add(&mut self, peer: &Addr) -> usize {
        let Some(block) = block_of(peer) else { return 0 };
        let count = self.0.entry(block).or_default();
        *count += 1;
        *count as usize
    }

    /// Forgets a connection, if it was counted.
    pub(super) fn remove(&mut self, peer: &Addr) {
        let Some(block) = block_of(peer) else { return };
        if let Some(count) = self.0.get_mut(&block) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&block);
            }
        }
    }
}

/// The addresses that are one peer: an IPv4 address, or the 64 bits of an IPv6 network.
fn block_of(peer: &Addr) -> Option<IpAddr> {
    let ip = peer.as_tcp()?.ip().to_canonical();
    Some(match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::from(u64::MAX)).into()),
    })
}

/// Which connections do not count against the limit of all.
pub(super) type Uncounted = HashSet<u32>;

/// Since when each connection is idle, by its place. Kept only where the oldest idle one makes room.
#[derive(Debug, Default)]
pub(super) struct IdleSince {
    since: Vec<Option<Tick>>,
    /// Somebody needs a place, and nobody was idle.
    wanted: bool,
}

impl IdleSince {
    /// Notes the state of a connection. `true` if it is idle, and is to make room.
    pub(super) fn note(&mut self, place: u32, since: Option<Tick>) -> bool {
        let place = place as usize;
        if self.since.len() <= place {
            self.since.resize(place + 1, None);
        }
        self.since[place] = since;
        since.is_some() && std::mem::take(&mut self.wanted)
    }

    /// Takes out the connection that has been idle for longest. If there is none, the first that
    /// becomes idle is told by `note`.
    pub(super) fn take_oldest(&mut self, now: Tick) -> Option<u32> {
        let idle = self.since.iter().enumerate().filter_map(|(at, since)| Some((at, (*since)?)));
        let oldest = idle.max_by_key(|(_, since)| since.until(now)).map(|(at, _)| at);
        self.wanted = oldest.is_none();
        let at = oldest?;
        self.since[at] = None;
        u32::try_from(at).ok()
    }

    /// A connection is over.
    pub(super) fn forget(&mut self, place: u32) {
        if let Some(since) = self.since.get_mut(place as usize) {
            *since = None;
        }
    }

    /// Nobody needs a place any more.
    pub(super) fn settle(&mut self) {
        self.wanted = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn addr(text: &str) -> Addr {
        text.parse::<SocketAddr>().unwrap().into()
    }

    #[test]
    fn addresses_are_counted_by_what_one_peer_has() {
        let mut addresses = Addresses::default();
        for (text, count) in [
            ("192.0.2.1:1", 1),
            ("192.0.2.1:2", 2),
            ("[::ffff:192.0.2.1]:3", 3),
            ("192.0.2.2:1", 1),
            ("[2001:db8::1]:1", 1),
            ("[2001:db8:0:0:ffff::1]:1", 2),
            ("[2001:db8:0:1::1]:1", 1),
        ] {
            assert_eq!(addresses.add(&addr(text)), count, "{text}");
        }
        addresses.remove(&addr("192.0.2.1:9"));
        assert_eq!(addresses.add(&addr("192.0.2.1:1")), 3);
        addresses.remove(&addr("[2001:db8:0:1::9]:1"));
        assert_eq!(addresses.0.len(), 3, "an address without connections is forgotten");
    }
}
