//! A service that is written once is the same everywhere: without sockets, on every backend, and
//! seen through the client.
//!
//! `desk` is the service, `table` what it is asked and what it has to answer. `played` asks it
//! without sockets, `backends` over real ones on each backend, two of them a user's own; `called` does it
//! through the client; `load` is about what only many connections, slow peers and other threads can show.

mod backends;
mod called;
mod desk;
#[path = "../support/life.rs"]
mod life;
mod load;
mod netstrings;
mod played;
#[cfg(unix)]
#[path = "../../examples/custom_backend/poll_loop.rs"]
mod poll_loop;
#[path = "../../examples/custom_backend/scoped.rs"]
mod scoped;
mod table;
mod work;

use polyserve::Backend;

/// What makes a backend, one for each server.
type Make = fn() -> Box<dyn Backend>;

/// Each test, once on each backend.
macro_rules! on_each_backend {
    ($($test:ident)*) => {
        on_each_backend!(@ threads (|| Box::new(polyserve::ThreadPerConnection::new())) $($test)*);
        on_each_backend!(@ pool (|| Box::new(polyserve::ThreadPool::new(2))) $($test)*);
        on_each_backend!(@ portable_pool
            (|| Box::new(polyserve::ThreadPool::new(2).portable(true))) $($test)*);
        on_each_backend!(@ one_loop (|| Box::new(polyserve::EventLoop::new().loops(1))) $($test)*);
        on_each_backend!(@ two_loops (|| Box::new(polyserve::EventLoop::new().loops(2))) $($test)*);
        on_each_backend!(@ portable_loops
            (|| Box::new(polyserve::EventLoop::new().loops(2).portable(true))) $($test)*);
        on_each_backend!(@ scoped_threads
            (|| Box::new(crate::scoped::Scoped::new("scoped"))) $($test)*);
        #[cfg(unix)]
        on_each_backend!(@ poll_loop (|| Box::new(crate::poll_loop::PollLoop)) $($test)*);
    };
    (@ $name:ident ($make:expr) $($test:ident)*) => {
        mod $name {
            $(#[test] fn $test() { super::$test($make); })*
        }
    };
}
use on_each_backend;
