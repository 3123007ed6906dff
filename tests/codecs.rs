//! The codecs against what every codec must keep, against a hostile peer, and behind a server that
//! was told nothing about limits.

use polyserve::codec::{
    DecodeError, Decoded, Decoder, Delimited, EncodeError, Encoder, Fixed, LengthPrefixed, Lines,
    OwnedFrames,
};
use polyserve::testing::{BrokenLaw, CodecLaws, Script, TestServer, assert_split_independent};
use polyserve::{CloseKind, EventLoop, Framed, Limits};
use proptest::prelude::*;
use std::fmt::Debug;
use std::io::{Read, Write};

/// What a frame of the default limit has.
const MIB: usize = 1024 * 1024;

/// Bytes that mean something to one codec or another are frequent among these.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        3 => Just(b'a'),
        2 => proptest::sample::select(b"\r\n;\0".as_slice()),
        2 => 0..12_u8,
        2 => proptest::sample::select(&[0x7f, 0x80, 0x81, 0xc3, 0xa9, 0xff][..]),
        1 => any::<u8>(),
    ]
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(byte(), 0..=most)
}

/// Up to five messages of all lengths up to `most`, mostly short ones.
fn messages(most: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let message = prop_oneof![4 => bytes(most.min(12)), 1 => bytes(most)];
    proptest::collection::vec(message, 0..=5)
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[aé\r\n]{0,12}", 0..=5)
}

/// Byte at a place, in a stream of whole frames, to be replaced.
type Damage = (proptest::sample::Index, u8);

fn damage() -> impl Strategy<Value = Damage> {
    (any::<proptest::sample::Index>(), byte())
}

/// Messages, bytes that are nothing in particular, and bytes that once were messages.
fn check<C>(
    codec: &C,
    max_frame: usize,
    messages: &[C::Owned],
    lend: impl for<'a> Fn(&'a C::Owned) -> C::Message<'a>,
    hostile: &[u8],
    damage: &Damage,
) -> Result<usize, BrokenLaw>
where
    C: OwnedFrames + Encoder + Clone,
    C::Owned: PartialEq + Debug,
{
    let laws = CodecLaws::new(codec.clone()).max_frame(max_frame);
    let n_written = laws.check_messages(messages, &lend)?;
    laws.check_bytes(hostile)?;
    let mut stream = Vec::new();
    for message in messages {
        let _ = codec.clone().encode(lend(message), &mut stream);
    }
    if !stream.is_empty() {
        let at = damage.0.index(stream.len());
        stream[at] = damage.1;
        laws.check_bytes(&stream)?;
    }
    Ok(n_written)
}

#[derive(Debug, Clone, Copy)]
enum Width {
    Bytes(usize),
    Varint,
}

/// A length-prefixed codec, told apart from its own description.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    width: Width,
    little_endian: bool,
    includes_header: bool,
}

impl Prefix {
    fn all() -> Vec<Prefix> {
        let widths = [1, 2, 3, 4, 8].map(Width::Bytes).into_iter().chain([Width::Varint]);
        let flags = [(false, false), (false, true), (true, false), (true, true)];
        let prefix = |width| {
            flags.map(|(little_endian, includes_header)| Prefix {
                width,
                little_endian,
                includes_header,
            })
        };
        widths.flat_map(prefix).collect()
    }

    fn codec(self) -> LengthPrefixed {
        let codec = match self.width {
            Width::Bytes(1) => LengthPrefixed::u8(),
            Width::Bytes(2) => LengthPrefixed::u16(),
            Width::Bytes(3) => LengthPrefixed::u24(),
            Width::Bytes(4) => LengthPrefixed::u32(),
            Width::Bytes(_) => LengthPrefixed::u64(),
            Width::Varint => LengthPrefixed::varint(),
        };
        let codec = if self.little_endian { codec.little_endian() } else { codec };
        if self.includes_header { codec.includes_header() } else { codec }
    }

    /// The field as the protocol has it, written here by other means than the codec's.
    fn field(self, length: u64) -> Option<Vec<u8>> {
        let Width::Bytes(width) = self.width else { return Some(leb128(length)) };
        let all = length.to_be_bytes();
        let (zeros, field) = all.split_at(8 - width);
        let mut field = field.to_vec();
        if self.little_endian {
            field.reverse();
        }
        zeros.iter().all(|byte| *byte == 0).then_some(field)
    }
}

fn leb128(number: u64) -> Vec<u8> {
    let groups = (0..10).map(|n| (number >> (7 * n) & 0x7f) as u8);
    let mut bytes: Vec<u8> = groups.map(|group| group | 0x80).collect();
    while bytes.len() > 1 && bytes.last() == Some(&0x80) {
        bytes.pop();
    }
    *bytes.last_mut().unwrap() &= 0x7f;
    bytes
}

fn prefix() -> impl Strategy<Value = Prefix> {
    proptest::sample::select(Prefix::all())
}

proptest! {
    #[test]
    fn lines_keep_the_laws(
        max_len in 0..10_usize, crlf: bool, texts in texts(), hostile in bytes(40), damage in damage(),
    ) {
        let lines = Lines::new().max_len(max_len);
        let lines = if crlf { lines.crlf() } else { lines };
        let n_written = check(&lines, max_len + 2, &texts, |text| text, &hostile, &damage)?;
        let fits = |text: &&String| {
            text.len() <= max_len && !text.contains('\n') && !text.ends_with('\r')
        };
        prop_assert_eq!(n_written, texts.iter().filter(fits).count());
    }

    #[test]
    fn delimited_lines_keep_the_laws(
        max_len in 0..10_usize, crlf: bool, messages in messages(20), hostile in bytes(40),
        damage in damage(),
    ) {
        let lines = if crlf { Delimited::crlf_lines() } else { Delimited::lines() };
        let lines = lines.max_len(max_len);
        let n_written = check(&lines, max_len + 2, &messages, |m| m, &hostile, &damage)?;
        let fits = |m: &&Vec<u8>| m.len() <= max_len && !m.contains(&b'\n') && !m.ends_with(b"\r");
        prop_assert_eq!(n_written, messages.iter().filter(fits).count());
    }

    /// Of two letters only, so that delimiters overlap with messages and with themselves.
    #[test]
    fn delimited_frames_keep_the_laws(
        delimiter in "[ab]{1,4}", max_len in 0..10_usize, texts in proptest::collection::vec("[abc]{0,8}", 0..=5),
        hostile in "[abc]{0,40}", damage in damage(),
    ) {
        let codec = Delimited::new(delimiter.clone().into_bytes()).max_len(max_len);
        let messages: Vec<_> = texts.iter().cloned().map(String::into_bytes).collect();
        let longest = max_len + delimiter.len();
        let n_written = check(&codec, longest, &messages, |m| m, hostile.as_bytes(), &damage)?;
        let fits = |text: &&String| {
            text.len() <= max_len && format!("{text}{delimiter}").find(&delimiter) == Some(text.len())
        };
        prop_assert_eq!(n_written, texts.iter().filter(fits).count());
    }

    #[test]
    fn fixed_frames_keep_the_laws(
        len in 1..8_usize, messages in messages(10), hostile in bytes(40), damage in damage(),
    ) {
        let n_written = check(&Fixed::new(len), len, &messages, |m| m, &hostile, &damage)?;
        prop_assert_eq!(n_written, messages.iter().filter(|m| m.len() == len).count());
    }

    #[test]
    fn length_prefixed_frames_keep_the_laws(
        prefix in prefix(), max_len in prop_oneof![0..20_usize, 240..300_usize],
        messages in messages(300), hostile in bytes(40), damage in damage(),
    ) {
        let codec = prefix.codec().max_len(max_len);
        let n_written = check(&codec, max_len + 10, &messages, |m| m, &hostile, &damage)?;
        let told = match prefix {
            Prefix { width: Width::Bytes(1), includes_header: true, .. } => 254,
            Prefix { width: Width::Bytes(1), .. } => 255,
            _ => usize::MAX,
        };
        let fits = |m: &&Vec<u8>| m.len() <= max_len.min(told);
        prop_assert_eq!(n_written, messages.iter().filter(fits).count());
    }

    #[test]
    fn frames_with_a_header_keep_the_laws(
        prefix in prefix(), all: bool, max_len in 0..20_usize,
        messages in proptest::collection::vec((any::<[u8; 3]>(), bytes(24)), 0..=5),
        hostile in bytes(40), damage in damage(),
    ) {
        let codec = prefix.codec().max_len(max_len).with_header::<3>();
        let codec = if all { codec.includes_all() } else { codec };
        let n_written =
            check(&codec, 3 + 10 + max_len, &messages, |(h, m)| (h, m), &hostile, &damage)?;
        prop_assert_eq!(n_written, messages.iter().filter(|(_, m)| m.len() <= max_len).count());
    }
}

#[test]
fn a_varint_that_counts_itself_says_the_smallest_length() {
    let laws = CodecLaws::new(LengthPrefixed::varint().includes_header());
    for len in [0, 1, 125, 126, 127, 128, 16_381, 16_382, 2_097_148, 2_097_149] {
        let mut codec = LengthPrefixed::varint().includes_header().max_len(4 * MIB);
        let encoded = codec.encode_to_vec(&vec![b'x'; len]).unwrap();
        let field = encoded.len() - len;
        assert_eq!(encoded[..field], leb128(encoded.len() as u64), "{len} bytes");
        assert!(leb128(encoded.len() as u64 - 1).len() >= field - 1, "{len} bytes");
        if len < 200 {
            assert_eq!(laws.check_messages(&[vec![b'x'; len]], |m| m).unwrap(), 1);
        }
    }
}

/// What a decoder answers, in numbers.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// A frame that takes so many bytes, which need not be there yet.
    Takes(usize),
    TooLong {
        got: u64,
        max: usize,
    },
    TooShort {
        got: u64,
        min: usize,
    },
}

fn answer<F>(decoded: Result<Decoded<F>, DecodeError>) -> Answer {
    match decoded {
        Ok(Decoded::Frame { consumed: n, .. } | Decoded::Incomplete { need: n }) => {
            Answer::Takes(n)
        }
        Err(DecodeError::TooLong { got, max }) => Answer::TooLong { got, max },
        Err(DecodeError::TooShort { got, min }) => Answer::TooShort { got, min },
        Err(other) => panic!("{other}"),
    }
}

/// What has to be answered to a claim of which `counted` bytes are not payload, when `before` bytes
/// stand before that. In numbers that nothing overflows.
fn expected(claim: u64, counted: usize, before: usize, max: usize) -> Answer {
    let Some(payload) = claim.checked_sub(counted as u64) else {
        return Answer::TooShort { got: claim, min: counted };
    };
    match usize::try_from(u128::from(payload) + before as u128) {
        Ok(whole) if u128::from(payload) <= max as u128 => Answer::Takes(whole),
        _ => Answer::TooLong { got: payload, max },
    }
}

#[test]
fn every_claim_is_judged_before_anything_is_held() {
    let mib = MIB as u64;
    let claims =
        [0, 1, mib, mib + 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63, u64::MAX - 1, u64::MAX];
    let mut n_judged = 0;
    for prefix in Prefix::all() {
        for claim in claims {
            let Some(field) = prefix.field(claim) else { continue };
            let headed = [b"abc", &field[..]].concat();
            let counted = if prefix.includes_header { field.len() } else { 0 };
            let context = format!("{prefix:?} claims {claim}");
            for max in [MIB, 0, usize::MAX] {
                let codec = prefix.codec().max_len(max);
                let right = expected(claim, counted, field.len(), max);
                assert_eq!(answer(codec.clone().decode(&field)), right, "{context}, of {max}");
                let right = expected(claim, counted, headed.len(), max);
                let told = answer(codec.with_header::<3>().decode(&headed));
                assert_eq!(told, right, "{context}, of {max}, behind a header");
            }
            n_judged += 1;
        }
    }
    // 2, 2, 4, 6 and 10 claims fit the fields of 1, 2, 3, 4 and 8 bytes, and 10 a varint.
    assert_eq!(n_judged, 4 * (2 + 2 + 4 + 6 + 10 + 10));
    // The limit that was not set is that of a frame.
    let max = answer(LengthPrefixed::u32().decode(b"\xff\xff\xff\xff"));
    assert_eq!(max, Answer::TooLong { got: (1 << 32) - 1, max: MIB });
}

#[test]
fn a_length_that_counts_more_than_it_says_is_too_short() {
    let mut codec = LengthPrefixed::u16().with_header::<3>().includes_all();
    for claim in 0..8 {
        let right = expected(u64::from(claim), 5, 5, MIB);
        assert_eq!(answer(codec.decode(&[b'a', b'b', b'c', 0, claim])), right, "{claim}");
    }
    let mut codec = LengthPrefixed::varint().includes_header();
    assert_eq!(answer(codec.decode(b"\x00")), Answer::TooShort { got: 0, min: 1 });
    // 128 takes two bytes, and counts them.
    assert_eq!(answer(codec.decode(&[0x80, 1])), Answer::Takes(128));
}

#[test]
fn a_message_that_the_field_can_not_tell_is_refused() {
    let too_long = |codec: LengthPrefixed, len: usize| {
        let mut out = b"before".to_vec();
        match codec.clone().encode(&vec![0; len], &mut out) {
            Err(EncodeError::TooLong { got, max }) => {
                assert_eq!((got, out.as_slice()), (len, &b"before"[..]));
                Some(max)
            }
            Err(other) => panic!("{other}"),
            Ok(()) => None,
        }
    };
    for (codec, max) in [
        (LengthPrefixed::u8(), 255),
        (LengthPrefixed::u8().includes_header(), 254),
        (LengthPrefixed::u16(), 65_535),
        (LengthPrefixed::u16().includes_header(), 65_533),
        (LengthPrefixed::u24(), MIB),
        (LengthPrefixed::u24().max_len(usize::MAX), 16_777_215),
        (LengthPrefixed::u24().max_len(usize::MAX).includes_header(), 16_777_212),
        (LengthPrefixed::u32(), MIB),
        (LengthPrefixed::u64().includes_header(), MIB),
        (LengthPrefixed::varint(), MIB),
        (LengthPrefixed::varint().max_len(7), 7),
    ] {
        assert_eq!(too_long(codec.clone(), max), None, "{codec:?}");
        assert_eq!(too_long(codec.clone(), max + 1), Some(max), "{codec:?}");
    }
    let mut headed = LengthPrefixed::u8().with_header::<4>().includes_all();
    assert!(headed.encode_to_vec((b"head", &[0; 250])).is_ok());
    let error = headed.encode_to_vec((b"head", &[0; 251])).unwrap_err();
    assert!(matches!(error, EncodeError::TooLong { got: 251, max: 250 }), "{error}");
}

#[test]
#[should_panic(expected = "the length field can not count a header of 255 bytes")]
fn a_length_that_can_not_count_the_header_is_refused_at_once() {
    let _ = LengthPrefixed::u8().with_header::<255>().includes_all();
}

#[test]
#[should_panic(expected = "a delimiter must have at least one byte")]
fn an_empty_delimiter_is_refused_at_once() {
    let _ = Delimited::new(b"");
}

#[test]
#[should_panic(expected = "a frame must have at least one byte")]
fn frames_of_no_bytes_are_refused_at_once() {
    let _ = Fixed::new(0);
}

/// Feeds 64 MiB byte by byte, none of which ends a frame; tells at which length that was refused.
fn endless<C: Decoder>(mut codec: C) -> (usize, String) {
    let input = vec![b'x'; 64 * MIB];
    for len in 1..=input.len() {
        match codec.decode(&input[..len]) {
            Ok(Decoded::Incomplete { need }) => assert_eq!(need, len + 1),
            Ok(Decoded::Frame { .. }) => panic!("a frame without an end"),
            Err(error) => return (len, error.to_string()),
        }
    }
    panic!("64 MiB were taken");
}

#[test]
fn a_frame_without_end_is_refused_at_its_limit() {
    let refused = |limit: usize| {
        (limit + 1, format!("a frame of {} bytes exceeds the limit of {limit}", limit + 1))
    };
    assert_eq!(endless(Lines::new()), refused(8192));
    assert_eq!(endless(Delimited::lines()), refused(8192));
    assert_eq!(endless(Delimited::crlf_lines()), refused(8192));
    assert_eq!(endless(Delimited::new(b"\0")), refused(MIB));
    assert_eq!(endless(Delimited::new(b"--end--")), refused(MIB));
    // Each is looked at once, or this would not end: 4 MiB, 8 trillion comparisons.
    assert_eq!(endless(Delimited::new(b"\0").max_len(4 * MIB)), refused(4 * MIB));
}

#[test]
fn bytes_that_were_searched_are_not_looked_at_again() {
    // What was searched is replaced by ends of frames: only who looks again would see them.
    let mut lines = Delimited::lines();
    assert_eq!(lines.decode(b"aaaa").unwrap(), Decoded::Incomplete { need: 5 });
    assert_eq!(lines.decode(b"\n\n\n\na").unwrap(), Decoded::Incomplete { need: 6 });
    let mut frames = Delimited::new(b"ab");
    assert_eq!(frames.decode(b"xxxx").unwrap(), Decoded::Incomplete { need: 5 });
    assert_eq!(frames.decode(b"ababx").unwrap(), Decoded::Incomplete { need: 6 });
    // And a delimiter that had begun is seen as a whole.
    assert_eq!(frames.decode(b"xxxxxa").unwrap(), Decoded::Incomplete { need: 7 });
    let frame = Decoded::Frame { frame: &b"xxxxx"[..], consumed: 7 };
    assert_eq!(frames.decode(b"xxxxxab").unwrap(), frame);
}

#[test]
fn a_varint_without_end_is_refused_at_its_tenth_byte() {
    let mut codec = LengthPrefixed::varint();
    for len in 1..10 {
        assert_eq!(
            codec.decode(&[0x80; 10][..len]).unwrap(),
            Decoded::Incomplete { need: len + 1 }
        );
    }
    let error = codec.decode(&[0x80; 10]).unwrap_err();
    assert_eq!(error.to_string(), "a frame is malformed: a length of more than 64 bits");
}

/// A service that answers each frame with itself.
macro_rules! echo {
    ($codec:expr) => {
        Script::new(move |_| Framed::new($codec, |frame, replies| replies.send(frame)))
    };
}

/// A frame of exactly the limit passes a server of the defaults, whether it comes in pieces of a
/// packet or of a read. One byte more, as the codec `wider` writes it, does not.
fn passes<C>(max: usize, codec: C, wider: C, script: impl Fn() -> Script)
where
    C: Clone + Debug + for<'a> Encoder<Message<'a> = &'a [u8]>,
{
    let frame = codec.clone().encode_to_vec(&vec![b'x'; max]).unwrap();
    for piece in [1448, 64 * 1024, frame.len()] {
        let mut script = script();
        script.recv_pieces(&frame.chunks(piece).collect::<Vec<_>>());
        assert_eq!(script.close_kind(), None, "{codec:?}: {:?}", script.close_text());
        assert!(script.output() == frame, "{codec:?}, in pieces of {piece} bytes");
        assert!(script.holds_nothing(), "{codec:?}: {:?}", script.held());
    }
    let longer = vec![b'x'; max + 1];
    let error = codec.clone().encode_to_vec(&longer).unwrap_err();
    assert!(matches!(error, EncodeError::TooLong { .. }), "{codec:?}: {error}");
    let mut script = script();
    script.recv(wider.clone().encode_to_vec(&longer).unwrap());
    assert_eq!(script.close_kind(), Some(CloseKind::Decode), "{codec:?}");
    assert_eq!(script.output(), b"", "{codec:?}");
}

#[test]
fn a_frame_of_the_default_limit_passes_a_default_server() {
    let nul = || Delimited::new(b"\0");
    passes(MIB, nul(), nul().max_len(2 * MIB), move || echo!(nul()));
    let lines = Delimited::lines;
    passes(8192, lines(), lines().max_len(MIB), move || echo!(lines()));
    for make in
        [LengthPrefixed::u24, LengthPrefixed::u32, LengthPrefixed::u64, LengthPrefixed::varint]
    {
        passes(MIB, make(), make().max_len(2 * MIB), move || echo!(make()));
    }
    let fixed = Fixed::new(MIB).encode_to_vec(&vec![b'x'; MIB]).unwrap();
    assert!(echo!(Fixed::new(MIB)).recv(&fixed).output() == fixed);
}

#[test]
fn requests_may_be_cut_anywhere() {
    assert_split_independent(
        |_: &_| Framed::new(Delimited::new(b"\r\n.\r\n"), |frame, replies| replies.send(frame)),
        b"one\r\n.\r\n\r\n.\r\n\r\n.two\r\n.\r\n",
        b"one\r\n.\r\n\r\n.\r\n\r\n.two\r\n.\r\n",
    );
    assert_split_independent(
        |_: &_| Framed::new(LengthPrefixed::u16(), |frame, replies| replies.send(frame)),
        b"\x00\x03one\x00\x00\x00\x05three",
        b"\x00\x03one\x00\x00\x00\x05three",
    );
    assert_split_independent(
        |_: &_| {
            Framed::new(
                LengthPrefixed::varint().with_header::<2>(),
                |(header, payload), replies| replies.send((&[header[1], header[0]], payload)),
            )
        },
        b"ab\x03onecd\x00",
        b"ba\x03onedc\x00",
    );
    assert_split_independent(
        |_: &_| Framed::new(Fixed::new(3), |frame, replies| replies.send(frame)),
        b"onetwosix",
        b"onetwosix",
    );
}

#[test]
fn an_end_within_a_frame_is_no_clean_end() {
    let ends = |mut script: Script, part: &[u8]| script.recv(part).eof().close_kind();
    let part = b"\x00\x03on";
    assert_eq!(ends(echo!(LengthPrefixed::u16()), part), Some(CloseKind::Truncated));
    assert_eq!(ends(echo!(LengthPrefixed::u16()), &part[..1]), Some(CloseKind::Truncated));
    assert_eq!(ends(echo!(LengthPrefixed::u16()), b"\x00\x00"), Some(CloseKind::PeerClosed));
    assert_eq!(ends(echo!(Fixed::new(3)), b"onetw"), Some(CloseKind::Truncated));
    assert_eq!(ends(echo!(Fixed::new(3)), b"one"), Some(CloseKind::PeerClosed));
    assert_eq!(ends(echo!(Delimited::new(b"\r\n")), b"one\r"), Some(CloseKind::Truncated));
    assert_eq!(ends(echo!(Delimited::new(b"\r\n")), b"one\r\n"), Some(CloseKind::PeerClosed));
}

#[test]
fn a_claim_above_the_input_limit_closes_at_once() {
    let codec = || LengthPrefixed::u32().max_len(usize::MAX);
    let mut script = echo!(codec());
    script.recv(b"\x40\x00\x00\x00"); // 1 GiB
    assert_eq!(script.close_kind(), Some(CloseKind::InputLimit));
    // With a larger limit it waits, and holds what has come.
    let mut limits = Limits::default();
    limits.input = usize::MAX;
    let mut script = echo!(codec()).limits(limits);
    script.recv(b"\x40\x00\x00\x00a part");
    assert_eq!(script.close_kind(), None);
    assert_eq!(script.held().input, 10);
}

#[test]
fn frames_go_through_a_socket() {
    let echo = |_: &_| Framed::new(LengthPrefixed::varint(), |frame, replies| replies.send(frame));
    let server = TestServer::start(EventLoop::new(), echo).unwrap();
    let message = LengthPrefixed::varint().encode_to_vec(&vec![b'x'; MIB]).unwrap();
    let mut reply = vec![0; message.len()];
    server.client().write_all(&message).unwrap();
    server.client().read_exact(&mut reply).unwrap();
    assert!(reply == message);
}
