//! All commands, sorted by their names.

use super::Flag::{self, Other, Read, Write};
use super::Run::{self, Discard, Exec, Multi, Quit, Session, Store, Sub};
use super::{Command, connection, hashes, keys, lists, pubsub, server, sets, strings};

/// No argument is a key.
const NONE: (i32, i32, i32) = (0, 0, 0);
/// The first argument is.
const ONE: (i32, i32, i32) = (1, 1, 1);
/// All are.
const ALL: (i32, i32, i32) = (1, -1, 1);
/// Every other one is.
const PAIRS: (i32, i32, i32) = (1, -1, 2);

#[rustfmt::skip] // a table
pub(crate) static COMMANDS: &[Command] = &[
    row("append", 3, Write, ONE, "2.0.0", "string", "Appends bytes to a text", Store(strings::append)),
    row("client", -2, Other, NONE, "2.4.0", "connection", "Tells about connections", Sub(CLIENT)),
    row("command", -1, Other, NONE, "2.8.13", "server", "Tells about commands", Sub(COMMAND)),
    row("config", -2, Other, NONE, "2.0.0", "server", "Tells the settings", Sub(CONFIG)),
    row("dbsize", 1, Read, NONE, "1.0.0", "server", "Counts the keys", Store(keys::dbsize)),
    row("decr", 2, Write, ONE, "1.0.0", "string", "Takes one from a number", Store(strings::decr)),
    row("decrby", 3, Write, ONE, "1.0.0", "string", "Takes from a number", Store(strings::decrby)),
    row("del", -2, Write, ALL, "1.0.0", "generic", "Removes keys", Store(keys::del)),
    row("discard", 1, Other, NONE, "2.0.0", "transactions", "Gives a transaction up", Discard),
    row("echo", 2, Other, NONE, "1.0.0", "connection", "Answers what it was sent", Session(connection::echo)),
    row("exec", 1, Other, NONE, "1.2.0", "transactions", "Carries a transaction out", Exec),
    row("exists", -2, Read, ALL, "1.0.0", "generic", "Counts which of some keys are there", Store(keys::exists)),
    row("expire", -3, Write, ONE, "1.0.0", "generic", "Lets a key expire after some seconds", Store(keys::expire)),
    row("flushall", -1, Write, NONE, "1.0.0", "server", "Removes all keys", Store(keys::flushall)),
    row("get", 2, Read, ONE, "1.0.0", "string", "Shows a text", Store(strings::get)),
    row("hdel", -3, Write, ONE, "2.0.0", "hash", "Removes fields", Store(hashes::hdel)),
    row("hget", 3, Read, ONE, "2.0.0", "hash", "Shows a field", Store(hashes::hget)),
    row("hgetall", 2, Read, ONE, "2.0.0", "hash", "Shows all fields and their values", Store(hashes::hgetall)),
    row("hlen", 2, Read, ONE, "2.0.0", "hash", "Counts the fields", Store(hashes::hlen)),
    row("hset", -4, Write, ONE, "2.0.0", "hash", "Sets fields", Store(hashes::hset)),
    row("incr", 2, Write, ONE, "1.0.0", "string", "Adds one to a number", Store(strings::incr)),
    row("incrby", 3, Write, ONE, "1.0.0", "string", "Adds to a number", Store(strings::incrby)),
    row("info", -1, Other, NONE, "1.0.0", "server", "Tells about the server", Store(server::info)),
    row("keys", 2, Read, NONE, "1.0.0", "generic", "Finds keys by a pattern", Store(keys::keys)),
    row("llen", 2, Read, ONE, "1.0.0", "list", "Counts the elements", Store(lists::llen)),
    row("lpop", -2, Write, ONE, "1.0.0", "list", "Takes elements from the start", Store(lists::lpop)),
    row("lpush", -3, Write, ONE, "1.0.0", "list", "Puts elements before the start", Store(lists::lpush)),
    row("lrange", 4, Read, ONE, "1.0.0", "list", "Shows a part of a list", Store(lists::lrange)),
    row("mget", -2, Read, ALL, "1.0.0", "string", "Shows several texts", Store(strings::mget)),
    row("mset", -3, Write, PAIRS, "1.0.1", "string", "Sets several texts", Store(strings::mset)),
    row("multi", 1, Other, NONE, "1.2.0", "transactions", "Begins a transaction", Multi),
    row("persist", 2, Write, ONE, "2.2.0", "generic", "Lets a key never expire", Store(keys::persist)),
    row("pexpire", -3, Write, ONE, "2.6.0", "generic", "Lets a key expire after some milliseconds", Store(keys::pexpire)),
    row("ping", -1, Other, NONE, "1.0.0", "connection", "Answers", Session(connection::ping)),
    row("pttl", 2, Read, ONE, "2.6.0", "generic", "Tells in milliseconds when a key expires", Store(keys::pttl)),
    row("publish", 3, Other, NONE, "2.0.0", "pubsub", "Sends a message to a channel", Session(pubsub::publish)),
    row("quit", -1, Other, NONE, "1.0.0", "connection", "Closes the connection", Quit),
    row("rpop", -2, Write, ONE, "1.0.0", "list", "Takes elements from the end", Store(lists::rpop)),
    row("rpush", -3, Write, ONE, "1.0.0", "list", "Puts elements behind the end", Store(lists::rpush)),
    row("sadd", -3, Write, ONE, "1.0.0", "set", "Adds members", Store(sets::sadd)),
    row("scan", -2, Read, NONE, "2.8.0", "generic", "Shows the keys, some at a time", Store(keys::scan)),
    row("scard", 2, Read, ONE, "1.0.0", "set", "Counts the members", Store(sets::scard)),
    row("select", 2, Other, NONE, "1.0.0", "connection", "Chooses a database, of which there is one", Session(connection::select)),
    row("set", -3, Write, ONE, "1.0.0", "string", "Sets a text", Store(strings::set)),
    row("smembers", 2, Read, ONE, "1.0.0", "set", "Shows all members", Store(sets::smembers)),
    row("srem", -3, Write, ONE, "1.0.0", "set", "Removes members", Store(sets::srem)),
    row("strlen", 2, Read, ONE, "2.2.0", "string", "Counts the bytes of a text", Store(strings::strlen)),
    row("subscribe", -2, Other, NONE, "2.0.0", "pubsub", "Joins channels", Session(pubsub::subscribe)),
    row("ttl", 2, Read, ONE, "1.0.0", "generic", "Tells in seconds when a key expires", Store(keys::ttl)),
    row("type", 2, Read, ONE, "1.0.0", "generic", "Tells what a key holds", Store(keys::type_of)),
    row("unsubscribe", -1, Other, NONE, "2.0.0", "pubsub", "Leaves channels", Session(pubsub::unsubscribe)),
];

#[rustfmt::skip] // a table
static CLIENT: &[Command] = &[
    row("client|getname", 2, Other, NONE, "2.6.9", "connection", "Shows the connection's name", Session(connection::client_getname)),
    row("client|help", 2, Other, NONE, "5.0.0", "connection", "Lists the subcommands", Session(connection::client_help)),
    row("client|id", 2, Other, NONE, "5.0.0", "connection", "Shows the connection's number", Session(connection::client_id)),
    row("client|list", -2, Other, NONE, "2.4.0", "connection", "Lists all connections", Session(connection::client_list)),
    row("client|setinfo", 4, Other, NONE, "7.2.0", "connection", "Says which library the client uses", Session(connection::client_setinfo)),
    row("client|setname", 3, Other, NONE, "2.6.9", "connection", "Names the connection", Session(connection::client_setname)),
];

#[rustfmt::skip] // a table
static COMMAND: &[Command] = &[
    row("command|count", 2, Other, NONE, "2.8.13", "server", "Counts the commands", Session(server::command_count)),
    row("command|docs", -2, Other, NONE, "7.0.0", "server", "Documents commands", Session(server::command_docs)),
    row("command|help", 2, Other, NONE, "5.0.0", "server", "Lists the subcommands", Session(server::command_help)),
    row("command|info", -2, Other, NONE, "2.8.13", "server", "Describes some commands", Session(server::command_info)),
    row("command|list", 2, Other, NONE, "7.0.0", "server", "Lists the names of commands", Session(server::command_list)),
];

#[rustfmt::skip] // a table
static CONFIG: &[Command] = &[
    row("config|get", -3, Other, NONE, "2.0.0", "server", "Shows settings", Session(server::config_get)),
    row("config|help", 2, Other, NONE, "5.0.0", "server", "Lists the subcommands", Session(server::config_help)),
];

#[allow(clippy::too_many_arguments, reason = "one for each column")]
const fn row(
    name: &'static str,
    arity: i32,
    flag: Flag,
    keys: (i32, i32, i32),
    since: &'static str,
    group: &'static str,
    summary: &'static str,
    run: Run,
) -> Command {
    Command { name, arity, flag, keys, since, group, summary, run }
}
