//! The server, in a process of its own. Its standard input steers it: `stats`, `starve` and `feed`;
//! its end drains the server.

use crate::account;
use crate::wire::{HEADER, Role, bytes, message};
use polyserve::{
    Action, Backend, BoxError, CloseKind, CloseReason, Context, Control, EventLoop, Handler, Input,
    Sender, Server, Strategy, ThreadPool,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::error::Error;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::time::Duration;

pub(crate) const BACKENDS: [&str; 5] =
    ["threads", "pool:4", "event-loop:1", "event-loop:2", "portable-event-loop:1"];

/// What planned panics say.
const PLANNED: &str = "a planned panic";

/// How many more descriptors a server that starves may open than it has when nobody is connected.
const STARVING: u64 = 12;

pub(crate) fn main(backend: &str) -> ExitCode {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&PLANNED) {
            loud(info);
        }
    }));
    match serve(backend) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(backend: &str) -> Result<(), Box<dyn Error>> {
    let limit = getrlimit(Resource::Nofile);
    let (pusher, pushed) = mpsc::channel();
    let pushing = std::thread::spawn(move || push(&pushed));
    let handle = Server::builder()
        .backend(make(backend)?)
        .bind("127.0.0.1:0")?
        .spawn(move |_peer| Soaked::new(&pusher))?;
    println!("listening on {}", handle.local_addrs()[0]);
    let open = std::fs::read_dir("/proc/self/fd")?.count() as u64;
    for line in std::io::stdin().lines() {
        match line?.as_str() {
            "stats" => println!("{}", stats(&handle.control())),
            "starve" => {
                let current = Some(open + STARVING);
                setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum })?;
            }
            "feed" => setrlimit(Resource::Nofile, limit)?,
            other => return Err(format!("{other:?} is no command").into()),
        }
    }
    let report = handle.drain(Duration::ZERO, Duration::from_secs(5));
    drop(handle);
    let ended = pushing.join().is_ok();
    println!("{report}");
    if report.finished_all && ended { Ok(()) } else { Err("it did not end well".into()) }
}

/// The names of [`Strategy`], and `portable-` before those that wait by a poller.
fn make(name: &str) -> Result<Box<dyn Backend>, Box<dyn Error>> {
    let Some(portable) = name.strip_prefix("portable-") else {
        return Ok(name.parse::<Strategy>()?.into_backend());
    };
    Ok(match portable.parse()? {
        Strategy::EventLoop(Some(n)) => Box::new(EventLoop::new().loops(n).portable(true)),
        Strategy::Pool(Some(n)) => Box::new(ThreadPool::new(n).portable(true)),
        other => return Err(format!("{other} has no portable form here").into()),
    })
}

/// One line of numbers by their names.
fn stats(control: &Control) -> String {
    let stats = control.stats();
    let mut line = format!(
        "heap={} accepted={} refused={} open={} live={} accept_errors={} closed_total={}",
        account::held(),
        stats.accepted(),
        stats.refused(),
        stats.open(),
        stats.live(),
        stats.accept_errors(),
        stats.closed_total()
    );
    for kind in CloseKind::ALL {
        line += &format!(" {}={}", kind.name(), stats.closed(kind));
    }
    line
}

/// Whom another thread sends messages, and how many more.
struct Subscriber {
    sender: Sender,
    next: u64,
    end: u64,
}

/// Sends to all subscribers in turn, until nobody is left who could bring another.
fn push(new: &mpsc::Receiver<Subscriber>) {
    const WHILE_ALL_ARE_FULL: Duration = Duration::from_millis(2);
    let mut all: Vec<Subscriber> = Vec::new();
    let mut progress = true;
    loop {
        let next = match (all.is_empty(), progress) {
            (true, _) => new.recv().map_err(|_| TryRecvError::Disconnected),
            (false, true) => new.try_recv(),
            (false, false) => new.recv_timeout(WHILE_ALL_ARE_FULL).map_err(|error| match error {
                RecvTimeoutError::Timeout => TryRecvError::Empty,
                RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
            }),
        };
        match next {
            Ok(subscriber) => all.push(subscriber),
            Err(TryRecvError::Empty) => (),
            Err(TryRecvError::Disconnected) => return,
        }
        progress = false;
        all.retain_mut(|subscriber| {
            match subscriber.sender.send(message(subscriber.next)) {
                Ok(()) => {
                    subscriber.next += 1;
                    progress = true;
                }
                Err(error) if error.is_full() => (),
                Err(_) => return false,
            }
            if subscriber.next == subscriber.end {
                subscriber.sender.close();
            }
            subscriber.next < subscriber.end
        });
    }
}

struct Soaked {
    pusher: mpsc::Sender<Subscriber>,
    role: Option<(Role, u64)>,
    /// How far a stream or a count has come.
    at: u64,
}

/// How much a stream gives at once.
const PART: u64 = 16 * 1024;
/// How many frames are answered before others have their turn.
const FRAMES: usize = 64;

impl Soaked {
    fn new(pusher: &mpsc::Sender<Subscriber>) -> Self {
        Self { pusher: pusher.clone(), role: None, at: 0 }
    }

    fn begin(&mut self, role: Role, number: u64, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        self.role = Some((role, number));
        match role {
            Role::Echo | Role::Frames => (),
            Role::Stream => return Ok(self.stream(number, cx)),
            Role::Pushed => {
                self.pusher.send(Subscriber { sender: cx.sender(), next: 0, end: number })?;
            }
            Role::Ticks => cx.set_timer(Duration::from_millis(1)),
            Role::Panics => {
                cx.send("ok");
                match number {
                    0 => (), // with the next byte
                    1 => cx.set_timer(Duration::ZERO),
                    _ => return Ok(Action::Close), // in `on_close`
                }
            }
        }
        Ok(Action::Continue)
    }

    /// Sends until the output is full, or to the end.
    fn stream(&mut self, length: u64, cx: &mut Context<'_>) -> Action {
        while self.at < length && cx.is_writable() {
            let n = PART.min(length - self.at);
            cx.send(bytes(length, self.at, n as usize));
            self.at += n;
        }
        if self.at < length { Action::Continue } else { Action::Close }
    }
}

/// Answers what is there of whole frames.
fn frames(input: &mut Input<'_>, cx: &mut Context<'_>) -> Action {
    for _ in 0..FRAMES {
        let Some(length) = input.get(..2) else { return Action::Continue };
        let whole = 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
        match input.take_n(whole) {
            Some(frame) => cx.send(frame),
            None => return Action::Want(whole),
        }
    }
    Action::Yield
}

impl Handler for Soaked {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        match self.role {
            None => {
                let Some(header) = input.take_n(HEADER) else { return Ok(Action::Want(HEADER)) };
                let (role, number) = Role::parse(header).ok_or("this is no header")?;
                let action = self.begin(role, number, cx)?;
                if action == Action::Continue && !input.is_empty() {
                    return Ok(Action::Yield);
                }
                Ok(action)
            }
            Some((Role::Echo, _)) => {
                cx.send(input.take());
                Ok(Action::Continue)
            }
            Some((Role::Frames, _)) => Ok(frames(input, cx)),
            Some((Role::Panics, _)) => std::panic::panic_any(PLANNED),
            Some(_) => Err("nobody has asked for this".into()),
        }
    }

    fn on_eof(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        match self.role {
            // They go on until they have said everything.
            Some((Role::Stream | Role::Pushed | Role::Ticks, _)) => Ok(Action::Continue),
            Some((Role::Frames, _)) => {
                while frames(input, cx) == Action::Yield {}
                Ok(Action::Close)
            }
            _ => Ok(Action::Close),
        }
    }

    fn on_writable(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        match self.role {
            Some((Role::Stream, length)) => Ok(self.stream(length, cx)),
            _ => Ok(Action::Continue),
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        let Some((Role::Ticks, end)) = self.role else { std::panic::panic_any(PLANNED) };
        cx.send(self.at.to_le_bytes());
        self.at += 1;
        if self.at == end {
            return Ok(Action::Close);
        }
        cx.set_timer(Duration::from_millis(1));
        Ok(Action::Continue)
    }

    fn on_close(&mut self, _: &CloseReason) {
        if self.role == Some((Role::Panics, 2)) {
            std::panic::panic_any(PLANNED);
        }
    }
}
