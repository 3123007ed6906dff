//! Commands between MULTI and EXEC.

use crate::commands::Command;
use crate::failure::Failure;
use crate::resp::Args;

/// The most bytes that the commands of a transaction may take: as much as waits for one connection
/// in the other direction. Redis has no limit of its own for it.
const MAX_COST: usize = 1024 * 1024;

/// What was asked for since MULTI.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    commands: Vec<(&'static Command, Args<'static>)>,
    cost: usize,
    /// A command was refused, so none may be carried out.
    aborted: bool,
}

impl Transaction {
    /// Puts a command off until EXEC.
    ///
    /// # Errors
    /// There are too many already; then none is carried out.
    pub(crate) fn push(
        &mut self,
        command: &'static Command,
        args: &Args<'_>,
    ) -> Result<(), Failure> {
        self.cost += args.cost();
        if self.cost > MAX_COST {
            self.abort();
            return Err(Failure::new("ERR too many commands in a transaction"));
        }
        // What will not be carried out need not be kept.
        if !self.aborted {
            self.commands.push((command, args.to_owned()));
        }
        Ok(())
    }

    /// A command was refused: EXEC will refuse all.
    pub(crate) fn abort(&mut self) {
        self.aborted = true;
        self.commands = Vec::new();
    }

    /// The commands, in their order.
    ///
    /// # Errors
    /// One of them was refused.
    pub(crate) fn commands(self) -> Result<Vec<(&'static Command, Args<'static>)>, Failure> {
        if self.aborted { Err(Failure::ABORTED) } else { Ok(self.commands) }
    }
}
