//! Every byte arrives, once, in order, whatever its way is cut into.

use super::client::{Client, pattern};
use super::role::Role;
use super::stage::{Asked, OrFail, Stage, check};
use crate::handler::Action;
use crate::net::SocketOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) fn a_byte_comes_back(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo())?;
    let mut client = server.connect()?;
    for byte in (0..=255).step_by(5) {
        client.send(&[byte])?;
        client.expect(&[byte])?;
    }
    Ok(())
}

pub(super) fn sixty_four_kib_come_back(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo())?;
    let mut client = server.connect()?;
    let bytes = pattern(64 * 1024);
    check!(client.exchange(&bytes)? == bytes, "64 KiB came back changed");
    Ok(())
}

pub(super) fn what_fills_buffers_comes_back_and_the_end_after_it(stage: &Stage) -> Asked {
    // As long as some reads, to the byte: whether more has come cannot be told from their lengths.
    let server = stage.serve(|_, _| Role::echo())?;
    for kib in [16, 64, 128, 192, 256, 320] {
        let mut client = server.connect()?;
        let bytes = pattern(kib * 1024);
        check!(client.exchange(&bytes)? == bytes, "{kib} KiB came back changed");
        client.send(b"after it")?;
        client.expect(b"after it")?;
        check!(client.exchange(&bytes)? == bytes, "{kib} KiB came back changed");
        client.finish()?;
        client.expect_end()?;
    }
    Ok(())
}

pub(super) fn eight_mib_come_back_to_a_slow_reader(stage: &Stage) -> Asked {
    // The server's system takes little at a time, and the client reads in small pieces.
    let options = SocketOptions::new().with_send_buffer(Some(16 * 1024));
    let server = stage.serve_with(|b| b.socket_options(options), |_, _| Role::echo())?;
    let mut client = server.connect_small(16 * 1024)?;
    let bytes = pattern(8 * 1024 * 1024);
    check!(client.exchange(&bytes)? == bytes, "8 MiB came back changed");
    Ok(())
}

pub(super) fn a_mib_of_one_byte_comes_back(stage: &Stage) -> Asked {
    // Through a layer that packs runs, this is more plaintext than any read of the wire is long.
    let server = stage.serve(|_, _| Role::echo())?;
    let mut client = server.connect()?;
    let bytes = vec![b'z'; 1024 * 1024];
    check!(client.exchange(&bytes)? == bytes, "1 MiB came back changed");
    client.send(b"after it")?;
    client.expect(b"after it")
}

pub(super) fn a_stream_may_come_in_any_pieces(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo())?;
    let mut client = server.connect()?;
    let bytes = pattern(20_000);
    let (mut rest, mut size) = (&bytes[..], 1);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        client.send(piece)?;
        rest = after;
        size = size * 7 % 1009;
    }
    check!(client.read(bytes.len())? == bytes, "the pieces came back changed");
    Ok(())
}

pub(super) fn many_connections_are_served_at_once(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| Role::echo())?;
    let mut clients = (0..32).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    for round in 0..4 {
        for (i, client) in clients.iter_mut().enumerate() {
            client.send(format!("{round} {i};").as_bytes())?;
        }
        for (i, client) in clients.iter_mut().enumerate().rev() {
            client.expect(format!("{round} {i};").as_bytes())?;
        }
    }
    server.log.wait_opened(32)
}

/// Answers each line in brackets.
fn lines() -> Role {
    Role::echo().data(|input, cx| {
        while let Some(end) = input.iter().position(|b| *b == b'\n') {
            let line = input.take_n(end + 1).unwrap_or_default();
            cx.send([b"[", &line[..end], b"]"].concat());
        }
        Ok(Action::Continue)
    })
}

pub(super) fn pipelined_requests_are_answered_in_order(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| lines())?;
    let mut client = server.connect()?;
    let requests: String = (0..3000).map(|n| format!("{n}\n")).collect();
    let replies: String = (0..3000).map(|n| format!("[{n}]")).collect();
    for piece in requests.as_bytes().chunks(97) {
        client.send(piece)?;
    }
    client.expect(replies.as_bytes())
}

pub(super) fn a_request_in_pieces_is_one_request(stage: &Stage) -> Asked {
    let server = stage.serve(|_, log| {
        let log = Arc::clone(log);
        Role::echo().data(move |input, cx| {
            log.note("seen");
            if !input.ends_with(b"\n") {
                return Ok(Action::Continue);
            }
            cx.send(input.take());
            Ok(Action::Continue)
        })
    })?;
    let mut client = server.connect()?;
    for (n, byte) in b"piece by piece\n".iter().enumerate() {
        client.send(&[*byte])?;
        // Each byte leads to a callback of its own, because the last one was seen before it.
        server.log.wait_notes("seen", n + 1)?;
    }
    client.expect(b"piece by piece\n")
}

pub(super) fn the_sends_of_one_read_leave_in_one_write(stage: &Stage) -> Asked {
    let server = stage.serve(|_, _| {
        Role::echo().data(|input, cx| {
            for byte in input.take() {
                cx.send([*byte]);
            }
            Ok(Action::Continue)
        })
    })?;
    let mut client = server.connect()?;
    let mut buf = [0; 64];
    for round in 0..100 {
        client.send(b"0123456789")?;
        // One write of a few bytes is one segment, and one segment is one read.
        let read = std::io::Read::read(&mut client.socket(), &mut buf).or_fail("a reply")?;
        check!(read == 10, "round {round}: the first read of the reply gave {read} of 10 bytes");
    }
    Ok(())
}

pub(super) fn input_that_is_left_is_shown_again(stage: &Stage) -> Asked {
    // Takes two bytes at a time, and only once the last byte of all is there.
    let server = stage.serve(|_, _| {
        Role::echo().data(|input, cx| {
            if input.last() == Some(&b'!') {
                while let Some(two) = input.take_n(2) {
                    cx.send([two[1], two[0]]);
                }
            }
            Ok(Action::Continue)
        })
    })?;
    let mut client = server.connect()?;
    for piece in ["a", "bc", "def", "ghij", "k!"] {
        client.send(piece.as_bytes())?;
    }
    client.expect(b"badcfehgji!k")
}

pub(super) fn a_large_request_is_held_until_it_is_whole(stage: &Stage) -> Asked {
    const SIZE: usize = 400_000;
    let server = stage.serve(|_, log| {
        let log = Arc::clone(log);
        Role::echo().open(|_| Ok(Action::Want(SIZE))).data(move |input, cx| {
            log.note("data");
            cx.send(input.take());
            Ok(Action::Want(SIZE))
        })
    })?;
    let mut client = server.connect()?;
    let bytes = pattern(SIZE);
    for _ in 0..2 {
        check!(client.exchange(&bytes)? == bytes, "a large request came back changed");
    }
    let calls = server.log.seen().count("data");
    check!(calls == 2, "two wanted requests made {calls} calls");
    Ok(())
}

/// Sends `total` bytes by `on_writable`, and remembers the most that ever waited.
fn streamer(total: usize, most: &Arc<AtomicUsize>) -> Role {
    let bytes = Arc::new(pattern(total));
    let sent = Arc::new(AtomicUsize::new(0));
    let (more, most) = (Arc::clone(&bytes), Arc::clone(most));
    let go_on = move |cx: &mut crate::Context<'_>| {
        while cx.is_writable() {
            let at = sent.load(Ordering::Relaxed);
            let end = (at + 10_000).min(more.len());
            if at == end {
                return Ok(Action::Close);
            }
            cx.send(&more[at..end]);
            sent.store(end, Ordering::Relaxed);
            most.fetch_max(cx.pending(), Ordering::Relaxed);
        }
        Ok(Action::Continue)
    };
    let first = go_on.clone();
    Role::echo()
        .data(move |input, cx| {
            input.take();
            first(cx)
        })
        .writable(go_on)
}

pub(super) fn a_large_reply_streams_by_on_writable(stage: &Stage) -> Asked {
    const TOTAL: usize = 2_000_001;
    let most = Arc::new(AtomicUsize::new(0));
    let its_most = Arc::clone(&most);
    let server = stage.serve(move |_, _| streamer(TOTAL, &its_most))?;
    let mut client = server.connect()?;
    client.send(b"go")?;
    check!(client.read_to_end()? == pattern(TOTAL), "the stream came changed");
    let added = if stage.has_layer() { 16 * 1024 } else { 0 };
    let (most, bound) = (most.load(Ordering::Relaxed), 256 * 1024 + 10_000 + added);
    check!(most <= bound, "{most} bytes waited at once, {bound} at most were expected");
    Ok(())
}

pub(super) fn a_small_reply_streams_by_on_writable(stage: &Stage) -> Asked {
    let most = Arc::default();
    let server = stage.serve(move |_, _| streamer(300_000, &most))?;
    let read = |mut client: Client| {
        client.send(b"go")?;
        check!(client.read_to_end()? == pattern(300_000), "the stream came changed");
        Ok(())
    };
    (0..5).try_for_each(|_| read(server.connect()?))
}

pub(super) fn a_peer_that_does_not_read_is_not_read(stage: &Stage) -> Asked {
    let most = Arc::new(AtomicUsize::new(0));
    let its_most = Arc::clone(&most);
    let options = SocketOptions::new().with_send_buffer(Some(16 * 1024));
    let server = stage.serve_with(
        |b| b.socket_options(options),
        move |_, _| {
            let most = Arc::clone(&its_most);
            Role::echo().data(move |input, cx| {
                cx.send(input.take());
                most.fetch_max(cx.pending(), Ordering::Relaxed);
                Ok(Action::Continue)
            })
        },
    )?;
    let mut client = server.connect_small(16 * 1024)?;
    let bytes = pattern(1024 * 1024);
    check!(client.exchange(&bytes)? == bytes, "1 MiB came back changed");
    // One read beyond the high mark, at most; and what a layer adds to its records.
    let added = if stage.has_layer() { 16 * 1024 } else { 0 };
    let (most, bound) = (most.load(Ordering::Relaxed), (256 + 64) * 1024 + added);
    check!(most <= bound, "{most} bytes waited at once, {bound} at most were expected");
    Ok(())
}

pub(super) fn output_beyond_the_hard_mark_arrives(stage: &Stage) -> Asked {
    const SIZE: usize = 1_500_000;
    let server = stage.serve(|_, _| {
        Role::echo().data(|input, cx| {
            input.take();
            cx.send(pattern(SIZE));
            Ok(Action::Continue)
        })
    })?;
    let mut client = server.connect()?;
    client.send(b"go")?;
    check!(client.read(SIZE)? == pattern(SIZE), "the reply came changed");
    client.send(b"go")?;
    check!(client.read(SIZE)? == pattern(SIZE), "the second reply came changed");
    Ok(())
}
