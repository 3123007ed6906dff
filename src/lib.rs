//! polyserve
#![allow(dead_code, unused_imports, missing_docs)] // while the layers above are being built

pub mod client;
pub mod limit;
pub mod net;

pub use client::Client;
