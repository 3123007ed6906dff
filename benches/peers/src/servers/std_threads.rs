//! `std::net`, with a thread for each connection.

use super::{BoxError, Ready, blocking};
use crate::protocol::Protocol;
use std::net::{SocketAddr, TcpListener};
use std::thread;

pub(super) fn serve<P: Protocol>(addr: SocketAddr, ready: Ready) -> Result<(), BoxError> {
    let listener = TcpListener::bind(addr)?;
    ready(listener.local_addr()?);
    for stream in listener.incoming() {
        match stream {
            // An error is the end of the connection.
            Ok(stream) => drop(thread::spawn(move || blocking::<P>(stream))),
            Err(error) => eprintln!("accept: {error}"),
        }
    }
    Ok(())
}
