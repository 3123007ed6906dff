//! A machine that runs out of ports for outgoing connections.

use crate::{LONG, SHORT, process};
use polyserve::Client;
use polyserve::client::{ClientError, Retry};
use polyserve::codec::Lines;
use std::io::Read;
use std::net::TcpStream;
use std::time::Instant;

const PORTS: usize = 50;
const CLIENTS: usize = 60;

/// In a network of its own, with 50 ports to connect from, this program runs the test below.
#[test]
fn connects_without_a_port_are_told_and_it_recovers() {
    if !process::has("unshare") || !process::has("ip") {
        return;
    }
    if !rustix::process::getuid().is_root() {
        return process::skip("a network namespace needs root");
    }
    let me = std::env::current_exe().unwrap();
    let script = format!(
        "ip link set lo up \
        && echo 40000 40049 > /proc/sys/net/ipv4/ip_local_port_range \
        && {INSIDE}=1 exec '{}' --exact ports::in_a_network_of_its_own --ignored --nocapture",
        me.display()
    );
    let output = process::run("unshare", &["--net", "sh", "-c", &script], b"");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("Operation not permitted") {
        return process::skip("network namespaces are not permitted here");
    }
    assert!(output.status.success(), "{}:\n{stdout}\n{stderr}", output.status);
    assert!(stdout.contains("60 clients in a network of 50 ports"), "{stdout}\n{stderr}");
}

const INSIDE: &str = "POLYSERVE_TEST_NETWORK";

#[test]
#[ignore = "runs in the network namespace that the test above makes"]
fn in_a_network_of_its_own() {
    if std::env::var_os(INSIDE).is_none() {
        println!("SKIP: not in a network namespace");
        return;
    }
    // The server's own port is not one of the fifty.
    let listener = std::net::TcpListener::bind("127.0.0.1:7001").unwrap();
    let addr = listener.local_addr().unwrap();
    crate::accept_all(listener, |_, stream: TcpStream| {
        // It ends first, when it is told to, so that no port of the clients stays behind in TIME_WAIT.
        let _ = (&stream).read(&mut [0; 1]);
    });
    println!("{CLIENTS} clients in a network of {PORTS} ports");
    for round in 0..3 {
        let began = Instant::now();
        let mut clients = Vec::new();
        let mut refused = 0;
        for _ in 0..CLIENTS {
            match Client::builder().connect_timeout(LONG).connect(addr) {
                Ok(client) => clients.push(client),
                Err(error) => {
                    let kind = error.attempts()[0].error().kind();
                    assert_eq!(kind, std::io::ErrorKind::AddrNotAvailable, "{error}");
                    assert!(!error.is_retryable() && !error.is_timeout());
                    refused += 1;
                }
            }
        }
        assert_eq!((clients.len(), refused), (PORTS, CLIENTS - PORTS), "round {round}");
        assert!(began.elapsed() < LONG / 2, "nobody waited for a port");
        no_policy_tries_it_again(addr);
        for client in &mut clients {
            client.send(b"x").unwrap();
            assert_eq!(client.recv(&mut [0]).unwrap(), 0, "the server ends first");
        }
    }
}

fn no_policy_tries_it_again(addr: std::net::SocketAddr) {
    let mut tries = 0;
    let result = Retry::new().first_delay(SHORT).idempotent().run(|_| {
        tries += 1;
        Client::connect(addr)
    });
    assert!(result.is_err() && tries == 1, "{tries} tries");
    let pool = Client::builder().codec(Lines::new()).pool(addr).retry(Retry::new()).build();
    let error = pool.call_idempotent("x").unwrap_err();
    assert!(matches!(error, ClientError::Connect(_)), "{error}");
    assert_eq!((pool.stats().in_use, pool.stats().idle), (0, 0));
}
