//! What may be true of any connection, in three bytes: there is one of it for each idle one.

/// What may be true of any connection, one bit each; and how far it is in what has more than two
/// stages, two bits each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    /// What is asked for in every turn.
    first: u8,
    second: u8,
    stages: u8,
}

/// Whether the peer has finished sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerEnd {
    Unseen,
    Seen,
    /// And the handler closes because of it, but not yet.
    Followed,
}

/// Whether the output is above the high mark and has not been below the low mark since: the peer is
/// not read then. And what of it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Throttle {
    Off,
    /// It is on, and nobody was told yet.
    On,
    /// It is off again, and nobody was told that yet.
    OffUntold,
    OnTold,
}

impl Throttle {
    fn turned(self, on: bool) -> Self {
        match (on, self) {
            (true, Throttle::Off) => Throttle::On,
            (true, Throttle::OffUntold) => Throttle::OnTold,
            (false, Throttle::On) => Throttle::Off,
            (false, Throttle::OnTold) => Throttle::OffUntold,
            (_, same) => same,
        }
    }
}

/// What a drain has done to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    Untold,
    /// `on_shutdown` was called.
    Told,
    /// And something was to be done since: close when that is over.
    Finishing,
    /// And the handler closes because of it, but not yet.
    Followed,
}

/// A getter and a setter for each bit.
macro_rules! bits {
    ($($(#[$doc:meta])* $get:ident, $set:ident: $byte:ident & $bit:literal;)*) => {
        impl Flags {
            $(
                $(#[$doc])*
                pub(super) fn $get(self) -> bool {
                    self.$byte & $bit != 0
                }

                pub(super) fn $set(&mut self, on: bool) {
                    self.$byte = if on { self.$byte | $bit } else { self.$byte & !$bit };
                }
            )*
        }
    };
}

bits! {
    /// `on_open` was called, so `on_close` will be.
    opened, set_opened: second & 1;
    /// The handler has been shown something.
    any_data, set_any_data: first & 1;
    /// The handler is busy by its own word.
    busy, set_busy: first & 2;
    paused, set_paused: first & 4;
    /// Show the held input again at the next turn: after a `Yield` or a resume.
    again, set_again: first & 8;
    /// The output has reached the low mark: `on_writable` is due when it is below.
    filled, set_filled: first & 16;
    /// The handler is gone, and everybody was told why.
    released, set_released: second & 2;
    /// The end is to be a reset.
    reset, set_reset: second & 4;
    /// Whoever gives it turns was told last when it will have been idle for too long.
    told_of_silence, set_told_of_silence: first & 32;
}

/// Where the stages are: the peer's end in the lowest two bits.
const PEER: u8 = 3;
/// The lower bit of the throttle, which is set while it is on.
const THROTTLED: u8 = 4;
const DRAIN: u8 = 3 << 4;
/// Of the first byte: busy, paused, again, filled.
const UNQUIET: u8 = 2 | 4 | 8 | 16;

/// Questions of every turn, which are answered by a look at one or two bytes.
impl Flags {
    pub(super) fn saw_eof(self) -> bool {
        self.stages & PEER != 0
    }

    pub(super) fn is_throttled(self) -> bool {
        self.stages & THROTTLED != 0
    }

    pub(super) fn was_told_to_drain(self) -> bool {
        self.stages & DRAIN != 0
    }

    /// Neither paused nor throttled, and the peer has not finished.
    pub(super) fn is_in_full_flow(self) -> bool {
        !self.paused() && self.stages & (PEER | THROTTLED) == 0
    }

    /// In full flow, with nothing to be done but for what comes, and untold of any drain.
    pub(super) fn is_quiet(self) -> bool {
        (self.first & UNQUIET) | (self.stages & (PEER | THROTTLED | DRAIN)) == 0
    }
}

impl Flags {
    pub(super) fn peer(self) -> PeerEnd {
        match self.stages & 3 {
            0 => PeerEnd::Unseen,
            1 => PeerEnd::Seen,
            _ => PeerEnd::Followed,
        }
    }

    pub(super) fn set_peer(&mut self, peer: PeerEnd) {
        self.stages = self.stages & !3 | peer as u8;
    }

    pub(super) fn throttle(self) -> Throttle {
        match self.stages >> 2 & 3 {
            0 => Throttle::Off,
            1 => Throttle::On,
            2 => Throttle::OffUntold,
            _ => Throttle::OnTold,
        }
    }

    pub(super) fn set_throttle(&mut self, throttle: Throttle) {
        self.stages = self.stages & !(3 << 2) | (throttle as u8) << 2;
    }

    pub(super) fn turn_throttle(&mut self, on: bool) {
        self.set_throttle(self.throttle().turned(on));
    }

    pub(super) fn drain(self) -> Drain {
        match self.stages >> 4 & 3 {
            0 => Drain::Untold,
            1 => Drain::Told,
            2 => Drain::Finishing,
            _ => Drain::Followed,
        }
    }

    pub(super) fn set_drain(&mut self, drain: Drain) {
        self.stages = self.stages & !(3 << 4) | (drain as u8) << 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Get = fn(Flags) -> bool;
    type Set = fn(&mut Flags, bool);

    const BITS: [(Get, Set); 9] = [
        (Flags::opened, Flags::set_opened),
        (Flags::any_data, Flags::set_any_data),
        (Flags::busy, Flags::set_busy),
        (Flags::paused, Flags::set_paused),
        (Flags::again, Flags::set_again),
        (Flags::filled, Flags::set_filled),
        (Flags::released, Flags::set_released),
        (Flags::reset, Flags::set_reset),
        (Flags::told_of_silence, Flags::set_told_of_silence),
    ];

    #[test]
    fn each_bit_is_its_own() {
        let mut flags = Flags::default();
        for (number, (_, set)) in BITS.iter().enumerate() {
            set(&mut flags, true);
            let are_set = BITS.map(|(get, _)| get(flags));
            assert!((0..BITS.len()).all(|other| are_set[other] == (other <= number)), "{number}");
        }
        for (get, set) in BITS {
            set(&mut flags, false);
            assert!(!get(flags));
        }
        assert_eq!((flags.first, flags.second, flags.stages), (0, 0, 0));
    }

    #[test]
    fn some_bits_break_the_quiet() {
        let breaks = BITS.map(|(_, set)| {
            let mut flags = Flags::default();
            set(&mut flags, true);
            !flags.is_quiet()
        });
        assert_eq!(breaks, [false, false, true, true, true, true, false, false, false]);
    }

    #[test]
    fn each_stage_is_told_from_every_other() {
        let mut flags = Flags::default();
        for peer in [PeerEnd::Followed, PeerEnd::Seen, PeerEnd::Unseen] {
            flags.set_peer(peer);
            for throttle in [Throttle::OffUntold, Throttle::OnTold, Throttle::On, Throttle::Off] {
                flags.set_throttle(throttle);
                assert_eq!(
                    flags.is_throttled(),
                    matches!(throttle, Throttle::On | Throttle::OnTold)
                );
                assert_eq!(flags.saw_eof(), peer != PeerEnd::Unseen);
                assert_eq!(flags.is_in_full_flow(), !(flags.saw_eof() || flags.is_throttled()));
                for drain in [Drain::Followed, Drain::Finishing, Drain::Told, Drain::Untold] {
                    flags.set_drain(drain);
                    assert_eq!(flags.was_told_to_drain(), drain != Drain::Untold);
                    let all = (flags.peer(), flags.throttle(), flags.drain());
                    assert_eq!(all, (peer, throttle, drain));
                    let is_full = flags.is_in_full_flow();
                    assert_eq!(flags.is_quiet(), is_full && drain == Drain::Untold);
                }
            }
        }
        assert_eq!((flags.first, flags.second, flags.stages), (0, 0, 0));
    }
}
