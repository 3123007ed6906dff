//! Commands on the connection itself.

use super::int;
use crate::failure::{Failure, Outcome};
use crate::resp::{Args, Reply};
use crate::session::Session;
use polyserve::Context;

pub(super) fn ping<'a>(
    session: &'a mut Session,
    args: &'a Args<'a>,
    _: &mut Context<'_>,
) -> Outcome<'a> {
    if args.len() > 2 {
        return Err(Failure::wrong_number_of_arguments("ping"));
    }
    let text = args.from(1).next();
    if session.is_subscribed() {
        // To be told from the messages that come in between.
        return Ok(Reply::array([Reply::bulk("pong"), Reply::bulk(text.unwrap_or_default())]));
    }
    Ok(text.map_or(Reply::Status("PONG"), Reply::bulk))
}

pub(super) fn echo<'a>(_: &'a mut Session, args: &'a Args<'a>, _: &mut Context<'_>) -> Outcome<'a> {
    Ok(Reply::bulk(args.at(1)))
}

pub(super) fn select<'a>(
    _: &'a mut Session,
    args: &'a Args<'a>,
    _: &mut Context<'_>,
) -> Outcome<'a> {
    match int(args.at(1))? {
        0 => Ok(Reply::OK),
        _ => Err(Failure::new("ERR DB index is out of range")),
    }
}

pub(super) fn client_id<'a>(
    _: &'a mut Session,
    _: &'a Args<'a>,
    cx: &mut Context<'_>,
) -> Outcome<'a> {
    Ok(Reply::Integer(i64::try_from(cx.id().get()).unwrap_or(i64::MAX)))
}

pub(super) fn client_getname<'a>(
    session: &'a mut Session,
    _: &'a Args<'a>,
    _: &mut Context<'_>,
) -> Outcome<'a> {
    let name = session.name();
    Ok(if name.is_empty() { Reply::Nil } else { Reply::owned(name) })
}

pub(super) fn client_setname<'a>(
    session: &'a mut Session,
    args: &'a Args<'a>,
    _: &mut Context<'_>,
) -> Outcome<'a> {
    let name = std::str::from_utf8(args.at(2)).unwrap_or(" ");
    if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::new(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ));
    }
    session.rename(name);
    Ok(Reply::OK)
}

/// The libraries of clients introduce themselves by this; nobody asks for it here.
pub(super) fn client_setinfo<'a>(
    _: &'a mut Session,
    args: &'a Args<'a>,
    _: &mut Context<'_>,
) -> Outcome<'a> {
    let known = [&b"lib-name"[..], b"lib-ver"];
    match known.iter().any(|known| known.eq_ignore_ascii_case(args.at(2))) {
        true => Ok(Reply::OK),
        false => Err(Failure::of([b"ERR Unrecognized option '", args.at(2), b"'"].concat())),
    }
}

pub(super) fn client_list<'a>(
    session: &'a mut Session,
    args: &'a Args<'a>,
    _: &mut Context<'_>,
) -> Outcome<'a> {
    match args.len() {
        2 => Ok(Reply::owned(session.clients().list())),
        _ => Err(Failure::SYNTAX),
    }
}

pub(super) fn client_help<'a>(
    _: &'a mut Session,
    _: &'a Args<'a>,
    _: &mut Context<'_>,
) -> Outcome<'a> {
    Ok(super::server::help("client"))
}
