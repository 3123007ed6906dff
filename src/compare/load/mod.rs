//! How much is asked of a server, and how.

mod conn;
pub(super) mod crew;
pub(super) mod driver;
mod exchange;
pub(super) mod schedule;
pub(super) mod score;

pub use exchange::{CodecExchange, EchoExchange, Exchange, FixedExchange, exchange};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What the clients do, and for how long: given to a
/// [`Comparison`](super::Comparison) with each handler.
///
/// A **closed loop** (the default) has a number of connections, each of which sends its next
/// request when a response has come. It finds out how much a server is able to do. Since clients
/// wait for a server that is slow, it says little about how long requests wait at a given traffic.
///
/// An **open loop** ([`rates`](Self::rates)) sends at a fixed rate whatever the server does, as the
/// world does. A latency counts from when the request was *due*, also if it could not be sent
/// then: a server that stands still for a second is charged for all the requests of that second.
///
/// ```
/// use polyserve::compare::Load;
/// use std::time::Duration;
///
/// let closed = Load::echo(64).connections([1, 16, 64]).idle(100);
/// let open = Load::echo(64).connections([32]).rates([5_000.0, 20_000.0]);
/// let short = Load::echo(64).window(Duration::from_millis(50));
/// ```
#[derive(Clone)]
pub struct Load {
    exchange: MakeExchange,
    connections: Vec<usize>,
    in_flight: usize,
    rates: Vec<f64>,
    pub(crate) idle: usize,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    pub(crate) threads: usize,
}

pub(crate) type MakeExchange = Arc<dyn Fn(usize) -> Box<dyn Exchange> + Send + Sync>;

/// One setting of a load, at which every strategy is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Point {
    /// Connections that send requests.
    pub connections: usize,
    /// Requests that each of them may have on their way at once.
    pub in_flight: usize,
    /// Requests in a second, of all connections together. `None` is a closed loop.
    pub rate: Option<f64>,
}

impl Load {
    /// A closed loop over 1, 8 and 64 connections, with one request of each on its way, one load
    /// thread, no idle connections, 30 ms of warming up and 100 ms of measuring for each cell of
    /// each round.
    ///
    /// `exchange` makes what a connection says; it is given the connection's number, from 0.
    pub fn new<T: Exchange>(exchange: impl Fn(usize) -> T + Send + Sync + 'static) -> Self {
        Self {
            exchange: Arc::new(move |connection| Box::new(exchange(connection))),
            connections: vec![1, 8, 64],
            in_flight: 1,
            rates: Vec::new(),
            idle: 0,
            warm_up: Duration::from_millis(30),
            window: Duration::from_millis(100),
            threads: 1,
        }
    }

    /// Messages of `size` bytes, which must come back byte for byte. See [`EchoExchange`].
    pub fn echo(size: usize) -> Self {
        Self::new(move |connection| EchoExchange::new(connection, size))
    }

    /// The same request and response each time. See [`FixedExchange`].
    pub fn fixed(request: impl Into<Vec<u8>>, response: impl Into<Vec<u8>>) -> Self {
        let exchange = FixedExchange::new(request, response);
        Self::new(move |_connection| exchange.clone())
    }

    /// How many connections send: each number is measured. Zeros count as 1.
    pub fn connections(mut self, connections: impl IntoIterator<Item = usize>) -> Self {
        self.connections = connections.into_iter().map(|n| n.max(1)).collect();
        self
    }

    /// How many requests of a connection may be on their way at once (at least one): more than one
    /// is pipelining.
    pub fn in_flight(mut self, requests: usize) -> Self {
        self.in_flight = requests.max(1);
        self
    }

    /// Makes it an open loop, measured at each of these rates, in requests a second, with each
    /// number of connections. A rate that is not a number above zero is left out; the others are
    /// kept between one in a thousand seconds and ten million a second.
    ///
    /// When all connections have as many requests on their way as they may, those that are due
    /// wait, and their time counts.
    pub fn rates(mut self, rates: impl IntoIterator<Item = f64>) -> Self {
        let rates = rates.into_iter().filter(|rate| *rate > 0.0);
        self.rates = rates.map(|rate| rate.clamp(1e-3, 1e7)).collect();
        self
    }

    /// How many more connections are open beside, each of which has exchanged one request.
    /// Default: 0. The limit of open files (`ulimit -n`) must leave room for them.
    pub fn idle(mut self, connections: usize) -> Self {
        self.idle = connections;
        self
    }

    /// How long each cell of a round runs before it counts. Default: 30 ms.
    pub fn warm_up(mut self, time: Duration) -> Self {
        self.warm_up = time;
        self
    }

    /// How long each cell of a round counts. Default: 100 ms. More rounds say more than longer
    /// windows, as long as some hundred requests fit into each.
    pub fn window(mut self, time: Duration) -> Self {
        self.window = time;
        self
    }

    /// How many threads make the load (at least one). Default: 1, which on most machines asks for
    /// more than one core is able to answer. A result tells where the load was the bottleneck.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// What is measured, in the order in which it is reported.
    pub fn points(&self) -> Vec<Point> {
        let rates: Vec<Option<f64>> = match self.rates.is_empty() {
            true => vec![None],
            false => self.rates.iter().copied().map(Some).collect(),
        };
        let in_flight = self.in_flight;
        let of = |rate: Option<f64>| {
            self.connections.iter().map(move |n| Point { connections: *n, in_flight, rate })
        };
        rates.into_iter().flat_map(of).collect()
    }

    pub(crate) fn exchange(&self) -> &MakeExchange {
        &self.exchange
    }
}

impl Point {
    /// The setting in words, such as `64 connections` or `5000/s over 32 connections`.
    pub fn label(&self) -> String {
        let plural = if self.connections == 1 { "" } else { "s" };
        let mut text = format!("{} connection{plural}", self.connections);
        if let Some(rate) = self.rate {
            text = format!("{rate:.0}/s over {text}");
        }
        if self.in_flight > 1 {
            text = format!("{text}, {} in flight each", self.in_flight);
        }
        text
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load")
            .field("points", &self.points())
            .field("idle", &self.idle)
            .field("warm_up", &self.warm_up)
            .field("window", &self.window)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rate_meets_every_number_of_connections() {
        let load = Load::echo(1).connections([0, 4]).rates([10.0, -1.0, 0.0, f64::NAN, 20.0]);
        let labels: Vec<_> = load.points().iter().map(Point::label).collect();
        let expected = [
            "10/s over 1 connection",
            "10/s over 4 connections",
            "20/s over 1 connection",
            "20/s over 4 connections",
        ];
        assert_eq!(labels, expected);
        assert_eq!(
            Load::echo(1).in_flight(3).points()[1].label(),
            "8 connections, 3 in flight each"
        );
        let rates = |load: Load| load.points().iter().map(|p| p.rate).collect::<Vec<_>>();
        let extreme = Load::echo(1).connections([1]).rates([f64::MIN_POSITIVE, f64::INFINITY]);
        assert_eq!(rates(extreme), [Some(1e-3), Some(1e7)]);
    }
}
