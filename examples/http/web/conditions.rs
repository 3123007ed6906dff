//! Which answer a file is, given the conditions and the range of the request: RFC 9110, 13 and 14.

use super::files::Facts;
use super::head::Head;
use httpdate::HttpDate;
use std::ops::Range;
use std::time::{Duration, SystemTime};

/// What to send of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 200: all of it.
    Whole,
    /// 206: these bytes of it, never none.
    Part(Range<u64>),
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client takes it for.
    PreconditionFailed,
    /// 416: there are no such bytes.
    NotSatisfiable,
}

/// RFC 9110, 13.2.2: the conditions in their order. `now` is the date of the response.
pub(crate) fn judge(head: &Head<'_>, facts: &Facts, now: SystemTime) -> Verdict {
    if !is_as_expected(head, facts) {
        return Verdict::PreconditionFailed;
    }
    if is_known(head, facts) {
        return Verdict::NotModified;
    }
    // 14.2: ranges belong to GET. Several values, and several ranges, are ignored, as they may be.
    match head.value("range").and_then(Wanted::parse) {
        Some(wanted) if head.method == "GET" && is_same(head, facts, now) => wanted.of(facts.len),
        _ => Verdict::Whole,
    }
}

/// `If-Match` (13.1.1), else `If-Unmodified-Since` (13.1.4).
fn is_as_expected(head: &Head<'_>, facts: &Facts) -> bool {
    if head.values("if-match").next().is_some() {
        return head.values("if-match").any(|list| names(list, &facts.etag, Comparison::Strong));
    }
    date(head, "if-unmodified-since").is_none_or(|date| HttpDate::from(facts.modified) <= date)
}

/// `If-None-Match` (13.1.2), else `If-Modified-Since` (13.1.3).
fn is_known(head: &Head<'_>, facts: &Facts) -> bool {
    if head.values("if-none-match").next().is_some() {
        return head.values("if-none-match").any(|list| names(list, &facts.etag, Comparison::Weak));
    }
    date(head, "if-modified-since").is_some_and(|date| HttpDate::from(facts.modified) <= date)
}

/// `If-Range` (13.1.5): whether the rest that the client asks for is of the file that it has a part
/// of. Without the field it is.
fn is_same(head: &Head<'_>, facts: &Facts, now: SystemTime) -> bool {
    if head.values("if-range").next().is_none() {
        return true;
    }
    match head.value("if-range") {
        None => false,
        Some(tag) if tag.ends_with(b"\"") => tag == facts.etag.as_bytes(),
        // 8.8.2.2: within the same second the file may have changed once more.
        Some(_) => {
            date(head, "if-range") == Some(HttpDate::from(facts.modified))
                && now.duration_since(facts.modified).is_ok_and(|age| age > Duration::from_secs(1))
        }
    }
}

fn date(head: &Head<'_>, name: &str) -> Option<HttpDate> {
    // What is no date is ignored: 13.1.3.
    std::str::from_utf8(head.value(name)?).ok()?.parse().ok()
}

/// How entity tags are compared: 8.8.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// Weak ones are equal to none.
    Strong,
    Weak,
}

/// Whether a list of entity tags names this strong one, or all.
fn names(list: &[u8], etag: &str, comparison: Comparison) -> bool {
    let mut rest = list;
    loop {
        rest = rest.trim_ascii_start();
        if let Some(behind) = rest.strip_prefix(b",") {
            rest = behind;
            continue;
        }
        if rest == b"*" {
            return true;
        }
        let (tag, is_weak) = match rest.strip_prefix(b"W/") {
            Some(tag) => (tag, true),
            None => (rest, false),
        };
        // A tag may hold a comma, but no quote.
        let Some(inner) = tag.strip_prefix(b"\"") else { return false };
        let Some(end) = memchr::memchr(b'"', inner) else { return false };
        let matches = &tag[..end + 2] == etag.as_bytes();
        if matches && !(is_weak && comparison == Comparison::Strong) {
            return true;
        }
        rest = &inner[end + 1..];
    }
}

/// A range, before the length is known: 14.1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    From { first: u64, last: u64 },
    Last(u64),
}

impl Wanted {
    /// `None` for what is no single range of bytes, which is ignored.
    fn parse(value: &[u8]) -> Option<Self> {
        let (unit, range) = std::str::from_utf8(value).ok()?.split_once('=')?;
        let (first, last) = range.trim_ascii().split_once('-')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        match (first, last) {
            ("", last) => Some(Wanted::Last(number(last)?)),
            (first, "") => Some(Wanted::From { first: number(first)?, last: u64::MAX }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Wanted::From { first, last })
            }
        }
    }

    fn of(self, len: u64) -> Verdict {
        match self {
            Wanted::Last(0) => Verdict::NotSatisfiable,
            // There is a last part of nothing, but no way to say where it is.
            Wanted::Last(_) if len == 0 => Verdict::Whole,
            Wanted::Last(n) => Verdict::Part(len.saturating_sub(n)..len),
            Wanted::From { first, .. } if first >= len => Verdict::NotSatisfiable,
            Wanted::From { first, last } => Verdict::Part(first..last.saturating_add(1).min(len)),
        }
    }
}

/// Digits, however many: beyond all lengths they make no difference.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}
