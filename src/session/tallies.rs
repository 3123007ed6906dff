//! What everybody may read of a connection without a lock: its tally, and who it is. It is kept in
//! places that never move.

use crate::addr::Addr;
use crate::connection::Tally;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// One [`Tally`] and one [`Name`] for each place in the table of live connections. They are found
/// without a lock: each turn of a connection looks its own tally up.
pub(super) struct Tallies {
    chunks: Box<[OnceLock<Chunk<Record>>]>,
    /// What does not fit a name. Made once there is a peer with an IPv6 address.
    wide: OnceLock<Box<[OnceLock<Chunk<Wide>>]>>,
    /// For places beyond the last chunk, which share it, so that their figures are nonsense.
    spare: Record,
}

type Chunk<T> = Box<[T; CHUNK]>;

/// What there is of each connection, however idle.
#[derive(Default)]
struct Record {
    tally: Tally,
    name: Name,
}

/// The number of a connection, and its peer's address. They are written before anybody knows the
/// connection, and never while it lives.
#[derive(Default)]
struct Name {
    id: AtomicU64,
    /// From the highest bits on: the kind of the address (16 bits), its port (16), and 32 bits that
    /// are the address itself (IPv4), or its scope (IPv6).
    addr: AtomicU64,
}

/// The rest of an IPv6 address.
#[derive(Default)]
struct Wide {
    ip: [AtomicU64; 2],
    flow: AtomicU32,
}

/// The kinds of an address; anything else is none of TCP.
const IPV4: u64 = 4;
const IPV6: u64 = 6;

const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 10;
/// Enough for two million connections, at 16 bytes a chunk.
const CHUNKS: usize = 2048;
/// How many connections there may be, so that each has a place; and a few more, which are refused.
pub(super) const PLACES: usize = CHUNK * (CHUNKS - 1);
/// Connections that are accepted one after the other usually run on different threads, so their
/// tallies must not share a cache line: the lowest bits of the place become the highest.
const SPREAD_BITS: u32 = 3;

impl Tallies {
    pub(super) fn new() -> Self {
        Self { chunks: directory(), wide: OnceLock::new(), spare: Record::default() }
    }

    pub(super) fn get(&self, place: u32) -> &Tally {
        &self.record(place).tally
    }

    /// The number of the connection in a place.
    pub(super) fn id(&self, place: u32) -> u64 {
        self.record(place).name.id.load(Relaxed)
    }

    /// The address of its peer, if that is one of TCP.
    pub(super) fn addr(&self, place: u32) -> Option<SocketAddr> {
        let addr = self.record(place).name.addr.load(Relaxed);
        let (port, low) = ((addr >> 32) as u16, addr as u32);
        match addr >> 48 {
            IPV4 => Some((Ipv4Addr::from_bits(low), port).into()),
            IPV6 => {
                let wide = get(self.wide.get()?, place)?;
                let [high, rest] = wide.ip.each_ref().map(|half| half.load(Relaxed));
                let ip = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(rest));
                Some(SocketAddrV6::new(ip, port, wide.flow.load(Relaxed), low).into())
            }
            _ => None,
        }
    }

    /// A connection takes a place, which may be new. Nobody else may ask for it before.
    pub(super) fn name(&self, place: u32, id: u64, peer: &Addr) {
        if let Some(chunk) = self.chunks.get(place as usize / CHUNK) {
            chunk.get_or_init(make);
        }
        let Name { id: own_id, addr } = &self.record(place).name;
        own_id.store(id, Relaxed);
        let (kind, port, low) = match peer.as_tcp() {
            None => (0, 0, 0),
            Some(SocketAddr::V4(peer)) => (IPV4, peer.port(), peer.ip().to_bits()),
            Some(SocketAddr::V6(peer)) => {
                self.name_wide(place, peer);
                (IPV6, peer.port(), peer.scope_id())
            }
        };
        addr.store(kind << 48 | u64::from(port) << 32 | u64::from(low), Relaxed);
    }

    #[cold]
    fn name_wide(&self, place: u32, peer: SocketAddrV6) {
        let wide = self.wide.get_or_init(directory);
        if let Some(chunk) = wide.get(place as usize / CHUNK) {
            chunk.get_or_init(make);
        }
        if let Some(wide) = get(wide, place) {
            let bits = peer.ip().to_bits();
            wide.ip[0].store((bits >> 64) as u64, Relaxed);
            wide.ip[1].store(bits as u64, Relaxed);
            wide.flow.store(peer.flowinfo(), Relaxed);
        }
    }

    fn record(&self, place: u32) -> &Record {
        get(&self.chunks, place).unwrap_or(&self.spare)
    }
}

fn directory<T>() -> Box<[OnceLock<Chunk<T>>]> {
    (0..CHUNKS).map(|_| OnceLock::new()).collect()
}

fn get<T>(chunks: &[OnceLock<Chunk<T>>], place: u32) -> Option<&T> {
    let chunk = chunks.get(place as usize / CHUNK).and_then(OnceLock::get);
    chunk.map(|chunk| &chunk[spread(place)])
}

/// Made on the heap: threads may have small stacks.
fn make<T: Default>() -> Chunk<T> {
    let all: Box<[T]> = (0..CHUNK).map(|_| T::default()).collect();
    all.try_into().ok().expect("it has the length that was asked for")
}

fn spread(place: u32) -> usize {
    let at = place as usize % CHUNK;
    at >> SPREAD_BITS | (at << (CHUNK_BITS - SPREAD_BITS) & (CHUNK - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_place_has_a_tally_of_its_own_which_neighbours_are_far_from() {
        let spread_out: HashSet<_> = (0..CHUNK as u32).map(spread).collect();
        assert_eq!(spread_out.len(), CHUNK);
        assert!(spread_out.into_iter().all(|at| at < CHUNK));
        assert!((1..8).all(|place| spread(place).abs_diff(spread(place - 1)) >= CHUNK / 8));
        let (tallies, peer) = (Tallies::new(), addr("192.0.2.1:1"));
        for place in [0, 1, 8, CHUNK as u32 - 1, CHUNK as u32, 5 * CHUNK as u32 + 3] {
            tallies.name(place, 1, &peer);
            assert_eq!(tallies.get(place).received(), 0);
            tallies.get(place).add_received(place as usize + 1);
        }
        assert_eq!(tallies.get(8).received(), 9);
        assert_eq!(tallies.get(CHUNK as u32).received(), CHUNK as u64 + 1);
    }

    #[test]
    fn there_are_never_too_many() {
        let tallies = Tallies::new();
        for peer in ["192.0.2.1:1", "[2001:db8::1]:1"] {
            tallies.name(u32::MAX, 1, &addr(peer));
            tallies.get(u32::MAX).add_sent(1);
        }
        assert_eq!(tallies.get(u32::MAX).sent(), 2);
    }

    #[test]
    fn every_address_of_tcp_is_kept_as_it_is() {
        let tallies = Tallies::new();
        let scoped = SocketAddrV6::new(Ipv6Addr::from_bits(u128::MAX - 5), 65_535, 7, u32::MAX);
        let peers = [
            addr("192.0.2.1:65535"),
            addr("255.255.255.255:0"),
            addr("[::ffff:192.0.2.1]:80"),
            addr("[2001:db8::1:2]:443"),
            Addr::Tcp(scoped.into()),
            addr("0.0.0.0:0"),
        ];
        // Places are used again, by addresses of another kind.
        for (number, peer) in (1..).zip(peers.iter().chain(peers.iter().rev())) {
            tallies.name(3, number, peer);
            assert_eq!((tallies.id(3), tallies.addr(3)), (number, peer.as_tcp()));
        }
        tallies.name(3, 99, &Addr::Unix(crate::addr::UnixName::Unnamed));
        assert_eq!((tallies.id(3), tallies.addr(3)), (99, None));
    }

    /// There is one for each connection; two in three lie in one line of the cache.
    #[test]
    fn a_record_is_small() {
        assert_eq!((size_of::<Record>(), size_of::<Wide>()), (48, 24));
    }

    fn addr(text: &str) -> Addr {
        text.parse::<SocketAddr>().unwrap().into()
    }
}
