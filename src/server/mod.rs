//! A server: listeners, a backend, and a factory of handlers.

mod builder;
mod handle;

pub use builder::{Builder, Server};
pub use handle::ServerHandle;
