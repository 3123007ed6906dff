//! What only some connections have, so that the others need not hold it.

use crate::buffer::Buffer;
use crate::handler::{CloseReason, Outbox, TakeStream};
use crate::layer::Layer;
use crate::limit::Limit;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What only some connections have, and only for some time.
#[derive(Default)]
pub(crate) struct Extras {
    /// Input that the handler left.
    pub(crate) input: Buffer,
    /// Output that the system has not taken.
    pub(crate) output: Buffer,
    /// What it has told that it holds.
    pub(super) told_held: usize,
    /// All connections together hold too much for this one to be read.
    pub(super) starved: bool,
    /// Do not call `on_data` before this many bytes are held.
    pub(super) want: usize,
    pub(crate) outbox: Option<Arc<Outbox>>,
    pub(crate) layer: Option<Box<LayerState>>,
    pub(super) idle_timeout: Option<Limit<Duration>>,
    pub(super) timer: Option<Instant>,
    pub(super) message_deadline: Option<Instant>,
    pub(super) stall_deadline: Option<Instant>,
    pub(super) half_closed_deadline: Option<Instant>,
    pub(super) probe_at: Option<Instant>,
    pub(super) linger: Option<Linger>,
    pub(super) reason: Option<CloseReason>,
    pub(super) take: Option<TakeStream>,
}

/// A layer, and the bytes on both sides of it that wait for it.
pub(crate) struct LayerState {
    pub(crate) layer: Box<dyn Layer>,
    /// Bytes of the wire that the layer has not consumed.
    pub(crate) wire: Buffer,
    /// Plaintext of the handler that the layer has not taken.
    pub(crate) plain: Vec<u8>,
    /// It holds more plaintext.
    pub(crate) more: bool,
    /// It saw its own end of the stream.
    pub(crate) eof: bool,
    /// Its last words were asked for.
    pub(crate) closed: bool,
}

pub(super) struct Linger {
    /// Bytes that may still be read and thrown away.
    pub(super) left: usize,
    pub(super) idle: Duration,
    pub(super) idle_deadline: Instant,
    pub(super) deadline: Instant,
}

impl LayerState {
    pub(super) fn new(layer: Box<dyn Layer>) -> Self {
        Self {
            layer,
            wire: Buffer::default(),
            plain: Vec::new(),
            more: false,
            eof: false,
            closed: false,
        }
    }
}

impl Extras {
    /// Whether nothing is kept here that matters.
    pub(super) fn is_idle(&self) -> bool {
        self.input.is_empty()
            && self.output.is_empty()
            && self.told_held == 0
            && !self.starved
            && self.want == 0
            && self.outbox.is_none()
            && self.layer.is_none()
            && self.idle_timeout.is_none()
            && self.timer.is_none()
            && self.message_deadline.is_none()
            && self.stall_deadline.is_none()
            && self.half_closed_deadline.is_none()
            && self.probe_at.is_none()
            && self.linger.is_none()
            && self.reason.is_none()
            && self.take.is_none()
    }
}
