//! What only a pool can get wrong: who works, who waits and who goes on with what another left, and
//! events that are told once.

#![cfg(target_os = "linux")]

#[path = "support/life.rs"]
mod life;
#[path = "support/process.rs"]
mod process;

use life::{Gate, PATIENCE, connect, echo, read_to_end, rounds, within};
use polyserve::{
    Action, Addr, BoxError, Context, Handler, Input, Server, ServerHandle, ThreadPool,
};
use process::TempDir;
use std::io::{IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

/// Echoes; before that, it does what the first byte says.
struct Told {
    first: Gate,
    second: Gate,
    all: Arc<Barrier>,
    turns: Arc<AtomicUsize>,
}

impl Handler for Told {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.turns.fetch_add(1, Ordering::SeqCst);
        let bytes = input.take();
        match bytes.first() {
            Some(b'1') => self.first.pass(),
            Some(b'2') => self.second.pass(),
            Some(b'*') => drop(self.all.wait()),
            _ => (),
        }
        cx.send(bytes);
        Ok(Action::Continue)
    }
}

/// A pool whose handlers do as they are told.
struct Pool {
    handle: ServerHandle,
    addr: SocketAddr,
    path: std::path::PathBuf,
    first: Gate,
    second: Gate,
    turns: Arc<AtomicUsize>,
    workers: usize,
    _dir: TempDir,
}

impl Pool {
    fn new(workers: usize, portable: bool) -> Self {
        let (first, second, turns) = (Gate::default(), Gate::default(), Arc::default());
        let all = Arc::new(Barrier::new(workers));
        let dir = TempDir::new();
        let path = dir.file("s");
        let server = Server::builder().backend(ThreadPool::new(workers).portable(portable));
        let server = server.bind("127.0.0.1:0").unwrap();
        let server = server.bind(&*format!("unix:{}", path.display())).unwrap();
        let (its_first, its_second, its_turns) =
            (first.clone(), second.clone(), Arc::clone(&turns));
        let handle = server.spawn(move |_| Told {
            first: its_first.clone(),
            second: its_second.clone(),
            all: Arc::clone(&all),
            turns: Arc::clone(&its_turns),
        });
        let handle = handle.unwrap();
        let addr = handle.local_addrs().iter().find_map(Addr::as_tcp).unwrap();
        Self { handle, addr, path, first, second, turns, workers, _dir: dir }
    }

    fn connect(&self) -> TcpStream {
        connect(self.addr)
    }

    /// Many connections that have been served quickly: one worker serves, and the others rest.
    fn warm(&self, n: usize) -> Vec<TcpStream> {
        let mut clients: Vec<_> = (0..n).map(|_| self.connect()).collect();
        for _ in 0..5 {
            clients.iter_mut().for_each(|client| echo(client, b"quick"));
        }
        clients
    }

    fn end(self) {
        let report = self.handle.drain(Duration::ZERO, PATIENCE);
        assert!(report.finished_all && report.killed == 0, "{report:?}");
        self.handle.join().unwrap();
    }
}

fn hear(client: &mut impl Read, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    client.read_exact(&mut got).unwrap();
    assert_eq!(got, expected);
}

/// So many workers, which wait on one poller each for itself, or one at a time.
fn on_pools(sizes: &[usize], test: fn(Pool)) {
    for &workers in sizes {
        for portable in [false, true] {
            let what = format!("a pool of {workers}, portable: {portable}");
            within(2 * PATIENCE, &what, move || test(Pool::new(workers, portable)));
        }
    }
}

/// Each handler returns only when as many run as there are workers.
#[test]
fn as_many_handlers_may_block_as_there_are_workers() {
    for workers in [2, 4, 8] {
        for portable in [false, true] {
            within(2 * PATIENCE, "rounds in which all workers block", move || {
                let pool = Pool::new(workers, portable);
                let mut clients = pool.warm(workers);
                for _ in 0..rounds(20) {
                    clients.iter_mut().for_each(|client| client.write_all(b"*").unwrap());
                    clients.iter_mut().for_each(|client| hear(client, b"*"));
                    // Turns are quick again, and one worker leads.
                    for _ in 0..20 {
                        clients.iter_mut().for_each(|client| echo(client, b"quick"));
                    }
                }
                drop(clients);
                pool.end();
            });
        }
    }
}

/// While all workers are held up, forty requests come, the first of which blocks: one wait brings
/// all of them. The others are served although the handler of the first has not returned.
#[test]
fn what_a_blocked_leader_has_taken_is_served_by_others() {
    on_pools(&[2, 4], |pool| {
        let mut clients = pool.warm(40);
        let mut holders: Vec<_> = (0..pool.workers).map(|_| pool.connect()).collect();
        holders.iter_mut().for_each(|client| client.write_all(b"1").unwrap());
        pool.first.wait_for_blocked(pool.workers);
        clients[0].write_all(b"2").unwrap();
        clients[1..].iter_mut().for_each(|client| client.write_all(b"x").unwrap());
        pool.first.open();
        clients[1..].iter_mut().for_each(|client| hear(client, b"x"));
        holders.iter_mut().for_each(|client| hear(client, b"1"));
        pool.second.wait_for_blocked(1);
        clients[1..].iter_mut().for_each(|client| echo(client, b"again"));
        pool.second.open();
        hear(&mut clients[0], b"2");
        drop((clients, holders));
        pool.end();
    });
}

/// An end that has come before the bytes are read is told of together with them, and no more.
#[test]
fn an_end_that_comes_with_the_last_bytes_is_heard() {
    on_pools(&[1, 4], |pool| {
        let mut clients = pool.warm(8);
        // The next are read when they have ended already.
        let control = pool.handle.control();
        control.pause();
        let mut late: Vec<_> = (0..8).map(|_| pool.connect()).collect();
        for client in &mut late {
            client.write_all(b"last").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        }
        control.resume();
        late.iter_mut().for_each(|client| assert_eq!(read_to_end(client), b"last"));
        // And those end while another holds up whoever is to read them.
        clients[0].write_all(b"1").unwrap();
        pool.first.wait_for_blocked(1);
        for client in &mut clients[1..] {
            client.write_all(b"last").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        }
        // And this one within its own turn.
        clients[0].shutdown(Shutdown::Write).unwrap();
        pool.first.open();
        clients[1..].iter_mut().for_each(|client| assert_eq!(read_to_end(client), b"last"));
        assert_eq!(read_to_end(&mut clients[0]), b"1");
        pool.end();
    });
}

/// A read stops at an urgent byte, although there is more behind it.
#[test]
fn what_comes_behind_an_urgent_byte_is_read() {
    on_pools(&[1, 4], |pool| {
        let mut clients = pool.warm(4);
        let mut holder = pool.connect();
        holder.write_all(b"1").unwrap();
        pool.first.wait_for_blocked(1);
        for client in &mut clients {
            client.write_all(b"before").unwrap();
            let urgent = rustix::net::SendFlags::OOB;
            assert_eq!(rustix::net::send(client.as_fd(), b"!", urgent), Ok(1));
            client.write_all(b"behind").unwrap();
        }
        pool.first.open();
        hear(&mut holder, b"1");
        clients.iter_mut().for_each(|client| hear(client, b"beforebehind"));
        // One that comes alone.
        for client in &mut clients {
            let urgent = rustix::net::SendFlags::OOB;
            assert_eq!(rustix::net::send(client.as_fd(), b"!", urgent), Ok(1));
            echo(client, b"after it");
        }
        drop((clients, holder));
        pool.end();
    });
}

/// A read of a Unix socket stops at a message that carries a descriptor.
#[test]
fn what_comes_behind_a_descriptor_is_read() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    on_pools(&[1, 4], |pool| {
        let mut holder = pool.connect();
        let mut clients: Vec<_> = (0..4)
            .map(|_| {
                let mut client = UnixStream::connect(&pool.path).unwrap();
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                echo(&mut client, b"quick");
                client
            })
            .collect();
        holder.write_all(b"1").unwrap();
        pool.first.wait_for_blocked(1);
        for client in &mut clients {
            client.write_all(b"before").unwrap();
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let (given, _other) = UnixStream::pair().unwrap();
            let fds = [given.as_fd()];
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
            let bytes = [IoSlice::new(b"with it")];
            let sent = sendmsg(client.as_fd(), &bytes, &mut control, SendFlags::NOSIGNAL);
            assert_eq!(sent, Ok(7));
            client.write_all(b"behind").unwrap();
        }
        pool.first.open();
        hear(&mut holder, b"1");
        clients.iter_mut().for_each(|client| hear(client, b"beforewith itbehind"));
        for client in &mut clients {
            client.write_all(b"last").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(client), b"last");
        }
        drop((clients, holder));
        pool.end();
    });
}

/// One peer always has something to be read. Others are served all the same, and it is, too.
#[test]
fn a_chatty_connection_starves_nobody() {
    on_pools(&[1, 4, 32], |pool| {
        let chatty = pool.connect();
        let mut its_reader = chatty.try_clone().unwrap();
        let mut others = pool.warm(4);
        thread::scope(|scope| {
            let mut chatty = &chatty;
            let writing = scope.spawn(move || {
                // It ends by the shutdown below.
                while chatty.write_all(&[b'x'; 16 << 10]).is_ok() {}
            });
            let reading = scope.spawn(move || {
                let (mut buf, mut total) = (vec![0; 64 << 10], 0_u64);
                while let Ok(n @ 1..) = its_reader.read(&mut buf) {
                    total += n as u64;
                }
                total
            });
            for _ in 0..rounds(20) {
                let before = pool.turns.load(Ordering::SeqCst);
                others.iter_mut().for_each(|client| echo(client, b"mine"));
                // More than our own: the chatty one has had its turn, too.
                life::until("the chatty one is served", || {
                    pool.turns.load(Ordering::SeqCst) > before + 4
                });
            }
            chatty.shutdown(Shutdown::Both).unwrap();
            writing.join().unwrap();
            assert!(reading.join().unwrap() > 0);
        });
        drop((chatty, others));
        pool.end();
    });
}

/// A drain and a stop reach all workers, whatever they are at: one leads, one watches, others rest.
#[test]
fn a_server_at_rest_ends_at_once() {
    for workers in [1, 2, 3, 32] {
        for portable in [false, true] {
            for _ in 0..rounds(10) {
                let pool = Pool::new(workers, portable);
                let clients = pool.warm(2);
                within(PATIENCE, "the end of a pool at rest", move || {
                    drop(clients);
                    pool.end();
                });
            }
        }
    }
}
