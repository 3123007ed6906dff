//! The example `kv` against the server that it is modelled on: both are sent the same, and must
//! answer the same.

#![cfg(unix)]

// The parts of the example, for the tests that stand in them. An example that is a test as well would
// not be built as a program.
#[path = "../../examples/kv/channels.rs"]
mod channels;
#[path = "../../examples/kv/clients.rs"]
mod clients;
#[path = "../../examples/kv/commands/mod.rs"]
mod commands;
#[path = "../../examples/kv/failure.rs"]
mod failure;
#[path = "../../examples/kv/glob.rs"]
mod glob;
#[path = "../../examples/kv/number.rs"]
mod number;
#[path = "../../examples/kv/resp/mod.rs"]
mod resp;
#[path = "../../examples/kv/session.rs"]
mod session;
#[path = "../../examples/kv/store.rs"]
mod store;
#[path = "../../examples/kv/transaction.rs"]
mod transaction;
#[path = "../../examples/kv/value.rs"]
mod value;

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
