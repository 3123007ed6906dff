//! Channels, and who listens to them.

use crate::failure::{Failure, Outcome};
use crate::resp::{Args, Reply};
use crate::session::Session;
use polyserve::Context;

pub(super) fn publish<'a>(
    session: &'a mut Session,
    args: &'a Args<'a>,
    _: &mut Context<'_>,
) -> Outcome<'a> {
    let (channel, message) = (args.at(1), args.at(2));
    let mut bytes = Vec::new();
    Reply::array([Reply::bulk("message"), Reply::bulk(channel), Reply::bulk(message)])
        .write(&mut bytes);
    Ok(Reply::count(session.channels().publish(channel, bytes)))
}

pub(super) fn subscribe<'a>(
    session: &'a mut Session,
    args: &'a Args<'a>,
    cx: &mut Context<'_>,
) -> Outcome<'a> {
    let mut replies = Vec::new();
    for channel in args.from(1) {
        if !session.subscribe(channel, cx) {
            replies.push(Failure::new("ERR too many subscriptions").into());
            break;
        }
        replies.push(notice("subscribe", Reply::bulk(channel), session));
    }
    Ok(Reply::Several(replies))
}

pub(super) fn unsubscribe<'a>(
    session: &'a mut Session,
    args: &'a Args<'a>,
    cx: &mut Context<'_>,
) -> Outcome<'a> {
    let mut replies = Vec::new();
    let all = if args.len() == 1 { session.subscriptions() } else { Vec::new() };
    let named = args.from(1).map(Reply::bulk);
    for channel in all.into_iter().map(Reply::owned).chain(named) {
        if let Reply::Bulk(name) = &channel {
            session.unsubscribe(name, cx);
        }
        replies.push(notice("unsubscribe", channel, session));
    }
    if replies.is_empty() {
        replies.push(notice("unsubscribe", Reply::Nil, session));
    }
    Ok(Reply::Several(replies))
}

/// That a channel was joined or left, and how many there are now.
fn notice<'a>(what: &'static str, channel: Reply<'a>, session: &Session) -> Reply<'a> {
    Reply::array([Reply::bulk(what), channel, Reply::count(session.n_subscriptions())])
}
