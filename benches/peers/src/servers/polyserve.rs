//! This crate, on any of its backends, with its defaults.

use super::{BoxError, Options, Ready, Speaks};
use crate::protocol;
use polyserve::{Action, BoxError as HandlerError, Context, Handler, Input, Server, signals};
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
    let server =
        Server::builder().backend(options.backend).bind(options.listen.to_string())?.build()?;
    let addr = server.local_addrs()[0].as_tcp().ok_or("it was bound to TCP")?;
    let _signals =
        signals::drain_on_signals(server.control(), Duration::ZERO, Duration::from_secs(15))?;
    ready(addr);
    match what {
        Speaks::Echo => server.serve(|_peer| Echo)?,
        Speaks::Http => server.serve(|_peer| Http)?,
    };
    Ok(())
}
