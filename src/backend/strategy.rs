//! A backend chosen by name.

use super::{Backend, EventLoop, ThreadPerConnection, ThreadPool};
use crate::acceptor::Acceptor;
use crate::serve_error::ServeError;
use std::fmt;
use std::str::FromStr;

/// A built-in backend, chosen at run time: a [`Backend`] that is parsed from text.
///
/// | text | backend |
/// |---|---|
/// | `threads` | [`ThreadPerConnection`] |
/// | `pool`, `pool:8` | [`ThreadPool`], of its default number of workers or of 8 |
/// | `event-loop`, `event-loop:4` | [`EventLoop`], one loop a core or 4 loops |
///
/// It prints itself in the same form.
///
/// ```
/// use polyserve::Strategy;
///
/// let strategy: Strategy = "pool:8".parse()?;
/// assert_eq!(strategy, Strategy::Pool(Some(8)));
/// assert_eq!(strategy.to_string(), "pool:8");
/// # Ok::<(), polyserve::ParseStrategyError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// A thread for each connection.
    Threads,
    /// A fixed pool of this many workers, or of its default number.
    Pool(Option<usize>),
    /// This many event loops, or one for each core.
    EventLoop(Option<usize>),
}

impl Strategy {
    /// All strategies, with their default numbers.
    pub const ALL: [Strategy; 3] =
        [Strategy::Threads, Strategy::Pool(None), Strategy::EventLoop(None)];

    /// The backend that this names.
    pub fn into_backend(self) -> Box<dyn Backend> {
        match self {
            Strategy::Threads => Box::new(ThreadPerConnection::new()),
            Strategy::Pool(None) => Box::new(ThreadPool::default()),
            Strategy::Pool(Some(workers)) => Box::new(ThreadPool::new(workers)),
            Strategy::EventLoop(None) => Box::new(EventLoop::new()),
            Strategy::EventLoop(Some(loops)) => Box::new(EventLoop::new().loops(loops)),
        }
    }
}

impl Backend for Strategy {
    fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError> {
        self.into_backend().run(acceptor)
    }

    fn default_max_connections(&self) -> usize {
        self.into_backend().default_max_connections()
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, number) = match self {
            Strategy::Threads => ("threads", None),
            Strategy::Pool(workers) => ("pool", *workers),
            Strategy::EventLoop(loops) => ("event-loop", *loops),
        };
        f.write_str(name)?;
        number.map_or(Ok(()), |number| write!(f, ":{number}"))
    }
}

/// A text that names no strategy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} names no strategy: expected threads, pool, pool:N, event-loop or event-loop:N, \
     with N of at least 1"
)]
pub struct ParseStrategyError {
    text: String,
}

impl FromStr for Strategy {
    type Err = ParseStrategyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseStrategyError { text: text.to_owned() };
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, Some(parse_number(number).ok_or_else(error)?)),
            None => (text, None),
        };
        match (name, number) {
            ("threads", None) => Ok(Strategy::Threads),
            ("pool", number) => Ok(Strategy::Pool(number)),
            ("event-loop", number) => Ok(Strategy::EventLoop(number)),
            _ => Err(error()),
        }
    }
}

/// Digits only: `usize` itself would take a plus sign as well.
fn parse_number(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_parsed_back() {
        for text in ["threads", "pool", "pool:1", "pool:8", "event-loop", "event-loop:4"] {
            assert_eq!(text.parse::<Strategy>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let texts = [
            "",
            "thread",
            "threads:2",
            "pool:",
            "pool:0",
            "pool:-1",
            "pool:+1",
            "pool:x",
            "Pool",
            "event-loop:0",
            "event-loop:1:2",
            "event_loop",
            " pool",
            "pool:99999999999999999999",
        ];
        for text in texts {
            let error = text.parse::<Strategy>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?} names no strategy")), "{error}");
        }
    }
}
