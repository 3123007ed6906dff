//! Kits for tests of your own (feature `testing`).
