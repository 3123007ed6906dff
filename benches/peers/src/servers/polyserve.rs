//! This crate, on any of its backends, with its defaults where no option says otherwise.

use super::{BoxError, Options, Ready, Speaks};
use crate::protocol;
use polyserve::{
    Action, BoxError as HandlerError, Builder, Context, EventLoop, Handler, Input, Server,
    Strategy, signals,
};
use rustix::time::{ClockId, clock_gettime};
use std::str::FromStr;
use std::time::Duration;

struct Echo;

impl Handler for Echo {
    fn on_data(
        &mut self,
        input: &mut Input<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Action, HandlerError> {
        cx.send(input.take());
        Ok(Action::Continue)
    }
}

/// What a handler does before it sends back what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toll {
    /// Its thread is blocked for so long, as by a call of another server.
    Block(Duration),
    /// So much CPU time of its thread is spent.
    Burn(Duration),
}

impl FromStr for Toll {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || format!("{text:?} is neither block:MICROSECONDS nor burn:MICROSECONDS");
        let (name, micros) = text.split_once(':').ok_or_else(unknown)?;
        let time = Duration::from_micros(micros.parse().map_err(|_| unknown())?);
        match name {
            "block" => Ok(Toll::Block(time)),
            "burn" => Ok(Toll::Burn(time)),
            _ => Err(unknown()),
        }
    }
}

impl Toll {
    fn pay(self) {
        match self {
            #[expect(clippy::disallowed_methods, reason = "see below")]
            // What is measured: a handler that blocks.
            Toll::Block(time) => std::thread::sleep(time),
            Toll::Burn(time) => {
                let end = cpu_of_this_thread() + time;
                while cpu_of_this_thread() < end {
                    spin();
                }
            }
        }
    }
}

/// Some microseconds of a chain of dependent steps, so that the clock is not most of what is done.
fn spin() {
    let mut state = 1u64;
    for _ in 0..5_000 {
        state = std::hint::black_box(state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1));
    }
}

/// Not the time of day: a thread that has no core burns nothing.
fn cpu_of_this_thread() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().expect("time since the thread began")
}

/// Pays for each read; in a closed loop of small messages that is each message.
struct Slow(Toll);

impl Handler for Slow {
    fn on_data(
        &mut self,
        input: &mut Input<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Action, HandlerError> {
        self.0.pay();
        cx.send(input.take());
        Ok(Action::Continue)
    }
}

struct Http;

impl Handler for Http {
    fn on_data(
        &mut self,
        input: &mut Input<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Action, HandlerError> {
        let used = protocol::answer_all(input, |response| cx.send(response))?;
        input.consume(used);
        Ok(Action::Continue)
    }
}

pub(super) fn serve(what: Speaks, options: &Options, ready: Ready) -> Result<(), BoxError> {
    let server = builder(options)?.bind(options.listen.to_string())?.build()?;
    let addr = server.local_addrs()[0].as_tcp().ok_or("it was bound to TCP")?;
    let _signals =
        signals::drain_on_signals(server.control(), Duration::ZERO, Duration::from_secs(15))?;
    ready(addr);
    match (what, options.toll) {
        (Speaks::Echo, None) => server.serve(|_peer| Echo)?,
        (Speaks::Echo, Some(toll)) => server.serve(move |_peer| Slow(toll))?,
        (Speaks::Http, None) => server.serve(|_peer| Http)?,
        (Speaks::Http, Some(_)) => return Err("only echoes have a toll".into()),
    };
    Ok(())
}

fn builder(options: &Options) -> Result<Builder, BoxError> {
    let builder = match options.backend {
        Strategy::EventLoop(Some(loops)) => {
            let backend = EventLoop::new().loops(loops).portable(options.portable);
            Server::builder().backend(backend.busy_poll(options.busy_poll))
        }
        other if options.portable || !options.busy_poll.is_zero() => {
            return Err(format!("{other} is not portable and does not poll here").into());
        }
        other => Server::builder().backend(other),
    };
    Ok(match options.connections {
        // Those that are there to be idle stay for as long as anything is measured.
        Some(max) => builder.max_connections(max).idle_timeout(Duration::from_secs(24 * 3600)),
        None => builder,
    })
}
