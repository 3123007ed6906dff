//! A chat server: rooms, nicknames, and everybody hears everybody in the same room.
//!
//! ```sh
//! cargo run --example chat -- --backend event-loop
//! nc 127.0.0.1 50012      # in two other terminals
//! ```
//!
//! Each connection has a `User`, and each room a `Group` of the connections that are in it. What one
//! says is sent to the whole group by one call, which never waits for anybody: who does not read what
//! is sent is dropped when too much of it waits, and the others are told why.

mod common;

use polyserve::codec::{DecodeError, Lines};
use polyserve::{
    Action, BoxError, CloseKind, CloseReason, Framed, Group, Limit, Replies, Service, WhenFull,
};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most bytes of one line.
const MAX_LINE: usize = 1000;
/// The most bytes of a nickname or of a room's name.
const MAX_NAME: usize = 20;
/// How many names of a list are shown.
const MAX_SHOWN: usize = 100;
/// In a larger room nobody is told who comes and goes: it would be most of what is said.
const MAX_ANNOUNCED: usize = 50;
/// Where everybody begins.
const LOBBY: &str = "lobby";

const HELP: &str = "* /nick NAME, /join ROOM, /who, /rooms, /quit, /help; \
                    all else is said to the others in the room";

/// What all users share. Nothing blocks while it is locked, broadcasts included.
#[derive(Default)]
struct Chat {
    /// All nicknames, in lower case: nobody may pass for somebody else.
    taken: BTreeSet<String>,
    rooms: BTreeMap<String, Room>,
}

struct Room {
    names: BTreeSet<String>,
    group: Group,
}

/// One connection.
struct User {
    chat: Arc<Mutex<Chat>>,
    name: String,
    room: String,
    /// That of the room: to say something, nothing else is needed.
    group: Group,
}

impl Service<Lines> for User {
    fn on_open(&mut self, replies: &mut Replies<'_, Lines>) -> Result<Action, BoxError> {
        // One may listen for hours. TCP's own keep-alive finds out who is not there any more.
        replies.context().set_idle_timeout(Limit::Unlimited);
        let name = self.chat().guest(replies.context().id().get());
        self.name = name;
        replies.send(&format!("* welcome, {}; /help says what you can do", self.name))?;
        self.enter(LOBBY, replies)?;
        Ok(Action::Continue)
    }

    fn call(&mut self, line: &str, replies: &mut Replies<'_, Lines>) -> Result<Action, BoxError> {
        let line = line.trim_end();
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "" => (),
            "/nick" => self.rename(argument, replies)?,
            "/join" => self.join(argument, replies)?,
            "/who" => self.who(replies)?,
            "/rooms" => self.rooms(replies)?,
            "/help" => replies.send(HELP)?,
            "/quit" => return Ok(Action::Close),
            _ if command.starts_with('/') => replies.send("! no such command; /help lists them")?,
            _ => self.say(line, replies)?,
        }
        Ok(Action::Continue)
    }

    fn on_decode_error(&mut self, error: &DecodeError, replies: &mut Replies<'_, Lines>) {
        let _ = replies.send(&format!("! {error}"));
    }

    fn on_close(&mut self, reason: &CloseReason) {
        let last_words = match reason.kind() {
            CloseKind::PeerClosed | CloseKind::Closed | CloseKind::Reset => String::new(),
            // Everybody leaves.
            CloseKind::Shutdown | CloseKind::Killed => return,
            _ => format!(": {reason}"),
        };
        let mut chat = self.chat();
        chat.leave(&self.room, &self.name, &last_words);
        chat.taken.remove(&self.name.to_lowercase());
    }
}

impl User {
    fn chat(&self) -> MutexGuard<'_, Chat> {
        // Each change of the chat is whole, whatever panics after it.
        self.chat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends to all others in the room.
    fn say(&self, text: &str, replies: &mut Replies<'_, Lines>) -> Result<(), BoxError> {
        // They could do anything to the terminals of the others.
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Ok(replies.send("! control characters are not passed on")?);
        }
        let me = replies.context().sender();
        self.group.broadcast_except(&me, format!("{}: {text}\n", self.name));
        Ok(())
    }

    fn rename(&mut self, name: &str, replies: &mut Replies<'_, Lines>) -> Result<(), BoxError> {
        if !is_name(name) {
            return refuse_name(replies);
        }
        let mut chat = self.chat();
        let is_own = name.eq_ignore_ascii_case(&self.name);
        if !is_own && !chat.taken.insert(name.to_lowercase()) {
            return Ok(replies.send("! that nickname is taken")?);
        }
        if !is_own {
            chat.taken.remove(&self.name.to_lowercase());
        }
        if let Some(room) = chat.rooms.get_mut(&self.room) {
            room.names.remove(&self.name);
            room.names.insert(name.to_owned());
        }
        self.group.broadcast(format!("* {} is now {name}\n", self.name));
        drop(chat);
        self.name = name.to_owned();
        Ok(())
    }

    fn join(&mut self, room: &str, replies: &mut Replies<'_, Lines>) -> Result<(), BoxError> {
        if !is_name(room) {
            return refuse_name(replies);
        }
        self.group.leave(&replies.context().sender());
        self.chat().leave(&self.room, &self.name, "");
        self.enter(room, replies)
    }

    /// Comes into a room, which is made if it is not there.
    fn enter(&mut self, name: &str, replies: &mut Replies<'_, Lines>) -> Result<(), BoxError> {
        self.room = name.to_lowercase();
        let mut chat = self.chat();
        let room = chat.rooms.entry(self.room.clone()).or_default();
        room.announce(&format!("* {} has joined {}\n", self.name, self.room));
        room.group.join(&replies.context().sender());
        let others = room.names.len();
        room.names.insert(self.name.clone());
        let group = room.group.clone();
        drop(chat);
        self.group = group;
        Ok(replies.send(&format!("* you are in {}, with {others} others", self.room))?)
    }

    fn who(&self, replies: &mut Replies<'_, Lines>) -> Result<(), BoxError> {
        let chat = self.chat();
        let Some(room) = chat.rooms.get(&self.room) else { return Ok(()) };
        replies.send(&format!("* {} in {}:", room.names.len(), self.room))?;
        let mut shown = room.names.iter().take(MAX_SHOWN);
        Ok(shown.try_for_each(|name| replies.send(&format!("*   {name}")))?)
    }

    fn rooms(&self, replies: &mut Replies<'_, Lines>) -> Result<(), BoxError> {
        let chat = self.chat();
        replies.send(&format!("* {} rooms:", chat.rooms.len()))?;
        let mut shown = chat.rooms.iter().take(MAX_SHOWN);
        Ok(shown.try_for_each(|(name, room)| {
            replies.send(&format!("*   {name} ({})", room.names.len()))
        })?)
    }
}

impl Chat {
    /// A nickname for the connection of this number, or for the next number that nobody has taken.
    fn guest(&mut self, number: u64) -> String {
        let mut names = (number..).map(|n| format!("guest{n}"));
        let free = names.find(|name| self.taken.insert(name.clone()));
        free.expect("there are more numbers than connections")
    }

    /// Somebody leaves a room, which is gone when it is empty. The others are told, always if there
    /// is something to tell. The group forgets connections that have ended by itself.
    fn leave(&mut self, name: &str, who: &str, last_words: &str) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        room.names.remove(who);
        let notice = format!("* {who} has left {name}{last_words}\n");
        if last_words.is_empty() {
            room.announce(&notice);
        } else {
            room.group.broadcast(notice);
        }
        if room.names.is_empty() {
            self.rooms.remove(name);
        }
    }
}

impl Default for Room {
    /// An empty room. Nothing that is said in it may be missed, so who does not keep up is out.
    fn default() -> Self {
        Room { names: BTreeSet::new(), group: Group::new().when_full(WhenFull::Close) }
    }
}

impl Room {
    fn announce(&self, notice: &str) {
        if self.names.len() <= MAX_ANNOUNCED {
            self.group.broadcast(notice.to_owned());
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(is_allowed)
}

fn refuse_name(replies: &mut Replies<'_, Lines>) -> Result<(), BoxError> {
    Ok(replies.send("! a name has 1 to 20 letters, digits, hyphens or underscores")?)
}

fn main() -> ExitCode {
    let chat = Arc::new(Mutex::new(Chat::default()));
    let about = "chat: everybody hears everybody in the same room";
    common::run(about, "127.0.0.1:50012", move |_peer| {
        let (name, room, group) = Default::default(); // until it is open
        let user = User { chat: Arc::clone(&chat), name, room, group };
        Framed::service(Lines::new().max_len(MAX_LINE), user)
    })
}
