//! The calls of a client with a codec.

use crate::{LONG, SHORT, echo, reset, serve};
use polyserve::client::{ClientError, Phase};
use polyserve::codec::{DecodeError, Decoded, Decoder, EncodeError, Encoder, Lines, OwnedFrames};
use polyserve::{Client, EventLoop, Framed, Server, Strategy};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

fn connect(addr: SocketAddr) -> Client<Lines> {
    Client::builder().codec(Lines::new()).connect(addr).unwrap()
}

/// Each letter is a frame, and so is what follows a colon up to the end of the stream.
#[derive(Debug, Clone)]
struct Letters;

impl Decoder for Letters {
    type Frame<'a> = &'a [u8];

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<&'a [u8]>, DecodeError> {
        Ok(match input[0] {
            b':' => Decoded::Incomplete { need: 0 },
            _ => Decoded::Frame { frame: &input[..1], consumed: 1 },
        })
    }

    fn decode_eof<'a>(&mut self, rest: &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
        Ok(Some(rest).filter(|rest| !rest.is_empty()))
    }
}

impl Encoder for Letters {
    type Message<'a> = u8;

    fn encode(&mut self, letter: u8, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.push(letter);
        Ok(())
    }
}

impl OwnedFrames for Letters {
    type Owned = Vec<u8>;

    fn to_owned(frame: &[u8]) -> Vec<u8> {
        frame.into()
    }
}

mod types {
    use super::*;

    /// Without a codec, a client is named as it always was.
    struct Holder {
        client: Client,
    }

    #[test]
    fn a_client_without_a_codec_needs_no_annotation() {
        let (addr, _server) = serve(echo);
        let client = Client::connect(addr).unwrap();
        let mut holder = Holder { client };
        holder.client.send(b"x").unwrap();
        let (addr, _server) = serve(echo);
        holder.client = Client::builder().connect(addr).unwrap();
        let (addr, _server) = serve(echo);
        let stream = TcpStream::connect(addr).unwrap();
        holder.client = Client::try_from(stream).unwrap();
        holder.client.send(b"x").unwrap();
        holder.client.recv_exact(&mut [0]).unwrap();
    }

    #[test]
    fn clients_go_from_thread_to_thread() {
        fn is_send_and_sync<T: Send + Sync>() {}
        is_send_and_sync::<Client>();
        is_send_and_sync::<Client<Lines>>();
    }

    #[test]
    fn bytes_become_messages_and_bytes_again() {
        let (addr, _server) = serve(|mut s| s.write_all(b"ab\none\ntwo\nrest").unwrap());
        let mut client = Client::connect(addr).unwrap();
        client.recv_exact(&mut [0; 3]).unwrap();
        let mut client = client.with_codec(Lines::new());
        assert_eq!(client.recv().unwrap().as_deref(), Some("one"));
        let mut client = client.into_raw();
        assert_eq!(client.recv_until(b"\n", 9).unwrap(), b"two\n");
        assert_eq!(client.recv_to_end(9).unwrap(), b"rest");
    }
}

mod calling {
    use super::*;

    #[test]
    fn a_call_gets_its_reply_owned_or_shown() {
        let (addr, _server) = serve(echo);
        let mut client = connect(addr);
        assert_eq!(client.call("one").unwrap(), "one");
        assert_eq!(client.call_with("two", |line| line.len()).unwrap(), 3);
        assert_eq!(client.call_all(["a", "b", ""]).unwrap(), ["a", "b", ""]);
        assert_eq!(client.call_all([]).unwrap(), [""; 0]);
    }

    #[test]
    fn a_reply_may_come_in_any_pieces() {
        let (addr, _server) = serve(|stream| {
            let mut writer = stream.try_clone().unwrap();
            writer.set_nodelay(true).unwrap();
            for line in BufReader::new(stream).lines() {
                for byte in format!("{}\n", line.unwrap()).bytes() {
                    writer.write_all(&[byte]).unwrap();
                }
            }
        });
        let mut client = connect(addr);
        for request in ["", "a", "hello, world"] {
            assert_eq!(client.call(request).unwrap(), request);
        }
    }

    #[test]
    fn a_request_larger_than_all_buffers_does_not_stop_an_echo() {
        let (addr, _server) = serve(echo);
        let codec = Lines::new().max_len(64 << 20);
        let mut client = Client::builder().codec(codec).connect(addr).unwrap();
        let request = "x".repeat(32 << 20);
        let same = client.call_with(&request, |reply| reply == request).unwrap();
        assert!(same);
        assert_eq!(client.call("small").unwrap(), "small");
    }

    #[test]
    fn a_message_that_cannot_be_encoded_changes_nothing() {
        let (addr, _server) = serve(echo);
        let mut client = connect(addr);
        let error = client.call("two\nlines").unwrap_err();
        assert!(matches!(error, ClientError::Encode { .. }), "{error}");
        assert!(!error.is_retryable() && !error.is_ambiguous());
        assert!(matches!(client.send("\n"), Err(ClientError::Encode { .. })));
        assert_eq!(client.call("one line").unwrap(), "one line");
    }

    #[test]
    fn a_late_reply_is_not_taken_for_the_next_one() {
        let (go, gone) = channel::<()>();
        let (addr, server) = serve(move |stream| {
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            gone.recv_timeout(LONG).unwrap();
            (&stream).write_all(b"late\n").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            BufReader::new(&stream).read_to_string(&mut line).unwrap();
            line
        });
        let mut client =
            Client::builder().codec(Lines::new()).first_byte_timeout(SHORT).connect(addr).unwrap();
        let error = client.call("first").unwrap_err();
        assert_eq!(error.phase(), Phase::FirstByte);
        assert!(error.is_ambiguous() && !error.is_retryable(), "{error}");
        let error = client.call("second").unwrap_err();
        assert!(matches!(error, ClientError::OutOfStep { .. }), "{error}");
        assert!(error.is_retryable() && !error.is_ambiguous());
        go.send(()).unwrap();
        assert_eq!(client.recv_within(LONG).unwrap().as_deref(), Some("late"));
        drop(client);
        assert_eq!(server.join().unwrap(), "first\n", "nothing else was sent");
    }

    #[test]
    fn a_server_that_answers_and_does_not_read_the_rest_is_heard() {
        let (addr, server) = serve(|mut stream| {
            stream.read_exact(&mut [0; 9]).unwrap();
            stream.write_all(b"too large\n").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // It closes with unread bytes: a reset, when the client has got the answer.
            stream.read_exact(&mut [0; 1 << 20]).unwrap();
        });
        let codec = Lines::new().max_len(64 << 20);
        let mut client = Client::builder().codec(codec).connect(addr).unwrap();
        assert_eq!(client.call(&"x".repeat(32 << 20)).unwrap(), "too large");
        server.join().unwrap();
        assert!(client.call("more").unwrap_err().is_retryable());
    }

    #[test]
    fn what_is_no_frame_is_an_error_for_good() {
        let (addr, _server) = serve(|mut s| s.write_all(b"abc\nabcdef\nabc\n").unwrap());
        let codec = Lines::new().max_len(4);
        let mut client = Client::builder().codec(codec).connect(addr).unwrap();
        assert_eq!(client.recv().unwrap().as_deref(), Some("abc"));
        let error = client.recv().unwrap_err();
        let ClientError::Decode { source: DecodeError::TooLong { max: 4, .. }, .. } = error else {
            panic!("{error}");
        };
        assert!(matches!(client.recv(), Err(ClientError::OutOfStep { .. })));
    }
}

mod ending {
    use super::*;

    /// What a client makes of a server that closes, or resets, after these bytes.
    fn after(bytes: &[u8], how: fn(TcpStream)) -> Result<Option<String>, ClientError> {
        let part = bytes.to_vec();
        let (go, gone) = channel::<()>();
        let (addr, server) = serve(move |mut stream| {
            // A reset that is quicker than the client is an error of its connect.
            gone.recv_timeout(LONG).unwrap();
            stream.write_all(&part).unwrap();
            how(stream);
        });
        let mut client = connect(addr);
        go.send(()).unwrap();
        server.join().unwrap();
        let first = client.recv();
        if let Ok(Some(_)) = first {
            // Nothing more comes, however often it is asked for.
            for _ in 0..2 {
                assert!(!matches!(client.recv(), Ok(Some(_))));
            }
        }
        first
    }

    #[test]
    fn an_end_within_a_frame_is_an_error_at_every_offset() {
        let frame = format!("{}\n", "x".repeat(63));
        for end in 0..=frame.len() {
            match after(&frame.as_bytes()[..end], drop) {
                Ok(None) => assert_eq!(end, 0, "a clean end"),
                Ok(Some(line)) => assert_eq!((end, line), (64, "x".repeat(63))),
                Err(ClientError::UnexpectedEof { got, expected: None, .. }) => {
                    assert_eq!(got, end);
                    assert!((1..64).contains(&end));
                }
                Err(other) => panic!("{other} at {end}"),
            }
        }
    }

    #[test]
    fn a_reset_within_a_frame_is_an_error_at_every_offset() {
        let frame = format!("{}\n", "x".repeat(63));
        for end in 0..=frame.len() {
            match after(&frame.as_bytes()[..end], reset) {
                // The bytes before a reset may still be read.
                Ok(Some(line)) => assert_eq!((end, line), (64, "x".repeat(63))),
                Err(ClientError::Read { source, .. }) => {
                    assert_eq!(source.kind(), std::io::ErrorKind::ConnectionReset);
                }
                other => panic!("{other:?} at {end}"),
            }
        }
    }

    #[test]
    fn a_reply_that_is_cut_short_is_an_error_at_every_offset() {
        let frame = format!("{}\n", "y".repeat(63));
        for end in 0..=frame.len() {
            let part = frame.as_bytes()[..end].to_vec();
            let (addr, _server) = serve(move |mut stream| {
                stream.read_exact(&mut [0; 3]).unwrap();
                stream.write_all(&part).unwrap();
            });
            match connect(addr).call("hi") {
                Ok(reply) => assert_eq!((end, reply), (64, "y".repeat(63))),
                Err(ClientError::UnexpectedEof { got, .. }) => {
                    assert_eq!(got, end);
                    assert!(end < 64);
                }
                Err(other) => panic!("{other} at {end}"),
            }
        }
    }

    #[test]
    fn the_codec_makes_a_frame_of_the_end_where_it_can() {
        let connect = |bytes: &'static [u8]| {
            let (addr, _server) = serve(move |mut stream| {
                stream.write_all(bytes).unwrap();
            });
            Client::builder().codec(Letters).connect(addr).unwrap()
        };
        let mut client = connect(b"a:bc");
        assert_eq!(client.recv().unwrap().unwrap(), b"a");
        assert_eq!(client.recv().unwrap().unwrap(), b":bc");
        assert_eq!(client.recv().unwrap(), None);
        assert_eq!(client.recv().unwrap(), None);
        // The last of several replies is one, too.
        let (addr, _server) = serve(|mut stream| {
            stream.read_exact(&mut [0; 2]).unwrap();
            stream.write_all(b"x:yz").unwrap();
        });
        let mut client = Client::builder().codec(Letters).connect(addr).unwrap();
        assert_eq!(client.call_all(*b"12").unwrap(), [&b"x"[..], b":yz"]);
    }

    #[test]
    fn no_reply_is_not_a_clean_end() {
        let (addr, _server) = serve(|mut stream| stream.read_exact(&mut [0; 3]).unwrap());
        let error = connect(addr).call("hi").unwrap_err();
        assert!(matches!(error, ClientError::UnexpectedEof { got: 0, .. }), "{error}");
        assert!(error.is_ambiguous() && !error.is_retryable());
        assert_eq!(
            error.to_string(),
            format!("{addr} ended the stream after 0 bytes, expected more")
        );
    }

    #[test]
    fn our_stream_can_end_before_the_servers() {
        let (addr, _server) = serve(|mut stream| {
            let mut all = String::new();
            stream.read_to_string(&mut all).unwrap();
            stream.write_all(format!("{} bytes\n", all.len()).as_bytes()).unwrap();
        });
        let mut client = connect(addr);
        client.send("hello").unwrap();
        client.shutdown_write().unwrap();
        assert_eq!(client.recv().unwrap().as_deref(), Some("6 bytes"));
        assert_eq!(client.recv().unwrap(), None);
    }
}

mod pipelining {
    use super::*;

    fn requests(n: usize, len: usize) -> Vec<String> {
        (0..n).map(|n| format!("{n:0len$}")).collect()
    }

    /// Checks that each of so many requests gets its own reply.
    fn check(client: &mut Client<Lines>, n: usize, len: usize) {
        let requests = requests(n, len);
        let mut replies = requests.iter();
        let answered = client.pipeline(requests.iter().map(String::as_str), |reply| {
            assert_eq!(Some(reply), replies.next().map(String::as_str));
            ControlFlow::Continue(())
        });
        assert_eq!(answered.unwrap(), n);
        assert_eq!(replies.next(), None);
    }

    #[test]
    fn ten_thousand_requests_of_a_kibibyte_come_back_from_an_echo() {
        let (addr, _server) = serve(echo);
        let mut client = connect(addr);
        check(&mut client, 10_000, 1023);
        check(&mut client, 1, 1);
    }

    /// A client of a server that both have little room for what is on the way.
    fn with_small_buffers(server: fn(TcpStream)) -> (Client<Lines>, thread::JoinHandle<()>) {
        const BUFFER: usize = 64 << 10;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        socket2::SockRef::from(&listener).set_recv_buffer_size(BUFFER).unwrap();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            socket2::SockRef::from(&stream).set_send_buffer_size(BUFFER).unwrap();
            server(stream);
        });
        let stream = TcpStream::connect(addr).unwrap();
        let socket = socket2::SockRef::from(&stream);
        socket.set_send_buffer_size(BUFFER).unwrap();
        socket.set_recv_buffer_size(BUFFER).unwrap();
        socket.set_tcp_nodelay(true).unwrap();
        let codec = Lines::new().max_len(1 << 20);
        (Client::try_from(stream).unwrap().with_codec(codec), server)
    }

    /// The buffers between the two hold a fortieth of them, so one that only writes, and reads when
    /// it has written, would wait for ever.
    #[test]
    fn ten_thousand_requests_come_back_through_small_buffers() {
        let (mut client, server) = with_small_buffers(echo);
        check(&mut client, 10_000, 1023);
        drop(client);
        server.join().unwrap();
    }

    /// The server reads no further while its replies are not read, so one that waits for room to
    /// write, and for nothing else, would wait for ever.
    #[test]
    fn replies_larger_than_their_requests_are_read_while_requests_wait() {
        const N: usize = 500;
        let (mut client, server) = with_small_buffers(|stream| {
            for line in BufReader::new(&stream).lines() {
                let reply = line.unwrap().repeat(16) + "\n";
                (&stream).write_all(reply.as_bytes()).unwrap();
            }
        });
        let requests = requests(N, 8 << 10);
        let mut answered = 0;
        client
            .pipeline(requests.iter().map(String::as_str), |reply| {
                assert_eq!(reply, requests[answered].repeat(16));
                answered += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(answered, N);
        drop(client);
        server.join().unwrap();
    }

    #[test]
    fn a_server_of_this_crate_answers_in_order_on_each_backend() {
        for backend in ["threads", "pool:2", "event-loop:1"] {
            let backend: Strategy = backend.parse().unwrap();
            let server = Server::builder()
                .backend(backend)
                .bind("127.0.0.1:0")
                .unwrap()
                .spawn(|_peer| Framed::new(Lines::new(), |line, replies| replies.send(line)))
                .unwrap();
            let addr = &server.local_addrs()[0];
            let mut client = Client::builder().codec(Lines::new()).connect(addr).unwrap();
            check(&mut client, 10_000, 1023);
            check(&mut client, 3_000, 4);
        }
    }

    #[test]
    fn not_more_than_a_window_of_requests_is_on_the_way() {
        let server = Server::builder()
            .backend(EventLoop::new())
            .bind("127.0.0.1:0")
            .unwrap()
            .spawn(|_peer| Framed::new(Lines::new(), |line, replies| replies.send(line)))
            .unwrap();
        let addr = &server.local_addrs()[0];
        let mut client = Client::builder().codec(Lines::new()).connect(addr).unwrap();
        let asked = std::cell::Cell::new(0);
        let mut answered = 0;
        let requests = (0..20_000).map(|_| {
            asked.set(asked.get() + 1);
            ""
        });
        client
            .pipeline(requests, |_| {
                answered += 1;
                // One has been looked at to know that there is one.
                assert!(asked.get() - answered <= 1024 + 1);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!((asked.get(), answered), (20_000, 20_000));
    }

    #[test]
    fn a_request_that_cannot_be_encoded_is_told_after_the_replies_before_it() {
        let (addr, _server) = serve(echo);
        let mut client = connect(addr);
        let mut replies = Vec::new();
        let error = client.pipeline(["a", "b", "no\nline", "c"], |reply| {
            replies.push(reply.to_owned());
            ControlFlow::Continue(())
        });
        assert!(matches!(error, Err(ClientError::Encode { .. })));
        assert_eq!(replies, ["a", "b"]);
        assert_eq!(client.call("d").unwrap(), "d");
    }

    #[test]
    fn enough_before_all_replies_leaves_it_out_of_step_and_enough_at_the_last_does_not() {
        let (addr, _server) = serve(echo);
        let mut client = connect(addr);
        let mut n = 0;
        let two = client.pipeline(["a", "b"], |_| {
            n += 1;
            if n == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(two.unwrap(), 2);
        assert_eq!(client.pipeline(["c", "d"], |_| ControlFlow::Break(())).unwrap(), 1);
        assert!(matches!(client.call("e"), Err(ClientError::OutOfStep { .. })));
    }

    #[test]
    fn a_failure_after_the_first_batch_is_not_safe_to_retry() {
        let (addr, server) = serve(|stream| {
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            for _ in 0..100 {
                line.clear();
                lines.read_line(&mut line).unwrap();
                (&stream).write_all(line.as_bytes()).unwrap();
            }
        });
        let mut client = connect(addr);
        let requests = requests(10_000, 1023);
        let mut answered = 0;
        let error = client.pipeline(requests.iter().map(String::as_str), |_| {
            answered += 1;
            ControlFlow::Continue(())
        });
        let error = error.unwrap_err();
        assert!(answered <= 100);
        assert!(!error.is_retryable() && error.is_ambiguous(), "{error}");
        server.join().unwrap();
    }

    #[test]
    fn one_thread_sends_messages_while_another_receives_them() {
        let (addr, _server) = serve(echo);
        let (mut reader, mut writer) = connect(addr).into_frames();
        let sender = thread::spawn(move || {
            for request in requests(10_000, 1023) {
                writer.send(&request).unwrap();
            }
            writer.shutdown().unwrap();
        });
        for request in requests(10_000, 1023) {
            assert!(reader.recv_with(|frame| frame == request).unwrap().unwrap());
        }
        assert_eq!(reader.recv().unwrap(), None);
        sender.join().unwrap();
    }
}

mod pushing {
    use super::*;

    #[test]
    fn what_nobody_asked_for_is_received_when_it_comes() {
        let (go, gone) = channel::<&'static [u8]>();
        let (wrote, written) = channel();
        let (addr, server) = serve(move |mut stream| {
            for bytes in gone {
                stream.write_all(bytes).unwrap();
                wrote.send(()).unwrap();
            }
        });
        let mut client = connect(addr);
        let push = |bytes| {
            go.send(bytes).unwrap();
            written.recv_timeout(LONG).unwrap();
        };
        assert!(client.try_recv().unwrap_err().is_timeout(), "nothing is there");
        push(b"one\ntwo\nthr");
        assert_eq!(client.try_recv().unwrap().as_deref(), Some("one"));
        assert_eq!(client.recv_within(LONG).unwrap().as_deref(), Some("two"));
        let error = client.recv_within(SHORT).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(
            error.to_string(),
            format!("no answer from {addr} within 60ms while reading (3 bytes)")
        );
        push(b"ee\n");
        assert_eq!(client.recv().unwrap().as_deref(), Some("three"), "nothing was lost");
        drop(go);
        assert_eq!(client.recv_within(LONG).unwrap(), None);
        server.join().unwrap();
    }

    #[test]
    fn a_wait_of_its_own_is_not_ended_by_the_other_time_outs() {
        let (go, gone) = channel::<()>();
        let (addr, server) = serve(move |mut stream| {
            // Longer than any of the others allows.
            assert!(gone.recv_timeout(SHORT * 2).is_err());
            stream.write_all(b"news\n").unwrap();
        });
        let at_once = Duration::from_millis(1);
        let mut client = Client::builder()
            .codec(Lines::new())
            .first_byte_timeout(at_once)
            .idle_timeout(at_once)
            .read_timeout(at_once)
            .connect(addr)
            .unwrap();
        assert_eq!(client.recv_within(LONG).unwrap().as_deref(), Some("news"));
        drop(go);
        server.join().unwrap();
    }
}

/// Whatever panics in a call of a client that lives on: its request, or a part of it, may have
/// left, and must neither leave again nor give its reply to the next call.
#[test]
fn a_panic_within_a_call_leaves_it_out_of_step() {
    let mut client = connect(serve(echo).0);
    let panics =
        catch_unwind(AssertUnwindSafe(|| client.call_with("one", |_| panic!("on a reply"))));
    assert!(panics.is_err());
    let error = client.call("two").unwrap_err();
    assert!(matches!(error, ClientError::OutOfStep { .. }), "{error}");
    client.send("three").unwrap();
    assert_eq!(client.recv().unwrap().unwrap(), "three");
}

#[test]
fn a_panic_before_anything_has_left_loses_nothing_and_sends_nothing() {
    let mut client = connect(serve(echo).0);
    let requests = ["one", "two"].into_iter().map(|line| match line {
        "one" => line,
        _ => panic!("no more requests"),
    });
    let panics = catch_unwind(AssertUnwindSafe(|| client.call_all(requests)));
    assert!(panics.is_err());
    assert_eq!(client.call("three").unwrap(), "three");
}

/// Panics in the middle of each message that is told to.
#[derive(Debug, Clone)]
struct Fragile(Lines);

impl Decoder for Fragile {
    type Frame<'a> = &'a str;

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<&'a str>, DecodeError> {
        self.0.decode(input)
    }
}

impl Encoder for Fragile {
    type Message<'a> = &'a str;

    fn encode(&mut self, line: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.0.encode(line, out)?;
        assert!(line != "panic", "in the middle");
        Ok(())
    }
}

impl OwnedFrames for Fragile {
    type Owned = String;

    fn to_owned(frame: &str) -> String {
        frame.into()
    }
}

#[test]
fn a_message_whose_encoder_panicked_never_leaves() {
    let (addr, _server) = serve(echo);
    let mut client = Client::builder().codec(Fragile(Lines::new())).connect(addr).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| client.send("panic"))).is_err());
    assert_eq!(client.call("one").unwrap(), "one");
    assert!(catch_unwind(AssertUnwindSafe(|| client.send("panic"))).is_err());
    client.send("two").unwrap();
    assert_eq!(client.recv().unwrap().unwrap(), "two");
    assert!(catch_unwind(AssertUnwindSafe(|| client.call("panic"))).is_err());
    assert_eq!(client.call("three").unwrap(), "three");
}

#[test]
fn what_nobody_asked_for_does_not_pile_up_while_requests_leave() {
    let (addr, _server) = serve(|mut stream| {
        let lines = [b'\n'; 64 * 1024];
        while stream.write_all(&lines).is_ok() {}
    });
    let patience = Duration::from_millis(300);
    let builder = Client::builder().codec(Lines::new()).write_timeout(patience);
    let mut client = builder.connect(addr).unwrap();
    let request = "x".repeat(8 * 1024);
    // More than the buffers between the two hold.
    let requests = (0..10_000).map(|_| request.as_str());
    let error = client.pipeline(requests, |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!((error.phase(), error.is_timeout()), (Phase::Write, true), "{error}");
    let held = client.into_raw().buffered().len();
    assert!(held <= 2 * 1024 * 1024, "{held} bytes");
}
