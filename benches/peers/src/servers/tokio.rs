//! tokio, in the shape of its example `echo-tcp`, and with the accept loop that its guide,
//! mini-redis, has.

use super::{BUFFER, BoxError, Ready};
use crate::protocol::Protocol;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// As `#[tokio::main]` has it.
    Threads,
    CurrentThread,
    /// As `Threads`; an error of `accept` is followed by a pause, not by the end.
    BackOff,
}

pub(super) fn serve<P: Protocol>(
    addr: SocketAddr,
    variant: Variant,
    ready: Ready,
) -> Result<(), BoxError> {
    let mut builder = match variant {
        Variant::CurrentThread => Builder::new_current_thread(),
        Variant::Threads | Variant::BackOff => Builder::new_multi_thread(),
    };
    builder.enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(addr).await?;
        ready(listener.local_addr()?);
        loop {
            let socket = match variant {
                Variant::BackOff => accept(&listener).await?,
                _ => listener.accept().await?.0,
            };
            tokio::spawn(connection::<P>(socket));
        }
    })
}

/// Six tries, each after twice the pause of the one before, beginning with a second.
async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let mut pause = Duration::from_secs(1);
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return Ok(socket),
            Err(error) if pause > Duration::from_secs(64) => return Err(error),
            // This pause is what is compared.
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause *= 2;
    }
}

/// An error is the end of the connection.
async fn connection<P: Protocol>(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut protocol, mut buffer, mut output) = (P::default(), vec![0; BUFFER], Vec::new());
    loop {
        match socket.read(&mut buffer).await? {
            0 => return Ok(()),
            n => socket.write_all(protocol.answer(&buffer[..n], &mut output)?).await?,
        }
    }
}
