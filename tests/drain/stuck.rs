//! S4: a drain with clients or handlers that are stuck ends when it is to end, and says so.

use crate::server::{BACKENDS, backend};
use crate::trial;
use libtest_mimic::Trial;
use polyserve::{Action, BoxError, Context, DrainReport, Handler, Input, Server, ServerHandle};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_millis(500);
/// More than the system takes for a peer that does not read; ten of it are less than all connections of
/// a server may hold together.
const MUCH: usize = 20 << 20;
/// How long a drain may take after its deadline.
const LINGER: Duration = Duration::from_secs(1);
/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |what: &str, name: &'static str, test: fn(&str)| {
        trials.push(trial(format!("S4/{what}/{name}"), move || test(name)));
    };
    for name in BACKENDS {
        add("client-never-reads", name, clients_that_never_read);
        add("client-never-finishes", name, clients_that_never_finish);
        add("handler-stuck", name, a_stuck_handler);
    }
    add("behind-a-stuck-handler", "event-loop:1", those_behind_a_stuck_handler);
    trials
}

/// Answers `big` with more than a socket takes, and begins to answer anything else when the line is
/// complete; `stick` does not return until the sender is dropped.
#[derive(Clone)]
struct Stage {
    entered: Sender<()>,
    gate: Arc<Mutex<Receiver<()>>>,
}

impl Handler for Stage {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        match input.as_slice() {
            b"big\n" => {
                input.take();
                cx.send(vec![b'.'; MUCH]);
            }
            b"stick\n" => {
                input.take();
                self.entered.send(())?;
                let _ = self.gate.lock().unwrap().recv();
            }
            line if line.ends_with(b"\n") => cx.send(input.take()),
            _ => (),
        }
        Ok(Action::Continue)
    }
}

struct Running {
    handle: ServerHandle,
    entered: Receiver<()>,
    /// Dropping it lets the stuck handlers go.
    gate: Option<Sender<()>>,
}

fn spawn(name: &str) -> Running {
    let ((entered, has_entered), (gate, closed)) = (channel(), channel());
    let stage = Stage { entered, gate: Arc::new(Mutex::new(closed)) };
    let server = Server::builder().backend(backend(name)).bind("127.0.0.1:0").unwrap();
    let handle = server.spawn(move |_peer| stage.clone()).unwrap();
    Running { handle, entered: has_entered, gate: Some(gate) }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.handle.local_addrs()[0].as_tcp().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A client that was served once.
    fn served(&self) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(b"x\n").unwrap();
        stream.read_exact(&mut [0; 2]).unwrap();
        stream
    }

    /// Drains, and checks that it took as long as it is to take with something that is stuck.
    fn drain_in_vain(&self) -> DrainReport {
        let began = Instant::now();
        let report = self.handle.drain(Duration::ZERO, DEADLINE);
        let took = began.elapsed();
        assert!(took >= DEADLINE && took < DEADLINE + LINGER + SLACK, "{took:?}: {report}");
        report
    }
}

/// At the deadline they are reset, because what is left for them will never be read.
fn clients_that_never_read(name: &str) {
    let server = spawn(name);
    let mut clients: Vec<_> = (0..10).map(|_| server.served()).collect();
    for client in &mut clients {
        client.write_all(b"big\n").unwrap();
        // It has begun, and the drain finds it in the midst of it.
        client.read_exact(&mut [0; 1]).unwrap();
    }
    let idle: Vec<_> = (0..5).map(|_| server.served()).collect();
    let report = server.drain_in_vain();
    assert_eq!((report.killed, report.stuck, report.closed), (10, 0, 5), "{name}: {report}");
    assert!(report.finished_all, "{name}: {report}");
    drop((clients, idle));
    server.handle.join().unwrap();
}

/// Clients that have sent a part of a request, and say nothing more. At the deadline they are told the
/// end, and have a second to leave.
fn clients_that_never_finish(name: &str) {
    let server = spawn(name);
    let mut clients: Vec<_> = (0..20).map(|_| server.served()).collect();
    clients.iter_mut().for_each(|client| client.write_all(b"half a li").unwrap());
    let report = server.drain_in_vain();
    assert_eq!((report.killed, report.stuck), (20, 0), "{name}: {report}");
    assert!(report.finished_all, "{name}: {report}");
    // Those who still listen find a clean end.
    for client in &mut clients {
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "{name}");
    }
    server.handle.join().unwrap();
}

/// It is reported and left; those whose turns another thread can take end all the same.
fn a_stuck_handler(name: &str) {
    let mut server = spawn(name);
    let mut stuck = server.connect();
    stuck.write_all(b"stick\n").unwrap();
    server.entered.recv_timeout(PATIENCE).expect("the handler is entered");
    let report = server.drain_in_vain();
    assert_eq!((report.stuck, report.finished_all), (1, false), "{name}: {report}");
    let (control, began) = (server.handle.control(), Instant::now());
    server.handle.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{name}: join waits for what is stuck");
    assert_eq!(control.stats().live(), 1, "{name}");
    server.gate = None;
    let until = Instant::now() + PATIENCE;
    while control.stats().live() > 0 {
        assert!(Instant::now() < until, "{name}: it did not end when its handler returned");
        std::thread::yield_now();
    }
}

/// A loop whose handler does not return serves nobody: all its connections are stuck.
fn those_behind_a_stuck_handler(name: &str) {
    let mut server = spawn(name);
    let idle: Vec<_> = (0..3).map(|_| server.served()).collect();
    let mut stuck = server.connect();
    stuck.write_all(b"stick\n").unwrap();
    server.entered.recv_timeout(PATIENCE).expect("the handler is entered");
    let report = server.drain_in_vain();
    assert_eq!((report.stuck, report.finished_all), (4, false), "{name}: {report}");
    server.gate = None;
    for mut client in idle {
        // They end when the loop can see to them.
        let _ = client.read(&mut [0; 8]);
    }
}
