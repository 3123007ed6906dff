//! mill-net, in the shape of its example `tcp_echo_server`. It keeps no state for a connection, so
//! what a request begins with is kept in a map.

use super::{BUFFER, BoxError, Ready};
use crate::protocol::Protocol;
use mill_io::EventLoop;
use mill_io::error::Result;
use mill_net::tcp::config::TcpServerConfig;
use mill_net::tcp::traits::{ConnectionId, NetworkHandler};
use mill_net::tcp::{ServerContext, TcpServer};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

struct Answers<P> {
    conns: Mutex<HashMap<ConnectionId, P>>,
}

impl<P: Protocol> NetworkHandler for Answers<P> {
    fn on_data(&self, cx: &ServerContext, id: ConnectionId, data: &[u8]) -> Result<()> {
        let mut output = Vec::new();
        if P::STATELESS {
            return cx.send_to(id, P::default().answer(data, &mut output)?);
        }
        let mut conns = self.conns.lock().expect("a protocol does not panic");
        let answer = conns.entry(id).or_default().answer(data, &mut output)?;
        drop(conns);
        cx.send_to(id, answer)
    }

    fn on_disconnect(&self, _: &ServerContext, id: ConnectionId) -> Result<()> {
        if !P::STATELESS {
            self.conns.lock().expect("a protocol does not panic").remove(&id);
        }
        Ok(())
    }
}

pub(super) fn serve<P: Protocol>(
    addr: SocketAddr,
    ready: Ready,
) -> std::result::Result<(), BoxError> {
    let event_loop = Arc::new(EventLoop::default());
    let config = TcpServerConfig::builder().address(addr).buffer_size(BUFFER).build();
    let answers = Answers::<P> { conns: Mutex::default() };
    let text = |error: Box<dyn std::error::Error>| BoxError::from(error.to_string());
    let server = TcpServer::new(config, answers).map_err(text)?;
    let addr = server.local_addr().map_err(text)?;
    let token = event_loop.alloc_token();
    Arc::new(server).start(&event_loop, token).map_err(text)?;
    ready(addr);
    event_loop.run().map_err(text)
}
