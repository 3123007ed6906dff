//! A file on its way.

use super::conditions::{Verdict, judge};
use super::files::{Facts, SiteFile};
use super::head::Head;
use super::manner::{Lent, Manner};
use super::response::{Field, Length, Message, Response};
use http::StatusCode;
use httpdate::fmt_http_date;
use polyserve::{BoxError, Replies};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::{ControlFlow, Range};

/// How much of a file is read at once. One up to this length is read before anything is sent, so
/// that an error can still be told.
const PART: u64 = 64 * 1024;

/// Answers with a file, or a part of it, or with why there is no need or no way to.
pub(crate) fn send_file(
    head: &Head<'_>,
    file: SiteFile,
    manner: Manner,
    replies: Lent<'_, '_>,
) -> Result<(), BoxError> {
    let SiteFile { file, facts, content_type } = file;
    let now = replies.codec().clock().now();
    let Facts { len, modified, etag } = &facts;
    // RFC 9110, 8.8.2.1: not later than the date of the response.
    let modified = fmt_http_date(now.min(*modified));
    let validators = [("ETag", &**etag), ("Last-Modified", &*modified)];
    let mut fields = validators.to_vec();
    fields.extend([("Accept-Ranges", "bytes"), ("Content-Type", content_type)]);
    match judge(head, &facts, now) {
        Verdict::Whole => send(file, 0..*len, StatusCode::OK, &fields, manner, replies),
        Verdict::Part(range) => {
            let place = format!("bytes {}-{}/{len}", range.start, range.end - 1);
            fields.push(("Content-Range", &place));
            send(file, range, StatusCode::PARTIAL_CONTENT, &fields, manner, replies)
        }
        Verdict::NotModified => manner.nothing(StatusCode::NOT_MODIFIED, &validators, replies),
        Verdict::PreconditionFailed => manner.error(StatusCode::PRECONDITION_FAILED, &[], replies),
        Verdict::NotSatisfiable => {
            let place = ("Content-Range", &*format!("bytes */{len}"));
            manner.error(StatusCode::RANGE_NOT_SATISFIABLE, &[place], replies)
        }
    }
}

fn send(
    mut file: File,
    range: Range<u64>,
    status: StatusCode,
    fields: &[Field<'_>],
    manner: Manner,
    replies: Lent<'_, '_>,
) -> Result<(), BoxError> {
    let len = range.end - range.start;
    let (persistence, length) = (manner.persistence, Length::Sized(len));
    let response = Response { status, persistence, length, fields, body: &[] };
    if manner.head_only {
        return Ok(replies.send(Message::Response(response))?);
    }
    let first = match read_first(&mut file, &range) {
        Ok(first) => first,
        Err(_) => return manner.error(StatusCode::INTERNAL_SERVER_ERROR, &[], replies),
    };
    replies.send(Message::Response(Response { body: &first, ..response }))?;
    let left = len - first.len() as u64;
    if left > 0 {
        stream(file, first, left, replies);
    }
    Ok(())
}

/// Goes to the range, and reads its first part.
fn read_first(file: &mut File, range: &Range<u64>) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(range.start))?;
    let mut part = vec![0; (range.end - range.start).min(PART) as usize];
    file.read_exact(&mut part)?;
    Ok(part)
}

/// Sends the rest, part by part, as the client takes it.
fn stream(mut file: File, mut part: Vec<u8>, mut left: u64, replies: Lent<'_, '_>) {
    replies.stream(move |replies: &mut Replies<'_, _>| {
        let room = part.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = file.read(&mut part[..room])?;
        if n == 0 {
            // The length was promised. Closing is the only way to take that back.
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "a file became shorter").into());
        }
        replies.send(Message::Bytes(&part[..n]))?;
        left -= n as u64;
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
}
