//! One line on standard error that says how far a comparison is.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Drawn anew in place, if standard error is a terminal; else there is none.
pub(super) struct Progress {
    is_shown: bool,
    done: usize,
    all: usize,
    began: Instant,
}

/// The characters of the bar.
const WIDTH: usize = 24;

impl Progress {
    pub(super) fn new(all: usize, is_quiet: bool) -> Self {
        let is_shown = !is_quiet && std::io::stderr().is_terminal();
        Self { is_shown, done: 0, all, began: Instant::now() }
    }

    /// A step begins.
    pub(super) fn step(&mut self, label: &str, what: &str) {
        if self.is_shown {
            let line = line(self.done, self.all, self.began.elapsed(), label, what);
            // ECMA-48: erase to the end of the line.
            let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
        }
        self.done += 1;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(done: usize, all: usize, took: Duration, label: &str, what: &str) -> String {
    let share = done as f64 / all.max(1) as f64;
    let full = ((share * WIDTH as f64) as usize).min(WIDTH);
    let bar = "#".repeat(full) + &"-".repeat(WIDTH - full);
    let left = match done {
        0 => String::new(),
        _ => format!(", {:.0} s left", took.as_secs_f64() * (1.0 / share - 1.0).max(0.0)),
    };
    format!("[{bar}] {:3.0} %{left}  {label}, {what}", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_time_it_took() {
        let text = line(1, 4, Duration::from_secs(10), "echo: round 1 of 2", "pool:2");
        assert_eq!(text, "[######------------------]  25 %, 30 s left  echo: round 1 of 2, pool:2");
        assert!(
            line(0, 4, Duration::ZERO, "a", "b").starts_with("[------------------------]   0 %  a")
        );
    }
}
