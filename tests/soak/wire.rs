//! What clients and server say to each other.

/// What a connection is for: its first byte. A number follows, of eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Sends back what comes.
    Echo,
    /// Sends back frames, each of which begins with its length.
    Frames,
    /// Sends so many bytes, as they are taken.
    Stream,
    /// Is sent so many messages by another thread.
    Pushed,
    /// Sends so many numbers, by a timer.
    Ticks,
    /// Says `ok` and panics: in the callback that the number tells.
    Panics,
}

impl Role {
    const ALL: [Role; 6] =
        [Role::Echo, Role::Frames, Role::Stream, Role::Pushed, Role::Ticks, Role::Panics];

    pub(crate) fn header(self, number: u64) -> Vec<u8> {
        let mut header = vec![self as u8];
        header.extend(number.to_le_bytes());
        header
    }

    pub(crate) fn parse(header: &[u8]) -> Option<(Role, u64)> {
        let (first, number) = header.split_first()?;
        let role = Self::ALL.get(usize::from(*first))?;
        Some((*role, u64::from_le_bytes(number.try_into().ok()?)))
    }
}

pub(crate) const HEADER: usize = 9;

/// The byte at each place of a stream; `salt` tells streams apart.
pub(crate) fn byte(salt: u64, at: u64) -> u8 {
    (at.wrapping_add(salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8
}

pub(crate) fn bytes(salt: u64, at: u64, n: usize) -> Vec<u8> {
    (0..n as u64).map(|i| byte(salt, at + i)).collect()
}

/// The nth message that is pushed: its number, and a length that depends on it.
pub(crate) fn message(number: u64) -> Vec<u8> {
    let mut message = number.to_le_bytes().to_vec();
    message.extend(bytes(number, 0, message_length(number) - 8));
    message
}

pub(crate) fn message_length(number: u64) -> usize {
    8 + (number * 37 % 500) as usize
}
