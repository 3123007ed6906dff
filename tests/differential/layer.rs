//! The layer between socket and handler: it changes nothing, but has a handshake, gives little at a
//! time, and obeys some bytes of the client that are no part of the stream.

use polyserve::{BoxError, Layer, Progress};
use std::collections::VecDeque;

/// The client's first byte, and the layer's answer. Before it there is no handler.
pub(crate) const HELLO: u8 = 0xfd;
/// The end of the stream, as TLS's close_notify.
pub(crate) const END: u8 = 0xfe;
/// The layer fails.
pub(crate) const FAIL: u8 = 0xff;
/// What the layer says before it goes.
pub(crate) const GOODBYE: u8 = 0xfc;

/// The most that it gives at once.
const SIP: usize = 37;

#[derive(Default)]
pub(crate) struct Sipping {
    is_ready: bool,
    held: VecDeque<u8>,
}

impl Layer for Sipping {
    fn read(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<Progress, BoxError> {
        self.held.extend(wire);
        let mut eof = false;
        match self.held.front() {
            Some(&HELLO) => {
                self.is_ready = true;
                self.held.pop_front();
                out.push(HELLO);
            }
            Some(&END) => {
                self.held.pop_front();
                eof = true;
            }
            Some(&FAIL) => return Err("the client has asked for it".into()),
            _ => {
                let some = self.held.iter().take(room.min(SIP));
                let n = some.take_while(|byte| **byte < 0x80).count();
                plain.extend(self.held.drain(..n));
            }
        }
        let more = !self.held.is_empty() && !eof;
        Ok(Progress::consumed(wire.len()).with_more(more).with_eof(eof))
    }

    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, BoxError> {
        let n = plain.len().min(1_000);
        out.extend(&plain[..n]);
        Ok(n)
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        out.push(GOODBYE);
    }

    fn is_ready(&self) -> bool {
        self.is_ready
    }
}
