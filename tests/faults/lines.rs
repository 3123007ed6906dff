//! The lines that another process writes, as they come.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Whatever is waited for comes within this time, or never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Lines {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Reads to the end, on a thread of its own.
    pub(crate) fn of(source: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                writer.state.lock().unwrap().lines.push(line);
                writer.changed.notify_all();
            }
            writer.state.lock().unwrap().ended = true;
            writer.changed.notify_all();
        });
        Self { shared, reader: Some(reader) }
    }

    /// Waits until `find` finds what it looks for. `None` if the lines end without it.
    pub(crate) fn find<T>(&self, what: &str, find: impl Fn(&[String]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.state.lock().unwrap();
        loop {
            if let Some(found) = find(&state.lines) {
                return Some(found);
            }
            if state.ended {
                return None;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}; lines: {:#?}", last(&state.lines));
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// The lines so far.
    pub(crate) fn so_far(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().lines.clone()
    }

    /// The last lines, for a message.
    pub(crate) fn last(&self) -> Vec<String> {
        last(&self.shared.state.lock().unwrap().lines).to_vec()
    }

    /// All lines, when the process has closed its end.
    pub(crate) fn all(&mut self) -> Vec<String> {
        assert!(self.find("the end of the output", |_| None::<()>).is_none());
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        self.so_far()
    }
}

fn last(lines: &[String]) -> &[String] {
    &lines[lines.len().saturating_sub(20)..]
}
