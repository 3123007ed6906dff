//! One connection: its requests, its transaction, its subscriptions.

use crate::channels::Channels;
use crate::clients::Clients;
use crate::commands::{Command, Run};
use crate::failure::{Failure, Outcome};
use crate::resp::{Args, ProtocolError, Reply, Resp};
use crate::store::Store;
use crate::transaction::Transaction;
use crate::value::Bytes;
use polyserve::codec::{DecodeError, EncodeError};
use polyserve::{
    Action, BoxError, CloseReason, ConnectionId, Context, Limit, Replies, Sender, Service,
};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The most channels that one connection may subscribe to.
const MAX_SUBSCRIPTIONS: usize = 16 * 1024;

/// The most bytes of replies that may wait for one connection. One request could ask for the same
/// long text thousands of times, and so could the commands of one transaction.
const MAX_REPLIES: usize = 128 * 1024 * 1024;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    store: Mutex<Store>,
    channels: Channels,
    facts: Arc<Facts>,
}

/// What the server knows about itself.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) started: Instant,
    pub(crate) clients: Clients,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        let facts = Arc::new(Facts { started: Instant::now(), clients: Clients::default() });
        let store = Mutex::new(Store::new(Arc::clone(&facts)));
        Arc::new(Self { store, channels: Channels::default(), facts })
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        // A command that panics ends its own connection; the keys are those of all.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    shared: Arc<Shared>,
    id: Option<ConnectionId>,
    transaction: Option<Box<Transaction>>,
    subscriptions: HashSet<Bytes>,
    /// By which channels reach this connection, once it has subscribed to one.
    sender: Option<Sender>,
    /// A transaction is being carried out.
    in_exec: bool,
}

impl Service<Resp> for Session {
    fn on_open(&mut self, replies: &mut Replies<'_, Resp>) -> Result<Action, BoxError> {
        self.id = Some(replies.context().id());
        self.clients().add(replies.context());
        Ok(Action::Continue)
    }

    fn call(
        &mut self,
        args: Args<'_>,
        replies: &mut Replies<'_, Resp>,
    ) -> Result<Action, BoxError> {
        if args.len() == 0 {
            return Ok(Action::Continue);
        }
        // These are the words of a browser that a web page has led to this port, and what follows
        // are the page's. Redis closes such a connection as well.
        if [&b"post"[..], b"host:"].iter().any(|name| name.eq_ignore_ascii_case(args.at(0))) {
            return Ok(Action::Close);
        }
        match self.admit(&args) {
            Ok(command) => self.carry_out(command, &args, replies),
            Err(failure) => {
                replies.send(failure.into())?;
                Ok(Action::Continue)
            }
        }
    }

    fn on_decode_error(&mut self, error: &DecodeError, replies: &mut Replies<'_, Resp>) {
        let DecodeError::Other(error) = error else { return };
        if let Some(error) = error.downcast_ref::<ProtocolError>() {
            let reply = Failure::of(error.reply()).into();
            // The connection ends anyway.
            let _ = replies.send(reply);
        }
    }

    fn on_close(&mut self, _: &CloseReason) {
        if let Some(sender) = &self.sender {
            for channel in &self.subscriptions {
                self.channels().leave(channel, sender);
            }
        }
        if let Some(id) = self.id {
            self.clients().remove(id);
        }
    }
}

/// Requests.
impl Session {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            id: None,
            transaction: None,
            subscriptions: HashSet::new(),
            sender: None,
            in_exec: false,
        }
    }

    /// The command, if it may be carried out now. If not, that ends a transaction.
    fn admit(&mut self, args: &Args<'_>) -> Result<&'static Command, Failure> {
        let refusal = match Command::of(args) {
            Ok(command) if !self.is_subscribed() || command.is_for_subscribers() => {
                return Ok(command);
            }
            Ok(command) => Failure::of(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                 RESET are allowed in this context",
                command.name
            )),
            Err(refusal) => refusal,
        };
        if args.at(0).eq_ignore_ascii_case(b"exec") {
            self.transaction = None;
            return Err(refusal.aborting());
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.abort();
        }
        Err(refusal)
    }

    fn carry_out(
        &mut self,
        command: &'static Command,
        args: &Args<'_>,
        replies: &mut Replies<'_, Resp>,
    ) -> Result<Action, BoxError> {
        match (command.run, &mut self.transaction) {
            (Run::Quit, _) => {
                replies.send(Reply::OK)?;
                return Ok(Action::Close);
            }
            (Run::Exec, _) => self.exec(replies)?,
            (Run::Multi, _) => send(replies, self.multi())?,
            (Run::Discard, _) => send(replies, self.discard())?,
            (_, Some(transaction)) => {
                let queued = transaction.push(command, args);
                send(replies, queued.map(|()| Reply::Status("QUEUED")))?;
            }
            (Run::Store(run), None) => {
                let mut store = self.shared.store();
                store.begin();
                // Encoded at once, so that nothing of the store need be copied.
                send(replies, run(&mut store, args))?;
            }
            (Run::Session(run), None) => {
                let outcome = run(self, args, replies.context());
                send(replies, outcome)?;
            }
            (Run::Sub(_), None) => send(replies, crate::commands::without_subcommand())?,
        }
        Ok(Action::Continue)
    }

    fn multi(&mut self) -> Outcome<'static> {
        if self.transaction.is_some() {
            return Err(Failure::new("ERR MULTI calls can not be nested"));
        }
        self.transaction = Some(Box::default());
        Ok(Reply::OK)
    }

    fn discard(&mut self) -> Outcome<'static> {
        let transaction = self.transaction.take();
        transaction.map(|_| Reply::OK).ok_or(Failure::new("ERR DISCARD without MULTI"))
    }

    /// Carries a transaction out. No other connection sees or changes a key meanwhile.
    fn exec(&mut self, replies: &mut Replies<'_, Resp>) -> Result<(), EncodeError> {
        let Some(transaction) = self.transaction.take() else {
            return replies.send(Failure::new("ERR EXEC without MULTI").into());
        };
        let commands = match transaction.commands() {
            Ok(commands) => commands,
            Err(failure) => return replies.send(failure.into()),
        };
        replies.send(Reply::ArrayOf(commands.len()))?;
        let shared = Arc::clone(&self.shared);
        let mut store = shared.store();
        store.begin();
        self.in_exec = true;
        for (command, args) in &commands {
            match command.run {
                Run::Store(run) => send(replies, run(&mut store, args))?,
                Run::Session(run) => {
                    let outcome = run(self, args, replies.context());
                    send(replies, outcome)?;
                }
                _ => send(replies, crate::commands::without_subcommand())?,
            }
        }
        drop(store);
        self.in_exec = false;
        self.join_what_was_subscribed(replies.context());
        Ok(())
    }

    pub(crate) fn clients(&self) -> &Clients {
        &self.shared.facts.clients
    }

    pub(crate) fn channels(&self) -> &Channels {
        &self.shared.channels
    }

    pub(crate) fn name(&self) -> String {
        self.id.map(|id| self.clients().name(id)).unwrap_or_default()
    }

    pub(crate) fn rename(&self, name: &str) {
        if let Some(id) = self.id {
            self.clients().rename(id, name);
        }
    }
}

/// Subscriptions.
///
/// Whoever has one waits for others to speak, so it is exempt from the idle time-out meanwhile.
/// Within a transaction they are only noted, and take effect behind its reply: no message may come
/// between the parts of that.
impl Session {
    pub(crate) fn is_subscribed(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    pub(crate) fn n_subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    pub(crate) fn subscriptions(&self) -> Vec<Bytes> {
        self.subscriptions.iter().cloned().collect()
    }

    /// Whether there was room for one more.
    pub(crate) fn subscribe(&mut self, channel: &[u8], cx: &mut Context<'_>) -> bool {
        if self.subscriptions.contains(channel) {
            return true;
        }
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            return false;
        }
        self.subscriptions.insert(channel.into());
        if !self.in_exec {
            let sender = self.sender.get_or_insert_with(|| cx.sender());
            self.shared.channels.join(channel, sender);
            self.note_subscriptions(cx);
        }
        true
    }

    pub(crate) fn unsubscribe(&mut self, channel: &[u8], cx: &mut Context<'_>) {
        if !self.subscriptions.remove(channel) || self.in_exec {
            return;
        }
        if let Some(sender) = &self.sender {
            self.channels().leave(channel, sender);
        }
        // A message behind the confirmation would be taken for the reply to the next request.
        cx.append_pushed();
        self.note_subscriptions(cx);
    }

    fn join_what_was_subscribed(&mut self, cx: &mut Context<'_>) {
        if !self.is_subscribed() {
            return;
        }
        let sender = self.sender.get_or_insert_with(|| cx.sender());
        for channel in &self.subscriptions {
            self.shared.channels.join(channel, sender);
        }
        self.note_subscriptions(cx);
    }

    fn note_subscriptions(&self, cx: &mut Context<'_>) {
        let n = self.subscriptions.len();
        self.clients().note_subscriptions(cx.id(), n);
        match n {
            0 => cx.reset_idle_timeout(),
            _ => cx.set_idle_timeout(Limit::Unlimited),
        }
    }
}

fn send(replies: &mut Replies<'_, Resp>, outcome: Outcome<'_>) -> Result<(), EncodeError> {
    let reply = outcome.unwrap_or_else(Reply::from);
    if replies.context().pending() + reply.cost() > MAX_REPLIES {
        return replies.send(Failure::new("ERR the reply is too long").into());
    }
    replies.send(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use polyserve::Framed;
    use polyserve::testing::Script;

    #[test]
    fn texts_and_replies_have_a_limit() {
        let shared = Shared::new();
        let mut script =
            Script::new(move |_| Framed::service(Resp::default(), Session::new(shared)));
        let mut ask = |request: &[u8]| script.recv(request).output();
        let mebibyte = vec![b'x'; 1024 * 1024];
        let append =
            [b"*3\r\n$6\r\nAPPEND\r\n$1\r\nk\r\n$1048576\r\n", &mebibyte[..], b"\r\n"].concat();
        for n in 1..=64 {
            assert_eq!(ask(&append), format!(":{}\r\n", n * 1024 * 1024).into_bytes());
        }
        let refused: &[u8] = b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
        assert_eq!(ask(&append), refused);
        assert!(ask(b"GET k\r\n").starts_with(b"$67108864\r\nxxx"));
        let refused: &[u8] = b"-ERR the reply is too long\r\n";
        assert_eq!(ask(b"MGET k k k\r\n"), refused);
        let replies = ask(b"MULTI\r\nGET k\r\nGET k\r\nSTRLEN k\r\nEXEC\r\n");
        let end = [refused, b":67108864\r\n"].concat();
        assert!(replies.ends_with(&end), "{}", replies[replies.len() - 60..].escape_ascii());
    }

    #[test]
    fn a_transaction_has_a_limit() {
        let shared = Shared::new();
        let mut script =
            Script::new(move |_| Framed::service(Resp::default(), Session::new(shared)));
        let mut ask = |request: &str| String::from_utf8(script.recv(request).output()).unwrap();
        ask("MULTI\r\n");
        let append = format!("APPEND k {}\r\n", "x".repeat(60_000));
        let queued = (0..100).take_while(|_| ask(&append) == "+QUEUED\r\n").count();
        assert_eq!(queued, 17);
        assert_eq!(ask(&append), "-ERR too many commands in a transaction\r\n");
        assert_eq!(
            ask("EXEC\r\n"),
            "-EXECABORT Transaction discarded because of previous errors.\r\n"
        );
        assert_eq!(ask("EXISTS k\r\n"), ":0\r\n");
    }

    #[test]
    fn subscriptions_have_a_limit() {
        let shared = Shared::new();
        let mut script =
            Script::new(move |_| Framed::service(Resp::default(), Session::new(shared)));
        for n in 0..MAX_SUBSCRIPTIONS {
            script.recv(format!("SUBSCRIBE c{n}\r\n"));
            assert!(script.output().starts_with(b"*3\r\n$9\r\nsubscribe\r\n"));
        }
        assert_eq!(script.recv(b"SUBSCRIBE more\r\n").output(), b"-ERR too many subscriptions\r\n");
        assert!(script.recv(b"SUBSCRIBE c0\r\n").output().ends_with(b":16384\r\n"));
    }
}
