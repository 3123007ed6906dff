//! Backends of the blocking style that get it wrong.

use polyserve::{Acceptor, Backend, Scratch, ServeError, Session};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

/// Accepts the next connection when the one before has ended: the first server of many a textbook.
#[derive(Debug)]
pub(crate) struct OneByOne;

impl Backend for OneByOne {
    fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError> {
        while let Some(session) = acceptor.accept()? {
            session.run(&mut Scratch::new());
        }
        Ok(())
    }
}

/// Two workers, each of which is tied to its connection until that ends.
#[derive(Debug)]
pub(crate) struct TiedWorkers;

impl Backend for TiedWorkers {
    fn run(&mut self, acceptor: &Acceptor) -> Result<(), ServeError> {
        let (give, take) = mpsc::channel::<Session>();
        let take = Mutex::new(take);
        let work = || {
            while let Some(session) = next(&take) {
                session.run(&mut Scratch::new());
            }
        };
        thread::scope(|scope| {
            scope.spawn(work);
            scope.spawn(work);
            while let Some(session) = acceptor.accept()? {
                let _ = give.send(session);
            }
            drop(give);
            Ok(())
        })
    }
}

fn next(take: &Mutex<mpsc::Receiver<Session>>) -> Option<Session> {
    take.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
