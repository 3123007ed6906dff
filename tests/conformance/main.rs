//! The conformance suite over every backend that comes with the crate, plainly and through a layer.

mod awkward_layer;

use awkward_layer::Awkward;
use polyserve::testing::conformance::Subject;
use polyserve::{Backend, EventLoop, ThreadPerConnection, ThreadPool};
use std::time::Duration;

polyserve::conformance!(threads, ThreadPerConnection::new);
polyserve::conformance!(pool_of_two, || ThreadPool::new(2));
polyserve::conformance!(pool, ThreadPool::default);
polyserve::conformance!(one_loop, || EventLoop::new().loops(1));
polyserve::conformance!(two_loops, || EventLoop::new().loops(2));
polyserve::conformance!(portable_loops, || EventLoop::new().portable(true));
// A time that is short beside that of the timers by which a question looks whether a thread spins.
polyserve::conformance!(busy_loops, || {
    EventLoop::new().loops(2).busy_poll(Duration::from_micros(100))
});
polyserve::conformance!(portable_pool, || ThreadPool::new(4).portable(true));

fn through_a_layer<B: Backend>(make: impl Fn() -> B + Send + Sync + 'static) -> Subject {
    Subject::new(make).layer(Awkward::server, Awkward::client)
}

polyserve::conformance!(layered_threads, layered = through_a_layer(ThreadPerConnection::new));
polyserve::conformance!(layered_pool, layered = through_a_layer(|| ThreadPool::new(2)));
polyserve::conformance!(layered_loop, layered = through_a_layer(|| EventLoop::new().loops(1)));
polyserve::conformance!(layered_loops, layered = through_a_layer(|| EventLoop::new().loops(2)));
polyserve::conformance!(
    layered_portable_loops,
    layered = through_a_layer(|| EventLoop::new().portable(true))
);
polyserve::conformance!(
    layered_portable_pool,
    layered = through_a_layer(|| ThreadPool::new(4).portable(true))
);
