//! Several connections at once.

use crate::on_each_backend;
use crate::process::PATIENCE;
use crate::servers::kv;
use crate::wire::{elements, integer, reply_length, request, show, words};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

on_each_backend! {
    a_transaction_is_seen_whole_or_not_at_all
    increments_are_not_lost
    no_message_follows_the_confirmation
    all_see_all_messages_in_one_order
    whoever_is_too_slow_is_closed
    a_drain_closes_subscribers
}

/// Says that it is over when it is dropped, so that whoever goes on until then also ends if a test
/// fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn a_transaction_is_seen_whole_or_not_at_all(backend: &str) {
    let (_server, place) = kv(backend, &[]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let _ends = Ends(&done);
                let mut connection = place.connect();
                let lines = ["MULTI", "INCR a", "RPUSH l x", "INCR b", "EXEC"];
                let batch: Vec<u8> = lines.iter().flat_map(|l| request(&words(l))).collect();
                for _ in 0..300 {
                    connection.send(&batch);
                    let replies = connection.replies(5);
                    let results = elements(&replies[4]);
                    assert_eq!(results[0], results[2], "{:?}", show(&replies[4]));
                }
            });
        }
        let mut connection = place.connect();
        while !done.load(Ordering::SeqCst) {
            let reply = connection.ask("MGET a b");
            let seen = elements(&reply);
            assert_eq!(seen[0], seen[1], "{:?}", show(&reply));
        }
    });
    let mut connection = place.connect();
    assert_eq!(connection.ask("MGET a b"), b"*2\r\n$3\r\n600\r\n$3\r\n600\r\n");
    assert_eq!(connection.ask("LLEN l"), b":600\r\n");
}

fn increments_are_not_lost(backend: &str) {
    let (_server, place) = kv(backend, &[]);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = place.connect();
                connection.send(&request(&words("INCR n")).repeat(200));
                connection.replies(200);
            });
        }
    });
    assert_eq!(place.connect().ask("GET n"), b"$4\r\n1600\r\n");
}

/// A message behind the reply to UNSUBSCRIBE would be taken for the reply to what is asked next.
fn no_message_follows_the_confirmation(backend: &str) {
    let (_server, place) = kv(backend, &[]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut connection = place.connect();
                let batch = request(&words("PUBLISH news hello")).repeat(10);
                while !done.load(Ordering::SeqCst) {
                    connection.send(&batch);
                    connection.replies(10);
                }
            });
        }
        let _ends = Ends(&done);
        let mut connection = place.connect();
        let mut messages = 0;
        for round in 0..300 {
            // Half of the time in one go with what comes next.
            let leave: Vec<u8> = match round % 2 {
                0 => request(&words("UNSUBSCRIBE news")),
                _ => ["UNSUBSCRIBE", "PING"].iter().flat_map(|l| request(&words(l))).collect(),
            };
            connection.ask("SUBSCRIBE news");
            connection.reply();
            connection.send(&leave);
            while elements(&connection.reply())[0] == b"$7\r\nmessage\r\n" {
                messages += 1;
            }
            if round % 2 == 0 {
                connection.send(&request(&words("PING")));
            }
            assert_eq!(show(&connection.reply()), show(b"+PONG\r\n"), "in round {round}");
        }
        assert!(messages > 0, "nothing was published meanwhile");
    });
}

fn all_see_all_messages_in_one_order(backend: &str) {
    const EACH: usize = 100;
    let (_server, place) = kv(backend, &[]);
    let mut members: Vec<_> = (0..4).map(|_| place.connect()).collect();
    members.iter_mut().for_each(|member| drop(member.ask("SUBSCRIBE news")));
    thread::scope(|scope| {
        for publisher in 0..3 {
            let place = &place;
            scope.spawn(move || {
                let mut connection = place.connect();
                for n in 0..EACH {
                    let reply = connection.ask(&format!("PUBLISH news {publisher}:{n}"));
                    assert_eq!(integer(&reply), 4);
                }
            });
        }
    });
    let seen: Vec<_> = members.iter_mut().map(|member| member.replies(3 * EACH)).collect();
    for publisher in 0..3 {
        let texts = seen[0].iter().map(|message| show(elements(message)[2]));
        let own = texts.filter(|text| text.contains(&format!("{publisher}:"))).collect::<Vec<_>>();
        let order = |n: usize| own[n].contains(&format!("{publisher}:{n}\\r"));
        assert!(own.len() == EACH && (0..EACH).all(order), "{own:?}");
    }
    assert!(seen.iter().all(|other| *other == seen[0]), "not all have seen the same order");
}

fn whoever_is_too_slow_is_closed(backend: &str) {
    let (_server, place) = kv(backend, &[]);
    let mut slow = place.connect();
    slow.ask("SUBSCRIBE news");
    let mut quick = place.connect();
    quick.ask("SUBSCRIBE other");
    let message = "x".repeat(64 * 1024);
    let mut publisher = place.connect();
    let publish = request(&words(&format!("PUBLISH news {message}")));
    let (mut accepted, began) = (0, Instant::now());
    loop {
        publisher.send(&publish);
        match integer(&publisher.reply()) {
            0 => break,
            n => accepted += n,
        }
        assert!(accepted < 2000, "125 MiB wait for somebody who does not read");
        assert!(began.elapsed() < PATIENCE);
    }
    // The others do not notice.
    assert_eq!(publisher.ask("PUBLISH other x"), b":1\r\n");
    assert_eq!(elements(&quick.reply()).len(), 3);
    // It gets what was on its way, and no more: it is given up, as Redis gives it up.
    let (mut rest, _) = slow.rest();
    let each = format!("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$65536\r\n{message}\r\n");
    let sent = usize::try_from(accepted).unwrap() * each.len();
    assert!(rest.len() < sent, "{} of {sent} bytes came", rest.len());
    while let Some(length) = reply_length(&rest) {
        assert_eq!(show(&rest.drain(..length).collect::<Vec<_>>()), show(each.as_bytes()));
    }
    assert!(each.as_bytes().starts_with(&rest), "{}", show(&rest));
    assert_eq!(publisher.ask("PUBLISH news x"), b":0\r\n");
}

fn a_drain_closes_subscribers(backend: &str) {
    let (server, place) = kv(backend, &[]);
    let mut subscriber = place.connect();
    subscriber.ask("SUBSCRIBE news");
    let mut in_multi = place.connect();
    in_multi.ask("MULTI");
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    assert_eq!(subscriber.rest(), (Vec::new(), true));
    assert_eq!(in_multi.rest(), (Vec::new(), true));
}
