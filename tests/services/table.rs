//! What is asked, and what has to come back.

use crate::desk::{ByteFrames, LARGE_PART, LAST_WORD};
use polyserve::CloseKind;

/// One connection: the bytes that the client sends before it half-closes, the bytes that it gets
/// before the server closes, and why the server says that the connection ended.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) input: Vec<u8>,
    /// The same, as a client with a codec sends it.
    pub(crate) sent: Vec<Sent>,
    pub(crate) output: Vec<u8>,
    /// The frames of the output.
    pub(crate) replies: Vec<Vec<u8>>,
    pub(crate) end: CloseKind,
}

/// A part of what a client sends.
#[derive(Debug, Clone)]
pub(crate) enum Sent {
    Request(Vec<u8>),
    /// What no codec would write.
    Raw(Vec<u8>),
}

impl Row {
    /// The requests, if each of them has one reply and nothing else is sent.
    pub(crate) fn calls(&self) -> Option<Vec<&[u8]>> {
        let request = |sent: &Sent| matches!(sent, Sent::Request(_));
        let is_even = self.sent.iter().all(request) && self.sent.len() == self.replies.len();
        (is_even && self.end == CloseKind::PeerClosed)
            .then(|| self.sent.iter().map(|(Sent::Request(r) | Sent::Raw(r))| &r[..]).collect())
    }
}

/// A codec, and how it is misused.
#[derive(Debug, Clone)]
pub(crate) struct Spoken<C> {
    pub(crate) codec: C,
    pub(crate) max_len: usize,
    /// Bytes that begin no frame.
    pub(crate) broken: &'static [u8],
    /// The start of a frame that is too long.
    pub(crate) too_long: Vec<u8>,
}

/// A part of what is sent.
enum Part<'a> {
    /// A request.
    Ask(&'a [u8]),
    /// A request without its last byte.
    Torn(&'a [u8]),
    /// Any bytes.
    Raw(&'a [u8]),
}

impl<C: ByteFrames> Spoken<C> {
    fn encode(&mut self, message: &[u8]) -> Vec<u8> {
        self.codec.encode_to_vec(message).expect("a message of the table can be written")
    }

    fn bytes(&mut self, part: &Part<'_>) -> Vec<u8> {
        match part {
            Part::Ask(request) => self.encode(request),
            Part::Raw(bytes) => bytes.to_vec(),
            Part::Torn(request) => {
                let mut bytes = self.encode(request);
                bytes.pop();
                bytes
            }
        }
    }

    fn row(
        &mut self,
        name: &'static str,
        parts: &[Part<'_>],
        replies: &[&[u8]],
        end: CloseKind,
    ) -> Row {
        let input = parts.iter().flat_map(|part| self.bytes(part)).collect();
        let sent = |part: &Part<'_>| match part {
            Part::Ask(request) => Sent::Request(request.to_vec()),
            raw => Sent::Raw(self.bytes(raw)),
        };
        let sent = parts.iter().map(sent).collect();
        let output = replies.iter().flat_map(|reply| self.encode(reply)).collect();
        let replies = replies.iter().map(|reply| reply.to_vec()).collect();
        Row { name, input, sent, output, replies, end }
    }

    /// A row of whole requests, after which the client is the first to close.
    fn whole(&mut self, name: &'static str, requests: &[&str], replies: &[&str]) -> Row {
        self.until(name, requests, replies, CloseKind::PeerClosed)
    }

    /// A row of whole requests.
    fn until(
        &mut self,
        name: &'static str,
        requests: &[&str],
        replies: &[&str],
        end: CloseKind,
    ) -> Row {
        let parts: Vec<_> = requests.iter().map(|request| Part::Ask(request.as_bytes())).collect();
        let replies: Vec<_> = replies.iter().map(|reply| reply.as_bytes()).collect();
        self.row(name, &parts, &replies, end)
    }

    /// The table.
    pub(crate) fn rows(&mut self) -> Vec<Row> {
        let mut rows = self.answered();
        rows.extend(self.ended_by_the_service());
        rows.extend(self.ended_by_the_peer());
        rows.extend(self.long());
        rows
    }

    /// Requests that are all answered.
    fn answered(&mut self) -> Vec<Row> {
        vec![
            self.whole("nothing is asked", &[], &[]),
            self.whole("one request", &["ehello"], &["hello"]),
            self.whole("pipelined requests", &["ea", "eb", "ec", "ed"], &["a", "b", "c", "d"]),
            self.whole("empty frames", &["", "", "e", "ex"], &["", "", "", "x"]),
            self.whole("no reply", &["e1", "n", "n", "e2", "n"], &["1", "2"]),
            self.whole(
                "several frames",
                &["mx", "e", "my"],
                &["x1", "x2", "x3", "", "y1", "y2", "y3"],
            ),
            self.whole("yields", &["y1", "e2", "y3", "y4"], &["1", "2", "3", "4"]),
            self.whole("later", &["l1"], &["1"]),
            self.whole(
                "later, among others",
                &["e1", "l2", "e3", "l4", "l5", "e6"],
                &["1", "2", "3", "4", "5", "6"],
            ),
            self.whole(
                "later, in parts",
                &["pa", "e", "pb"],
                &["a1", "a2", "a3", "", "b1", "b2", "b3"],
            ),
            self.whole("later, and nothing", &["f", "e1", "f", "l2", "f"], &["1", "2"]),
            self.whole("streams", &["e1", "s3", "e2", "s0", "e3"], &["1", "0", "1", "2", "2", "3"]),
            self.whole("a stream behind a later reply", &["l1", "s2", "e2"], &["1", "0", "1", "2"]),
            self.whole("a later reply behind a stream", &["s2", "l1", "s1"], &["0", "1", "1", "0"]),
        ]
    }

    fn ended_by_the_service(&mut self) -> Vec<Row> {
        use CloseKind::{Closed, Handler, Panic};
        vec![
            self.until("close", &["e1", "q2"], &["1", "2"], Closed),
            self.until("close, with requests behind it", &["q1", "e2", "x", "e3"], &["1"], Closed),
            self.until("close behind a later reply", &["l1", "q2", "e3"], &["1", "2"], Closed),
            self.until("close behind a stream", &["s2", "q2", "s3"], &["0", "1", "2"], Closed),
            self.until("an error", &["e1", "x2", "e3"], &["1", "2"], Handler),
            self.until("a panic", &["e1", "e2", "!3", "e4"], &["1", "2"], Panic),
        ]
    }

    fn ended_by_the_peer(&mut self) -> Vec<Row> {
        use CloseKind::{Decode, Truncated};
        use Part::{Ask, Raw, Torn};
        let (broken, too_long) = (self.broken, self.too_long.clone());
        let last = LAST_WORD;
        vec![
            self.row("no frame", &[Raw(broken)], &[last], Decode),
            self.row(
                "no frame, behind one",
                &[Ask(b"e1"), Raw(broken), Ask(b"e2")],
                &[b"1", last],
                Decode,
            ),
            self.row(
                "no frame, behind a later reply",
                &[Ask(b"l1"), Raw(broken)],
                &[b"1", last],
                Decode,
            ),
            self.row(
                "a frame that is too long",
                &[Ask(b"e1"), Raw(&too_long)],
                &[b"1", last],
                Decode,
            ),
            self.row("an end within a frame", &[Ask(b"e1"), Torn(b"e2")], &[b"1", last], Truncated),
            self.row("an end within the first frame", &[Torn(b"")], &[last], Truncated),
            self.row(
                "an end within a frame, behind a later reply",
                &[Ask(b"l1"), Torn(b"e2")],
                &[b"1", last],
                Truncated,
            ),
            self.row(
                "an end within a frame, behind a stream",
                &[Ask(b"s2"), Torn(b"e2")],
                &[b"0", b"1", last],
                Truncated,
            ),
        ]
    }

    /// More than a buffer holds, in one direction or in both.
    pub(crate) fn long(&mut self) -> Vec<Row> {
        let (full, one_less) = (vec![b'e'; self.max_len], vec![b'e'; self.max_len - 1]);
        let largest = [&full[..], &full].map(Part::Ask);
        let parts: Vec<Vec<u8>> =
            (0..600).map(|n| vec![b'a' + (n % 26) as u8; LARGE_PART]).collect();
        let streamed: Vec<&[u8]> =
            parts.iter().map(Vec::as_slice).chain([&b"behind it"[..]]).collect();
        let stream = [Part::Ask(b"S600"), Part::Ask(b"ebehind it")];
        vec![
            self.row("largest frames", &largest, &[&one_less, &one_less], CloseKind::PeerClosed),
            self.row("a long stream", &stream, &streamed, CloseKind::PeerClosed),
        ]
    }
}
