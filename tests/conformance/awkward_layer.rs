//! A layer that does everything a layer may do, and protects nothing.
//!
//! - Its handshake takes two round trips: each side says two words, and writes nothing before.
//! - It cuts what is written into records of many sizes, and a record may arrive in pieces.
//! - A record of equal bytes is packed, so that a short read of the wire is a long plaintext: it
//!   hands that out bit by bit, and says that it holds more.
//! - It answers every third record with an acknowledgement, so that it writes when it reads.
//! - It ends with a record of its own.

use polyserve::{BoxError, Layer, Progress};

/// One end of it.
pub(crate) struct Awkward {
    is_client: bool,
    /// How many words of the handshake were said by us, and heard.
    said: usize,
    heard: usize,
    /// Plaintext that was not asked for yet.
    held: Vec<u8>,
    /// Records sent, which decides the size of the next.
    sent: usize,
    /// Records received.
    received: u32,
    /// How many of ours were acknowledged.
    acknowledged: u32,
    ended: bool,
}

const CLIENT_WORDS: [&[u8]; 2] = [b"hello, server", b"I heard you"];
const SERVER_WORDS: [&[u8]; 2] = [b"hello, client, whoever you are", b"then let us begin"];

/// Kinds of records. All but the last are followed by a number of two bytes.
const PLAIN: u8 = b'P';
const PACKED: u8 = b'R';
const ACKNOWLEDGED: u8 = b'A';
const END: u8 = b'E';

/// The most plaintext that one call hands out.
const MOST_AT_ONCE: usize = 5_000;
/// The most that one call takes.
const MOST_TAKEN: usize = 30_000;
/// A run of this length is packed.
const RUN: usize = 64;
const EVERY: u32 = 3;
const MASK: u8 = 0x5a;

impl Awkward {
    pub(crate) fn server() -> Self {
        Self::new(false)
    }

    pub(crate) fn client() -> Self {
        Self::new(true)
    }

    fn new(is_client: bool) -> Self {
        Self {
            is_client,
            said: 0,
            heard: 0,
            held: Vec::new(),
            sent: 0,
            received: 0,
            acknowledged: 0,
            ended: false,
        }
    }

    fn words(client: bool) -> [&'static [u8]; 2] {
        if client { CLIENT_WORDS } else { SERVER_WORDS }
    }

    /// Says the next word, if it is our turn: the client's is the first.
    fn speak(&mut self, out: &mut Vec<u8>) {
        let turn = if self.is_client { self.heard + 1 } else { self.heard };
        if self.said < turn.min(2) {
            out.extend_from_slice(Self::words(self.is_client)[self.said]);
            self.said += 1;
        }
    }

    /// Takes one word of the other side, if it is whole.
    fn listen(&mut self, wire: &[u8]) -> Result<usize, BoxError> {
        let word = Self::words(!self.is_client)[self.heard];
        let n = word.len().min(wire.len());
        if wire[..n] != word[..n] {
            return Err("the handshake is another".into());
        }
        if n < word.len() {
            return Ok(0);
        }
        self.heard += 1;
        Ok(n)
    }

    /// Takes one record, if it is whole. Returns how long it was.
    fn unwrap(&mut self, wire: &[u8], out: &mut Vec<u8>) -> Result<usize, BoxError> {
        if wire.first() == Some(&END) {
            self.ended = true;
            return Ok(1);
        }
        let [kind, high, low, rest @ ..] = wire else { return Ok(0) };
        let number = u16::from_be_bytes([*high, *low]);
        let size = usize::from(number);
        match *kind {
            PLAIN if rest.len() >= size => {
                self.held.extend(rest[..size].iter().map(|byte| byte ^ MASK));
                self.note_record(out);
                Ok(3 + size)
            }
            PACKED if !rest.is_empty() => {
                self.held.resize(self.held.len() + size, rest[0] ^ MASK);
                self.note_record(out);
                Ok(4)
            }
            PLAIN | PACKED => Ok(0),
            ACKNOWLEDGED => {
                self.acknowledged += EVERY;
                if self.acknowledged as u16 != number || self.acknowledged as usize > self.sent {
                    return Err(format!("record {number} was acknowledged").into());
                }
                Ok(3)
            }
            kind => Err(format!("there are no records of kind {kind}").into()),
        }
    }

    fn note_record(&mut self, out: &mut Vec<u8>) {
        self.received += 1;
        if self.received % EVERY == 0 {
            out.push(ACKNOWLEDGED);
            out.extend_from_slice(&(self.received as u16).to_be_bytes());
        }
    }

    /// How long the next record is at most: 1, 18, 307, and so on.
    fn next_size(&mut self) -> usize {
        self.sent += 1;
        self.sent * 17 * 17 % 3001 + 1
    }

    fn wrap(&mut self, plain: &[u8], out: &mut Vec<u8>) -> usize {
        let run = plain.iter().take(60_000).take_while(|byte| **byte == plain[0]).count();
        if run >= RUN {
            self.sent += 1;
            out.push(PACKED);
            out.extend_from_slice(&(run as u16).to_be_bytes());
            out.push(plain[0] ^ MASK);
            return run;
        }
        let size = self.next_size().min(plain.len());
        out.push(PLAIN);
        out.extend_from_slice(&(size as u16).to_be_bytes());
        out.extend(plain[..size].iter().map(|byte| byte ^ MASK));
        size
    }
}

impl Layer for Awkward {
    fn read(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<Progress, BoxError> {
        let mut consumed = 0;
        while self.held.is_empty() && !self.ended && consumed < wire.len() {
            let rest = &wire[consumed..];
            let n = if self.heard < 2 { self.listen(rest)? } else { self.unwrap(rest, out)? };
            self.speak(out);
            if n == 0 {
                break;
            }
            consumed += n;
        }
        let n = room.min(MOST_AT_ONCE).min(self.held.len());
        plain.extend(self.held.drain(..n));
        let more = !self.held.is_empty();
        Ok(Progress::consumed(consumed).with_more(more).with_eof(self.ended && !more))
    }

    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, BoxError> {
        self.speak(out);
        if !self.is_ready() {
            return Ok(0);
        }
        let mut taken = 0;
        while taken < plain.len().min(MOST_TAKEN) {
            taken += self.wrap(&plain[taken..], out);
        }
        Ok(taken)
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        out.push(END);
    }

    fn is_ready(&self) -> bool {
        self.said == 2 && self.heard == 2
    }
}
