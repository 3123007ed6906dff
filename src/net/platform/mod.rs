//! All that depends on the operating system. Each system offers the same names:
//!
//! - `recv(socket, buf, may_block)`, `recv_append(socket, vec)`, `send(socket, bytes)`:
//!   repeated after a signal, never raise `SIGPIPE`, never wait; but `recv(.., true)` waits, and may
//!   be `Interrupted`.
//! - `SHUTDOWN_ENDS_READS`: whether a thread that waits in `recv(.., true)` is woken when another
//!   shuts the socket down for reading. Where it is not, nobody may wait there.
//! - `make_ready_for_polling(socket)`: what must be set once before those that never wait.
//! - `accept(socket)`: takes one connection, never waits, not inherited by child processes.
//! - `refuse_newcomers(listener, is_tcp)`: turns away who comes from now on, if the system can.
//! - `WakeFd`: something to wait on that another thread can ring; `ring`.
//! - `wait_any(sources, wake, deadline)`: waits for some of a few sockets, a ring, or an instant.
//! - `EdgeWatch`: waits for new bytes of a socket that was shut down for reading, which is readable
//!   for ever as far as `wait_any` can tell. `new` gives `None` on systems that have no such thing.
//! - `credentials(socket)`: who is at the other end of a Unix socket.
//! - `descriptor_limit()`: how many sockets and files the process may have open.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;

// It needs no other system to run on, and is tested on Unix too.
#[cfg(any(not(unix), test))]
mod other;
#[cfg(not(unix))]
pub(crate) use other::*;
