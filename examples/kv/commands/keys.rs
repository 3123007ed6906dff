//! Commands on keys, whatever they hold.

use super::{MAX_MILLIS, int};
use crate::failure::{Failure, Outcome};
use crate::glob;
use crate::resp::{Args, Reply};
use crate::store::Store;
use std::time::Duration;

pub(super) fn del<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    Ok(Reply::count(args.from(1).filter(|key| store.remove(key)).count()))
}

pub(super) fn exists<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    Ok(Reply::count(args.from(1).filter(|key| store.get(key).is_some()).count()))
}

pub(super) fn type_of<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    Ok(Reply::Status(store.get(args.at(1)).map_or("none", |value| value.type_name())))
}

pub(super) fn dbsize<'a>(store: &'a mut Store, _: &'a Args<'a>) -> Outcome<'a> {
    Ok(Reply::count(store.len()))
}

pub(super) fn flushall<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    let known = |option: &[u8]| {
        option.eq_ignore_ascii_case(b"ASYNC") || option.eq_ignore_ascii_case(b"SYNC")
    };
    if args.len() > 2 || !args.from(1).all(known) {
        return Err(Failure::SYNTAX);
    }
    store.clear();
    Ok(Reply::OK)
}

pub(super) fn keys<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    let found = store.keys().filter(|key| glob::matches(args.at(1), key));
    Ok(Reply::array(found.map(Reply::bulk)))
}

pub(super) fn scan<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    let cursor = cursor(args.at(1)).ok_or(Failure::new("ERR invalid cursor"))?;
    let (mut count, mut pattern, mut type_name) = (10, None, None);
    for at in (2..args.len()).step_by(2) {
        if at + 1 == args.len() {
            return Err(Failure::SYNTAX);
        }
        let value = args.at(at + 1);
        match &args.at(at).to_ascii_uppercase()[..] {
            b"COUNT" => {
                let n = int(value)?;
                count = usize::try_from(n).ok().filter(|n| *n > 0).ok_or(Failure::SYNTAX)?;
            }
            b"MATCH" => pattern = Some(value),
            b"TYPE" => type_name = Some(value),
            _ => return Err(Failure::SYNTAX),
        }
    }
    let page = store.scan(cursor, count);
    let found = page.keys.into_iter().filter(|(key, value)| {
        pattern.is_none_or(|pattern| glob::matches(pattern, key))
            && type_name.is_none_or(|name| name.eq_ignore_ascii_case(value.type_name().as_bytes()))
    });
    let keys = Reply::array(found.map(|(key, _)| Reply::bulk(key)));
    Ok(Reply::Array(vec![Reply::owned(page.next.to_string()), keys]))
}

/// A cursor as strtoul(3) reads it, which Redis does: signs are allowed, and no digits are 0.
fn cursor(text: &[u8]) -> Option<u64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if text.is_empty() {
        return Some(0);
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let cursor: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if negative { cursor.wrapping_neg() } else { cursor })
}

pub(super) fn expire<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    expire_by(store, args, 1000, "expire")
}

pub(super) fn pexpire<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    expire_by(store, args, 1, "pexpire")
}

/// EXPIRE in units of so many milliseconds.
fn expire_by<'a>(store: &mut Store, args: &Args<'_>, unit: i64, name: &str) -> Outcome<'a> {
    let condition = Condition::parse(args)?;
    let time = int(args.at(2))?;
    let millis = time.checked_mul(unit).filter(|millis| *millis <= MAX_MILLIS);
    let millis = millis.ok_or_else(|| Failure::invalid_expire_time(name))?;
    let key = args.at(1);
    // What lies in the past is over now.
    let after = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    if !store.time_left(key).is_some_and(|left| condition.allows(left, after)) {
        return Ok(Reply::Integer(0));
    }
    if after.is_zero() {
        store.remove(key);
    } else {
        store.expire(key, Some(after));
    }
    Ok(Reply::Integer(1))
}

/// When EXPIRE may change the time of a key.
#[derive(Default)]
struct Condition {
    only_without: bool,
    only_with: bool,
    only_later: bool,
    only_sooner: bool,
}

impl Condition {
    fn parse(args: &Args<'_>) -> Result<Self, Failure> {
        let mut this = Condition::default();
        for option in args.from(3) {
            match &option.to_ascii_uppercase()[..] {
                b"NX" => this.only_without = true,
                b"XX" => this.only_with = true,
                b"GT" => this.only_later = true,
                b"LT" => this.only_sooner = true,
                _ => return Err(Failure::of([b"ERR Unsupported option ", option].concat())),
            }
        }
        if this.only_without && (this.only_with || this.only_later || this.only_sooner) {
            return Err(Failure::new(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if this.only_later && this.only_sooner {
            return Err(Failure::new("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(this)
    }

    /// Whether a key that has `left` to live may get `after`. One that never expires lives longer
    /// than any other.
    fn allows(&self, left: Option<Duration>, after: Duration) -> bool {
        !(self.only_without && left.is_some()
            || self.only_with && left.is_none()
            || self.only_later && left.is_none_or(|left| after <= left)
            || self.only_sooner && left.is_some_and(|left| after >= left))
    }
}

pub(super) fn ttl<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    // Redis rounds to the nearest second.
    Ok(Reply::Integer(
        time_left(store, args.at(1)).map_or_else(|code| code, |ms| (ms + 500) / 1000),
    ))
}

pub(super) fn pttl<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    Ok(Reply::Integer(time_left(store, args.at(1)).unwrap_or_else(|code| code)))
}

/// The milliseconds that a key has left, or the number that says why there are none.
fn time_left(store: &Store, key: &[u8]) -> Result<i64, i64> {
    let left = store.time_left(key).ok_or(-2)?.ok_or(-1)?;
    Ok(i64::try_from(left.as_millis()).unwrap_or(i64::MAX))
}

pub(super) fn persist<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    let expires = store.time_left(args.at(1)).flatten().is_some();
    store.expire(args.at(1), None);
    Ok(Reply::Integer(expires.into()))
}
