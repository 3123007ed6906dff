//! A server: listeners, a backend, and a factory of handlers.

mod builder;
mod error;
mod handle;

pub use builder::{Builder, Server};
pub use error::{ConfigError, ServeError};
pub use handle::ServerHandle;
