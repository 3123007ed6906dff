//! Connections that are there and say nothing. A process of its own holds them: a process may open
//! only so many sockets.

use crate::servers::BoxError;
use std::io::{BufRead, BufReader, Read, Write, stdin};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long an echo may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What each sends once.
const MESSAGE: [u8; 64] = *b"This connection is used once, and is idle for as long as it goes";

/// The process that holds them. They end when this is dropped.
pub struct Idle(Child);

impl Idle {
    /// Connects so often to an echo server, has one echo from each connection, and keeps them.
    ///
    /// # Errors
    /// What the process says why it does not hold that many.
    pub fn start(peers: &Path, addr: SocketAddr, count: usize) -> Result<Self, String> {
        let mut process = Command::new(peers)
            .args(["hold", &addr.to_string(), &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot hold connections: {error}"))?;
        let mut line = String::new();
        let out = process.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).map_err(|error| error.to_string())?;
        let mut held = Self(process);
        if line.starts_with("holding") {
            return Ok(held);
        }
        // It has ended, or it would have said so.
        let mut said = String::new();
        let _ = held.0.stderr.take().expect("it is piped").read_to_string(&mut said);
        Err(said)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // The end of its input is its end.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The other side: holds them until standard input ends.
///
/// # Errors
/// Fewer can be held, or an echo is wrong.
pub fn hold(addr: SocketAddr, count: usize) -> Result<(), BoxError> {
    let mut held = Vec::with_capacity(count);
    while held.len() < count {
        let one = connect(addr);
        held.push(one.map_err(|error| format!("only {} of {count}: {error}", held.len()))?);
    }
    println!("holding {}", held.len());
    stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn connect(addr: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&MESSAGE)?;
    let mut answer = [0; MESSAGE.len()];
    stream.read_exact(&mut answer)?;
    match answer == MESSAGE {
        true => Ok(stream),
        false => Err(std::io::Error::other("other bytes came back")),
    }
}
