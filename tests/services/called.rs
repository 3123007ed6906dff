//! The table through the client, on each backend.

use crate::Make;
use crate::backends::next_end;
use crate::desk::{ByteFrames, Desk};
use crate::life::{PATIENCE, hush_planned_panics};
use crate::on_each_backend;
use crate::played::{length_prefixed, netstrings};
use crate::table::{Row, Sent, Spoken};
use crate::work::Workers;
use polyserve::client::ClientBuilder;
use polyserve::testing::TestServer;
use polyserve::{Client, ConnectionId};
use std::collections::HashSet;
use std::thread;

on_each_backend! {
    netstrings_through_the_client
    length_prefixed_frames_through_the_client
}

fn netstrings_through_the_client(make: Make) {
    Called::new(make, netstrings()).everything();
}

fn length_prefixed_frames_through_the_client(make: Make) {
    Called::new(make, length_prefixed()).everything();
}

/// A server, and clients that speak its codec.
struct Called<C> {
    // Dropped in this order: the workers finish what the server waits for.
    server: TestServer,
    _workers: Workers,
    client: ClientBuilder<C>,
    rows: Vec<Row>,
    ended: HashSet<ConnectionId>,
}

impl<C: ByteFrames + Sync> Called<C> {
    fn new(make: Make, mut spoken: Spoken<C>) -> Self {
        hush_planned_panics();
        let workers = Workers::start(2);
        let (codec, work) = (spoken.codec.clone(), workers.work());
        let server =
            TestServer::start(make(), move |_| Desk::framed(codec.clone(), work.clone())).unwrap();
        let client = Client::builder().read_timeout(PATIENCE).codec(spoken.codec.clone());
        let rows = spoken.rows();
        Self { server, _workers: workers, client, rows, ended: HashSet::new() }
    }

    fn everything(mut self) {
        let mut n_called = 0;
        for row in std::mem::take(&mut self.rows) {
            self.talk(&row);
            if let Some(requests) = row.calls() {
                n_called += 1;
                self.call(&row, &requests);
                self.call_all(&row, &requests);
                self.call_by_a_pool(&row, &requests);
            }
        }
        assert!(n_called > 5, "only {n_called} rows were called");
        let report = self.server.finish();
        assert!(report.finished_all && report.killed == 0, "{report:?}");
    }

    fn connect(&self) -> Client<C> {
        self.client.connect(self.server.addr()).unwrap()
    }

    /// The connection of the row is over: it must have ended as the table says.
    fn expect_end(&mut self, row: &Row) {
        assert_eq!(next_end(&self.server, &mut self.ended, row.name), row.end, "{}", row.name);
    }

    /// Both directions by themselves, as they are needed for replies that are not one for each.
    fn talk(&mut self, row: &Row) {
        let (mut reader, mut writer) = self.connect().into_frames();
        thread::scope(|scope| {
            scope.spawn(move || {
                for part in &row.sent {
                    match part {
                        Sent::Request(request) => writer.send(request).unwrap(),
                        Sent::Raw(bytes) => writer.bytes().send(bytes).unwrap(),
                    }
                }
                writer.shutdown().unwrap();
            });
            for reply in &row.replies {
                assert_eq!(reader.recv().unwrap().as_ref(), Some(reply), "{}", row.name);
            }
            assert_eq!(reader.recv().unwrap(), None, "{}: the end", row.name);
        });
        drop(reader);
        self.expect_end(row);
    }

    fn call(&mut self, row: &Row, requests: &[&[u8]]) {
        let mut client = self.connect();
        for (request, reply) in requests.iter().zip(&row.replies) {
            assert_eq!(client.call(request).unwrap(), *reply, "{}", row.name);
        }
        drop(client);
        self.expect_end(row);
    }

    fn call_all(&mut self, row: &Row, requests: &[&[u8]]) {
        let mut client = self.connect();
        assert_eq!(client.call_all(requests.iter().copied()).unwrap(), row.replies, "{}", row.name);
        drop(client);
        self.expect_end(row);
    }

    fn call_by_a_pool(&mut self, row: &Row, requests: &[&[u8]]) {
        let pool = self.client.clone().pool(self.server.addr()).build();
        for (request, reply) in requests.iter().zip(&row.replies) {
            assert_eq!(pool.call(request).unwrap(), *reply, "{}", row.name);
        }
        let n_connections = u64::from(!requests.is_empty());
        assert_eq!(pool.stats().connected, n_connections, "{}", row.name);
        drop(pool);
        if n_connections > 0 {
            self.expect_end(row);
        }
    }
}
