//! The table without sockets: every split, every way to read and to write.

use crate::desk::{ByteFrames, Desk};
use crate::life::hush_planned_panics;
use crate::netstrings::Netstrings;
use crate::table::{Row, Spoken};
use crate::work::Kept;
use polyserve::codec::LengthPrefixed;
use polyserve::testing::{Script, for_every_split};

pub(crate) fn netstrings() -> Spoken<Netstrings> {
    let max_len = 1000;
    let too_long = b"1001:".to_vec();
    Spoken { codec: Netstrings { max_len }, max_len, broken: b"x", too_long }
}

pub(crate) fn length_prefixed() -> Spoken<LengthPrefixed> {
    length_prefixed_up_to(1000)
}

/// The frames of each length up to this one.
pub(crate) fn length_prefixed_up_to(max_len: usize) -> Spoken<LengthPrefixed> {
    let codec = LengthPrefixed::u32().max_len(max_len);
    let too_long = (max_len as u32 + 1).to_be_bytes().to_vec();
    Spoken { codec, max_len, broken: b"\xff\xff\xff\xff", too_long }
}

/// How a connection is played.
#[derive(Debug, Clone, Copy)]
struct Way {
    on_thread: bool,
    short_writes: bool,
    /// Replies that are made later are made after the client's end, or else as soon as they are
    /// asked for.
    at_the_end: bool,
}

fn ways() -> impl Iterator<Item = Way> {
    (0..8).map(|n| Way { on_thread: n & 1 > 0, short_writes: n & 2 > 0, at_the_end: n & 4 > 0 })
}

#[test]
fn netstrings_in_every_split() {
    every_split(netstrings());
}

#[test]
fn length_prefixed_frames_in_every_split() {
    every_split(length_prefixed());
}

fn every_split<C: ByteFrames>(mut spoken: Spoken<C>) {
    hush_planned_panics();
    for row in spoken.rows() {
        // A megabyte takes its time: the plainest way and the one that is least plain.
        let step = if row.input.len() + row.output.len() > 1000 { 7 } else { 1 };
        for_every_split(&row.input, |pieces| {
            ways().step_by(step).for_each(|way| play(&spoken.codec, &row, pieces, way));
        });
    }
}

fn play<C: ByteFrames>(codec: &C, row: &Row, pieces: &[&[u8]], way: Way) {
    let (kept, codec) = (Kept::default(), codec.clone());
    let work = kept.work();
    let mut script = Script::new(move |_| Desk::framed(codec, work));
    if way.short_writes {
        // Byte by byte, but for replies of which that would be too many writes.
        script = script.short_writes(1 + row.output.len() / 1000);
    }
    if way.on_thread {
        script = script.on_thread();
    }
    for piece in pieces {
        script.recv(piece);
        while !way.at_the_end && kept.run() {
            script.settle();
        }
    }
    script.eof();
    while kept.run() {
        script.settle();
    }
    let output = script.output();
    let expected = &row.output;
    assert!(
        output == *expected,
        "{}: expected `{}`, got `{}` ({way:?})",
        row.name,
        expected.escape_ascii(),
        output.escape_ascii()
    );
    assert_eq!(script.close_kind(), Some(row.end), "{}, {way:?}", row.name);
}
