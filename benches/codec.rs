//! What codecs cost: bytes per second, for small frames and large ones, and what it is worth to
//! search for a delimiter by more than one byte at a time.
//!
//! No socket takes part. A frame is taken from, or written to, memory that is in the cache.
//!
//! ```sh
//! cargo bench --bench codec
//! cargo bench --bench codec -- search
//! ```

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use criterion::{criterion_group, criterion_main};
use polyserve::codec::{Decoded, Decoder, Delimited, Encoder, Fixed, LengthPrefixed, Lines};
use std::hint::black_box;
use std::time::Duration;

/// A line of a terminal, and the longest line of the default limit.
const SIZES: [usize; 2] = [80, 8 * 1024];
/// How many bytes are decoded or encoded in one go: about one read of a server.
const BATCH: usize = 64 * 1024;

/// A frame of text without what ends one.
fn frame(size: usize) -> String {
    "abcdefghijklmnopqrstuvwxyz ".chars().cycle().take(size).collect()
}

fn group<'a>(
    criterion: &'a mut Criterion,
    name: &str,
    bytes: usize,
) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes as u64));
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    group.sample_size(30);
    group
}

/// Measures both directions of a codec, with as many frames of `size` bytes as fill a batch.
///
/// A message is what `lend` makes of the frame, so that codecs of text and of bytes are one case.
fn measure<C>(
    criterion: &mut Criterion,
    name: &str,
    size: usize,
    codec: &C,
    lend: impl for<'a> Fn(&'a str) -> C::Message<'a>,
) where
    C: Decoder + Encoder + Clone,
{
    let frame = frame(size);
    let n_frames = BATCH / size;
    let mut encoder = codec.clone();
    let mut out = Vec::new();
    let mut encode = |out: &mut Vec<u8>| {
        for _ in 0..n_frames {
            encoder.encode(lend(black_box(&frame)), out).expect("the frame is within the limit");
        }
    };
    encode(&mut out);
    let input = out.clone();
    let mut group = group(criterion, &format!("{name}, {size} bytes"), input.len());
    group.bench_function("decode", |bencher| {
        let mut decoder = codec.clone();
        bencher.iter(|| assert_eq!(decode_all(&mut decoder, black_box(&input)), n_frames));
    });
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode(&mut out);
            assert_eq!(black_box(&out).len(), input.len());
        });
    });
    group.finish();
}

fn decode_all(decoder: &mut impl Decoder, mut input: &[u8]) -> usize {
    let mut n_frames = 0;
    while !input.is_empty() {
        match decoder.decode(input) {
            Ok(Decoded::Frame { frame, consumed }) => {
                black_box(frame);
                input = &input[consumed..];
                n_frames += 1;
            }
            _ => panic!("these are whole frames"),
        }
    }
    n_frames
}

fn codecs(criterion: &mut Criterion) {
    for size in SIZES {
        let c = &mut *criterion;
        measure(c, "Lines", size, &Lines::new(), |frame| frame);
        measure(c, "Delimited::lines", size, &Delimited::lines(), str::as_bytes);
        measure(c, "Delimited by NUL", size, &Delimited::new(b"\0"), str::as_bytes);
        measure(c, "Delimited by 4 bytes", size, &Delimited::new(b"\r\n\r\n"), str::as_bytes);
        measure(c, "Fixed", size, &Fixed::new(size), str::as_bytes);
        measure(c, "LengthPrefixed::u16", size, &LengthPrefixed::u16(), str::as_bytes);
        measure(c, "LengthPrefixed::u32", size, &LengthPrefixed::u32(), str::as_bytes);
        measure(c, "LengthPrefixed::varint", size, &LengthPrefixed::varint(), str::as_bytes);
        let headed = LengthPrefixed::u24().with_header::<1>();
        measure(c, "Headed<1>", size, &headed, |frame| (b"!", frame.as_bytes()));
    }
}

/// Finds the ends of lines, and nothing else.
fn search(criterion: &mut Criterion) {
    for size in SIZES {
        let input = (frame(size - 1) + "\n").repeat(BATCH / size);
        let mut group = group(criterion, &format!("search, {size} bytes"), input.len());
        let count = |find: fn(&[u8]) -> Option<usize>| {
            let mut rest = black_box(input.as_bytes());
            let mut n_lines = 0;
            while let Some(at) = find(rest) {
                rest = &rest[at + 1..];
                n_lines += 1;
            }
            assert_eq!(n_lines, BATCH / size);
        };
        group.bench_function("position", |bencher| {
            bencher.iter(|| count(|bytes| bytes.iter().position(|byte| *byte == b'\n')));
        });
        group.bench_function("memchr", |bencher| {
            bencher.iter(|| count(|bytes| memchr::memchr(b'\n', bytes)));
        });
        group.finish();
    }
}

criterion_group!(benches, search, codecs);
criterion_main!(benches);
