//! The time of day, as messages give it: RFC 9110, 5.6.7.

use httpdate::HttpDate;
use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the time of day comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    System,
    /// It stands still: for tests, which compare bytes.
    #[allow(dead_code)] // only tests stop it
    Fixed(SystemTime),
}

/// The length of every date in the preferred format.
const LENGTH: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();

/// A second, and its text.
#[derive(Clone, Copy)]
struct Formatted {
    second: u64,
    text: [u8; LENGTH],
}

thread_local! {
    /// Each thread formats a second once, however many connections it serves.
    static LATEST: Cell<Formatted> =
        const { Cell::new(Formatted { second: u64::MAX, text: [0; LENGTH] }) };
}

impl Clock {
    /// Now, within the years that a date can have.
    pub(crate) fn now(self) -> SystemTime {
        clamp(match self {
            #[allow(
                clippy::disallowed_methods,
                reason = "a message carries the time of day; nothing is measured by it"
            )]
            Clock::System => SystemTime::now(),
            Clock::Fixed(time) => time,
        })
    }

    /// Appends the date of now.
    pub(crate) fn write_date(self, out: &mut Vec<u8>) {
        let since = self.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut latest = LATEST.get();
        if latest.second != since.as_secs() {
            latest = Formatted { second: since.as_secs(), text: format(since) };
            LATEST.set(latest);
        }
        out.extend_from_slice(&latest.text);
    }
}

fn format(since: Duration) -> [u8; LENGTH] {
    let mut text = [b' '; LENGTH];
    let written = write!(&mut text[..], "{}", HttpDate::from(UNIX_EPOCH + since));
    debug_assert!(written.is_ok(), "every date has this length");
    text
}

/// The nearest time of which a date can be made: from 1970 to 9999.
pub(crate) fn clamp(time: SystemTime) -> SystemTime {
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    time.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST)
}
