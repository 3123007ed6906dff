//! The calls about bytes.

use crate::{LONG, SHORT, assert_took, black_hole, closed_port, echo, lookups, reset, serve};
use polyserve::Client;
use polyserve::Limit;
use polyserve::client::{ClientError, ConnectError, Phase};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

fn pattern(len: usize) -> Vec<u8> {
    // A period that is prime to every buffer size shows bytes that are lost or out of order.
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// FNV-1a.
fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(seed, mix)
}

mod connecting {
    use super::*;

    #[test]
    fn a_closed_port_is_refused() {
        let (addr, _holder) = closed_port();
        let error = Client::connect(addr).unwrap_err();
        assert_eq!(error.phase(), Phase::Connect);
        assert!(!error.is_timeout());
        assert!(error.is_retryable());
        assert_eq!(error.attempts().len(), 1);
        assert_eq!(error.attempts()[0].addr().as_tcp(), Some(addr));
        assert!(error.to_string().starts_with(&format!("cannot connect to {addr}: ")));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn text_that_is_no_address_is_told() {
        let error = Client::connect("localhost").unwrap_err();
        assert!(matches!(error, ConnectError::BadAddress { .. }));
        assert!(error.to_string().contains("\"localhost\""), "{error}");
    }

    #[test]
    fn an_unknown_host_is_a_typed_error() {
        let _alone = lookups();
        let error = Client::builder()
            .resolver(|_: &str, _: u16| Err(io::Error::other("no such name")))
            .connect("nowhere:1")
            .unwrap_err();
        assert_eq!(error.to_string(), "cannot resolve nowhere");
        assert!(matches!(error, ConnectError::Lookup { .. }));
        assert_eq!(error.phase(), Phase::Resolve);
    }

    #[test]
    fn a_host_without_addresses_is_a_typed_error() {
        let _alone = lookups();
        let error = Client::builder()
            .resolver(|_: &str, _: u16| Ok(Vec::new()))
            .connect("nowhere:1")
            .unwrap_err();
        assert!(matches!(error, ConnectError::NoAddress { .. }), "{error}");
    }

    #[test]
    fn the_system_resolves_localhost() {
        let _alone = lookups();
        let (addr, server) = serve(echo);
        let client = Client::connect(("localhost", addr.port())).unwrap();
        assert_eq!(client.peer_addr().as_tcp(), Some(addr));
        drop(client);
        server.join().unwrap();
    }

    #[test]
    fn a_literal_is_not_looked_up() {
        let (addr, _server) = serve(echo);
        Client::builder()
            .resolver(|_: &str, _: u16| -> io::Result<Vec<SocketAddr>> { panic!("asked") })
            .connect(addr.to_string())
            .unwrap();
    }

    #[test]
    fn a_hanging_resolver_is_left_behind_four_times_and_no_more() {
        let _alone = lookups();
        let (let_go, hold) = channel::<()>();
        let hold = Mutex::new(hold);
        let (began, begins) = channel();
        let hanging = Client::builder().connect_timeout(SHORT).resolver(move |_: &str, _: u16| {
            began.send(()).unwrap();
            // The sender is dropped at the end of the test.
            let _ = hold.lock().unwrap().recv_timeout(LONG);
            Ok(Vec::new())
        });
        for _ in 0..4 {
            let start = Instant::now();
            let error = hanging.connect("slow:1").unwrap_err();
            assert_took(start, SHORT);
            assert!(matches!(error, ConnectError::LookupTimedOut { .. }));
            assert!(error.is_timeout());
            assert_eq!(error.to_string(), "no answer about slow within 60ms while resolving");
        }
        let start = Instant::now();
        let error = hanging.connect("slow:1").unwrap_err();
        assert_took(start, SHORT);
        let busy = matches!(error, ConnectError::LookupsBusy { limit: 4, .. });
        assert!(busy && error.is_timeout(), "{error}");
        for _ in 0..4 {
            begins.recv_timeout(LONG).unwrap();
        }
        assert!(begins.try_recv().is_err(), "the fifth never began");

        drop(let_go);
        let (addr, _server) = serve(echo);
        let later =
            Client::builder().connect_timeout(LONG).resolver(move |_: &str, _: u16| Ok(vec![addr]));
        later.connect("quick:1").unwrap();
    }

    #[test]
    fn the_address_after_a_closed_port_is_tried() {
        let _alone = lookups();
        let (good, _server) = serve(echo);
        let (bad, _holder) = closed_port();
        let client = Client::builder()
            .resolver(move |_: &str, _: u16| Ok(vec![bad, good]))
            .connect("both:1")
            .unwrap();
        assert_eq!(client.peer_addr().as_tcp(), Some(good));
    }

    #[test]
    fn when_all_addresses_fail_all_are_told() {
        let _alone = lookups();
        let ((first, _holder), (second, _other)) = (closed_port(), closed_port());
        let error = Client::builder()
            .resolver(move |_: &str, _: u16| Ok(vec![first, second]))
            .connect("both:1")
            .unwrap_err();
        for text in ["both:1", &first.to_string(), &second.to_string()] {
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")] // elsewhere a full backlog refuses
    fn a_black_hole_uses_up_its_share_of_the_time_only() {
        let _alone = lookups();
        let (hole, _keep) = black_hole();
        let (good, _server) = serve(echo);
        let timeout = Duration::from_secs(1);
        let start = Instant::now();
        let client = Client::builder()
            .connect_timeout(timeout)
            .resolver(move |_: &str, _: u16| Ok(vec![hole, good]))
            .connect("both:1")
            .unwrap();
        assert_took(start, timeout / 3);
        assert_eq!(client.peer_addr().as_tcp(), Some(good));
    }

    #[test]
    #[cfg(target_os = "linux")] // elsewhere a full backlog refuses
    fn a_black_hole_alone_is_a_time_out() {
        let (hole, _keep) = black_hole();
        let start = Instant::now();
        let error = Client::builder().connect_timeout(SHORT).connect(hole).unwrap_err();
        assert_took(start, SHORT - Duration::from_millis(1));
        assert!(error.is_timeout(), "{error}");
        assert!(error.to_string().contains("no answer within"), "{error}");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn the_shortest_and_the_longest_time_outs_do_not_panic_or_turn_around() {
        for limit in [Duration::MAX.into(), Limit::Unlimited] {
            let (addr, _server) = serve(echo);
            let mut client = Client::builder()
                .connect_timeout(limit)
                .read_timeout(limit)
                .write_timeout(limit)
                .connect(addr)
                .unwrap();
            client.send(b"x").unwrap();
            client.recv_exact(&mut [0]).unwrap();
            client.set_read_timeout(Duration::ZERO);
            assert!(client.recv(&mut [0]).unwrap_err().is_timeout());
        }
        let (hole, _keep) = black_hole();
        let at_once = Client::builder().connect_timeout(Duration::ZERO);
        assert!(at_once.connect(hole).is_err());
    }
}

mod reading {
    use super::*;

    #[test]
    fn a_silent_server_is_a_time_out() {
        let (addr, server) = serve(|mut stream| stream.read(&mut [0]));
        let mut client = Client::builder().read_timeout(SHORT).connect(addr).unwrap();
        let start = Instant::now();
        let error = client.recv(&mut [0; 8]).unwrap_err();
        assert_took(start, SHORT);
        assert!(error.is_timeout());
        assert_eq!(error.phase(), Phase::Read);
        assert_eq!(error.to_string(), format!("no answer from {addr} within 60ms while reading"));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
        drop(client);
        server.join().unwrap().unwrap();
    }

    #[test]
    fn an_end_in_the_middle_is_an_error_at_every_offset() {
        const LEN: usize = 64;
        let frame = pattern(LEN);
        for end in 0..=LEN {
            let part = frame[..end].to_vec();
            let (addr, server) = serve(move |mut stream| stream.write_all(&part).unwrap());
            let mut client = Client::builder().read_timeout(LONG).connect(addr).unwrap();
            let mut buf = [0; LEN];
            match client.recv_exact(&mut buf) {
                Ok(()) => assert_eq!(end, LEN),
                Err(ClientError::UnexpectedEof { got, expected, .. }) => {
                    assert_eq!((got, expected), (end, Some(LEN)));
                }
                Err(other) => panic!("{other}"),
            }
            assert_eq!(buf[..end], frame[..end]);
            server.join().unwrap();
        }
    }

    #[test]
    fn lines_are_cut_apart_and_the_rest_is_kept() {
        let (addr, _server) = serve(|mut s| s.write_all(b"one\r\ntwo\r\n\r\nrest").unwrap());
        let mut client = Client::connect(addr).unwrap();
        assert_eq!(client.recv_until(b"\r\n", 5).unwrap(), b"one\r\n");
        assert_eq!(client.recv_until(b"\r\n\r\n", 99).unwrap(), b"two\r\n\r\n");
        let mut two = [0; 2];
        client.recv_exact(&mut two).unwrap();
        assert_eq!(&two, b"re");
        let error = client.recv_until(b"\n", 99).unwrap_err();
        assert!(matches!(error, ClientError::UnexpectedEof { got: 2, .. }), "{error}");
        assert_eq!(client.buffered(), b"st");
        assert_eq!(client.recv_to_end(2).unwrap(), b"st");
        assert_eq!(client.recv(&mut two).unwrap(), 0);
    }

    #[test]
    fn a_delimiter_may_come_in_pieces() {
        let (go, gone) = channel::<()>();
        let (addr, server) = serve(move |mut stream| {
            for byte in b"ab\r\r\n" {
                stream.write_all(&[*byte]).unwrap();
                gone.recv_timeout(LONG).unwrap();
            }
        });
        let mut client = Client::builder().read_timeout(SHORT).connect(addr).unwrap();
        // Each call but the last times out, and nothing is lost.
        for _ in b"ab\r\r" {
            assert!(client.recv_until(b"\r\n", 5).unwrap_err().is_timeout());
            go.send(()).unwrap();
        }
        client.set_read_timeout(LONG);
        assert_eq!(client.recv_until(b"\r\n", 5).unwrap(), b"ab\r\r\n");
        go.send(()).unwrap();
        server.join().unwrap();
    }

    #[test]
    fn more_than_the_limit_is_an_error() {
        let (addr, _server) = serve(|mut stream| stream.write_all(&[b'x'; 9]).unwrap());
        let mut client = Client::connect(addr).unwrap();
        let error = client.recv_until(b"\n", 8).unwrap_err();
        assert!(matches!(error, ClientError::TooLong { max: 8, .. }), "{error}");
        let error = client.recv_to_end(8).unwrap_err();
        assert!(matches!(error, ClientError::TooLong { max: 8, .. }), "{error}");
        assert_eq!(client.recv_to_end(9).unwrap(), [b'x'; 9]);
    }

    #[test]
    fn a_server_that_never_pauses_does_not_outrun_the_deadline() {
        let (addr, server) = serve(|mut stream| while stream.write_all(&[0; 65536]).is_ok() {});
        let mut client = Client::builder().read_timeout(SHORT).connect(addr).unwrap();
        let start = Instant::now();
        let error = client.recv_to_end(usize::MAX).unwrap_err();
        assert_took(start, SHORT);
        assert!(error.is_timeout());
        let mut large = vec![0; 1 << 30];
        let start = Instant::now();
        assert!(client.recv_exact(&mut large).unwrap_err().is_timeout());
        assert_took(start, SHORT);
        drop(client);
        server.join().unwrap();
    }

    #[test]
    fn a_reset_is_told_as_such() {
        let (go, gone) = channel::<()>();
        let (addr, server) = serve(move |stream| {
            // A reset that is quicker than the client is an error of its connect.
            gone.recv_timeout(LONG).unwrap();
            reset(stream);
        });
        let mut client = Client::connect(addr).unwrap();
        go.send(()).unwrap();
        server.join().unwrap();
        let error = client.recv(&mut [0; 8]).unwrap_err();
        assert!(matches!(error, ClientError::Read { .. }), "{error}");
        assert_eq!(error.to_string(), format!("cannot read from {addr}"));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn it_reads_and_writes_as_the_standard_library_does() {
        let (addr, _server) = serve(echo);
        let mut client = Client::connect(addr).unwrap();
        client.write_all(b"hello\n").unwrap();
        assert_eq!(client.write(b"").unwrap(), 0);
        let mut line = String::new();
        BufReader::new(&mut client).read_line(&mut line).unwrap();
        assert_eq!(line, "hello\n");
        client.set_read_timeout(Duration::ZERO);
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let inner = error.get_ref().unwrap().downcast_ref::<ClientError>();
        assert!(inner.unwrap().is_timeout());
    }
}

mod writing {
    use super::*;

    /// More than loopback buffers, by far.
    const MUCH: usize = 64 << 20;

    #[test]
    fn a_server_that_never_reads_is_a_time_out_and_ends_writing() {
        let (done, wait) = channel::<()>();
        let (addr, server) = serve(move |mut stream| {
            stream.write_all(b"hi").unwrap();
            let _ = wait.recv_timeout(LONG);
        });
        let mut client = Client::builder().write_timeout(SHORT).connect(addr).unwrap();
        let start = Instant::now();
        let error = client.send(&vec![0; MUCH]).unwrap_err();
        assert_took(start, SHORT);
        assert_eq!(error.phase(), Phase::Write);
        assert!(error.is_timeout() && !error.is_retryable());
        let ClientError::TimedOut { done: sent, total, .. } = error else {
            panic!("{error}");
        };
        assert!(0 < sent && sent < MUCH && total == Some(MUCH));

        let error = client.send(b"more").unwrap_err();
        assert!(
            matches!(error, ClientError::Incomplete { sent: s, total: MUCH, .. } if s == sent),
            "{error}"
        );
        let mut hi = [0; 2];
        client.recv_exact(&mut hi).unwrap();
        assert_eq!(&hi, b"hi", "reading still works");
        drop(done);
        server.join().unwrap();
    }

    #[test]
    fn a_time_out_before_the_first_byte_spoils_nothing() {
        let (done, wait) = channel::<()>();
        let (addr, server) = serve(move |mut stream| {
            wait.recv_timeout(LONG).unwrap();
            io::copy(&mut stream, &mut io::sink()).unwrap()
        });
        let mut client = Client::builder().write_timeout(Duration::ZERO).connect(addr).unwrap();
        let mut sent = 0;
        let error = loop {
            match client.write(&[0; 65536]) {
                Ok(n) => sent += n as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = client.send(b"x").unwrap_err();
        assert!(error.is_timeout() && error.is_retryable(), "{error}");

        done.send(()).unwrap();
        client.set_write_timeout(LONG);
        client.send(b"x").unwrap();
        client.shutdown_write().unwrap();
        assert_eq!(server.join().unwrap(), sent + 1);
    }

    #[test]
    fn a_server_that_is_gone_is_an_error_and_no_signal() {
        let (addr, server) = serve(drop);
        let mut client = Client::connect(addr).unwrap();
        server.join().unwrap();
        let error = loop {
            if let Err(error) = client.send(b"x") {
                break error;
            }
        };
        assert!(matches!(error, ClientError::Write { .. }), "{error}");
        assert!(!error.is_timeout());
        assert_eq!(error.phase(), Phase::Write);
    }

    #[test]
    fn half_closed_after_a_mebibyte_all_of_it_comes_back_and_then_the_end() {
        let (addr, server) = serve(|mut stream| {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        });
        let mut client = Client::connect(addr).unwrap();
        let sent = pattern(1 << 20);
        client.send(&sent).unwrap();
        client.shutdown_write().unwrap();
        assert!(client.recv_to_end(1 << 20).unwrap() == sent);
        assert_eq!(client.recv(&mut [0]).unwrap(), 0);
        server.join().unwrap();
        let error = client.send(b"x").unwrap_err();
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_connection_can_be_taken_out_with_what_was_read() {
        let (addr, _server) = serve(echo);
        let mut client = Client::connect(addr).unwrap();
        client.send(b"one\ntwo").unwrap();
        client.recv_until(b"\n", 9).unwrap();
        let (stream, mut rest) = client.into_tcp().unwrap();
        let mut client = Client::try_from(stream).unwrap();
        client.shutdown_write().unwrap();
        rest.extend(client.recv_to_end(9).unwrap());
        assert_eq!(rest, b"two");
    }
}

mod exchanging {
    use super::*;

    #[test]
    fn sixty_four_mebibytes_come_back_through_an_echo() {
        let (addr, server) = serve(echo);
        let mut client = Client::connect(addr).unwrap();
        let request = pattern(64 << 20);
        let mut sum = 0;
        let moved = client
            .exchange_to_end(&request, |piece| {
                sum = checksum(sum, piece);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(moved.sent, request.len());
        assert_eq!(moved.received, request.len() as u64);
        assert!(moved.ended);
        assert_eq!(sum, checksum(0, &request));
        server.join().unwrap();
    }

    #[test]
    fn an_exchange_ends_when_the_caller_has_enough_and_the_next_follows() {
        let (addr, _server) = serve(echo);
        let mut client = Client::connect(addr).unwrap();
        for round in 0..3u8 {
            let request = vec![round; 8 << 20];
            let mut left = request.len();
            let moved = client.exchange(&request, |piece| {
                assert!(piece.iter().all(|byte| *byte == round));
                left -= piece.len();
                match left {
                    0 => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            });
            let moved = moved.unwrap();
            assert_eq!((moved.sent, moved.ended), (request.len(), false));
        }
    }

    #[test]
    fn enough_before_everything_has_left_ends_writing() {
        let (addr, _server) = serve(echo);
        let mut client = Client::connect(addr).unwrap();
        let request = vec![0; 64 << 20];
        let moved = client.exchange(&request, |_| ControlFlow::Break(()));
        let moved = moved.unwrap();
        assert!(0 < moved.sent && moved.sent < request.len());
        let error = client.send(b"x").unwrap_err();
        assert!(matches!(error, ClientError::Incomplete { .. }), "{error}");
    }

    #[test]
    fn a_peer_that_stops_moving_is_a_time_out_in_either_phase() {
        for (len, phase) in [(1, Phase::Read), (64 << 20, Phase::Write)] {
            let (done, wait) = channel::<()>();
            let (addr, server) = serve(move |stream| {
                let _ = wait.recv_timeout(LONG);
                drop(stream);
            });
            let mut client =
                Client::builder().read_timeout(SHORT).write_timeout(SHORT).connect(addr).unwrap();
            let start = Instant::now();
            let error = client.exchange(&vec![0; len], |_| ControlFlow::Continue(())).unwrap_err();
            assert_took(start, SHORT);
            assert!(error.is_timeout());
            assert_eq!(error.phase(), phase);
            drop(done);
            server.join().unwrap();
        }
    }

    #[test]
    fn a_server_that_refuses_and_closes_is_heard() {
        let (addr, server) = serve(|mut stream| {
            stream.read_exact(&mut [0; 9]).unwrap();
            stream.write_all(b"too large").unwrap();
        });
        let mut client = Client::connect(addr).unwrap();
        let mut said = Vec::new();
        let error = client
            .exchange(&vec![0; 64 << 20], |piece| {
                said.extend_from_slice(piece);
                ControlFlow::Continue(())
            })
            .unwrap_err();
        assert_eq!(said, b"too large");
        assert!(!error.is_timeout() && !error.is_retryable(), "{error}");
        server.join().unwrap();
    }

    #[test]
    fn one_thread_sends_while_another_receives() {
        let (addr, _server) = serve(echo);
        let (mut reader, mut writer) = Client::connect(addr).unwrap().into_split();
        let request = pattern(16 << 20);
        let expected = checksum(0, &request);
        let sender = thread::spawn(move || {
            writer.send(&request).unwrap();
            writer.shutdown().unwrap();
        });
        let replies = reader.recv_to_end(16 << 20).unwrap();
        assert_eq!(checksum(0, &replies), expected);
        sender.join().unwrap();
    }
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;

    /// A path in a directory of its own, which is removed at the end.
    struct SocketPath(PathBuf);

    impl SocketPath {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("polyserve-{}-{name}", std::process::id()));
            std::fs::create_dir(&dir).unwrap();
            Self(dir.join("s"))
        }

        fn endpoint(&self) -> String {
            format!("unix:{}", self.0.display())
        }
    }

    impl Drop for SocketPath {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
        }
    }

    #[test]
    fn a_unix_socket_echoes() {
        let path = SocketPath::new("echo");
        let listener = UnixListener::bind(&path.0).unwrap();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            io::copy(&mut &stream, &mut &stream).unwrap();
        });
        let mut client = Client::connect(path.endpoint()).unwrap();
        assert_eq!(client.peer_addr().as_path(), Some(path.0.as_path()));
        let request = pattern(4 << 20);
        let mut sum = 0;
        client
            .exchange_to_end(&request, |piece| {
                sum = checksum(sum, piece);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(sum, checksum(0, &request));
        assert!(client.as_fd().try_clone_to_owned().is_ok());
        assert!(client.into_tcp().is_err());
        server.join().unwrap();
    }

    #[test]
    fn a_socket_that_is_not_there_may_come() {
        let path = SocketPath::new("missing");
        let error = Client::connect(path.endpoint()).unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(error.to_string().contains("unix:/"), "{error}");
    }

    #[test]
    fn a_path_that_is_too_long_is_an_error() {
        let error = Client::connect(format!("unix:/{}", "x".repeat(200))).unwrap_err();
        assert!(!error.is_retryable(), "{error}");
    }

    #[test]
    #[cfg(target_os = "linux")] // elsewhere a full backlog refuses
    fn a_full_backlog_is_a_time_out() {
        let path = SocketPath::new("full");
        let listener =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        listener.bind(&socket2::SockAddr::unix(&path.0).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let _first = Client::connect(path.endpoint()).unwrap();
        let start = Instant::now();
        let error = Client::builder().connect_timeout(SHORT).connect(path.endpoint()).unwrap_err();
        // The kernel counts this one in its own, coarser ticks.
        assert_took(start, SHORT - Duration::from_millis(10));
        assert!(error.is_timeout(), "{error}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_abstract_name_connects() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("polyserve-{}", std::process::id());
        let addr = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let _listener = UnixListener::bind_addr(&addr).unwrap();
        Client::connect(format!("unix:@{name}")).unwrap();
    }

    #[test]
    fn a_pair_made_elsewhere_becomes_a_client_and_back() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut client = Client::try_from(ours).unwrap();
        theirs.write_all(b"hi").unwrap();
        client.recv_exact(&mut [0; 1]).unwrap();
        let (mut stream, held) = client.into_unix().unwrap();
        assert!(held.is_empty());
        let mut rest = [0; 1];
        stream.read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"i");
    }
}

mod python {
    use super::*;

    const ECHO: &str = "
import socket
s = socket.create_server(('127.0.0.1', 0))
print(s.getsockname()[1], flush=True)
while True:
    c, _ = s.accept()
    with c:
        while True:
            d = c.recv(65536)
            if not d: break
            c.sendall(d)
";

    struct Server {
        child: Child,
        addr: SocketAddr,
    }

    impl Server {
        /// `None` where there is no Python.
        fn start() -> Option<Self> {
            let started = Command::new("python3").args(["-c", ECHO]).stdout(Stdio::piped()).spawn();
            let mut child = match started {
                Ok(child) => child,
                Err(error)
                    if std::env::var_os("POLYSERVE_REQUIRE").is_some_and(|value| value == "1") =>
                {
                    panic!("python3 is required: {error}")
                }
                Err(error) => {
                    println!("SKIP: no python3: {error}");
                    return None;
                }
            };
            let mut line = String::new();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            stdout.read_line(&mut line).unwrap();
            let port: u16 = line.trim().parse().unwrap();
            let addr = (Ipv4Addr::LOCALHOST, port).into();
            Some(Self { child, addr })
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    #[test]
    fn a_python_server_echoes_small_and_large() {
        let Some(server) = Server::start() else {
            return;
        };
        let mut client = Client::connect(server.addr).unwrap();
        client.send(b"hello").unwrap();
        let mut reply = [0; 5];
        client.recv_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"hello");

        let request = pattern(16 << 20);
        let mut sum = 0;
        let moved = client.exchange_to_end(&request, |piece| {
            sum = checksum(sum, piece);
            ControlFlow::Continue(())
        });
        assert_eq!(moved.unwrap().received, request.len() as u64);
        assert_eq!(sum, checksum(0, &request));
    }
}
