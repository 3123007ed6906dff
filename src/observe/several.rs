//! Several observers as one, and observers behind a pointer.

// A method that was forgotten here would silently not be passed on.
#![deny(clippy::missing_trait_methods)]

use super::{Batch, Callback, Closed, Deadline, Observer, Refusal};
use crate::addr::Addr;
use crate::connection::drop_payload;
use crate::handler::{ConnectionId, Peer};
use crate::shutdown::DrainReport;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Implements `Observer` by passing every method on: `one` to what a pointer points to, `pair` to
/// both parts, `each` to all items.
macro_rules! pass_on {
    ($kind:ident [$($generics:tt)*] $what:ty) => {
        pass_on! { @impl $kind [$($generics)*] $what;
            listening(addr: &Addr);
            accepted(id: ConnectionId, peer: &Peer);
            refused(peer: &Peer, why: &Refusal<'_>);
            opened(id: ConnectionId, peer: &Peer);
            batch(batch: &Batch<'_>);
            backpressure_on(id: ConnectionId, peer: &Peer, held: usize);
            backpressure_off(id: ConnectionId, peer: &Peer, held: usize);
            timed_out(id: ConnectionId, peer: &Peer, deadline: Deadline);
            panicked(id: ConnectionId, peer: &Peer, callback: Callback, message: &str);
            stalled(id: ConnectionId, peer: &Peer, callback: Callback, took: Duration);
            closed(connection: &Closed<'_>);
            accept_failed(addr: &Addr, error: &io::Error, pause: Option<Duration>);
            listener_failed(addr: &Addr, error: &io::Error);
            limit_lowered(wanted: usize, granted: usize);
            many_threads(threads: usize);
            drain_began(grace: Duration, deadline: Duration);
            drain_listeners_closed();
            drain_told(live: usize);
            drain_deadline(left: usize);
            drained(report: &DrainReport);
        }
    };
    (@impl $kind:ident [$($generics:tt)*] $what:ty;
        $($method:ident($($arg:ident: $type:ty),*);)*
    ) => {
        impl<$($generics)*> Observer for $what {
            fn wants_batches(&self) -> bool {
                pass_on!(@any $kind self)
            }

            $(fn $method(&self $(, $arg: $type)*) {
                pass_on!(@body $kind self $method $($arg)*)
            })*
        }
    };
    (@any one $this:ident) => {
        (**$this).wants_batches()
    };
    (@any pair $this:ident) => {
        $this.0.wants_batches() || $this.1.wants_batches()
    };
    (@any each $this:ident) => {
        $this.iter().any(|observer| observer.wants_batches())
    };
    (@body one $this:ident $method:ident $($arg:ident)*) => {
        (**$this).$method($($arg),*)
    };
    (@body pair $this:ident $method:ident $($arg:ident)*) => {{
        alone(|| $this.0.$method($($arg),*));
        $this.1.$method($($arg),*);
    }};
    (@body each $this:ident $method:ident $($arg:ident)*) => {
        for observer in $this.iter() {
            alone(|| observer.$method($($arg),*));
        }
    };
}

pass_on!(one [O: Observer + ?Sized] Arc<O>);
pass_on!(one [O: Observer + ?Sized] Box<O>);
pass_on!(pair [A: Observer, B: Observer] (A, B));
pass_on!(each [O: Observer] Vec<O>);
pass_on!(each [O: Observer] Option<O>);

/// The others are told also if this one panics.
fn alone(tell: impl FnOnce()) {
    drop_payload(catch_unwind(AssertUnwindSafe(tell)));
}

#[allow(clippy::missing_trait_methods)] // a test needs those that it is about
#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::CloseReason;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Mutex;

    /// Notes the name of each method that is called.
    #[derive(Default)]
    struct Names(Mutex<Vec<&'static str>>, bool);

    macro_rules! note_names {
        ($($method:ident($($type:ty),*))*) => {
            impl Observer for Names {
                $(fn $method(&self, $(_: $type),*) {
                    self.0.lock().unwrap().push(stringify!($method));
                    assert!(!self.1, "it was told to panic");
                })*
            }
        };
    }

    note_names! {
        listening(&Addr)
        accepted(ConnectionId, &Peer)
        refused(&Peer, &Refusal<'_>)
        opened(ConnectionId, &Peer)
        batch(&Batch<'_>)
        backpressure_on(ConnectionId, &Peer, usize)
        backpressure_off(ConnectionId, &Peer, usize)
        timed_out(ConnectionId, &Peer, Deadline)
        panicked(ConnectionId, &Peer, Callback, &str)
        stalled(ConnectionId, &Peer, Callback, Duration)
        closed(&Closed<'_>)
        accept_failed(&Addr, &io::Error, Option<Duration>)
        listener_failed(&Addr, &io::Error)
        limit_lowered(usize, usize)
        many_threads(usize)
        drain_began(Duration, Duration)
        drain_listeners_closed()
        drain_told(usize)
        drain_deadline(usize)
        drained(&DrainReport)
    }

    /// Calls every method once.
    fn call_all(observer: &dyn Observer) {
        let id = ConnectionId(1);
        let addr = Addr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        let peer = Peer::new(addr.clone());
        let error = io::Error::other("no");
        let second = Duration::from_secs(1);
        observer.listening(&addr);
        observer.accepted(id, &peer);
        observer.refused(&peer, &Refusal::Backend(&error));
        observer.opened(id, &peer);
        observer.batch(&Batch { id, peer: &peer, requests: 1, received: 1, sent: 1 });
        observer.backpressure_on(id, &peer, 1);
        observer.backpressure_off(id, &peer, 0);
        observer.timed_out(id, &peer, Deadline::Idle);
        observer.panicked(id, &peer, Callback::OnData, "no");
        observer.stalled(id, &peer, Callback::OnData, second);
        observer.closed(&Closed {
            id,
            peer: &peer,
            reason: &CloseReason::Closed,
            received: 1,
            sent: 1,
            requests: 1,
            age: second,
        });
        observer.accept_failed(&addr, &error, None);
        observer.listener_failed(&addr, &error);
        observer.limit_lowered(2, 1);
        observer.many_threads(3);
        observer.drain_began(second, second);
        observer.drain_listeners_closed();
        observer.drain_told(1);
        observer.drain_deadline(1);
        observer.drained(&DrainReport {
            finished: 0,
            closed: 0,
            killed: 0,
            stuck: 0,
            took: second,
            finished_all: true,
        });
    }

    fn names() -> Vec<&'static str> {
        let names = Names::default();
        call_all(&names);
        names.0.into_inner().unwrap()
    }

    /// What `observer`, which passes on to `names`, passes on.
    fn passed_on(observer: &dyn Observer, names: &Names) -> Vec<&'static str> {
        call_all(observer);
        std::mem::take(&mut *names.0.lock().unwrap())
    }

    #[test]
    fn every_method_is_passed_on() {
        let seen = Arc::new(Names::default());
        let unsized_one: Arc<dyn Observer> = Arc::clone(&seen) as _;
        let boxed: Box<dyn Observer> = Box::new(Arc::clone(&seen));
        assert_eq!(names().len(), 20);
        assert_eq!(passed_on(&seen, &seen), names());
        assert_eq!(passed_on(&unsized_one, &seen), names());
        assert_eq!(passed_on(&boxed, &seen), names());
        assert_eq!(passed_on(&Some(Arc::clone(&seen)), &seen), names());
        assert_eq!(passed_on(&None::<Arc<Names>>, &seen), [""; 0]);
        let twice: Vec<_> = names().into_iter().flat_map(|name| [name, name]).collect();
        assert_eq!(passed_on(&(Arc::clone(&seen), Arc::clone(&seen)), &seen), twice);
        assert_eq!(passed_on(&vec![Arc::clone(&seen); 2], &seen), twice);
    }

    #[test]
    fn batches_are_wanted_if_one_wants_them() {
        struct Wants(bool);
        impl Observer for Wants {
            fn wants_batches(&self) -> bool {
                self.0
            }
        }
        for (a, b) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!((Wants(a), Wants(b)).wants_batches(), a || b);
            assert_eq!(vec![Some(Arc::new(Wants(a))), None].wants_batches(), a);
            assert_eq!((Box::new(Wants(b)) as Box<dyn Observer>).wants_batches(), b);
        }
    }

    #[test]
    fn one_that_panics_keeps_nothing_from_the_others() {
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let seen = Arc::new(Names::default());
        let bad = || Names(Mutex::default(), true);
        let told = passed_on(&(bad(), Arc::clone(&seen)), &seen);
        let both: [Box<dyn Observer>; 2] = [Box::new(bad()), Box::new(Arc::clone(&seen))];
        let told_too = passed_on(&Vec::from(both), &seen);
        std::panic::set_hook(quiet);
        assert_eq!((told, told_too), (names(), names()));
    }
}
