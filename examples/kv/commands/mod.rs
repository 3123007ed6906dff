//! The commands: what they are called, how many arguments they take, and what they do.

mod connection;
mod hashes;
mod keys;
mod lists;
mod pubsub;
mod server;
mod sets;
mod strings;
mod table;

pub(crate) use table::COMMANDS;

use crate::failure::{Failure, Outcome};
use crate::number;
use crate::resp::Args;
use crate::session::Session;
use crate::store::Store;
use polyserve::Context;

/// A command, or a subcommand of one.
#[derive(Debug)]
pub(crate) struct Command {
    /// In lower case; that of a subcommand is `client|id`.
    pub(crate) name: &'static str,
    /// How many arguments it has, the name included; a negative one is the least number.
    arity: i32,
    flag: Flag,
    /// The first argument that is a key, the last one (from the end, if negative), and the step from
    /// one to the next.
    keys: (i32, i32, i32),
    /// The version of Redis that had it first.
    since: &'static str,
    group: &'static str,
    summary: &'static str,
    pub(crate) run: Run,
}

#[derive(Debug, Clone, Copy)]
enum Flag {
    /// It reads keys.
    Read,
    /// It changes keys.
    Write,
    /// It is not about keys.
    Other,
}

/// How a command is carried out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Run {
    /// On the keys.
    Store(for<'a> fn(&'a mut Store, &'a Args<'a>) -> Outcome<'a>),
    /// On the connection, without the keys.
    Session(for<'a> fn(&'a mut Session, &'a Args<'a>, &mut Context<'_>) -> Outcome<'a>),
    /// By one of its subcommands.
    Sub(&'static [Command]),
    Multi,
    Exec,
    Discard,
    Quit,
}

/// The most milliseconds until a key expires. Redis refuses what does not fit 64 bits when the time
/// since 1970 is added to it: these are the first 139 years of that.
const MAX_MILLIS: i64 = i64::MAX - (1 << 42);

impl Command {
    /// The command that a request asks for, with as many arguments as it must have.
    ///
    /// # Errors
    /// There is none of that name, or the number of arguments is not right.
    pub(crate) fn of(args: &Args<'_>) -> Result<&'static Command, Failure> {
        let command = find(COMMANDS, args.at(0)).ok_or_else(|| unknown(args))?;
        let command = match command.run {
            Run::Sub(subcommands) if args.len() > 1 => subcommand(subcommands, command, args)?,
            _ => command,
        };
        match command.takes(args.len()) {
            true => Ok(command),
            false => Err(Failure::wrong_number_of_arguments(command.name)),
        }
    }

    /// Whether it may be used by a connection that has subscribed to channels.
    pub(crate) fn is_for_subscribers(&self) -> bool {
        ["ping", "quit", "subscribe", "unsubscribe"].contains(&self.name)
    }

    fn takes(&self, n: usize) -> bool {
        let least = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { n >= least } else { n == least }
    }
}

/// No name of a command is longer.
const LONGEST_NAME: usize = 16;

/// The command of this name, in letters of either case. The table is sorted.
fn find(table: &'static [Command], name: &[u8]) -> Option<&'static Command> {
    let mut buffer = [0; LONGEST_NAME];
    let lower = buffer.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let lower = &*lower;
    let at = table.binary_search_by(|command| command.name.as_bytes().cmp(lower)).ok()?;
    Some(&table[at])
}

fn subcommand(
    table: &'static [Command],
    command: &Command,
    args: &Args<'_>,
) -> Result<&'static Command, Failure> {
    let is_it = |sub: &&Command| {
        let name = sub.name.rsplit('|').next().unwrap_or_default();
        name.as_bytes().eq_ignore_ascii_case(args.at(1))
    };
    table.iter().find(is_it).ok_or_else(|| {
        let tried = truncated(args.at(1));
        let help = command.name.to_ascii_uppercase();
        Failure::of(
            [b"ERR unknown subcommand '", tried, b"'. Try ", help.as_bytes(), b" HELP."].concat(),
        )
    })
}

/// Redis shows no more than this of what it does not know.
const SHOWN: usize = 128;

fn unknown(args: &Args<'_>) -> Failure {
    let name = truncated(args.at(0));
    let mut shown = Vec::new();
    for arg in args.from(1) {
        if shown.len() >= SHOWN {
            break;
        }
        let arg = truncated(arg);
        let arg = &arg[..arg.len().min(SHOWN - shown.len())];
        shown.extend([b"'", arg, b"' "].concat());
    }
    Failure::of([b"ERR unknown command '", name, b"', with args beginning with: ", &shown].concat())
}

/// What a command that has subcommands answers if none is named: COMMAND describes all.
pub(crate) fn without_subcommand() -> Outcome<'static> {
    Ok(server::all_commands())
}

/// What printf(3) shows of it: up to a limit, and up to the first zero.
fn truncated(text: &[u8]) -> &[u8] {
    let text = &text[..text.len().min(SHOWN)];
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// An argument that is an integer.
fn int(text: &[u8]) -> Result<i64, Failure> {
    number::parse(text).ok_or(Failure::NOT_AN_INTEGER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_searched() {
        assert!(COMMANDS.is_sorted_by_key(|command| command.name));
        for command in COMMANDS {
            let name = command.name.to_ascii_uppercase();
            assert_eq!(find(COMMANDS, name.as_bytes()).map(|found| found.name), Some(command.name));
        }
        assert!(find(COMMANDS, b"").is_none());
        assert!(find(COMMANDS, &[b'a'; 1000]).is_none());
    }
}
