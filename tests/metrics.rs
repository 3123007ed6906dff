//! The metrics, read by two parsers that know nothing of how they were made: the one of Prometheus'
//! own Python library, and a strict one below.

#[path = "support/process.rs"]
mod process;

use polyserve::codec::Lines;
use polyserve::observe::{Callback, Deadline, Prometheus};
use polyserve::testing::{Script, TestServer};
use polyserve::{Action, CloseKind, Framed, Server, SocketOptions, Strategy, observe::Snapshot};
use process::{ServerProcess, example, has, run, run_well, skip};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Metrics of something of everything, and the text.
fn eventful() -> (Arc<Prometheus>, Snapshot) {
    let metrics = Arc::new(Prometheus::new());
    let builder = Server::builder()
        .backend(Strategy::EventLoop(Some(1)))
        .socket_options(SocketOptions::new().with_send_buffer(Some(16 * 1024)))
        .observer(Arc::clone(&metrics));
    let server = TestServer::with(builder, |_peer| {
        Framed::new(Lines::new(), |line: &str, replies| {
            assert!(line != "panic", "it was told to");
            if line == "stall" {
                replies.context().set_idle_timeout(Duration::from_millis(50));
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(150) {
                    std::hint::spin_loop();
                }
            }
            for _ in 0..line.parse().unwrap_or(1) {
                replies.send("one line")?;
            }
            Ok::<(), polyserve::BoxError>(())
        })
    })
    .unwrap();
    for (line, kind) in [
        ("stall\n", CloseKind::IdleTimeout),
        ("panic\n", CloseKind::Panic),
        ("200000\n", CloseKind::PeerClosed),
    ] {
        let mut client = server.connect().unwrap();
        client.write_all(line.as_bytes()).unwrap();
        let n_lines = line.trim().parse().unwrap_or(1);
        if kind == CloseKind::PeerClosed {
            let is_on = |e: &_| matches!(e, polyserve::testing::Event::BackpressureOn(_));
            server.events().wait_for("back-pressure", Duration::from_secs(10), is_on).unwrap();
        }
        let mut reader = BufReader::new(&client);
        for _ in 0..n_lines {
            let mut reply = String::new();
            reader.read_line(&mut reply).unwrap();
            assert!(kind == CloseKind::Panic || reply == "one line\n", "{reply:?}");
        }
        if kind == CloseKind::PeerClosed {
            client.shutdown(Shutdown::Write).unwrap();
        }
        client.read_to_end(&mut Vec::new()).unwrap();
        let is_end =
            |e: &_| matches!(e, polyserve::testing::Event::Closed { kind: k, .. } if *k == kind);
        server.events().wait_for(kind.name(), Duration::from_secs(10), is_end).unwrap();
    }
    let control = server.handle().control();
    server.finish();
    (metrics, control.stats())
}

#[test]
fn what_happened_is_what_is_told() {
    let (metrics, stats) = eventful();
    let families = parse(&metrics.render(&stats));
    let one = |name: &str, label: &str| families.value(name, label);
    assert_eq!(one("polyserve_connections_accepted_total", ""), 4.0);
    assert_eq!(one("polyserve_connections_open", ""), 0.0);
    assert_eq!(one("polyserve_connections_closed_total", "reason=\"panic\""), 1.0);
    let sum: f64 = families.all("polyserve_connections_closed_total").sum();
    assert_eq!(sum, 4.0);
    assert_eq!(one("polyserve_panics_total", "callback=\"on_data\""), 1.0);
    assert!(one("polyserve_timeouts_total", "deadline=\"idle\"") >= 1.0);
    assert!(one("polyserve_stalls_total", "") >= 1.0);
    assert!(one("polyserve_stall_seconds_total", "") >= 0.15);
    assert!(one("polyserve_backpressure_total", "") >= 1.0);
    assert_eq!(one("polyserve_connections_throttled", ""), 0.0);
    assert_eq!(one("polyserve_requests_total", ""), 3.0);
    assert_eq!(one("polyserve_received_bytes_total", ""), 6.0 + 6.0 + 7.0);
    assert_eq!(one("polyserve_sent_bytes_total", ""), 9.0 * 200_001.0);
    assert_eq!(one("polyserve_connection_duration_seconds_count", ""), 4.0);
    assert_eq!(one("polyserve_draining", ""), 1.0);
    assert_eq!(families.all("polyserve_panics_total").count(), Callback::ALL.len());
    assert_eq!(families.all("polyserve_timeouts_total").count(), Deadline::ALL.len());
    assert_eq!(families.all("polyserve_connections_closed_total").count(), CloseKind::ALL.len());
}

/// The table in the documentation names what is rendered, with its type, and nothing else.
#[test]
fn the_table_names_every_metric_and_its_type() {
    let source = include_str!("../src/observe/prometheus.rs");
    let rows = source.lines().filter_map(|line| line.strip_prefix("/// | `"));
    let documented: BTreeMap<String, String> = rows
        .map(|row| {
            let mut cells = row.split('|').map(str::trim);
            let name = cells.next().unwrap().split(['`', '{']).next().unwrap();
            (format!("polyserve_{name}"), cells.next().unwrap().to_owned())
        })
        .collect();
    let families = parse(&Prometheus::new().render(&Snapshot::default()));
    assert_eq!(families.types, documented);
}

#[test]
fn the_python_library_reads_the_same() {
    const SCRIPT: &str = "
import sys
from prometheus_client.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation, family
    for sample in family.samples:
        labels = ','.join(f'{k}=\"{v}\"' for k, v in sample.labels.items())
        print(sample.name, family.type, repr(float(sample.value)), labels, sep='\\t')
";
    let pythons = ["python3", "/usr/bin/python3"];
    let has_module = |python: &&str| {
        let found = Command::new(python).args(["-c", "import prometheus_client"]).output();
        found.is_ok_and(|output| output.status.success())
    };
    let Some(python) = pythons.into_iter().find(has_module) else {
        return skip("no Python with the module prometheus_client is installed");
    };
    let (metrics, stats) = eventful();
    let text = metrics.render(&stats);
    let output = run(python, &["-c", SCRIPT], text.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let families = parse(&text);
    let mut n = 0;
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let [name, kind, value, labels] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line:?}")
        };
        assert_eq!(families.value(name, labels), value.parse::<f64>().unwrap(), "{line}");
        assert_eq!(families.type_of(name), kind, "{line}");
        n += 1;
    }
    assert_eq!(n, families.samples.len(), "it has read another number of samples");
}

#[test]
fn curl_gets_them_from_the_example() {
    if !has("curl") {
        return;
    }
    for backend in ["threads", "pool:2", "event-loop:1"] {
        let mut command = Command::new(example("metrics"));
        command.args(["--backend", backend, "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
        let server = ServerProcess::start(command.stdin(Stdio::null()), 2);
        let metrics = format!("http://{}", server.addrs[0]);
        let mut client = std::net::TcpStream::connect(&server.addrs[1]).unwrap();
        client.set_read_timeout(Some(process::PATIENCE)).unwrap();
        client.write_all(b"a line\n").unwrap();
        client.read_exact(&mut [0; 7]).unwrap();
        let args = ["-sSi", &format!("{metrics}/metrics")];
        let page = String::from_utf8(run_well("curl", &args, b"")).unwrap();
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
        let families = parse(body);
        assert_eq!(families.value("polyserve_connections_open", ""), 1.0);
        assert_eq!(families.value("polyserve_requests_total", ""), 1.0);
        assert_eq!(families.value("polyserve_received_bytes_total", ""), 7.0);
        let missing = run_well("curl", &["-sSi", &metrics], b"");
        assert!(missing.starts_with(b"HTTP/1.1 404 Not Found\r\n"));
        drop(client);
        // Elsewhere nothing asks a process to end, and it is killed.
        #[cfg(unix)]
        {
            let ended = server.terminate();
            assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
        }
    }
}

#[test]
fn a_script_tells_its_observer_the_same() {
    let metrics = Arc::new(Prometheus::new());
    let mut script = Script::new(|_peer| {
        Framed::new(Lines::new(), |line: &str, replies| {
            replies.send(line)?;
            Ok::<Action, polyserve::BoxError>(Action::Continue)
        })
    });
    script = script.observer(Arc::clone(&metrics));
    script.recv(b"one\ntwo\n").advance(Duration::from_secs(61));
    assert_eq!(script.requests(), 2);
    let families = parse(&metrics.render(&Snapshot::default()));
    assert_eq!(families.value("polyserve_timeouts_total", "deadline=\"idle\""), 1.0);
    assert_eq!(families.value("polyserve_connection_duration_seconds_bucket", "le=\"60\""), 0.0);
    assert_eq!(families.value("polyserve_connection_duration_seconds_bucket", "le=\"600\""), 1.0);
}

/// What a text says.
struct Families {
    /// By name of the metric.
    types: BTreeMap<String, String>,
    /// By name of the sample and its labels.
    samples: BTreeMap<(String, String), f64>,
}

impl Families {
    #[track_caller]
    fn value(&self, name: &str, labels: &str) -> f64 {
        let found = self.samples.get(&(name.to_owned(), labels.to_owned()));
        *found.unwrap_or_else(|| panic!("no {name}{{{labels}}} in {:?}", self.samples))
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = f64> + 'a {
        self.samples.iter().filter(move |((n, _), _)| n == name).map(|(_, value)| *value)
    }

    fn type_of(&self, sample: &str) -> &str {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            let name = sample.strip_suffix(suffix)?;
            self.types.get(name)
        });
        family.or(self.types.get(sample)).unwrap_or_else(|| panic!("{sample} has no type"))
    }
}

/// Reads the text format 0.0.4, and accepts nothing but what its description allows and this crate
/// writes: for each metric `HELP`, `TYPE`, then its samples together; no sample twice; a line feed at
/// the end; histograms that add up.
#[track_caller]
fn parse(text: &str) -> Families {
    let mut families = Families { types: BTreeMap::new(), samples: BTreeMap::new() };
    let mut helped: Option<&str> = None;
    let mut current: Option<&str> = None;
    assert!(text.ends_with('\n') && !text.contains('\r'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(is_name(name) && !help.is_empty() && !help.contains('\\'), "{line}");
            helped = Some(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert_eq!(helped, Some(name), "no HELP before {line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let before = families.types.insert(name.to_owned(), kind.to_owned());
            assert!(before.is_none(), "{name} is there twice");
            current = Some(name);
        } else {
            let (name, labels, value) = sample(line);
            let family = current.expect("a sample before any TYPE");
            let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} in {family}"));
            let histogram = families.types[family] == "histogram";
            let allowed: &[&str] = if histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(allowed.contains(&suffix), "{line} in {family}");
            let before = families.samples.insert((name.to_owned(), labels.to_owned()), value);
            assert!(before.is_none(), "{line} is there twice");
        }
    }
    check_histograms(&families, text);
    families
}

/// A line `name{label="value",...} number`.
#[track_caller]
fn sample(line: &str) -> (&str, &str, f64) {
    let (head, value) = line.rsplit_once(' ').expect(line);
    let (name, labels) = match head.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect(line)),
        None => (head, ""),
    };
    assert!(is_name(name), "{line}");
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (key, value) = label.split_once('=').expect(line);
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).expect(line);
        assert!(is_name(key) && !value.contains(['"', '\\', '\n']), "{line}");
    }
    let value: f64 = value.parse().expect(line);
    assert!(value.is_finite() && value >= 0.0, "{line}");
    (name, labels, value)
}

fn is_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

/// Buckets grow with their bounds, and the last holds all.
fn check_histograms(families: &Families, text: &str) {
    for (name, _) in families.types.iter().filter(|(_, kind)| *kind == "histogram") {
        let prefix = format!("{name}_bucket{{le=\"");
        let buckets: Vec<(f64, f64)> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix)?.split_once("\"} "))
            .map(|(bound, n)| (bound.parse().unwrap(), n.parse().unwrap()))
            .collect();
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
        let last = buckets.last().unwrap();
        assert_eq!(*last, (f64::INFINITY, families.value(&format!("{name}_count"), "")));
        families.value(&format!("{name}_sum"), "");
    }
}
