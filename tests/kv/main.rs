//! The example `kv` against the server that it is modelled on: both are sent the same, and must
//! answer the same.

#![cfg(unix)]

#[path = "../../examples/kv/resp/inline.rs"]
#[allow(dead_code)] // only the reading of quoted words is used here
mod inline;
#[path = "../support/process.rs"]
mod process;

mod differential;
mod script;
mod servers;
mod together;
mod tools;
mod wire;

/// Each test, once on each backend.
macro_rules! on_each_backend {
    ($($test:ident)*) => {
        on_each_backend!(@ threads "threads" $($test)*);
        on_each_backend!(@ pool_4 "pool:4" $($test)*);
        on_each_backend!(@ event_loop "event-loop" $($test)*);
        on_each_backend!(@ event_loop_2 "event-loop:2" $($test)*);
    };
    (@ $name:ident $backend:literal $($test:ident)*) => {
        mod $name {
            $(#[test] fn $test() { super::$test($backend); })*
        }
    };
}
pub(crate) use on_each_backend;
