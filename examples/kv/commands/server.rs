//! What the server tells about itself, which is what clients and tools look at when they start.

use super::{COMMANDS, Command, Flag, Run, find};
use crate::failure::Outcome;
use crate::glob;
use crate::resp::{Args, Reply};
use crate::session::Session;
use crate::store::Store;
use polyserve::Context;

/// The version of Redis whose behaviour this server has, for clients that decide by it.
const VERSION: &str = "7.0.15";

pub(super) fn info<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    let wanted = |section: &str| {
        let everything = ["all", "default", "everything"];
        let is_wanted = |arg: &[u8]| {
            let mut names = everything.iter().chain([&section]);
            names.any(|name| name.as_bytes().eq_ignore_ascii_case(arg))
        };
        args.len() == 1 || args.from(1).any(is_wanted)
    };
    let sections =
        [("server", server(store)), ("clients", clients(store)), ("keyspace", keyspace(store))];
    let texts = sections.into_iter().filter(|(name, _)| wanted(name)).map(|(_, text)| text);
    Ok(Reply::owned(texts.collect::<Vec<_>>().join("\r\n")))
}

fn server(store: &Store) -> String {
    let uptime = store.facts().started.elapsed().as_secs();
    let process = std::process::id();
    format!(
        "# Server\r\nredis_version:{VERSION}\r\nredis_mode:standalone\r\nprocess_id:{process}\r\n\
         uptime_in_seconds:{uptime}\r\n"
    )
}

fn clients(store: &Store) -> String {
    format!("# Clients\r\nconnected_clients:{}\r\n", store.facts().clients.len())
}

fn keyspace(store: &Store) -> String {
    let (keys, expires) = (store.len(), store.n_expiring());
    match keys {
        0 => "# Keyspace\r\n".to_owned(),
        _ => format!("# Keyspace\r\ndb0:keys={keys},expires={expires},avg_ttl=0\r\n"),
    }
}

/// What can be asked for by CONFIG GET.
const SETTINGS: [(&str, &str); 5] = [
    ("appendonly", "no"),
    ("databases", "1"),
    ("maxmemory", "0"),
    ("proto-max-bulk-len", "1048576"),
    ("save", ""),
];

pub(super) fn config_get<'a>(
    _: &'a mut Session,
    args: &'a Args<'a>,
    _: &mut Context<'_>,
) -> Outcome<'a> {
    let asked = |name: &str| {
        args.from(2).any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()))
    };
    let found = SETTINGS.iter().filter(|(name, _)| asked(name));
    Ok(Reply::array(found.flat_map(|(name, value)| [Reply::bulk(*name), Reply::bulk(*value)])))
}

pub(super) fn command_count<'a>(
    _: &'a mut Session,
    _: &'a Args<'a>,
    _: &mut Context<'_>,
) -> Outcome<'a> {
    Ok(Reply::count(COMMANDS.len()))
}

pub(super) fn command_list<'a>(
    _: &'a mut Session,
    _: &'a Args<'a>,
    _: &mut Context<'_>,
) -> Outcome<'a> {
    Ok(Reply::array(COMMANDS.iter().map(|command| Reply::bulk(command.name))))
}

pub(super) fn command_info<'a>(
    _: &'a mut Session,
    args: &'a Args<'a>,
    _: &mut Context<'_>,
) -> Outcome<'a> {
    if args.len() <= 2 {
        return Ok(all_commands());
    }
    Ok(Reply::array(args.from(2).map(|name| find(COMMANDS, name).map_or(Reply::Nil, describe))))
}

/// What COMMAND answers: everything.
pub(super) fn all_commands() -> Reply<'static> {
    Reply::array(COMMANDS.iter().map(describe))
}

/// A command as COMMAND describes it, which ends with what Redis knows and this server does not:
/// categories, tips, and where its keys are in another way.
fn describe(command: &'static Command) -> Reply<'static> {
    let flags: &[_] = match command.flag {
        Flag::Read => &[Reply::Status("readonly")],
        Flag::Write => &[Reply::Status("write")],
        Flag::Other => &[],
    };
    let (first, last, step) = command.keys;
    let subcommands = match command.run {
        Run::Sub(subcommands) => subcommands,
        _ => &[],
    };
    let none = || Reply::Array(Vec::new());
    Reply::array([
        Reply::bulk(command.name),
        Reply::Integer(command.arity.into()),
        Reply::Array(flags.to_vec()),
        Reply::Integer(first.into()),
        Reply::Integer(last.into()),
        Reply::Integer(step.into()),
        none(),
        none(),
        none(),
        Reply::array(subcommands.iter().map(describe)),
    ])
}

pub(super) fn command_docs<'a>(
    _: &'a mut Session,
    args: &'a Args<'a>,
    _: &mut Context<'_>,
) -> Outcome<'a> {
    if args.len() == 2 {
        return Ok(Reply::array(COMMANDS.iter().flat_map(document)));
    }
    let found = args.from(2).filter_map(|name| find(COMMANDS, name));
    Ok(Reply::array(found.flat_map(document)))
}

/// The name of a command, and what there is to say about it.
fn document(command: &'static Command) -> [Reply<'static>; 2] {
    let facts = [["summary", command.summary], ["since", command.since], ["group", command.group]];
    let mut facts: Vec<_> = facts.iter().flatten().map(|text| Reply::bulk(*text)).collect();
    if let Run::Sub(subcommands) = command.run {
        facts.push(Reply::bulk("subcommands"));
        facts.push(Reply::array(subcommands.iter().flat_map(document)));
    }
    [Reply::bulk(command.name), Reply::Array(facts)]
}

pub(super) fn command_help<'a>(
    _: &'a mut Session,
    _: &'a Args<'a>,
    _: &mut Context<'_>,
) -> Outcome<'a> {
    Ok(help("command"))
}

pub(super) fn config_help<'a>(
    _: &'a mut Session,
    _: &'a Args<'a>,
    _: &mut Context<'_>,
) -> Outcome<'a> {
    Ok(help("config"))
}

/// What the subcommands of a command do.
pub(super) fn help(name: &str) -> Reply<'static> {
    let command = find(COMMANDS, name.as_bytes()).map(|command| command.run);
    let Some(Run::Sub(subcommands)) = command else { return Reply::Array(Vec::new()) };
    Reply::array(
        subcommands.iter().flat_map(|sub| [Reply::Status(sub.name), Reply::Status(sub.summary)]),
    )
}
