//! Requests and replies, played without sockets: order, outstanding replies, streams, ends.

use polyserve::codec::{DecodeError, Decoded, Decoder, EncodeError, Encoder, Lines};
use polyserve::testing::{Script, assert_split_independent};
use polyserve::{
    Action, BoxError, CloseKind, CloseReason, Framed, Limits, Replies, Reply, ReplyError, Sender,
    Service,
};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Lent<'a, 'b> = &'a mut Replies<'b, Lines>;

/// Echoes lines, but keeps the reply to each that begins with `later`.
fn keeper(kept: &Arc<Mutex<Vec<Reply<Lines>>>>) -> Script {
    let kept = Arc::clone(kept);
    Script::new(move |_| {
        Framed::new(Lines::new(), move |line, replies: Lent<'_, '_>| -> Result<(), BoxError> {
            if line.starts_with("later") {
                kept.lock().unwrap().push(replies.defer());
            } else {
                replies.send(line)?;
            }
            Ok(())
        })
    })
}

fn upper() -> Script {
    Script::new(|_| Framed::new(Lines::new(), |line, replies| replies.send(&line.to_uppercase())))
}

#[test]
fn pipelined_requests_are_answered_in_one_write() {
    let mut script = upper();
    script.recv(b"one\ntwo\r\nthr");
    assert_eq!(script.output(), b"ONE\nTWO\n");
    assert_eq!(script.sends(), 1);
    assert_eq!(script.recv(b"ee\n").output(), b"THREE\n");
    assert!(script.holds_nothing());
}

#[test]
fn requests_may_be_cut_anywhere() {
    let factory =
        |_: &_| Framed::new(Lines::new(), |line, replies| replies.send(&line.to_uppercase()));
    assert_split_independent(factory, b"one\r\n\ntwo\nthree\r\n", b"ONE\n\nTWO\nTHREE\n");
}

#[test]
fn closures_return_what_suits_them() {
    let unit = |_: &str, _: Lent<'_, '_>| ();
    let action = |_: &str, _: Lent<'_, '_>| Action::Close;
    let result = |line: &str, _: Lent<'_, '_>| line.parse::<u8>().map(|_| Action::Close);
    let mut script = Script::new(move |_| Framed::new(Lines::new(), unit));
    assert_eq!(script.recv(b"x\n").close_kind(), None);
    let mut script = Script::new(move |_| Framed::new(Lines::new(), action));
    assert_eq!(script.recv(b"x\n").close_kind(), Some(CloseKind::Closed));
    let mut script = Script::new(move |_| Framed::new(Lines::new(), result));
    assert_eq!(script.recv(b"1\n").close_kind(), Some(CloseKind::Closed));
    let mut script = Script::new(move |_| Framed::new(Lines::new(), result));
    assert_eq!(script.recv(b"x\n").close_kind(), Some(CloseKind::Handler));
}

#[test]
fn what_is_no_frame_closes_with_its_own_reason() {
    let mut script = upper();
    script.recv(b"fine\n\xff\xfe\nunseen\n");
    assert_eq!(script.output(), b"FINE\n");
    assert_eq!(script.close_kind(), Some(CloseKind::Decode));
    let text = script.close_text().unwrap();
    assert_eq!(text, "the peer broke the protocol: a frame is no UTF-8 text");
}

#[test]
fn an_end_within_a_frame_is_no_clean_end() {
    let mut script = upper();
    assert_eq!(script.recv(b"one\ntw").eof().output(), b"ONE\n");
    assert_eq!(script.close_kind(), Some(CloseKind::Truncated));
    let mut script = upper();
    assert_eq!(script.recv(b"one\n").eof().close_kind(), Some(CloseKind::PeerClosed));
}

#[test]
fn an_endless_line_ends_at_its_limit() {
    let mut script = upper();
    for _ in 0..8 * 1024 {
        script.recv(b"x");
    }
    assert_eq!(script.close_kind(), None);
    script.recv(b"x");
    assert_eq!(script.close_kind(), Some(CloseKind::Decode));
}

#[test]
fn later_replies_keep_the_order_of_their_requests() {
    let kept = Arc::default();
    let mut script = keeper(&kept);
    script.recv(b"1\nlater 2\n3\nlater 4\n5\n");
    assert_eq!(script.output(), b"1\n");
    let mut replies = std::mem::take(&mut *kept.lock().unwrap()).into_iter();
    let (second, fourth) = (replies.next().unwrap(), replies.next().unwrap());
    fourth.send("4").unwrap();
    assert_eq!(script.settle().output(), b"");
    second.send("2").unwrap();
    assert_eq!(script.settle().output(), b"2\n3\n4\n5\n");
    assert_eq!(script.recv(b"6\n").output(), b"6\n");
    // A sender was asked for, so the outbox stays; nothing else does.
    assert_eq!((script.held().input, script.held().output), (0, 0));
}

#[test]
fn a_later_reply_may_have_several_parts() {
    let kept = Arc::default();
    let mut script = keeper(&kept);
    script.recv(b"later\nnext\n");
    let mut reply = kept.lock().unwrap().pop().unwrap();
    reply.write("a").unwrap();
    assert_eq!(
        script.settle().output(),
        b"a\n",
        "the first outstanding reply leaves as it is made"
    );
    assert!(matches!(reply.write("a\nb"), Err(ReplyError::Encode(_))), "a refused part is no end");
    reply.write("b").unwrap();
    reply.finish();
    assert_eq!(script.settle().output(), b"b\nnext\n");
}

#[test]
fn a_dropped_reply_ends_the_connection() {
    let kept = Arc::default();
    let mut script = keeper(&kept);
    script.recv(b"later\nnext\n");
    kept.lock().unwrap().clear();
    script.settle();
    assert_eq!(script.output(), b"");
    assert_eq!(script.close_kind(), Some(CloseKind::Handler));
    assert!(script.close_text().unwrap().contains("a reply that was to be made later was dropped"));
}

#[test]
fn whoever_makes_a_reply_learns_that_nobody_waits_for_it() {
    let kept = Arc::default();
    let mut script = keeper(&kept);
    script.recv(b"later\n");
    let reply = kept.lock().unwrap().pop().unwrap();
    assert!(!reply.is_closed());
    script.stop();
    assert!(reply.is_closed());
    assert!(matches!(reply.send("too late"), Err(ReplyError::Closed)));
}

#[test]
fn the_end_waits_for_outstanding_replies() {
    let kept = Arc::default();
    let mut script = keeper(&kept);
    script.recv(b"later\nnext\n").eof();
    assert_eq!(script.close_kind(), None);
    kept.lock().unwrap().pop().unwrap().send("done").unwrap();
    assert_eq!(script.settle().output(), b"done\nnext\n");
    assert_eq!(script.close_kind(), Some(CloseKind::PeerClosed));
}

#[test]
fn a_broken_frame_waits_for_the_replies_before_it() {
    let kept = Arc::default();
    let mut script = keeper(&kept);
    script.recv(b"later\n\xff\nunseen\n");
    assert_eq!(script.close_kind(), None);
    kept.lock().unwrap().pop().unwrap().send("done").unwrap();
    assert_eq!(script.settle().output(), b"done\n");
    assert_eq!(script.close_kind(), Some(CloseKind::Decode));
}

#[test]
fn a_drain_waits_for_outstanding_replies() {
    let kept = Arc::default();
    let mut script = keeper(&kept);
    script.recv(b"later\n").drain();
    assert_eq!(script.close_kind(), None);
    kept.lock().unwrap().pop().unwrap().send("done").unwrap();
    assert_eq!(script.settle().output(), b"done\n");
    assert_eq!(script.close_kind(), Some(CloseKind::Shutdown));
}

#[test]
fn whoever_waits_for_a_reply_is_not_idle() {
    let kept = Arc::default();
    let mut script = keeper(&kept);
    script.recv(b"later\n").advance(Duration::from_secs(600));
    assert_eq!(script.close_kind(), None);
    kept.lock().unwrap().pop().unwrap().send("done").unwrap();
    script.settle().advance(Duration::from_secs(61));
    assert_eq!(script.close_kind(), Some(CloseKind::IdleTimeout));
}

#[test]
fn outstanding_replies_are_bounded() {
    let kept = Arc::default();
    let mut script = keeper(&kept);
    script.recv(b"later\n".repeat(2000));
    assert_eq!(kept.lock().unwrap().len(), 1024);
    script.recv(b"more\n".repeat(2000));
    assert!(script.unread() > 0, "the peer must not be read");
    for reply in std::mem::take(&mut *kept.lock().unwrap()) {
        reply.send("x").unwrap();
    }
    assert_eq!(script.settle().output(), b"x\n".repeat(1024));
    for reply in std::mem::take(&mut *kept.lock().unwrap()) {
        reply.send("y").unwrap();
    }
    let expected = [b"y\n".repeat(976), b"more\n".repeat(2000)].concat();
    assert_eq!(script.settle().output(), expected);
}

#[test]
fn bytes_behind_an_outstanding_reply_are_bounded() {
    let kept: Arc<Mutex<Vec<Reply<Lines>>>> = Arc::default();
    let mut script = keeper(&kept);
    let line = [[b'x'; 8000].as_slice(), b"\n"].concat();
    script.recv(b"later\n");
    for _ in 0..100 {
        script.recv(&line);
    }
    assert!(script.unread() > 400_000, "{} bytes were not read", script.unread());
    kept.lock().unwrap().pop().unwrap().send("done").unwrap();
    assert_eq!(script.settle().output(), [b"done\n".as_slice(), &line.repeat(100)].concat());
}

/// Answers a number by so many lines of 1 KiB.
fn streamer() -> Script {
    Script::new(|_| {
        Framed::new(Lines::new(), |line, replies: Lent<'_, '_>| -> Result<(), BoxError> {
            let mut left: usize = line.parse()?;
            replies.stream(move |replies| {
                if left == 0 {
                    return Ok(ControlFlow::Break(()));
                }
                left -= 1;
                replies.send(&"s".repeat(1023))?;
                Ok(ControlFlow::Continue(()))
            });
            Ok(())
        })
    })
}

#[test]
fn a_stream_is_never_far_ahead_of_its_peer() {
    let mut script = streamer();
    script.block_output().recv(b"10000\n20\n");
    let mut total = 0;
    for _ in 0..11_000 {
        assert!(script.held().output <= 257 * 1024, "{} bytes are held", script.held().output);
        script.accept_output(1024);
        total += script.output().len();
    }
    assert_eq!(total, 10_020 * 1024);
    assert_eq!((script.held().output, script.close_kind()), (0, None));
}

#[test]
fn a_stream_to_a_peer_that_takes_nothing_ends() {
    let mut script = streamer();
    script.block_output().recv(b"10000\n").advance(Duration::from_secs(31));
    assert_eq!(script.close_kind(), Some(CloseKind::WriteTimeout));
}

#[test]
fn a_stream_that_has_nothing_yet_is_asked_again_when_woken() {
    let shared: Arc<Mutex<(Vec<String>, Option<Sender>)>> = Arc::default();
    let theirs = Arc::clone(&shared);
    let mut script = Script::new(move |_| {
        Framed::new(Lines::new(), move |_, replies: Lent<'_, '_>| {
            theirs.lock().unwrap().1 = Some(replies.context().sender());
            let theirs = Arc::clone(&theirs);
            replies.stream(move |replies| {
                for text in std::mem::take(&mut theirs.lock().unwrap().0) {
                    if text == "end" {
                        return Ok(ControlFlow::Break(()));
                    }
                    replies.send(&text)?;
                }
                Ok(ControlFlow::Continue(()))
            });
        })
    });
    script.recv(b"go\ngo\n");
    for text in ["a", "b", "end", "c"] {
        shared.lock().unwrap().0.push(text.into());
        shared.lock().unwrap().1.as_ref().unwrap().wake();
        script.settle();
    }
    assert_eq!(script.output(), b"a\nb\nc\n");
    assert_eq!(script.close_kind(), None);
}

#[test]
fn many_requests_for_large_replies_cost_little_memory() {
    let mut script = Script::new(|_| {
        let large = "x".repeat(1024 * 1024 - 1);
        Framed::new(Lines::new().max_len(1024 * 1024), move |_, replies| replies.send(&large))
    });
    let requests = b"x\n".repeat(32 * 1024);
    script.block_output().recv(&requests);
    let mut total = 0;
    for _ in 0..200 {
        assert!(script.held().output <= 2 * 1024 * 1024, "{} are held", script.held().output);
        script.accept_output(1024 * 1024);
        total += script.output().len();
    }
    assert_eq!(total, 200 * 1024 * 1024);
    assert_eq!(script.close_kind(), None);
}

#[test]
fn empty_lines_by_the_thousand_let_others_in_between() {
    let mut script = upper().by_hand();
    script.recv(b"\n".repeat(1000));
    // The first turn makes the handler, reads, and serves a part.
    while script.output().is_empty() {
        assert!(script.turn());
    }
    assert_eq!(script.turns(), 2);
    assert!(script.wants().again, "the rest comes when others had their turn");
    script.settle();
    assert_eq!(script.output(), b"\n".repeat(1000 - 128));
}

/// Says a last word about what is no frame, and records its end.
struct Polite(Arc<Mutex<Vec<String>>>);

impl Service<Lines> for Polite {
    fn call(&mut self, line: &str, replies: Lent<'_, '_>) -> Result<Action, BoxError> {
        replies.send(line)?;
        Ok(Action::Continue)
    }

    fn on_decode_error(&mut self, error: &DecodeError, replies: Lent<'_, '_>) {
        replies.send(&format!("error: {error}")).expect("it is one line");
    }

    fn on_close(&mut self, reason: &CloseReason) {
        self.0.lock().unwrap().push(reason.to_string());
    }
}

#[test]
fn a_service_may_say_why_it_closes() {
    let ends = Arc::default();
    let theirs = Arc::clone(&ends);
    let mut script = Script::new(|_| Framed::service(Lines::new().max_len(60), Polite(theirs)));
    script.recv([b"abcd\n".as_slice(), &[b'x'; 70], b"\n"].concat());
    let expected = b"abcd\nerror: a frame of 61 bytes exceeds the limit of 60\n";
    assert_eq!(script.output().escape_ascii().to_string(), expected.escape_ascii().to_string());
    let ends: Vec<String> = std::mem::take(&mut *ends.lock().unwrap());
    assert_eq!(ends.len(), 1);
    assert!(ends[0].starts_with("the peer broke the protocol"), "{}", ends[0]);
}

#[test]
fn a_partial_frame_has_a_deadline_that_bytes_do_not_move() {
    let mut script = upper();
    for _ in 0..29 {
        script.recv(b"x").advance(Duration::from_secs(1));
    }
    assert_eq!(script.close_kind(), None);
    script.recv(b"x").advance(Duration::from_secs(2));
    assert_eq!(script.close_kind(), Some(CloseKind::MessageTimeout));
}

#[test]
fn a_service_that_pauses_is_not_resumed_by_a_reply() {
    type Kept = (Vec<Reply<Lines>>, Option<Sender>);
    let kept: Arc<Mutex<Kept>> = Arc::default();
    let theirs = Arc::clone(&kept);
    let mut script = Script::new(move |_| {
        Framed::new(Lines::new(), move |line, replies: Lent<'_, '_>| -> Result<_, BoxError> {
            let mut kept = theirs.lock().unwrap();
            match line {
                "later" => kept.0.push(replies.defer()),
                "pause" => {
                    kept.1 = Some(replies.context().sender());
                    return Ok(Action::Pause);
                }
                _ => replies.send(line)?,
            }
            Ok(Action::Continue)
        })
    });
    script.recv(b"later\npause\nnext\n");
    kept.lock().unwrap().0.pop().unwrap().send("done").unwrap();
    assert_eq!(script.settle().output(), b"done\n");
    kept.lock().unwrap().1.take().unwrap().resume();
    assert_eq!(script.settle().output(), b"next\n");
}

#[test]
fn the_peers_end_is_its_end_whenever_the_last_reply_is_made() {
    for before_the_end in [true, false] {
        let kept = Arc::default();
        let mut script = keeper(&kept);
        script.recv(b"later\n");
        let reply = kept.lock().unwrap().pop().unwrap();
        if before_the_end {
            reply.send("done").unwrap();
            script.settle().eof();
        } else {
            script.eof();
            reply.send("done").unwrap();
            script.settle();
        }
        assert_eq!(script.output(), b"done\n");
        assert_eq!(script.close_kind(), Some(CloseKind::PeerClosed), "{before_the_end}");
    }
}

#[test]
fn a_panic_keeps_the_replies_before_it_however_requests_are_cut() {
    let factory = |_: &_| {
        Framed::new(Lines::new(), |line, replies: Lent<'_, '_>| {
            replies.send(line).unwrap();
            assert_ne!(line, "panic");
        })
    };
    polyserve::testing::for_every_split(b"a\nb\npanic\nc\n", |pieces| {
        let mut script = Script::new(factory);
        assert_eq!(script.recv_pieces(pieces).output(), b"a\nb\n");
        assert_eq!(script.close_kind(), Some(CloseKind::Panic));
    });
}

#[test]
fn a_stream_begins_whatever_its_request_returns() {
    for action in [Action::Continue, Action::Want(9), Action::Yield, Action::Pause, Action::Close] {
        let mut script = Script::new(move |_| {
            Framed::new(Lines::new(), move |_, replies: Lent<'_, '_>| {
                let mut left = 600;
                replies.stream(move |replies| {
                    replies.send(&"s".repeat(999))?;
                    left -= 1;
                    Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                });
                action
            })
        });
        assert_eq!(script.recv(b"x\n").output().len(), 600_000, "{action:?}");
    }
}

/// Streams as it opens, and then does what it is told.
struct Greets(Action);

impl Service<Lines> for Greets {
    fn on_open(&mut self, replies: Lent<'_, '_>) -> Result<Action, BoxError> {
        let mut left = 600;
        replies.stream(move |replies| {
            replies.send(&"s".repeat(999))?;
            left -= 1;
            Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        Ok(self.0)
    }

    fn call(&mut self, line: &str, replies: Lent<'_, '_>) -> Result<Action, BoxError> {
        replies.send(line)?;
        Ok(Action::Continue)
    }
}

#[test]
fn a_stream_begins_whatever_another_callback_returns() {
    for action in [Action::Continue, Action::Want(9), Action::Yield, Action::Pause, Action::Close] {
        let mut script = Script::new(move |_| Framed::service(Lines::new(), Greets(action)));
        assert_eq!(script.open().output().len(), 600_000, "{action:?}");
    }
}

/// Says its last word line by line.
struct Verbose;

impl Service<Lines> for Verbose {
    fn call(&mut self, line: &str, replies: Lent<'_, '_>) -> Result<Action, BoxError> {
        replies.send(line)?;
        Ok(Action::Continue)
    }

    fn on_decode_error(&mut self, error: &DecodeError, replies: Lent<'_, '_>) {
        let mut lines = [error.to_string(), "bye".to_owned()].into_iter();
        replies.stream(move |replies| {
            let Some(line) = lines.next() else { return Ok(ControlFlow::Break(())) };
            replies.send(&line)?;
            Ok(ControlFlow::Continue(()))
        });
    }
}

#[test]
fn a_last_word_may_be_streamed() {
    let mut script = Script::new(|_| Framed::service(Lines::new(), Verbose));
    script.recv(b"one\ntw").eof();
    let expected = b"one\nthe stream ended within a frame, after 2 bytes of it\nbye\n";
    assert_eq!(script.output().escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert_eq!(script.close_kind(), Some(CloseKind::Truncated));
    let mut script = Script::new(|_| Framed::service(Lines::new(), Verbose));
    script.recv(b"one\n\xff\n");
    assert_eq!(script.output(), b"one\na frame is no UTF-8 text\nbye\n");
    assert_eq!(script.close_kind(), Some(CloseKind::Decode));
}

#[test]
fn output_of_just_the_high_mark_does_not_keep_the_connection_turning() {
    for high in [6, 0] {
        let mut limits = Limits::default();
        (limits.output_low, limits.output_high) = (high / 2, high);
        let factory = |_: &_| Framed::new(Lines::new(), |line, replies| replies.send(line));
        let mut script = Script::new(factory).limits(limits).by_hand();
        script.block_output().recv(b"a\nb\nc\nd\ne\n");
        for _ in 0..100 {
            script.turn();
        }
        assert!(script.turns() < 20, "{} turns, then {:?}", script.turns(), script.wants());
        assert_eq!(script.unblock_output().settle().output(), b"a\nb\nc\nd\ne\n");
    }
}

#[test]
fn an_error_waits_for_the_replies_before_it() {
    let kept: Arc<Mutex<Vec<Reply<Lines>>>> = Arc::default();
    let theirs = Arc::clone(&kept);
    let mut script = Script::new(move |_| {
        Framed::new(Lines::new(), move |line, replies: Lent<'_, '_>| -> Result<(), BoxError> {
            match line {
                "later" => theirs.lock().unwrap().push(replies.defer()),
                "fail" => return Err("on purpose".into()),
                _ => replies.send(line)?,
            }
            Ok(())
        })
    });
    script.recv(b"later\none\nfail\nunseen\n");
    assert_eq!((script.output(), script.close_kind()), (Vec::new(), None));
    let mut reply = kept.lock().unwrap().pop().unwrap();
    script.block_output();
    reply.write("0123456789").unwrap();
    assert_eq!(reply.pending(), 11);
    assert_eq!((script.settle().held().output, reply.pending()), (11, 11));
    script.unblock_output();
    assert_eq!(reply.pending(), 0);
    reply.finish();
    assert_eq!(script.settle().output(), b"0123456789\none\n");
    assert_eq!(script.close_kind(), Some(CloseKind::Handler));
    assert!(script.close_text().unwrap().contains("on purpose"));
}

/// Lines, the last of which may end with the stream. An `!` is none, wherever it comes; what is
/// wanted is four bytes at least.
#[derive(Debug, Clone)]
struct LastLine(Lines);

impl Decoder for LastLine {
    type Frame<'a> = &'a str;

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<&'a str>, DecodeError> {
        if input.contains(&b'!') {
            return Err(DecodeError::malformed("an exclamation mark"));
        }
        Ok(match self.0.decode(input)? {
            Decoded::Incomplete { need } => Decoded::Incomplete { need: need.max(4) },
            frame => frame,
        })
    }

    fn decode_eof<'a>(&mut self, rest: &'a [u8]) -> Result<Option<&'a str>, DecodeError> {
        Ok(Some(std::str::from_utf8(rest)?).filter(|rest| !rest.is_empty()))
    }
}

impl Encoder for LastLine {
    type Message<'a> = &'a str;

    fn encode(&mut self, line: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.0.encode(line, out)
    }
}

/// Answers by the line itself, `later` by what is kept, `pause` with a pause; streams two hundred
/// parts when its timer runs out; says `error` and `end`.
#[derive(Default, Clone)]
struct Ends {
    kept: Arc<Mutex<Vec<Reply<LastLine>>>>,
    sender: Arc<Mutex<Option<Sender>>>,
}

impl Ends {
    fn script(&self) -> Script {
        let service = self.clone();
        Script::new(move |_| Framed::service(LastLine(Lines::new()), service.clone()))
    }

    fn reply(&self, line: &str) {
        self.kept.lock().unwrap().pop().expect("a deferred reply").send(line).unwrap();
    }
}

impl Service<LastLine> for Ends {
    fn on_open(&mut self, replies: &mut Replies<'_, LastLine>) -> Result<Action, BoxError> {
        *self.sender.lock().unwrap() = Some(replies.context().sender());
        replies.context().set_timer(Duration::from_secs(1));
        Ok(Action::Continue)
    }

    fn call(
        &mut self,
        line: &str,
        replies: &mut Replies<'_, LastLine>,
    ) -> Result<Action, BoxError> {
        match line {
            "later" => self.kept.lock().unwrap().push(replies.defer()),
            _ => replies.send(line)?,
        }
        Ok(match line {
            "pause" => Action::Pause,
            "close" => Action::Close,
            _ => Action::Continue,
        })
    }

    fn on_timer(&mut self, replies: &mut Replies<'_, LastLine>) -> Result<Action, BoxError> {
        let mut left = 200;
        replies.stream(move |replies| {
            if left == 0 {
                return Ok(ControlFlow::Break(()));
            }
            left -= 1;
            replies.send(&"part ".repeat(1000))?;
            Ok(ControlFlow::Continue(()))
        });
        Ok(Action::Continue)
    }

    fn on_eof(&mut self, replies: &mut Replies<'_, LastLine>) -> Result<Action, BoxError> {
        replies.send("end")?;
        Ok(Action::Close)
    }

    fn on_decode_error(&mut self, _: &DecodeError, replies: &mut Replies<'_, LastLine>) {
        replies.send("error").unwrap();
    }

    fn on_shutdown(&mut self, _: &mut Replies<'_, LastLine>) -> Result<Action, BoxError> {
        Ok(Action::Close)
    }
}

#[test]
fn a_broken_frame_is_told_once_also_at_the_end() {
    let ends = Ends::default();
    let mut script = ends.script();
    // What comes second is not shown before the end: more is wanted.
    script.recv(b"later\nx").recv(b"!").eof();
    ends.reply("done");
    assert_eq!(script.settle().output(), b"done\nerror\n");
    assert_eq!(script.close_kind(), Some(CloseKind::Decode));
}

#[test]
fn a_service_that_closes_at_shutdown_closes_for_that_whenever_the_last_reply_is_made() {
    let ends = Ends::default();
    let mut script = ends.script();
    script.recv(b"later\n").drain();
    assert_eq!(script.close_kind(), None);
    ends.reply("done");
    assert_eq!(script.settle().output(), b"done\n");
    assert_eq!(script.close_kind(), Some(CloseKind::Shutdown));
}

#[test]
fn the_first_reason_to_end_counts() {
    let ends = Ends::default();
    let mut script = ends.script();
    script.recv(b"later\nclose\n");
    // Whoever resumes the connection lets the peer's end be seen.
    ends.sender.lock().unwrap().as_ref().unwrap().resume();
    script.eof();
    ends.reply("done");
    assert_eq!(script.settle().output(), b"done\nclose\n");
    assert_eq!(script.close_kind(), Some(CloseKind::Closed));
}

#[test]
fn a_last_frame_that_pauses_does_not_hide_the_end() {
    for input in [&b"one\npause\n"[..], b"one\npause"] {
        let ends = Ends::default();
        let mut script = ends.script();
        script.recv(input).eof();
        ends.sender.lock().unwrap().as_ref().unwrap().resume();
        assert_eq!(script.settle().output(), b"one\npause\nend\n");
        assert_eq!(script.close_kind(), Some(CloseKind::PeerClosed));
    }
}

#[test]
fn the_end_waits_for_streams_as_a_request_does() {
    for (input, last) in [(&b"la"[..], "la\nend\n"), (b"", "end\n")] {
        let mut script = Ends::default().script();
        script.recv(input).block_output().advance(Duration::from_secs(1)).eof();
        assert_eq!(script.close_kind(), None);
        let output = script.unblock_output().output();
        let output = String::from_utf8(output).unwrap();
        assert_eq!(output.lines().filter(|line| line.starts_with("part")).count(), 200);
        assert!(output.ends_with(&format!("part \n{last}")), "{input:?}");
        assert_eq!(script.close_kind(), Some(CloseKind::PeerClosed));
    }
}
