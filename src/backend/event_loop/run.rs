//! One loop: wait, handle what is ready, wait again.

use super::mailbox::{Mail, Mailbox};
use crate::acceptor::{AcceptTurn, Acceptor};
use crate::backend::listeners::Listeners;
use crate::backend::slots::{Key, Slots};
use crate::backend::timers::{TimerState, Timers};
use crate::connection::{Ready, Turn};
use crate::handler::Wake;
use crate::net::{Alarm, Events, FIRST_RESERVED_KEY, Interest, Mode, Registration, poller_key};
use crate::serve_error::ServeError;
use crate::session::{Scratch, Session};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The key of the acceptor and its listeners: the highest that is no reserved one.
const ACCEPTOR: u64 = FIRST_RESERVED_KEY - 1;

/// Events taken by one wait.
const EVENTS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// When to try again to watch the listeners, if the system had no room for it.
const LISTENER_RETRY: Duration = Duration::from_millis(100);

pub(super) struct Loop {
    mailboxes: Arc<[Arc<Mailbox>]>,
    me: Arc<Mailbox>,
    sessions: Slots<Entry, TimerState>,
    timers: Timers,
    alarm: Option<Alarm>,
    /// The next deadline may not be the one that the alarm is set for.
    deadline_moved: bool,
    /// Sessions that are ready without their sockets.
    ready: Vec<Key>,
    scratch: Scratch,
    accept: Option<Accept>,
    now: Instant,
    busy_poll: BusyPoll,
}

struct Entry {
    session: Registration<Session>,
    timer: TimerState,
    /// It is on the ready list.
    listed: bool,
}

/// The part of the loop that accepts.
struct Accept {
    acceptor: Acceptor,
    listeners: Listeners,
    /// It is to be asked after this round.
    due: bool,
    deadline: Option<Instant>,
}

/// Whether a loop that has nothing to do looks again rather than sleep. Timers and mail have their turn
/// after each look, so that neither an alarm nor a bell is needed meanwhile.
struct BusyPoll {
    /// For how long: zero is never.
    time: Duration,
    /// When there was something to do last.
    since: Instant,
}

impl BusyPoll {
    fn goes_on(&self, now: Instant) -> bool {
        !self.time.is_zero() && now.saturating_duration_since(self.since) < self.time
    }
}

impl Loop {
    /// The loop that accepts.
    pub(super) fn first(
        mailboxes: Arc<[Arc<Mailbox>]>,
        alarm: Option<Alarm>,
        acceptor: Acceptor,
        busy_poll: Duration,
    ) -> Self {
        let wake: Arc<dyn Wake> = mailboxes[0].clone();
        acceptor.attach(wake, ACCEPTOR);
        let accept = Accept {
            acceptor,
            listeners: Listeners::new(ACCEPTOR, Mode::Level),
            due: true,
            deadline: None,
        };
        Self { accept: Some(accept), ..Self::further(mailboxes, 0, alarm, busy_poll) }
    }

    /// A loop that is given its connections.
    pub(super) fn further(
        mailboxes: Arc<[Arc<Mailbox>]>,
        number: usize,
        alarm: Option<Alarm>,
        busy_poll: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            me: Arc::clone(&mailboxes[number]),
            sessions: Slots::new(),
            timers: Timers::default(),
            alarm,
            deadline_moved: false,
            ready: Vec::new(),
            scratch: Scratch::new(),
            accept: None,
            now,
            busy_poll: BusyPoll { time: busy_poll, since: now },
            mailboxes,
        }
    }

    pub(super) fn run(mut self) -> Result<(), ServeError> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            if self.is_accept_due() && self.accept_now()? || self.read_mail()? {
                return Ok(());
            }
            self.serve_ready();
            self.serve_timers();
            self.wait(&mut events)?;
            for event in events.ready() {
                self.serve_event(event.key, event.ready);
            }
        }
    }

    fn wait(&mut self, events: &mut Events) -> Result<(), ServeError> {
        let busy = !self.ready.is_empty() || self.accept.as_ref().is_some_and(|a| a.due);
        let waited = if busy || self.busy_poll.goes_on(self.now) || !self.me.fall_asleep() {
            self.me.reactor.look(events)
        } else {
            let deadline = self.deadline_to_wait_for();
            let waited = self.me.reactor.wait(events, deadline);
            self.me.wake_up();
            waited
        };
        // It may have been set for a deadline that has moved away since, and is set for none now.
        self.deadline_moved |= events.alarmed();
        self.now = Instant::now();
        if busy || !events.ready().is_empty() {
            self.busy_poll.since = self.now;
        }
        waited.map_err(ServeError::Wait)
    }

    /// The next deadline, unless an alarm will tell of it.
    fn deadline_to_wait_for(&mut self) -> Option<Instant> {
        if self.alarm.is_some() && !self.deadline_moved {
            return None;
        }
        let deadline = self.next_deadline();
        let alarm = deadline.zip(self.alarm.as_mut());
        let set = alarm.map(|(deadline, alarm)| alarm.set(deadline, self.now));
        // Where it can not be set, the next wait tries again.
        self.deadline_moved = matches!(set, Some(Err(_)));
        deadline.filter(|_| !matches!(set, Some(Ok(()))))
    }

    fn next_deadline(&self) -> Option<Instant> {
        let accept = self.accept.as_ref().and_then(|accept| accept.deadline);
        match (self.timers.next(), accept) {
            (Some(timer), Some(accept)) => Some(timer.min(accept)),
            (timer, accept) => timer.or(accept),
        }
    }

    fn serve_event(&mut self, key: u64, ready: Ready) {
        match &mut self.accept {
            Some(accept) if key == ACCEPTOR || key == poller_key(ACCEPTOR) as u64 => {
                accept.due = true;
            }
            // An event of a session that has ended in this very round finds nothing.
            _ => self.turn(Key::from_u64(key), ready),
        }
    }

    /// One turn of one session, and what it wants then.
    fn turn(&mut self, key: Key, ready: Ready) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let (session, is_set) = (entry.session.source_mut(), entry.timer.is_set());
        let turn = session.turn_lazily(ready, self.now, is_set, &mut self.scratch);
        // A handler may have taken its time.
        self.now = self.scratch.now();
        let Turn::Wait(wants) = turn else { return self.remove(key) };
        self.deadline_moved |= self.timers.set(key, &mut entry.timer, wants.deadline);
        if wants.again && !std::mem::replace(&mut entry.listed, true) {
            self.ready.push(key);
        }
        // The system may have no room for the registration: then this connection cannot go on.
        if entry.session.set(poller_key(key.to_u64()), Interest::from(wants)).is_err() {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: Key) {
        // Dropping the registration deletes it before the descriptor is closed.
        if self.sessions.remove_leaving(key, |entry| entry.timer).is_some() {
            self.me.load.fetch_sub(1, Ordering::Relaxed);
            // Who took its socket out was called, which is nothing that the next callback took.
            self.now = Instant::now();
        }
    }

    fn serve_ready(&mut self) {
        if self.ready.is_empty() {
            return;
        }
        for key in std::mem::take(&mut self.ready) {
            if let Some(entry) = self.sessions.get_mut(key) {
                entry.listed = false;
                self.turn(key, Ready::NONE);
            }
        }
    }

    fn serve_timers(&mut self) {
        // What becomes due meanwhile comes in the next round: sockets have their turn before.
        let now = self.now;
        while let Some((index, at)) = self.timers.pop_due(now) {
            self.deadline_moved = true;
            let Some(key) = self.sessions.key_of(index) else { continue };
            if self.sessions.get_mut(key).is_some_and(|entry| entry.timer.fires(at)) {
                self.turn(key, Ready::NONE);
            }
        }
    }

    /// Returns whether the loop is to end.
    fn read_mail(&mut self) -> Result<bool, ServeError> {
        // What is posted meanwhile comes in the next round: sockets have their turn before.
        for _ in 0..self.me.take_count() {
            let Some(mail) = self.me.next() else { break };
            self.busy_poll.since = self.now;
            match mail {
                Mail::Adopt(session) => self.adopt(*session),
                Mail::Wake(ACCEPTOR) => {
                    if let Some(accept) = &mut self.accept {
                        accept.due = true;
                    }
                }
                Mail::Wake(key) => self.turn(Key::from_u64(key), Ready::NONE),
                Mail::Failed(error) => return Err(error),
                Mail::Stop => return Ok(true),
            }
        }
        Ok(self.accept.as_ref().is_some_and(|accept| accept.due) && self.accept_now()?)
    }

    /// Takes on a connection, whose place in the load is counted already.
    fn adopt(&mut self, mut session: Session) {
        let key = self.sessions.next_key();
        session.attach(Arc::clone(&self.me) as Arc<dyn Wake>, key.to_u64());
        let poller = Arc::clone(self.me.reactor.poller());
        let place = poller_key(key.to_u64());
        // Nothing is registered yet, so nothing can fail.
        let registered =
            Registration::new(poller, session, place, Interest::default(), Mode::Level);
        if let Ok(session) = registered {
            let timer = self.timers.inherited(self.sessions.left());
            let entry = Entry { session, timer, listed: false };
            self.sessions.insert(entry);
            self.turn(key, Ready::NONE);
        }
    }

    fn is_accept_due(&self) -> bool {
        let is_past = |deadline| deadline <= self.now;
        self.accept.as_ref().is_some_and(|a| a.due || a.deadline.is_some_and(is_past))
    }

    /// Accepts. Returns whether the server is over.
    #[cold]
    fn accept_now(&mut self) -> Result<bool, ServeError> {
        let Some(accept) = &mut self.accept else { return Ok(false) };
        accept.due = false;
        self.deadline_moved = true;
        // The turns before this took their time: no clock of a new connection began before its accept.
        self.now = Instant::now();
        let mut mine = Vec::new();
        let mailboxes = &self.mailboxes;
        let turn = accept.acceptor.turn(self.now, &mut |session| {
            let target = emptiest(mailboxes);
            mailboxes[target].load.fetch_add(1, Ordering::Relaxed);
            match target {
                0 => mine.push(session),
                _ => mailboxes[target].post(Mail::Adopt(Box::new(session))),
            }
        })?;
        let AcceptTurn::Wait(wants) = turn else { return Ok(true) };
        accept.due = wants.again;
        accept.deadline = wants.deadline;
        if accept.listeners.follow(&accept.acceptor, &wants, &self.me.reactor).is_err() {
            let retry = self.now + LISTENER_RETRY;
            accept.deadline = Some(wants.deadline.map_or(retry, |deadline| deadline.min(retry)));
        }
        // Observers were called.
        self.now = Instant::now();
        mine.into_iter().for_each(|session| self.adopt(session));
        Ok(false)
    }
}

/// The number of the loop with the fewest connections; of several, the last: the first loop has the
/// accepting to do besides.
fn emptiest(mailboxes: &[Arc<Mailbox>]) -> usize {
    let load = |number: &usize| mailboxes[*number].load.load(Ordering::Relaxed);
    (0..mailboxes.len()).rev().min_by_key(load).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_ends_when_its_time_is_over() {
        let (since, time) = (Instant::now(), Duration::from_millis(3));
        let poll = BusyPoll { time, since };
        assert!(poll.goes_on(since) && poll.goes_on(since + time - Duration::from_nanos(1)));
        assert!(!poll.goes_on(since + time));
        assert!(!BusyPoll { time: Duration::ZERO, since }.goes_on(since));
    }

    /// There is one for every idle connection. Beside it there are a record of 48 bytes, an entry of
    /// 24 in the table of live connections and a wake-up of 8, which have guards of their own: 184
    /// together, where 200 are promised.
    #[cfg(target_pointer_width = "64")]
    #[test]
    fn an_entry_is_small() {
        assert_eq!((size_of::<Option<Entry>>(), Slots::<Entry>::SIZE), (96, 104));
    }
}
