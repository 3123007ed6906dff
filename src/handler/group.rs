//! Sending the same to many connections.

use super::outbox::Bell;
use super::sender::{Message, SendErrorKind, Sender};
use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Connections that are sent the same: the members of a chat room, the subscribers of a topic.
///
/// A clone is another handle on the same group. Handlers share it as they share any state: the
/// factory clones it. Every method may be called from any thread and from every callback, of
/// members as well, and never blocks on a member.
///
/// A member that is gone is forgotten without anybody's doing. [`leave`](Self::leave) is for those
/// that stay connected.
///
/// # What may be relied on
///
/// - A broadcast is queued for all members or, where two are made at the same time, for all members
///   in the same order: no two members see two messages in different orders. (Who was full has
///   missed one.) A member sees each message in one piece, and behind what it was sent before.
/// - Whoever has joined before a broadcast begins is sent it; whoever has left before is not.
/// - A message is held once for all members, however long they take for it.
/// - Who takes its output too slowly is skipped, or closed: see [`when_full`](Self::when_full). No
///   member ever has more waiting for it than the hard mark of its output
///   ([`Limits::output_hard`](crate::Limits::output_hard)), and none holds up another.
/// - Nothing of yours is called while the group is locked, which it is while a message is queued for
///   its members; they are woken afterwards.
///
/// ```
/// use polyserve::codec::Lines;
/// use polyserve::{Action, BoxError, Client, Framed, Group, Replies, Server, Service};
///
/// /// Passes each line on to all other members.
/// struct Member {
///     room: Group,
/// }
///
/// impl Service<Lines> for Member {
///     fn on_open(&mut self, replies: &mut Replies<'_, Lines>) -> Result<Action, BoxError> {
///         self.room.join(&replies.context().sender());
///         replies.send("welcome")?;
///         Ok(Action::Continue)
///     }
///
///     fn call(&mut self, line: &str, replies: &mut Replies<'_, Lines>) -> Result<Action, BoxError> {
///         let me = replies.context().sender();
///         self.room.broadcast_except(&me, format!("{line}\n"));
///         Ok(Action::Continue)
///     }
/// }
///
/// let room = Group::new();
/// let its_room = room.clone();
/// let server = Server::builder()
///     .bind("127.0.0.1:0")?
///     .spawn(move |_peer| Framed::service(Lines::new(), Member { room: its_room.clone() }))?;
///
/// let mut ann = Client::connect(&server.local_addrs()[0])?;
/// let mut bob = Client::connect(&server.local_addrs()[0])?;
/// assert_eq!(ann.recv_until(b"\n", 100)?, b"welcome\n");
/// assert_eq!(bob.recv_until(b"\n", 100)?, b"welcome\n");
/// ann.send(b"hello\n")?;
/// assert_eq!(bob.recv_until(b"\n", 100)?, b"hello\n");
///
/// // Anybody who has the group may broadcast.
/// let delivery = room.broadcast("good night\n");
/// assert_eq!(delivery.sent, 2);
/// assert_eq!(ann.recv_until(b"\n", 100)?, b"good night\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Group {
    members: Arc<Mutex<Members>>,
    when_full: WhenFull,
}

/// What becomes of a member for which too much waits already, so that it has no room for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WhenFull {
    /// It misses the message and stays a member: right where a later message makes up for an
    /// earlier one, such as prices or positions.
    #[default]
    Skip,
    /// It is closed at once, by [`Sender::give_up`], and no longer a member: right where nothing
    /// may be missed, so that a peer that does not keep up has to start again. Its reason is
    /// [`CloseReason::SlowConsumer`](crate::CloseReason::SlowConsumer).
    ///
    /// What counts is only how much waits, not for how long: whoever broadcasts more than the hard
    /// mark before its members' threads can run loses members that are not slow. A message that is
    /// longer than the hard mark closes nobody; it is skipped. What the system's own buffers hold,
    /// on Linux up to some megabytes, does not count: see
    /// [`SocketOptions::send_buffer`](crate::SocketOptions::send_buffer).
    Close,
}

/// What became of a broadcast: how many members there were of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Delivered {
    /// It was accepted for these. As for [`Sender::send`], that does not mean that they have it.
    pub sent: usize,
    /// These had no room for it: they were skipped, or are being closed.
    pub full: usize,
    /// These were gone already, and are members no longer.
    pub closed: usize,
}

/// By the address of the outbox, which no two members share: it stays while the sender is here.
#[derive(Default)]
struct Members {
    all: HashMap<usize, Sender>,
    /// Look for members that are gone when there are this many.
    sweep_at: usize,
}

/// A group of fewer members is not looked through for those that are gone.
const MIN_SWEEP: usize = 64;

impl Group {
    /// A group without members, that skips those who are full.
    pub fn new() -> Self {
        Self::default()
    }

    /// What becomes of full members in the broadcasts of this handle and of those that are cloned
    /// from it. Default: [`WhenFull::Skip`].
    ///
    /// ```
    /// use polyserve::{Group, WhenFull};
    ///
    /// let room = Group::new().when_full(WhenFull::Close);
    /// let typing_notices = room.clone().when_full(WhenFull::Skip); // the same members
    /// ```
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Makes a connection a member, until it leaves or ends. Returns whether it was none before
    /// and is one now; a connection that has ended does not become one.
    ///
    /// It may be a member of several groups, and members may be connections of several servers.
    pub fn join(&self, member: &Sender) -> bool {
        if member.is_closed() {
            return false;
        }
        let mut members = self.lock();
        let is_new = members.all.insert(key(member), member.clone()).is_none();
        let gone = if members.all.len() > members.sweep_at.max(MIN_SWEEP) {
            members.sweep()
        } else {
            Vec::new()
        };
        drop(members);
        drop(gone); // the last hold on what a backend made, perhaps
        is_new
    }

    /// Ends a membership. Nothing that is broadcast from here on is sent to this connection; what
    /// was queued for it before still is. Returns whether it was a member.
    pub fn leave(&self, member: &Sender) -> bool {
        let left = self.lock().all.remove(&key(member));
        left.is_some()
    }

    /// Sends a message to all members.
    ///
    /// It is copied once, if it was not made of an `Arc` or of something `'static`, and then shared.
    /// A member of which this is a callback gets it as well, behind what that callback sends itself.
    pub fn broadcast(&self, message: impl Into<Message>) -> Delivered {
        self.send(message.into(), None)
    }

    /// As [`broadcast`](Self::broadcast), but leaves one connection out, which need not be a member:
    /// usually the one that has something to say.
    pub fn broadcast_except(&self, one: &Sender, message: impl Into<Message>) -> Delivered {
        self.send(message.into(), Some(key(one)))
    }

    /// How many members there are, without those that are gone. It looks at each of them.
    pub fn len(&self) -> usize {
        let mut members = self.lock();
        let gone = members.sweep();
        let len = members.all.len();
        drop(members);
        drop(gone);
        len
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.lock().all.values().all(Sender::is_closed)
    }

    fn send(&self, message: Message, except: Option<usize>) -> Delivered {
        let mut round = Round::new(message.into_shared(), self.when_full);
        let mut members = self.lock();
        members.all.retain(|key, member| except == Some(*key) || round.offer(member));
        if !round.gone.is_empty() {
            members.give_back_room();
        }
        drop(members);
        round.bells.into_iter().for_each(Bell::ring);
        round.delivery
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        // No code of a user runs under the lock, so a poisoned one holds no broken state.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One broadcast, while it goes from member to member. What it collects is for when the lock is
/// free again: waking and dropping may run code of a backend.
struct Round {
    message: Message,
    when_full: WhenFull,
    delivery: Delivered,
    bells: Vec<Bell>,
    gone: Vec<Sender>,
}

impl Round {
    fn new(message: Message, when_full: WhenFull) -> Self {
        let delivery = Delivered::default();
        Self { message, when_full, delivery, bells: Vec::new(), gone: Vec::new() }
    }

    /// Queues the message for one member, and tells whether it stays a member.
    fn offer(&mut self, member: &Sender) -> bool {
        let stays = match member.outbox().post(self.message.clone()) {
            Ok(bell) => {
                self.delivery.sent += 1;
                self.collect(bell);
                true
            }
            Err(error) if error.kind() == SendErrorKind::Full => {
                self.delivery.full += 1;
                !self.gives_up(member)
            }
            Err(_) => {
                self.delivery.closed += 1;
                false
            }
        };
        if !stays {
            self.gone.push(member.clone());
        }
        stays
    }

    /// A member is full. Whether it is given up for that.
    fn gives_up(&mut self, member: &Sender) -> bool {
        let is_its_fault = member.outbox().has_room_for(self.message.len());
        if self.when_full == WhenFull::Skip || !is_its_fault {
            return false;
        }
        if let Some(bell) = member.outbox().give_up() {
            self.collect(bell);
        }
        true
    }

    fn collect(&mut self, bell: Bell) {
        if !bell.is_needless() {
            self.bells.push(bell);
        }
    }
}

impl Members {
    /// Takes out those that are gone. Done by a join whenever there are twice as many as were left
    /// the last time, it costs each join a constant time on average, and those that are gone never
    /// take more room than those that were there.
    fn sweep(&mut self) -> Vec<Sender> {
        let mut gone = Vec::new();
        self.all.retain(|_, member| {
            let stays = !member.is_closed();
            if !stays {
                gone.push(member.clone());
            }
            stays
        });
        self.sweep_at = self.all.len() * 2;
        self.give_back_room();
        gone
    }

    /// A look at all members takes as long as the table is large.
    fn give_back_room(&mut self) {
        if self.all.capacity() > 4 * self.all.len().max(MIN_SWEEP) {
            self.all.shrink_to(2 * self.all.len());
        }
    }
}

/// What tells connections apart, those of different servers as well.
fn key(member: &Sender) -> usize {
    std::ptr::from_ref(member.outbox()).addr()
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.lock().all.len();
        f.debug_struct("Group")
            .field("members", &members)
            .field("when_full", &self.when_full)
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::handler::outbox::{Outbox, Wake};
    use crate::handler::peer::ConnectionId;

    /// The connections of a test, each with its outbox and a sender.
    struct Crowd(Vec<(Arc<Outbox>, Sender)>);

    impl Crowd {
        fn new(n: u64, capacity: usize) -> Self {
            let make = |_| {
                let outbox = Arc::new(Outbox::new(capacity, None));
                // All of one number, as connections of different servers may be.
                (Arc::clone(&outbox), Sender::new(outbox, ConnectionId(1)))
            };
            Crowd((0..n).map(make).collect())
        }

        fn group(&self) -> Group {
            let group = Group::new();
            assert!(self.0.iter().all(|(_, sender)| group.join(sender)));
            group
        }

        fn sender(&self, n: usize) -> &Sender {
            &self.0[n].1
        }

        /// What has come for a connection since the last look.
        fn got(&self, n: usize) -> String {
            let mut out = Vec::new();
            self.0[n].0.drain_into(&mut out, usize::MAX);
            self.0[n].0.end(0, false);
            String::from_utf8(out).unwrap()
        }
    }

    fn delivery(sent: usize, full: usize, closed: usize) -> Delivered {
        Delivered { sent, full, closed }
    }

    #[test]
    fn all_members_share_one_message() {
        let crowd = Crowd::new(5, 100);
        let message: Arc<[u8]> = Arc::from(*b"hello");
        assert_eq!(crowd.group().broadcast(Arc::clone(&message)), delivery(5, 0, 0));
        assert_eq!(Arc::strong_count(&message), 6);
        assert!((0..5).all(|n| crowd.got(n) == "hello"));
        assert_eq!(Arc::strong_count(&message), 1);
    }

    #[test]
    fn one_is_left_out_and_others_leave() {
        let crowd = Crowd::new(3, 100);
        let group = crowd.group();
        assert!(!group.join(crowd.sender(0)), "it is a member already");
        assert_eq!(group.broadcast_except(crowd.sender(0), "a"), delivery(2, 0, 0));
        assert!(group.leave(crowd.sender(1)));
        assert!(!group.leave(crowd.sender(1)), "it has left");
        assert_eq!(group.broadcast_except(crowd.sender(1), "b"), delivery(2, 0, 0));
        assert_eq!([0, 1, 2].map(|n| crowd.got(n)), ["b", "a", "ab"]);
        assert_eq!((group.len(), group.is_empty()), (2, false));
    }

    #[test]
    fn who_is_full_misses_the_message_and_stays() {
        let crowd = Crowd::new(2, 4);
        let group = crowd.group();
        crowd.sender(0).send("123").unwrap();
        assert_eq!(group.broadcast("ab"), delivery(1, 1, 0));
        assert_eq!([0, 1].map(|n| crowd.got(n)), ["123", "ab"]);
        assert_eq!(group.broadcast("cd"), delivery(2, 0, 0));
    }

    #[test]
    fn who_is_full_is_given_up_if_so_decided() {
        let crowd = Crowd::new(2, 4);
        let group = crowd.group().when_full(WhenFull::Close);
        crowd.sender(0).send("123").unwrap();
        assert_eq!(group.broadcast("ab"), delivery(1, 1, 0));
        assert!(crowd.0[0].0.begin().give_up);
        assert!(crowd.sender(0).is_closed() && !crowd.sender(1).is_closed());
        assert_eq!(group.broadcast("cd"), delivery(1, 0, 0));
        assert_eq!(crowd.got(1), "abcd");
    }

    #[test]
    fn a_message_that_is_too_long_for_all_closes_nobody() {
        let crowd = Crowd::new(2, 4);
        let group = crowd.group().when_full(WhenFull::Close);
        assert_eq!(group.broadcast("12345"), delivery(0, 2, 0));
        assert_eq!(group.broadcast("1234"), delivery(2, 0, 0));
    }

    #[test]
    fn a_clone_shares_the_members_and_may_treat_them_otherwise() {
        let crowd = Crowd::new(1, 4);
        let group = crowd.group();
        let strict = group.clone().when_full(WhenFull::Close);
        crowd.sender(0).send("1234").unwrap();
        assert_eq!(group.broadcast("a"), delivery(0, 1, 0));
        assert_eq!(group.len(), 1);
        assert_eq!(strict.broadcast("a"), delivery(0, 1, 0));
        assert!(group.is_empty());
    }

    #[test]
    fn who_is_gone_is_forgotten_by_a_broadcast() {
        let crowd = Crowd::new(200, 100);
        let group = crowd.group();
        crowd.0[1..].iter().for_each(|(outbox, _)| outbox.abandon());
        assert_eq!(group.broadcast("a"), delivery(1, 0, 199));
        assert_eq!(group.broadcast("b"), delivery(1, 0, 0));
        assert!(group.lock().all.capacity() <= 4 * MIN_SWEEP);
        assert!(!group.join(crowd.sender(1)), "it is gone");
    }

    #[test]
    fn coming_and_going_does_not_grow_a_group_that_is_never_sent_to() {
        let group = Group::new();
        let stay = Crowd::new(100, 100);
        assert!(stay.0.iter().all(|(_, sender)| group.join(sender)));
        for _ in 0..10_000 {
            let passing = Crowd::new(1, 100);
            group.join(passing.sender(0));
            passing.0[0].0.abandon();
            assert!(group.lock().all.len() <= 2 * 101, "{group:?}");
        }
        assert_eq!(group.len(), 100);
        assert_eq!(group.lock().all.len(), 100);
    }

    #[test]
    fn nothing_of_others_runs_under_the_lock() {
        struct Nosy(Group);
        impl Wake for Nosy {
            fn wake(&self, _key: u64) {
                self.0.len(); // waits for ever if the lock is held
            }
        }
        let group = Group::new().when_full(WhenFull::Close);
        let outboxes = [4, 1].map(|capacity| {
            let outbox = Arc::new(Outbox::new(capacity, Some((Arc::new(Nosy(group.clone())), 0))));
            group.join(&Sender::new(Arc::clone(&outbox), ConnectionId(1)));
            outbox.end(1, false);
            outbox
        });
        assert_eq!(group.broadcast("a"), delivery(1, 1, 0));
        outboxes.iter().for_each(|outbox| outbox.abandon()); // they hold the group
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::handler::outbox::Outbox;
    use crate::handler::peer::ConnectionId;
    use loom::thread;

    /// Two threads broadcast at the same time: all members get the messages in the same order.
    #[test]
    fn model_broadcasts_come_in_one_order() {
        loom::model(|| {
            let outboxes = [(); 2].map(|()| Arc::new(Outbox::new(100, None)));
            let group = Group::new();
            for outbox in &outboxes {
                group.join(&Sender::new(Arc::clone(outbox), ConnectionId(1)));
            }
            let other = {
                let group = group.clone();
                thread::spawn(move || group.broadcast("a"))
            };
            group.broadcast("b");
            other.join().unwrap();
            let [first, second] = outboxes.map(|outbox| {
                let mut out = Vec::new();
                outbox.drain_into(&mut out, 100);
                out
            });
            assert_eq!((first.len(), &first), (2, &second));
        });
    }
}
