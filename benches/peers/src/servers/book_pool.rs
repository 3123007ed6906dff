//! A fixed pool as tutorials build it, with a queue of connections: a worker takes one, and serves
//! it to its end. Like the book's, the accept loop unwraps.

use super::{BoxError, Ready, blocking};
use crate::protocol::Protocol;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

pub(super) fn serve<P: Protocol>(
    addr: SocketAddr,
    workers: usize,
    ready: Ready,
) -> Result<(), BoxError> {
    let listener = TcpListener::bind(addr)?;
    let pool = pool(workers);
    ready(listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        // An error is the end of the connection.
        pool.send(Box::new(move || drop(blocking::<P>(stream)))).expect("the workers live");
    }
    Ok(())
}

fn pool(workers: usize) -> Sender<Job> {
    let (sender, jobs) = channel::<Job>();
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..workers {
        let jobs = Arc::clone(&jobs);
        thread::spawn(move || work(&jobs));
    }
    sender
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        // The lock is let go before the job runs.
        let job = jobs.lock().unwrap().recv();
        match job {
            Ok(job) => job(),
            Err(_) => break,
        }
    }
}
