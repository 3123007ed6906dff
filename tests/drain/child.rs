//! This program as a server of its own, and the listener that it is given.

use crate::process::ServerProcess;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

/// How a child gets the listener that this process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passing {
    /// As its standard input.
    Stdin,
    /// As descriptor 3, by the protocol of systemd.
    Activation,
}

/// The command of a server. Without options it has a backend and nowhere to listen.
pub(crate) fn command(backend: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["serve", "--backend", backend]).stdin(Stdio::null());
    command
}

/// A command that runs this one as a service manager would: its standard input becomes descriptor 3,
/// of which `variables` tell, where `$$` is the number of the process.
pub(crate) fn activated(variables: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    let script = format!("exec 3<&0 </dev/null; {variables} exec \"$0\" \"$@\"");
    shell.arg("-c").arg(script).arg(command.get_program()).args(command.get_args());
    shell
}

/// Starts a server on a listener that this process keeps.
pub(crate) fn start(
    backend: &str,
    listener: &TcpListener,
    passing: Passing,
    more: &[&str],
) -> ServerProcess {
    let mut plain = command(backend);
    let mut command = match passing {
        Passing::Stdin => {
            plain.args(["--from", "stdin"]).args(more);
            plain
        }
        Passing::Activation => {
            plain.args(["--from", "127.0.0.1:0"]).args(more);
            activated("LISTEN_PID=$$ LISTEN_FDS=1", &plain)
        }
    };
    let copy: OwnedFd = listener.try_clone().unwrap().into();
    ServerProcess::start(command.stdin(Stdio::from(copy)), 1)
}
