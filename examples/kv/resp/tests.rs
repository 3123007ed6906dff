use super::inline;
use super::request::{MAX_ARGS, MAX_BULK, MAX_LINE, MAX_REQUEST};
use super::{Args, ProtocolError, Reply, Resp};
use crate::session::{Session, Shared};
use polyserve::codec::{DecodeError, Decoded, Decoder, Encoder, OwnedFrames};
use polyserve::testing::{CodecLaws, Script, assert_split_independent, for_every_split};
use polyserve::{CloseKind, Framed, Limits};
use proptest::prelude::*;

/// What a peer sends on a connection of its own, and all that it gets.
const CORPUS: &[(&str, &str)] = &[
    ("PING\r\n", "+PONG\r\n"),
    ("*1\r\n$4\r\nPING\r\n", "+PONG\r\n"),
    ("*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", "$0\r\n\r\n"),
    ("*2\r\n$4\r\necho\r\n$4\r\n\r\n*1\r\n", "$4\r\n\r\n*1\r\n"),
    ("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n10\r\nINCR a\r\nGET a\n", "+OK\r\n:11\r\n$2\r\n11\r\n"),
    ("*0\r\n*-1\r\n\r\n   \r\nPING\r\n", "+PONG\r\n"),
    // Redis does not look at what stands where the ends of lines should be.
    ("*1\rx$4\ryPINGzzPING\r\n", "+PONG\r\n+PONG\r\n"),
    ("PING \t\"a\\x42\\n\\q\"  \r\n", "$4\r\naB\nq\r\n"),
    ("echo 'it\\'s \\n'\r\n", "$7\r\nit's \\n\r\n"),
    ("echo \"\"\necho ''\n", "$0\r\n\r\n$0\r\n\r\n"),
    (
        "MULTI\r\nSET a 1\r\nGET a\r\nEXEC\r\nGET a\r\n",
        "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n$1\r\n1\r\n$1\r\n1\r\n",
    ),
    (
        "SUBSCRIBE a\r\nGET a\r\nUNSUBSCRIBE\r\nGET a\r\n",
        "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n-ERR Can't execute 'get': only (P|S)SUBSCRIBE / \
         (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\r\n*3\r\n$11\r\n\
         unsubscribe\r\n$1\r\na\r\n:0\r\n$-1\r\n",
    ),
    ("QUIT\r\nPING\r\n", "+OK\r\n"),
    // The end within a request gets no answer.
    ("PING\r\n*1\r\n$4\r\nPI", "+PONG\r\n"),
    ("PING\r\nPIN", "+PONG\r\n"),
    // Behind an error nothing is served.
    ("PING\r\n*x\r\nPING\r\n", "+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n"),
    ("*\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
    ("*01\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
    ("*+1\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
    ("*99999999999999999999\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
    ("*1\r\n$\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
    ("*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
    ("*1\r\n$1048577\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
    ("*1\r\n:4\r\nping\r\n", "-ERR Protocol error: expected '$', got ':'\r\n"),
    ("*1\r\n\r\n", "-ERR Protocol error: expected '$', got ' '\r\n"),
    ("echo \"a\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    ("echo 'a'b\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
];

fn handler() -> Framed<Resp, Session> {
    Framed::service(Resp::default(), Session::new(Shared::new()))
}

#[test]
fn requests_may_be_cut_anywhere() {
    for (sent, got) in CORPUS {
        assert_split_independent(|_| handler(), sent.as_bytes(), got.as_bytes());
    }
}

/// So that the laws can compare them.
impl OwnedFrames for Resp {
    type Owned = Args<'static>;

    fn to_owned(frame: Args<'_>) -> Args<'static> {
        frame.to_owned()
    }
}

#[test]
fn the_corpus_keeps_the_laws() {
    let laws = CodecLaws::new(Resp::default());
    for (sent, _) in CORPUS {
        laws.check_bytes(sent.as_bytes()).unwrap();
    }
}

#[test]
fn what_is_no_request_ends_the_connection_with_its_own_reason() {
    let mut script = Script::new(|_| handler());
    script.recv(b"*1\r\n@\r\n");
    assert_eq!(script.close_kind(), Some(CloseKind::Decode));
    let text = script.close_text().unwrap();
    assert!(text.ends_with("expected '$', got something else"), "{text}");
}

/// A request as a program sends it.
fn request(args: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        Reply::bulk(arg.as_ref()).write(&mut bytes);
    }
    bytes
}

fn args(frame: &Args<'_>) -> Vec<Vec<u8>> {
    frame.from(0).map(<[u8]>::to_vec).collect()
}

/// What a decoder makes of pieces that arrive one after the other: frames, then perhaps an error.
/// It is not called before as many bytes are there as it asked for.
fn decode(pieces: &[&[u8]]) -> (Vec<Vec<Vec<u8>>>, Option<String>) {
    let mut resp = Resp::default();
    let (mut held, mut need, mut frames) = (Vec::new(), 1, Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        while held.len() >= need && !held.is_empty() {
            match resp.decode(&held) {
                Ok(Decoded::Frame { frame, consumed }) => {
                    assert!((1..=held.len()).contains(&consumed));
                    frames.push(args(&frame));
                    held.drain(..consumed);
                    need = 1;
                }
                Ok(Decoded::Incomplete { need: more }) => {
                    assert!((held.len() + 1..=MAX_REQUEST).contains(&more));
                    resp.progress.assert_remembers(&held);
                    need = more;
                }
                Err(error) => return (frames, Some(error.to_string())),
            }
        }
    }
    (frames, None)
}

fn error(bytes: &[u8]) -> Option<ProtocolError> {
    match Resp::default().decode(bytes) {
        Err(DecodeError::Other(error)) => Some(*error.downcast().unwrap()),
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    }
}

#[test]
fn the_frames_are_those_that_were_sent_however_they_are_cut() {
    let sent: [&[&str]; 4] =
        [&["GET", "a"], &["SET", "", "\r\n$1\r\n"], &["x"; 9], &["MSET", "a", "b", "c", "d"]];
    let bytes = sent.map(request).concat();
    let sent = sent.map(|args| args.iter().map(|arg| arg.as_bytes().to_vec()).collect::<Vec<_>>());
    for_every_split(&bytes, |pieces| assert_eq!(decode(pieces), (sent.to_vec(), None)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_encoded_is_decoded(
        sent in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..12), 1..6),
        size in 1usize..50,
    ) {
        let bytes: Vec<u8> = sent.iter().flat_map(|args| request(args)).collect();
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        prop_assert_eq!(decode(&pieces), (sent, None));
    }

    #[test]
    fn any_bytes_keep_the_laws(
        parts in prop::collection::vec(prop_oneof![
            Just("*1\r\n".to_owned()), Just("*2\r\n".into()), Just("$4\r\n".into()),
            Just("$0\r\n".into()), Just("\r\n".into()), Just("PING".into()), Just("\"".into()),
            Just("'".into()), Just(" ".into()), Just("\\x4".into()), Just("*".into()),
            Just("-1\r".into()), Just("\n".into()), "[ -~]{0,3}",
        ], 0..24),
    ) {
        CodecLaws::new(Resp::default()).check_bytes(parts.concat().as_bytes())?;
    }

    #[test]
    fn words_are_the_same_with_and_without_the_way_for_quotes(line in "[a-c \t\r\\\\]{0,20}") {
        let line = line.as_bytes();
        let plain: Vec<&[u8]> = inline::words(line).map(|range| &line[range]).collect();
        let (bytes, ranges) = inline::unquote(line).unwrap();
        let unquoted: Vec<&[u8]> = ranges.into_iter().map(|range| &bytes[range]).collect();
        prop_assert_eq!(plain, unquoted);
    }
}

#[test]
fn an_ordinary_request_is_borrowed() {
    for bytes in [
        &b"*6\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n$2\r\nEX\r\n$2\r\n10\r\n$2\r\nNX\r\n"[..],
        b"SET k v EX 10 NX\r\n",
    ] {
        let Ok(Decoded::Frame { frame, consumed }) = Resp::default().decode(bytes) else {
            panic!("it is whole")
        };
        assert_eq!((frame.len(), consumed), (6, bytes.len()));
        assert!(frame.is_borrowed());
    }
}

#[test]
fn the_longest_request_is_the_longest_that_a_connection_may_hold() {
    assert_eq!(MAX_REQUEST, Limits::default().input);
    // Its header has 4 bytes, that of an argument 10 or 11, and an argument has 2 more.
    let (first, second) = (MAX_BULK, MAX_REQUEST - MAX_BULK - 4 - 12 - 10);
    let whole = request(&[vec![b'a'; first], vec![b'b'; second]]);
    assert_eq!(whole.len(), MAX_REQUEST);
    let pieces: Vec<&[u8]> = whole.chunks(1000).collect();
    let (frames, error) = decode(&pieces);
    assert_eq!((frames[0][0].len(), frames[0][1].len(), error), (first, second, None));
    let longer = request(&[vec![b'a'; first], vec![b'b'; second + 1]]);
    let (frames, error) = decode(&longer.chunks(1000).collect::<Vec<_>>());
    assert_eq!((frames.len(), error.as_deref()), (0, Some("too big request")));
}

#[test]
fn a_connection_takes_the_longest_request_and_says_why_it_takes_no_longer_one() {
    let mut script = Script::new(|_| handler());
    script.recv(request(&[&b"ECHO"[..], &vec![b'a'; MAX_BULK]]));
    assert_eq!(script.output().len(), MAX_BULK + 12);
    script.recv(request(&[&b"ECHO"[..], &vec![b'a'; MAX_BULK + 1]]));
    assert_eq!(script.output(), b"-ERR Protocol error: invalid bulk length\r\n");
    let mut script = Script::new(|_| handler());
    script.recv(request(&[vec![b'a'; MAX_BULK / 2], vec![], vec![b'a'; MAX_BULK]]));
    assert_eq!(script.output(), b"-ERR Protocol error: too big request\r\n");
    assert_eq!(script.close_kind(), Some(CloseKind::Decode));
}

#[test]
fn everything_has_a_limit() {
    let long = |start: &str, n: usize| [start.as_bytes(), &vec![b'1'; n - 1]].concat();
    for (start, refused) in [("a", ProtocolError::TooBigInline), ("*", ProtocolError::TooBigCount)]
    {
        assert_eq!(error(&long(start, MAX_LINE)), None);
        assert_eq!(error(&long(start, MAX_LINE + 1)), Some(refused));
        // It makes no difference that the end has come.
        assert_eq!(error(&[&long(start, MAX_LINE + 1)[..], b"\r\n"].concat()), Some(refused));
    }
    let length = [&b"*1\r\n"[..], &long("$", MAX_LINE + 1)].concat();
    assert_eq!(error(&length[..length.len() - 1]), None);
    assert_eq!(error(&length), Some(ProtocolError::TooBigLength));
    assert_eq!(error(format!("*{MAX_ARGS}\r\n").as_bytes()), None);
    let many = format!("*{}\r\n", MAX_ARGS + 1);
    assert_eq!(error(many.as_bytes()), Some(ProtocolError::InvalidCount));
}

#[test]
fn a_mere_claim_costs_nothing() {
    let mut resp = Resp::default();
    let claim = format!("*{MAX_ARGS}\r\n$1\r\na\r\n${MAX_BULK}\r\n");
    assert!(matches!(resp.decode(claim.as_bytes()), Ok(Decoded::Incomplete { .. })));
    assert!(resp.progress.is_small());
}

#[test]
fn errors_are_one_line() {
    let error = Reply::Error(b"ERR a\r\nb\0c\xff".into());
    assert_eq!(Resp::default().encode_to_vec(error).unwrap(), b"-ERR a  b\0c\xff\r\n");
}

#[test]
fn replies_are_written_as_the_protocol_says() {
    let mut resp = Resp::default();
    for (reply, bytes) in [
        (Reply::OK, "+OK\r\n"),
        (Reply::Integer(i64::MIN), ":-9223372036854775808\r\n"),
        (Reply::bulk(""), "$0\r\n\r\n"),
        (Reply::bulk("a\r\n"), "$3\r\na\r\n\r\n"),
        (Reply::Nil, "$-1\r\n"),
        (Reply::NilArray, "*-1\r\n"),
        (Reply::Array(vec![]), "*0\r\n"),
        (
            Reply::array([Reply::Nil, Reply::array([Reply::Integer(1)])]),
            "*2\r\n$-1\r\n*1\r\n:1\r\n",
        ),
        (Reply::ArrayOf(3), "*3\r\n"),
        (Reply::Several(vec![Reply::OK, Reply::OK]), "+OK\r\n+OK\r\n"),
    ] {
        assert_eq!(resp.encode_to_vec(reply).unwrap(), bytes.as_bytes());
    }
}
