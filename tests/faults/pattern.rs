//! Bytes that tell where they belong.

use std::sync::OnceLock;

/// A prime, so that no buffer, window or packet is a multiple of it.
const PERIOD: usize = 65_521;

/// One period, twice, so that a whole period from anywhere on is one slice.
fn table() -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    TABLE.get_or_init(|| (0..2 * PERIOD).map(|at| byte(at % PERIOD)).collect())
}

fn byte(at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 16) as u8
}

/// The slices that make up these bytes.
fn slices(from: usize, len: usize) -> impl Iterator<Item = &'static [u8]> {
    (0..len).step_by(PERIOD).map(move |done| {
        let begin = (from + done) % PERIOD;
        &table()[begin..begin + PERIOD.min(len - done)]
    })
}

/// The bytes from this place on.
pub(crate) fn pattern(from: usize, len: usize) -> Vec<u8> {
    slices(from, len).collect::<Vec<_>>().concat()
}

/// Whether these are the bytes from this place on; else the first one that is not.
pub(crate) fn check(from: usize, bytes: &[u8]) -> Result<(), String> {
    for (got, expected) in bytes.chunks(PERIOD).zip(slices(from, bytes.len())) {
        if got != expected {
            let wrong = got.iter().zip(expected).position(|(got, expected)| got != expected);
            return Err(format!("wrong at {wrong:?} of the {} bytes from {from}", bytes.len()));
        }
    }
    Ok(())
}
