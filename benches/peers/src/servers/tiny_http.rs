//! tiny_http, in the shape of its example `hello-world`.

use super::{BoxError, Ready};
use crate::protocol::GREETING;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use tiny_http::{Response, Server};

pub(super) fn serve(addr: SocketAddr, ready: Ready) -> Result<(), BoxError> {
    let server = Arc::new(Server::http(addr)?);
    ready(server.server_addr().to_ip().expect("it was bound to TCP"));
    let serve = move |server: &Server| {
        for request in server.incoming_requests() {
            let _ = request.respond(Response::from_string(GREETING));
        }
    };
    let threads = [0; 4].map(|_| {
        let server = Arc::clone(&server);
        thread::spawn(move || serve(&server))
    });
    for thread in threads {
        thread.join().expect("serving does not panic");
    }
    Ok(())
}
