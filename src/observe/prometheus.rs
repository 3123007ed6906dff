//! Metrics in the text format that Prometheus and its kin read.

use super::{Callback, Closed, Deadline, Observer, Snapshot};
use crate::addr::Addr;
use crate::handler::{CloseKind, ConnectionId, Peer};
use crate::shutdown::DrainReport;
use std::fmt::{self, Display, Write as _};
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Counts events, and renders them and a [`Snapshot`] as metrics.
///
/// The text is in the Prometheus exposition format, version 0.0.4; send it with
/// [`CONTENT_TYPE`](Self::CONTENT_TYPE). Nothing in it comes from a peer. `examples/metrics.rs`
/// serves it.
///
/// It is told nothing for single requests: bytes and requests come from the snapshot. So it costs
/// some additions for each connection, and nothing for a request.
///
/// ```
/// use polyserve::observe::Prometheus;
/// use polyserve::{Framed, Server, codec::Lines};
/// use std::sync::Arc;
///
/// let metrics = Arc::new(Prometheus::new().label("server", "lines"));
/// let server = Server::builder().observer(Arc::clone(&metrics)).bind("127.0.0.1:0")?.spawn(|_| {
///     Framed::new(Lines::new(), |line, replies| replies.send(line))
/// })?;
///
/// let text = metrics.render(&server.control().stats());
/// assert!(text.contains("polyserve_connections_open{server=\"lines\"} 0\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # The metrics
///
/// | name, behind `polyserve_` | type | meaning |
/// |---|---|---|
/// | `connections_accepted_total` | counter | connections accepted; always the sum of those open, closed and refused |
/// | `connections_refused_total` | counter | accepted and closed again before anything was done with them |
/// | `connections_closed_total{reason}` | counter | ended, by [`CloseKind`]; all reasons are there from the start |
/// | `connections_open` | gauge | connections whose handlers are alive or about to be made |
/// | `connections_live` | gauge | what counts against the limit: those open, and those whose sockets linger |
/// | `connections_throttled` | gauge | peers that are not read because they do not take their output |
/// | `held_bytes` | gauge | input and output that all connections hold, against [`Limits::total_held`](crate::Limits::total_held) |
/// | `connection_duration_seconds` | histogram | from accept to end, of connections that have ended |
/// | `received_bytes_total` | counter | bytes received |
/// | `sent_bytes_total` | counter | bytes that the system took for sending |
/// | `requests_total` | counter | requests served, see [`Context::count_requests`](crate::Context::count_requests) |
/// | `backpressure_total` | counter | how often a peer was not read any more because of its output |
/// | `timeouts_total{deadline}` | counter | deadlines that have passed, by [`Deadline`] |
/// | `panics_total{callback}` | counter | panics, by [`Callback`] |
/// | `stalls_total` | counter | callbacks that held up their event loop for longer than [`Timeouts::stall`](crate::Timeouts::stall) |
/// | `stall_seconds_total` | counter | how long those took, in all |
/// | `accept_errors_total` | counter | how often `accept` failed |
/// | `accept_pauses_total` | counter | of those: how often nothing was accepted for a while, because the system was out of something |
/// | `listeners_failed_total` | counter | listeners that died |
/// | `draining` | gauge | 1 from the beginning of a drain or a stop, 0 before |
///
/// Worth an alert are any panic, stall, accept pause and failed listener; `connections_live` near
/// the limit; and a growing share of `connections_throttled`.
#[derive(Debug, Default)]
pub struct Prometheus {
    /// As they stand in the text: `name="value"`.
    labels: Vec<String>,
    throttled_on: AtomicU64,
    throttled_off: AtomicU64,
    timeouts: [AtomicU64; Deadline::ALL.len()],
    panics: [AtomicU64; Callback::ALL.len()],
    stalls: AtomicU64,
    stall_nanos: AtomicU64,
    accept_pauses: AtomicU64,
    listeners_failed: AtomicU64,
    draining: AtomicU64,
    durations: Durations,
}

/// How long connections lived.
#[derive(Debug, Default)]
struct Durations {
    /// Those that fit under each bound and not under the one before; the last has none.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// Upper bounds in seconds: from one request to a day.
const BOUNDS: [(&str, Duration); 8] = [
    ("0.01", Duration::from_millis(10)),
    ("0.1", Duration::from_millis(100)),
    ("1", Duration::from_secs(1)),
    ("10", Duration::from_secs(10)),
    ("60", Duration::from_secs(60)),
    ("600", Duration::from_secs(600)),
    ("3600", Duration::from_secs(3_600)),
    ("86400", Duration::from_secs(86_400)),
];

impl Prometheus {
    /// The `Content-Type` of the text.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Nothing is counted yet, and there are no labels but those of the table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a label on every metric, for example to tell several servers of one process apart: of
    /// their texts, joined, each metric's `HELP` and `TYPE` may stand only once, so better serve
    /// them under paths of their own.
    ///
    /// # Panics
    /// If `name` is no name of a label (`[a-zA-Z_][a-zA-Z0-9_]*`, and not two underscores first), is
    /// one of the table's, or was given before.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let is_name =
            is_word && !name.starts_with("__") && !name.starts_with(|c: char| c.is_ascii_digit());
        assert!(is_name && !name.is_empty(), "{name:?} is no name of a label");
        let given = self.labels.iter().any(|label| label.split('=').next() == Some(name));
        let own = ["reason", "deadline", "callback", "le"].contains(&name);
        assert!(!given && !own, "the label {name:?} is there already");
        let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
        self.labels.push(format!("{name}=\"{value}\""));
        self
    }

    /// The metrics as text: those of `snapshot`, from [`Control::stats`](crate::Control::stats), and
    /// the events that were counted here.
    pub fn render(&self, snapshot: &Snapshot) -> String {
        let mut text = Text { out: String::with_capacity(8 * 1024), labels: &self.labels };
        self.render_connections(&mut text, snapshot);
        self.render_durations(&mut text);
        text.counter("received_bytes", "Bytes received.", snapshot.received());
        text.counter("sent_bytes", "Bytes that the system took for sending.", snapshot.sent());
        text.counter("requests", "Requests served.", snapshot.requests());
        self.render_trouble(&mut text, snapshot);
        let draining = self.draining.load(Relaxed);
        text.gauge("draining", "Whether the server drains or has stopped.", draining);
        text.out
    }

    fn render_connections(&self, text: &mut Text<'_>, snapshot: &Snapshot) {
        text.counter("connections_accepted", "Connections accepted.", snapshot.accepted());
        let refused = "Connections accepted and closed again at once.";
        text.counter("connections_refused", refused, snapshot.refused());
        let closed = CloseKind::ALL.map(|kind| (kind.name(), snapshot.closed(kind)));
        text.counters("connections_closed", "Connections ended, by reason.", "reason", &closed);
        text.gauge("connections_open", "Connections whose handlers are alive.", snapshot.open());
        let live = "Connections that count against the limit.";
        text.gauge("connections_live", live, snapshot.live() as u64);
        // What is off was on before, so this order never gives less than nothing.
        let off = self.throttled_off.load(Relaxed);
        let throttled = self.throttled_on.load(Relaxed).saturating_sub(off);
        let help = "Connections not read because of their output.";
        text.gauge("connections_throttled", help, throttled);
        let held = "Input and output that connections hold.";
        text.gauge("held_bytes", held, snapshot.held() as u64);
    }

    fn render_trouble(&self, text: &mut Text<'_>, snapshot: &Snapshot) {
        let on = self.throttled_on.load(Relaxed);
        text.counter("backpressure", "How often a peer was not read because of its output.", on);
        let timeouts = Deadline::ALL.map(|d| (d.name(), self.timeouts[d as usize].load(Relaxed)));
        text.counters("timeouts", "Deadlines that have passed.", "deadline", &timeouts);
        let panics = Callback::ALL.map(|c| (c.name(), self.panics[c as usize].load(Relaxed)));
        text.counters("panics", "Panics, by where they happened.", "callback", &panics);
        let stalls = "Callbacks that held up their event loop.";
        text.counter("stalls", stalls, self.stalls.load(Relaxed));
        let seconds = Seconds(self.stall_nanos.load(Relaxed));
        text.counter("stall_seconds", "How long callbacks held up their event loops.", seconds);
        text.counter("accept_errors", "How often accept failed.", snapshot.accept_errors());
        let pauses = "How often nothing was accepted for a while after that.";
        text.counter("accept_pauses", pauses, self.accept_pauses.load(Relaxed));
        let failed = self.listeners_failed.load(Relaxed);
        text.counter("listeners_failed", "Listeners that died.", failed);
    }

    fn render_durations(&self, text: &mut Text<'_>) {
        const NAME: &str = "connection_duration_seconds";
        text.head(NAME, "How long connections lived.", "histogram");
        let mut so_far = 0;
        let bounds = BOUNDS.iter().map(|(bound, _)| *bound).chain(["+Inf"]);
        for (bound, bucket) in bounds.zip(&self.durations.buckets) {
            so_far += bucket.load(Relaxed);
            text.sample(NAME, "_bucket", Some(("le", bound)), so_far);
        }
        text.sample(NAME, "_sum", None, Seconds(self.durations.nanos.load(Relaxed)));
        text.sample(NAME, "_count", None, so_far);
    }
}

impl Observer for Prometheus {
    fn backpressure_on(&self, _: ConnectionId, _: &Peer, _: usize) {
        add(&self.throttled_on, 1);
    }

    fn backpressure_off(&self, _: ConnectionId, _: &Peer, _: usize) {
        add(&self.throttled_off, 1);
    }

    fn timed_out(&self, _: ConnectionId, _: &Peer, deadline: Deadline) {
        add(&self.timeouts[deadline as usize], 1);
    }

    fn panicked(&self, _: ConnectionId, _: &Peer, callback: Callback, _: &str) {
        add(&self.panics[callback as usize], 1);
    }

    fn stalled(&self, _: ConnectionId, _: &Peer, _: Callback, took: Duration) {
        add(&self.stalls, 1);
        add(&self.stall_nanos, nanos(took));
    }

    fn closed(&self, connection: &Closed<'_>) {
        let fits = |(_, bound): &(&str, Duration)| connection.age <= *bound;
        let bucket = BOUNDS.iter().position(fits).unwrap_or(BOUNDS.len());
        add(&self.durations.buckets[bucket], 1);
        add(&self.durations.nanos, nanos(connection.age));
    }

    fn accept_failed(&self, _: &Addr, _: &io::Error, pause: Option<Duration>) {
        add(&self.accept_pauses, u64::from(pause.is_some()));
    }

    fn listener_failed(&self, _: &Addr, _: &io::Error) {
        add(&self.listeners_failed, 1);
    }

    fn drain_began(&self, _: Duration, _: Duration) {
        self.draining.store(1, Relaxed);
    }

    fn drain_deadline(&self, _: usize) {
        self.draining.store(1, Relaxed);
    }

    fn drained(&self, _: &DrainReport) {
        self.draining.store(1, Relaxed);
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A number of nanoseconds, printed as seconds.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// The text as far as it is written.
struct Text<'a> {
    out: String,
    labels: &'a [String],
}

impl Text<'_> {
    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        let name = format!("{name}_total");
        self.head(&name, help, "counter");
        self.sample(&name, "", None, value);
    }

    /// A counter for each value of a label.
    fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        let name = format!("{name}_total");
        self.head(&name, help, "counter");
        for (value, n) in values {
            self.sample(&name, "", Some((label, value)), n);
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "gauge");
        self.sample(name, "", None, value);
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP polyserve_{name} {help}"));
        self.line(format_args!("# TYPE polyserve_{name} {kind}"));
    }

    fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        label: Option<(&str, &str)>,
        value: impl Display,
    ) {
        let own = label.map(|(name, value)| format!("{name}=\"{value}\""));
        let labels: Vec<&str> = self.labels.iter().chain(&own).map(String::as_str).collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        self.line(format_args!("polyserve_{name}{suffix}{labels} {value}"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.out, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_stand_before_those_of_the_metric() {
        let metrics = Prometheus::new().label("server", "a\"b\\c\nd").label("zone", "1");
        let text = metrics.render(&Snapshot::default());
        let labels = r#"server="a\"b\\c\nd",zone="1""#;
        assert!(text.contains(&format!("polyserve_draining{{{labels}}} 0\n")), "{text}");
        let own = format!("polyserve_panics_total{{{labels},callback=\"on_data\"}} 0\n");
        assert!(text.contains(&own), "{text}");
    }

    #[test]
    fn what_is_no_label_is_refused() {
        for name in ["", "1a", "__a", "a-b", "é", "le", "reason"] {
            let made = std::panic::catch_unwind(|| Prometheus::new().label(name, "x"));
            assert!(made.is_err(), "{name:?} was taken");
        }
    }

    #[test]
    fn seconds_keep_their_zeroes() {
        assert_eq!(Seconds(1_000_000_001).to_string(), "1.000000001");
        assert_eq!(Seconds(u64::MAX).to_string(), "18446744073.709551615");
    }
}
