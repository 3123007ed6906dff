//! The two servers, each a process of its own.

use crate::process::{PATIENCE, ServerProcess, TempDir, has};
use crate::wire::Place;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;

/// Starts `kv` on this backend.
pub(crate) fn kv(backend: &str, more: &[&str]) -> (ServerProcess, Place) {
    let server = ServerProcess::example("kv", backend, &["127.0.0.1:0"], more);
    let place = Place::Port(server.port(0));
    (server, place)
}

/// The real one, on a socket in a directory of its own, without anything on disk.
pub(crate) struct Redis {
    child: Child,
    _dir: TempDir,
    pub(crate) place: Place,
}

impl Redis {
    /// Starts it, unless it is not installed, which skips the test.
    pub(crate) fn start() -> Option<Self> {
        if !(has("redis-server") && has("redis-cli")) {
            return None;
        }
        let dir = TempDir::new();
        let path = dir.file("redis.sock");
        let mut child = Command::new("redis-server")
            .args(["--port", "0", "--databases", "1", "--save", "", "--appendonly", "no"])
            .args(["--daemonize", "no", "--logfile", "", "--unixsocket"])
            .arg(&path)
            .arg("--dir")
            .arg(dir.file("."))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let this = Redis { child, _dir: dir, place: Place::Path(path) };
        let (send, ready) = channel();
        thread::spawn(move || {
            // To the end, or its log would fill the pipe.
            for line in stdout.lines().map_while(Result::ok) {
                if line.contains("accept connections at") {
                    let _ = send.send(());
                }
            }
        });
        ready.recv_timeout(PATIENCE).expect("redis-server did not say that it is ready");
        Some(this)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
