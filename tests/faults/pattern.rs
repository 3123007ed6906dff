//! Bytes that tell where they belong.

/// The byte at this place, which differs between all places that are near each other.
pub(crate) fn byte(at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 16) as u8
}

/// The bytes from this place on.
pub(crate) fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(byte).collect()
}

/// Whether these are the bytes from this place on; else the first one that is not.
pub(crate) fn check(from: usize, bytes: &[u8]) -> Result<(), String> {
    match bytes.iter().zip(from..).find(|(got, at)| **got != byte(*at)) {
        None => Ok(()),
        Some((got, at)) => Err(format!("byte {at} is {got}, and should be {}", byte(at))),
    }
}
