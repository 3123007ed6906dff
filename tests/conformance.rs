//! The conformance suite over every backend that comes with the crate.

use polyserve::{EventLoop, ThreadPerConnection, ThreadPool};

polyserve::conformance!(threads, ThreadPerConnection::new);
polyserve::conformance!(pool_of_two, || ThreadPool::new(2));
polyserve::conformance!(pool, ThreadPool::default);
polyserve::conformance!(one_loop, || EventLoop::new().loops(1));
polyserve::conformance!(two_loops, || EventLoop::new().loops(2));
polyserve::conformance!(portable_loops, || EventLoop::new().portable(true));
polyserve::conformance!(portable_pool, || ThreadPool::new(4).portable(true));
