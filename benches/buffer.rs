//! What it costs to hold input: taking small frames from an input, and frames that are larger than
//! one read, left in the input or wanted as a whole.
//!
//! The connection's own buffer is private, so it is measured where a user meets it: a handler on
//! one event loop, and a client that sends frames over the loopback interface and waits for one
//! byte in reply to each batch.
//!
//! ```sh
//! cargo bench --bench buffer
//! ```

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use criterion::{criterion_group, criterion_main};
use polyserve::{Action, BoxError, Context, EventLoop, Handler, Input, Server, ServerHandle};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Frames of `size` bytes. Each `batch` of them is answered by one byte.
struct Frames {
    size: usize,
    batch: usize,
    way: Way,
    seen: usize,
}

/// What the handler does with a frame that is not there as a whole.
#[derive(Clone, Copy)]
enum Way {
    /// It leaves the part in the input, and is called for each read.
    Leave,
    /// As `Leave`, and wants the rest: it is called when the frame is there.
    Want,
    /// It consumes the part, and only counts: no byte is held. The floor of this bench.
    Consume,
}

impl Handler for Frames {
    fn on_data(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) -> Result<Action, BoxError> {
        if let Way::Consume = self.way {
            self.seen += input.take().len();
            self.answer(self.size * self.batch, cx);
            return Ok(Action::Continue);
        }
        while let Some(frame) = input.take_n(self.size) {
            assert_eq!((frame[0], frame[self.size - 1]), (FIRST, LAST), "not a frame");
            self.seen += 1;
            self.answer(self.batch, cx);
        }
        match self.way {
            Way::Want if !input.is_empty() => Ok(Action::Want(self.size)),
            _ => Ok(Action::Continue),
        }
    }
}

impl Frames {
    fn answer(&mut self, complete: usize, cx: &mut Context<'_>) {
        if self.seen == complete {
            self.seen = 0;
            cx.send(b"!");
        }
    }
}

/// The first and the last byte of each frame; all others are zero.
const FIRST: u8 = 1;
const LAST: u8 = 2;

fn frame(size: usize) -> Vec<u8> {
    let mut frame = vec![0; size];
    (frame[0], frame[size - 1]) = (FIRST, LAST);
    frame
}

fn input(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("input");
    let bytes = frame(64).repeat(1024);
    group.throughput(Throughput::Elements(1024));
    group.bench_function("take 1,024 frames of 64 bytes", |bencher| {
        bencher.iter(|| {
            let mut input = Input::new(black_box(&bytes));
            let mut frames = 0;
            while let Some(frame) = input.take_n(64) {
                frames += usize::from(frame[0]);
            }
            assert_eq!(frames, 1024);
        });
    });
    group.finish();
}

fn frames(criterion: &mut Criterion) {
    // 100 bytes fit no read evenly, so that nearly every read ends within a frame.
    for (label, size, batch) in
        [("frames of 100 bytes", 100, 10_000), ("frames of 1 MiB", 1024 * 1024, 1)]
    {
        let mut group = criterion.benchmark_group(label);
        group.throughput(Throughput::Bytes((size * batch) as u64));
        group.sample_size(20);
        group.measurement_time(Duration::from_secs(2));
        for (name, way) in [("left", Way::Leave), ("wanted", Way::Want), ("consumed", Way::Consume)]
        {
            measure(&mut group, name, way, size, batch);
        }
        group.finish();
    }
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    way: Way,
    size: usize,
    batch: usize,
) {
    let mut cell = None;
    let bytes = frame(size).repeat(batch);
    group.bench_function(name, |bencher| {
        let (_, client) = cell.get_or_insert_with(|| start(way, size, batch));
        bencher.iter_custom(|batches| {
            let start = Instant::now();
            for _ in 0..batches {
                client.write_all(&bytes).expect("the server reads");
                client.read_exact(&mut [0]).expect("each batch is answered");
            }
            start.elapsed()
        });
    });
    // The connection ends before its server does.
    if let Some((server, client)) = cell {
        drop(client);
        drop(server);
    }
}

fn start(way: Way, size: usize, batch: usize) -> (ServerHandle, TcpStream) {
    let builder = Server::builder().backend(EventLoop::new().loops(1));
    let server = builder.bind("127.0.0.1:0").expect("a free port");
    let handle =
        server.spawn(move |_| Frames { size, batch, way, seen: 0 }).expect("the server starts");
    let addr = handle.local_addrs()[0].as_tcp().expect("it was bound to TCP");
    let client = TcpStream::connect(addr).expect("it listens");
    client.set_nodelay(true).expect("it is a TCP socket");
    client.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    client.set_write_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    (handle, client)
}

criterion_group!(benches, input, frames);
criterion_main!(benches);
