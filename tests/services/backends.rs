//! The table over real sockets, on each backend.

use crate::Make;
use crate::desk::{ByteFrames, Desk};
use crate::life::{PATIENCE, hush_planned_panics, read_to_end};
use crate::on_each_backend;
use crate::played::{length_prefixed, length_prefixed_up_to, netstrings};
use crate::table::Row;
use crate::work::Workers;
use polyserve::codec::LengthPrefixed;
use polyserve::testing::{Event, TestServer};
use polyserve::{CloseKind, ConnectionId};
use std::collections::HashSet;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread;

on_each_backend! {
    netstrings_in_one_write
    netstrings_byte_by_byte
    length_prefixed_frames_in_one_write
    length_prefixed_frames_byte_by_byte
    the_largest_frames_by_default
}

fn netstrings_in_one_write(make: Make) {
    let mut spoken = netstrings();
    every_row(make, &spoken.codec.clone(), &spoken.rows(), usize::MAX);
}

fn netstrings_byte_by_byte(make: Make) {
    let mut spoken = netstrings();
    every_row(make, &spoken.codec.clone(), &spoken.rows(), 1);
}

fn length_prefixed_frames_in_one_write(make: Make) {
    let mut spoken = length_prefixed();
    every_row(make, &spoken.codec.clone(), &spoken.rows(), usize::MAX);
}

fn length_prefixed_frames_byte_by_byte(make: Make) {
    let mut spoken = length_prefixed();
    every_row(make, &spoken.codec.clone(), &spoken.rows(), 1);
}

/// A mebibyte, which the limits of a server are made for.
fn the_largest_frames_by_default(make: Make) {
    let rows = length_prefixed_up_to(1024 * 1024).long();
    every_row(make, &LengthPrefixed::u32(), &rows, usize::MAX);
    every_row(make, &LengthPrefixed::u32(), &rows, 10_007);
}

/// Asks a server for all rows, one connection each, in pieces of `size` bytes.
fn every_row<C: ByteFrames + Sync>(make: Make, codec: &C, rows: &[Row], size: usize) {
    hush_planned_panics();
    let workers = Workers::start(2);
    let (codec, work) = (codec.clone(), workers.work());
    let factory = move |_: &_| Desk::framed(codec.clone(), work.clone());
    let server = TestServer::start(make(), factory).unwrap();
    let mut ended = HashSet::new();
    for row in rows {
        let output = converse(server.connect().unwrap(), row, size);
        let (got, expected) = (output.escape_ascii(), row.output.escape_ascii());
        assert!(output == row.output, "{}: expected `{expected}`, got `{got}`", row.name);
        let end = next_end(&server, &mut ended, row.name);
        assert_eq!(end, row.end, "{}", row.name);
    }
    let report = server.finish();
    assert!(report.finished_all && report.killed == 0, "{report:?}");
}

/// Sends what the row says in pieces, each in a segment of its own, and reads meanwhile.
fn converse(mut stream: TcpStream, row: &Row, size: usize) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let input = &row.input;
    thread::scope(|scope| {
        scope.spawn(move || {
            // `connect` has set TCP_NODELAY: what is written leaves at once.
            input
                .chunks(size.min(input.len().max(1)))
                .for_each(|piece| writer.write_all(piece).unwrap());
            writer.shutdown(Shutdown::Write).unwrap();
        });
        read_to_end(&mut stream)
    })
}

/// How the connection ended that has ended last.
pub(crate) fn next_end(
    server: &TestServer,
    before: &mut HashSet<ConnectionId>,
    name: &str,
) -> CloseKind {
    let is_new = |event: &Event| matches!(event, Event::Closed { id, .. } if !before.contains(id));
    let event = server.events().wait_for(format!("end of {name:?}"), PATIENCE, is_new);
    let Event::Closed { id, kind, .. } = event.unwrap() else {
        unreachable!("that was waited for")
    };
    before.insert(id);
    kind
}
