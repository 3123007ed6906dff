//! Rows R4, R17, C1 and C5: packets that do not arrive.

use crate::client::{connect, echo, open, probe};
use crate::launch::{Launch, Server};
use crate::network::Network;
use crate::pattern::{check, pattern};
use crate::results::{figure, injected};
use crate::table::{EVERY, Needs, Table};
use polyserve::Client;
use polyserve::client::ConnectError;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

pub(crate) fn rows(table: &mut Table) {
    table.row("R4/packet-loss", EVERY, Needs::Network, a_fifth_of_all_packets_is_lost);
    table.row("R17/unacknowledged", EVERY, Needs::Network, gone_with_data_on_the_way);
    table.row("R17/keepalive", EVERY, Needs::Network, gone_in_silence);
    table.row("R17/idle", EVERY, Needs::Network, gone_and_idle);
    table.row("R17/heals-in-time", EVERY, Needs::Network, gone_and_back_in_time);
    let client = &["-"];
    table.row("C1/refused", client, Needs::Network, refused_by_the_network);
    table.row("C1/black-holes", client, Needs::Network, black_holes_share_one_deadline);
    table.row("C1/good-behind-bad", client, Needs::Network, the_good_address_behind_bad_ones);
    table.row("C5/no-port-left", client, Needs::Network, no_port_left);
}

const PATIENCE: Duration = Duration::from_secs(60);

/// What TCP is for; but its time-outs, and ours, must leave it the time that it takes.
fn a_fifth_of_all_packets_is_lost(backend: &str) {
    const LEN: usize = 16 << 10;
    let network = Network::enter();
    let server = Launch::new(backend).start();
    network.rule("tcp flags != syn numgen random mod 100 < 20", "drop");
    std::thread::scope(|scope| {
        for client in 0..4 {
            let addr = server.addr;
            scope.spawn(move || sent_and_back(addr, client * 1_000, LEN));
        }
    });
    network.hit();
    network.heal();
    let (mut existing, ..) = open(&server);
    probe(&server, &mut existing);
    drop(existing);
    server.finish();
}

fn sent_and_back(addr: SocketAddr, from: usize, len: usize) {
    let mut reader = connect(addr);
    reader.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut writer = reader.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.set_write_timeout(Some(PATIENCE)).unwrap();
            writer.write_all(&pattern(from, len)).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        reader.read_to_end(&mut back).unwrap();
        assert_eq!(back.len(), len);
        check(from, &back).unwrap();
    });
}

/// Nothing of this client arrives any more, and nothing reaches it.
fn cut(network: &Network, client: &TcpStream) {
    let port = client.local_addr().unwrap().port();
    network.rule(&format!("tcp dport {port}"), "drop");
    network.rule(&format!("tcp sport {port}"), "drop");
}

/// Waits for the end of a connection, which must come within this time.
fn ends_within(server: &Server, id: u64, limit: Duration, reasons: &[&str]) {
    let began = Instant::now();
    let reason = server.reason(id);
    let took = began.elapsed();
    figure("closed after", took.as_secs_f64() * 1e3, "ms");
    assert!(reasons.contains(&&*reason), "{reason}");
    assert!(took <= limit, "closed after {took:?}, allowed {limit:?}");
}

/// How the system's own time-out looks from above (ETIMEDOUT).
const LOST: &[&str] = &["reset", "io"];

/// The client vanishes while an answer is on the way to it: nobody acknowledges that.
fn gone_with_data_on_the_way(backend: &str) {
    let network = Network::enter();
    let server = Launch::new(backend).option("--user-timeout", 2_000).start();
    let (mut existing, ..) = open(&server);
    let (mut gone, id, _) = open(&server);
    let port = gone.local_addr().unwrap().port();
    // It may ask, but the answer does not arrive.
    network.rule(&format!("tcp dport {port}"), "drop");
    gone.write_all(b"is anybody there?").unwrap();
    ends_within(&server, id, Duration::from_secs(3), LOST);
    network.hit();
    probe(&server, &mut existing);
    drop((gone, existing));
    server.finish();
}

/// The client vanishes while nothing is on the way. Linux ends it when the user time-out has passed
/// and a probe was not answered (tcp(7)).
fn gone_in_silence(backend: &str) {
    let network = Network::enter();
    let launch = Launch::new(backend).option("--user-timeout", 2_000);
    let server = launch.option("--keepalive", 1_000).start();
    let (mut existing, ..) = open(&server);
    let (gone, id, _) = open(&server);
    cut(&network, &gone);
    ends_within(&server, id, Duration::from_secs(4), LOST);
    network.hit();
    probe(&server, &mut existing);
    drop((gone, existing));
    server.finish();
}

/// The client vanishes, and no system is asked: the idle time ends it. Its FIN goes nowhere.
fn gone_and_idle(backend: &str) {
    let network = Network::enter();
    let server = Launch::new(backend).option("--idle", 1_000).start();
    let (gone, id, _) = open(&server);
    cut(&network, &gone);
    ends_within(&server, id, Duration::from_secs(2), &["idle_timeout"]);
    network.hit();
    let (mut existing, ..) = open(&server);
    probe(&server, &mut existing);
    drop((gone, existing));
    server.finish();
}

/// A network that comes back before any time-out: nothing is lost.
fn gone_and_back_in_time(backend: &str) {
    let network = Network::enter();
    let server = Launch::new(backend).option("--user-timeout", 30_000).start();
    let (mut client, ..) = open(&server);
    cut(&network, &client);
    client.write_all(&pattern(0, 8_000)).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    network.hit();
    network.heal();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut back = vec![0; 8_000];
    client.read_exact(&mut back).unwrap();
    check(0, &back).unwrap();
    drop(client);
    server.finish();
}

// The client.

fn refused_by_the_network(_: &str) {
    let network = Network::enter();
    network.rule("tcp dport 7001", "reject with tcp reset");
    let began = Instant::now();
    let error = Client::connect("127.0.0.1:7001").unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    assert_eq!(error.attempts()[0].error().kind(), ErrorKind::ConnectionRefused, "{error}");
    assert!(error.is_retryable() && !error.is_timeout(), "{error}");
    network.hit();
}

/// The addresses of one host.
fn host(addrs: &[&str]) -> impl Fn(&str, u16) -> std::io::Result<Vec<SocketAddr>> + use<> {
    let addrs: Vec<SocketAddr> = addrs.iter().map(|addr| addr.parse().unwrap()).collect();
    move |_: &str, _: u16| Ok(addrs.clone())
}

/// The time-out of a connect is that of the whole: more addresses do not make it longer.
fn black_holes_share_one_deadline(_: &str) {
    let network = Network::enter();
    network.rule("tcp dport 7001", "drop");
    let hosts: [&[&str]; 2] = [
        &["127.0.0.1:7001"],
        &["127.0.0.1:7001", "127.0.0.2:7001", "127.0.0.3:7001", "127.0.0.4:7001"],
    ];
    for addrs in hosts {
        let timeout = Duration::from_secs(1);
        let client = Client::builder().connect_timeout(timeout).resolver(host(addrs));
        let began = Instant::now();
        let error: ConnectError = client.connect("host:7001").unwrap_err();
        let took = began.elapsed();
        figure("addresses", addrs.len() as f64, "");
        figure("gave up after", took.as_secs_f64() * 1e3, "ms");
        assert!(error.is_timeout(), "{error}");
        assert_eq!(error.attempts().len(), addrs.len(), "{error}");
        assert!(took >= timeout - Duration::from_millis(5), "{took:?}");
        assert!(took < timeout + Duration::from_millis(500), "{took:?}");
    }
    network.hit();
}

fn the_good_address_behind_bad_ones(_: &str) {
    let network = Network::enter();
    network.rule("tcp dport 7001", "drop");
    network.rule("tcp dport 7002", "reject with tcp reset");
    let server = Launch::new("threads").start();
    let good = server.addr.to_string();
    let began = Instant::now();
    let addrs = ["127.0.0.1:7001", "127.0.0.1:7002", &good];
    let client = Client::builder().connect_timeout(Duration::from_secs(3)).resolver(host(&addrs));
    let mut client = client.connect("host:1").expect("the last address is good");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    client.send(b"hello").unwrap();
    let mut back = [0; 5];
    client.recv_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
    drop(client);
    network.hit();
    server.finish();
}

/// Fifty ports for sixty clients: ten are told so, at once, and when others leave it works again.
fn no_port_left(_: &str) {
    const PORTS: usize = 50;
    const CLIENTS: usize = 60;
    let _network = Network::enter();
    // What is under /proc/sys/net is that of the thread that looks.
    let server = Launch::new("threads").listen("127.0.0.1:7001").start();
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40049").unwrap();
    for _ in 0..2 {
        let began = Instant::now();
        let clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(server.addr)).collect();
        assert!(began.elapsed() < Duration::from_secs(2), "somebody waited for a port");
        let (served, errors): (Vec<_>, Vec<_>) = clients.into_iter().partition(Result::is_ok);
        assert_eq!((served.len(), errors.len()), (PORTS, CLIENTS - PORTS));
        for error in errors.into_iter().map(Result::unwrap_err) {
            assert_eq!(error.attempts()[0].error().kind(), ErrorKind::AddrNotAvailable, "{error}");
            assert!(!error.is_retryable() && !error.is_timeout(), "{error}");
        }
        injected(CLIENTS - PORTS);
        for mut client in served.into_iter().map(Result::unwrap) {
            // The server ends first, so that no port stays behind in TIME_WAIT on this side.
            client.send(b"BYE\n").unwrap();
            assert_eq!(client.recv_to_end(10).unwrap(), b"bye\n");
        }
    }
    assert!(TcpListener::bind("127.0.0.1:7001").is_err(), "the server is still there");
    echo(&mut connect(server.addr), "at the end");
    server.finish();
}
