//! message-io, in the shape of its example `ping-pong`, with the transport of plain bytes.

use super::{BoxError, Ready};
use crate::protocol::Protocol;
use message_io::network::{NetEvent, Transport};
use message_io::node;
use std::collections::HashMap;
use std::net::SocketAddr;

pub(super) fn serve<P: Protocol>(addr: SocketAddr, ready: Ready) -> Result<(), BoxError> {
    let (handler, listener) = node::split::<()>();
    let (_, addr) = handler.network().listen(Transport::Tcp, addr)?;
    ready(addr);
    let (mut conns, mut output) = (HashMap::new(), Vec::new());
    listener.for_each(move |event| match event.network() {
        // Only clients are told so.
        NetEvent::Connected(..) => (),
        NetEvent::Accepted(endpoint, _) => _ = conns.insert(endpoint, P::default()),
        NetEvent::Message(endpoint, data) => {
            let Some(protocol) = conns.get_mut(&endpoint) else { return };
            match protocol.answer(data, &mut output) {
                Ok(answer) => _ = handler.network().send(endpoint, answer),
                Err(_) => _ = handler.network().remove(endpoint.resource_id()),
            }
        }
        NetEvent::Disconnected(endpoint) => _ = conns.remove(&endpoint),
    });
    Ok(())
}
