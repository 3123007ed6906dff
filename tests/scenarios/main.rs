//! Every rule that a handler may rely on, played into one connection without a socket and without
//! waiting.

mod actions;
mod closing;
mod deadlines;
mod drain;
mod eviction;
mod faults;
mod groups;
mod held;
mod layers;
mod lent;
mod order;
mod output;
mod probe;
mod random;
mod reading;
mod senders;
