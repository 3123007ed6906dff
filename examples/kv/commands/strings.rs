//! Commands on texts.

use super::{MAX_MILLIS, int};
use crate::failure::{Failure, Outcome};
use crate::number;
use crate::resp::{Args, Reply};
use crate::store::{Expiry, Store};
use crate::value::{Text, Value};
use std::io::Write;
use std::time::Duration;

/// The most bytes that APPEND makes: so that a reply can show it. Redis takes 512 MB by default.
const MAX_TEXT: usize = 64 * 1024 * 1024;

/// What SET is asked for besides.
#[derive(Default)]
struct SetOptions<'a> {
    only: Option<Only>,
    lifetime: Option<Lifetime<'a>>,
    get: bool,
}

/// How long the key is to live. The numbers are looked at when all options are known to be right.
enum Lifetime<'a> {
    Keep,
    Seconds(&'a [u8]),
    Millis(&'a [u8]),
}

#[derive(PartialEq)]
enum Only {
    New,
    Existing,
}

pub(super) fn set<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    let options = set_options(args)?;
    let expiry = expiry(options.lifetime)?;
    let (key, value) = (args.at(1), args.at(2));
    let mut answer = Reply::OK;
    if options.get {
        let old = store.read::<Text>(key)?;
        answer = old.map_or(Reply::Nil, |old| Reply::owned(old.clone()));
    }
    let may = match options.only {
        None => true,
        Some(only) => (only == Only::Existing) == store.get(key).is_some(),
    };
    if may {
        store.set(key, value.to_vec(), expiry);
    } else if !options.get {
        answer = Reply::Nil;
    }
    Ok(answer)
}

fn set_options<'a>(args: &'a Args<'_>) -> Result<SetOptions<'a>, Failure> {
    let mut options = SetOptions::default();
    let mut left = args.from(3);
    while let Some(option) = left.next() {
        match &option.to_ascii_uppercase()[..] {
            b"NX" if options.only != Some(Only::Existing) => options.only = Some(Only::New),
            b"XX" if options.only != Some(Only::New) => options.only = Some(Only::Existing),
            b"GET" => options.get = true,
            b"KEEPTTL" if matches!(options.lifetime, None | Some(Lifetime::Keep)) => {
                options.lifetime = Some(Lifetime::Keep);
            }
            b"EX" if matches!(options.lifetime, None | Some(Lifetime::Seconds(_))) => {
                options.lifetime = Some(Lifetime::Seconds(left.next().ok_or(Failure::SYNTAX)?));
            }
            b"PX" if matches!(options.lifetime, None | Some(Lifetime::Millis(_))) => {
                options.lifetime = Some(Lifetime::Millis(left.next().ok_or(Failure::SYNTAX)?));
            }
            _ => return Err(Failure::SYNTAX),
        }
    }
    Ok(options)
}

fn expiry(lifetime: Option<Lifetime<'_>>) -> Result<Expiry, Failure> {
    let (text, unit) = match lifetime {
        None => return Ok(Expiry::Never),
        Some(Lifetime::Keep) => return Ok(Expiry::Keep),
        Some(Lifetime::Seconds(text)) => (text, 1000),
        Some(Lifetime::Millis(text)) => (text, 1),
    };
    let millis = int(text)?.checked_mul(unit);
    let millis = millis.filter(|millis| (1..=MAX_MILLIS).contains(millis));
    let millis = millis.ok_or_else(|| Failure::invalid_expire_time("set"))?;
    Ok(Expiry::After(Duration::from_millis(millis.unsigned_abs())))
}

pub(super) fn get<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    Ok(Reply::bulk_or_nil(store.read::<Text>(args.at(1))?))
}

pub(super) fn append<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    let text = store.change_or_new::<Text>(args.at(1))?;
    if text.len() + args.at(2).len() > MAX_TEXT {
        return Err(Failure::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)"));
    }
    text.extend_from_slice(args.at(2));
    Ok(Reply::count(text.len()))
}

pub(super) fn strlen<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    Ok(Reply::count(store.read::<Text>(args.at(1))?.map_or(0, Vec::len)))
}

pub(super) fn mset<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    if args.len() % 2 == 0 {
        return Err(Failure::wrong_number_of_arguments("mset"));
    }
    for at in (1..args.len()).step_by(2) {
        store.set(args.at(at), args.at(at + 1).to_vec(), Expiry::Never);
    }
    Ok(Reply::OK)
}

pub(super) fn mget<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    Ok(Reply::array(args.from(1).map(|key| match store.get(key) {
        Some(Value::Text(text)) => Reply::bulk(text),
        _ => Reply::Nil,
    })))
}

pub(super) fn incr<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    add(store, args.at(1), 1)
}

pub(super) fn decr<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    add(store, args.at(1), -1)
}

pub(super) fn incrby<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    let by = int(args.at(2))?;
    add(store, args.at(1), by)
}

pub(super) fn decrby<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    let by = int(args.at(2))?;
    let by = by.checked_neg().ok_or(Failure::new("ERR decrement would overflow"))?;
    add(store, args.at(1), by)
}

fn add<'a>(store: &mut Store, key: &[u8], by: i64) -> Outcome<'a> {
    let old = match store.read::<Text>(key)? {
        Some(text) => number::parse(text).ok_or(Failure::NOT_AN_INTEGER)?,
        None => 0,
    };
    let overflow = Failure::new("ERR increment or decrement would overflow");
    let new = old.checked_add(by).ok_or(overflow)?;
    let text = store.change_or_new::<Text>(key)?;
    text.clear();
    write!(text, "{new}").expect("a vector takes everything");
    Ok(Reply::Integer(new))
}
